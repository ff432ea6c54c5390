import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import fc from 'fast-check'
import { facts, factsWith, flags, id, key, startEngine } from '../test/fixture.ts'
import { cedarString } from './clauses.ts'
import { compilePolicy, decide, flagsOf, PolicyError, type PolicyFlags, validatePolicy } from './index.ts'

before(startEngine)

describe('flags are refused', () => {
  const cases: readonly { name: string; flags: unknown; member: string }[] = [
    { name: 'none at all', flags: {}, member: 'programs' },
    { name: 'neither program nor publisher', flags: { receiverRoles: 'any' }, member: 'programs' },
    { name: 'an unknown member', flags: { ...flags, program: [id('x')] }, member: 'flags' },
    { name: 'an empty list', flags: { ...flags, purposes: [] }, member: 'purposes' },
    { name: 'a digest in upper case', flags: { ...flags, programs: ['AB'.repeat(32)] }, member: 'programs' },
    { name: 'a key id that is too short', flags: { ...flags, accounts: ['ada'] }, member: 'accounts' },
    { name: 'an invisible character', flags: { ...flags, purposes: ['stat\u200bistics'] }, member: 'purposes' },
    { name: 'a line break', flags: { ...flags, purposes: ['a\n@id("x")'] }, member: 'purposes' },
    { name: 'a space at the end', flags: { ...flags, roles: ['auditor '] }, member: 'roles' },
    { name: 'an unknown boundary', flags: { ...flags, boundaries: ['wm'] }, member: 'boundaries' },
    { name: 'zero uses', flags: { ...flags, uses: 0 }, member: 'uses' },
    { name: 'half a use', flags: { ...flags, uses: 0.5 }, member: 'uses' },
    { name: 'a window that ends before it begins', flags: { ...flags, notBefore: 2, notAfter: 1 }, member: 'notAfter' },
    { name: 'milliseconds where seconds are wanted', flags: { ...flags, notAfter: 1e15 }, member: 'notAfter' },
    {
      name: 'lists that make the policy too long',
      flags: {
        ...flags,
        programs: Array.from({ length: 128 }, (_, index) => id(`p${index}`)),
        organisations: Array.from({ length: 128 }, (_, index) => id(`o${index}`)),
        publishers: Array.from({ length: 128 }, (_, index) => id(`q${index}`)),
        receiverOrganisations: Array.from({ length: 128 }, (_, index) => id(`r${index}`)),
        regulators: Array.from({ length: 128 }, (_, index) => id(`s${index}`)),
      },
      member: 'bytes',
    },
  ]
  for (const { name, flags: given, member } of cases) {
    test(name, () => {
      assert.throws(
        () => compilePolicy(given as PolicyFlags),
        (error) => error instanceof PolicyError && error.code === 'ERR_POLICY_FLAGS' && error.message.includes(member),
      )
    })
  }
})

test('the text of a policy is exactly this', () => {
  assert.equal(
    compilePolicy({
      programs: [id('b'), id('a'), id('b')],
      receiverRoles: ['receiver'],
      uses: 10,
      simulated: true,
    }),
    `// cella-policy/1 {"programs":["${id('a')}","${id('b')}"],"receiverRoles":["receiver"],"simulated":true,"uses":10}
@id("permit")
permit (principal, action in [Cella::Action::"compute", Cella::Action::"readOutput", Cella::Action::"approve"], resource);
@id("program")
forbid (principal, action == Cella::Action::"compute", resource)
unless { [Cella::Program::"${id('a')}", Cella::Program::"${id('b')}"].contains(context.program) };
@id("receiver-role")
forbid (principal, action == Cella::Action::"readOutput", resource)
unless { ["receiver"].contains(context.receiverRole) };
@id("debug")
forbid (principal, action in [Cella::Action::"compute", Cella::Action::"readOutput", Cella::Action::"derive", Cella::Action::"disclose"], resource)
unless { context.tee.debug == false };
@id("uses")
forbid (principal, action in [Cella::Action::"compute", Cella::Action::"readOutput", Cella::Action::"derive"], resource)
unless { context.uses <= 10 };
@id("derive")
forbid (principal, action == Cella::Action::"derive", resource);
@id("approver")
forbid (principal, action == Cella::Action::"approve", resource)
unless { principal.organisation == resource.owner && principal.roles.contains("approver") };
@id("regulator")
forbid (principal, action == Cella::Action::"disclose", resource);
`,
  )
})

test('equal flags give equal text, whatever their order', () => {
  assert.equal(
    compilePolicy({ uses: 1, programs: [id('a'), id('b')], roles: undefined }),
    compilePolicy({ programs: [id('b'), id('a'), id('a')], uses: 1 }),
  )
})

test('flags come back from the text only while it is what they compile to', () => {
  const text = compilePolicy({ ...flags, uses: 10, accounts: [key('ada')] })
  assert.deepEqual(flagsOf(text), { ...flags, uses: 10, accounts: [key('ada')] })
  for (let index = 0; index < text.length; index++) {
    const changed = text.slice(0, index) + (text[index] === '1' ? '2' : '1') + text.slice(index + 1)
    const found = flagsOf(changed)
    if (found !== undefined) assert.equal(compilePolicy(found), changed)
    assert.equal(flagsOf(text.slice(0, index)), undefined)
  }
  assert.equal(flagsOf(`${text} `), undefined)
  assert.equal(flagsOf(text.replace('"uses":10', '"uses":11')), undefined)
  assert.equal(flagsOf(text.replace('context.uses <= 10', 'context.uses <= 99')), undefined)
})

test('any word that a flag accepts is compared as itself, and nothing in it is taken for Cedar', () => {
  const nasty = [
    '"] || true // ',
    'a\\',
    '"',
    "'",
    '\\u{41}',
    '*',
    'ünï',
    '日本 語',
    '𝕏',
    '");permit(principal,action,resource);',
  ]
  const words = fc.oneof(
    fc.constantFrom(...nasty.map((word) => word.trim())),
    fc.string({ unit: 'grapheme', minLength: 1 }),
  )
  fc.assert(
    fc.property(words, (purpose) => {
      let policyText: string
      try {
        policyText = compilePolicy({ ...flags, purposes: [purpose] })
      } catch (error) {
        assert.ok(error instanceof PolicyError)
        return
      }
      assert.deepEqual(
        validatePolicy(policyText).filter(({ severity }) => severity === 'error'),
        [],
      )
      assert.deepEqual(flagsOf(policyText)?.purposes, [purpose])
      const asked = (word: string) => decide({ policyText, facts: factsWith({ contract: { purpose: word } }) }).allowed
      assert.equal(asked(purpose), true)
      assert.equal(asked(`${purpose}x`), false)
    }),
    { numRuns: 30 },
  )
})

test('a Cedar string is ASCII without quotes, whatever it holds', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) =>
      /^"(?:[ !#-[\]-~]|\\u\{[0-9a-f]{1,6}\})*"$/.test(cedarString(text)),
    ),
  )
  assert.equal(decide({ policyText: compilePolicy(flags), facts }).allowed, true)
})
