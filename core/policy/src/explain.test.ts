import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import { flags, id, key, noon, startEngine } from '../test/fixture.ts'
import { compilePolicy, explainPolicy, PolicyError, type PolicyFlags, type PolicyReason, reasonText } from './index.ts'

before(startEngine)

test('the demo policy in plain words', () => {
  const demo: PolicyFlags = { ...flags, uses: 10, notAfter: noon, simulated: true }
  const lines = [
    `Only the program ${id('pay-gap').slice(0, 16)}… may compute on it.`,
    'Anybody may start a contract on it.',
    'For any purpose.',
    'Only a receiver in the role receiver may read an output.',
    'A simulated TEE will do: it protects nothing from whoever runs the machine.',
    'Never in debug mode.',
    "On any machine that the owner's terms accept.",
    'Until 2026-09-21T14:13:20Z.',
    'At most 10 runs.',
    'Outputs may not be kept as assets.',
    'Disclosed to no regulator.',
  ]
  assert.deepEqual(explainPolicy(demo), lines)
  assert.deepEqual(explainPolicy(compilePolicy(demo)), lines)
})

test('every flag changes the words', () => {
  const least = explainPolicy({ programs: 'any' }).join('\n')
  const each: readonly PolicyFlags[] = [
    { organisations: [id('a')] },
    { accounts: [key('a')] },
    { roles: ['auditor'] },
    { programs: [id('a')] },
    { publishers: [id('a')] },
    { purposes: ['care'] },
    { receiverRoles: 'any' },
    { receiverRoles: ['clerk'] },
    { receiverOrganisations: [id('a')] },
    { receiverAccounts: [key('a')] },
    { places: ['eu-north'] },
    { tees: ['sev-snp'] },
    { boundaries: ['vm'] },
    { chips: ['ab'.repeat(8)] },
    { providers: ['x'] },
    { simulated: true },
    { notBefore: 1 },
    { notAfter: 1 },
    { uses: 1 },
    { isolation: 2 },
    { derive: true },
    { regulators: [id('a')] },
  ]
  const seen = new Set([least])
  for (const flag of each) seen.add(explainPolicy({ programs: 'any', ...flag }).join('\n'))
  assert.equal(seen.size, each.length + 1)
})

test('a policy whose comment claims other flags is listed as written by hand', () => {
  const honest = compilePolicy({ ...flags, uses: 1 })
  const lying = honest.replace('context.uses <= 1 ', 'context.uses <= 1000 ')
  assert.notEqual(lying, honest)
  const [first, ...rest] = explainPolicy(lying)
  assert.match(first!, /^Written by hand/)
  assert.ok(rest.some((line) => /“uses” forbids$/.test(line)))
})

test('a policy that is unusable or permits nothing says so', () => {
  assert.match(explainPolicy('permit (')[0]!, /denies everything/)
  assert.equal(explainPolicy('').at(-1), 'Nothing is permitted.')
})

test('flags that can not be used are not explained', () => {
  assert.throws(() => explainPolicy({}), PolicyError)
})

test('a reason is a sentence and says who can change it', () => {
  const reason: PolicyReason = {
    code: 'ERR_POLICY_USES',
    clause: 'uses',
    action: 'compute',
    expected: '10',
    got: '11',
    whoCanChange: 'publisher',
  }
  assert.equal(reasonText(reason), 'This would be use 11 of 10. The asset’s publisher can change this.')
  const program = { ...reason, code: 'ERR_POLICY_PROGRAM' as const, expected: `${id('a')}, ${id('b')}`, got: id('c') }
  assert.match(reasonText(program), /^Program 63000000[0]{8}… may not .* only 61000000[0]{8}…, 62000000[0]{8}… may\./)
})
