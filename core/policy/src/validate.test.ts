import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import fc from 'fast-check'
import { facts, flags, startEngine } from '../test/fixture.ts'
import { compilePolicy, decide, policyBytesMax, validatePolicy } from './index.ts'

before(startEngine)

const permit = 'permit (principal, action, resource);'
const when = (condition: string) =>
  `permit (principal, action == Cella::Action::"compute", resource)\nwhen { ${condition} };`
const encode = (text: string) => new TextEncoder().encode(text)
const errorsOf = (policy: string | Uint8Array) => validatePolicy(policy).filter(({ severity }) => severity === 'error')

describe('validatePolicy refuses', () => {
  const cases: readonly { name: string; policy: string | Uint8Array; line: number; message: RegExp }[] = [
    {
      name: 'a parse error',
      policy: `${permit}\npermit (principal, action resource);`,
      line: 2,
      message: /unexpected token/,
    },
    { name: 'an end too early', policy: `${permit}\n\npermit (principal,`, line: 3, message: /no `;`/ },
    { name: 'an attribute that is not in the schema', policy: when('context.colour == 1'), line: 2, message: /colour/ },
    {
      name: 'an unknown entity type',
      policy: `\n${when('principal == Cella::Robot::"x"')}`,
      line: 3,
      message: /Robot/,
    },
    {
      name: 'an unknown action',
      policy: 'permit (principal, action == Cella::Action::"steal", resource);',
      line: 1,
      message: /steal/,
    },
    { name: 'a comparison of two types', policy: when('context.uses == "1"'), line: 2, message: /compatible/ },
    {
      name: 'TEE claims at an approval, where there are none yet',
      policy: 'permit (principal, action == Cella::Action::"approve", resource) when { context.tee.debug };',
      line: 1,
      message: /tee/,
    },
    { name: 'a template', policy: 'permit (principal == ?principal, action, resource);', line: 1, message: /template/ },
    { name: 'an @id that stands twice', policy: `@id("a") ${permit}\n@id("a") ${permit}`, line: 2, message: /twice/ },
    {
      name: 'an @id that is taken by a number',
      policy: `@id("policy-2") ${permit}\n${permit}`,
      line: 2,
      message: /twice/,
    },
    { name: 'an @id with other characters', policy: `@id("__proto__") ${permit}`, line: 1, message: /@id/ },
    {
      name: 'a string without an end',
      policy: `${permit}\npermit (principal, action, resource == Cella::Asset::"x);`,
      line: 2,
      message: /string/,
    },
    {
      name: 'brackets that close nothing',
      policy: `${permit}\npermit (principal, action, resource));`,
      line: 2,
      message: /closes/,
    },
    { name: 'a semicolon in brackets', policy: 'permit (principal; action, resource);', line: 1, message: /inside/ },
    { name: 'bad UTF-8', policy: Uint8Array.of(...encode(permit), 0x2f, 0x2f, 0xff), line: 1, message: /UTF-8/ },
    { name: 'an overlong UTF-8 form', policy: Uint8Array.of(0x2f, 0x2f, 0xc0, 0xaf), line: 1, message: /UTF-8/ },
    { name: 'a lone surrogate', policy: `${permit} // \ud800`, line: 1, message: /UTF-8/ },
    { name: 'a byte-order mark', policy: `\ufeff${permit}`, line: 1, message: /./ },
    { name: 'a null byte', policy: `${permit}\0`, line: 1, message: /no `;`/ },
    { name: 'more than 64 KiB', policy: permit + ' '.repeat(policyBytesMax), line: 1, message: /bytes/ },
    {
      name: 'more than 64 KiB of UTF-8',
      policy: `${permit}//${'é'.repeat(policyBytesMax / 2)}`,
      line: 1,
      message: /bytes/,
    },
    { name: 'gigantic bytes before decoding them', policy: new Uint8Array(50_000_000), line: 1, message: /bytes/ },
    { name: 'too many policies', policy: permit.repeat(257), line: 1, message: /256 policies/ },
    {
      name: 'deep brackets',
      policy: when(`${'('.repeat(9999)}true${')'.repeat(9999)}`),
      line: 2,
      message: /nested deeper/,
    },
    {
      name: 'deep sets',
      policy: when(`${'['.repeat(5000)}1${']'.repeat(5000)} == 1`),
      line: 2,
      message: /nested deeper/,
    },
    {
      name: 'deep records',
      policy: when(`${'{a:'.repeat(5000)}1${'}'.repeat(5000)} == 1`),
      line: 2,
      message: /nested deeper/,
    },
    {
      name: 'a long chain of if',
      policy: when(`${'if true then true else '.repeat(2000)}true`),
      line: 2,
      message: /`if`/,
    },
    { name: 'a long sum', policy: when(`1${'+1'.repeat(9000)} == 1`), line: 2, message: /32 times/ },
    { name: 'a long chain of minus', policy: when(`${'-'.repeat(9000)}1 == 1`), line: 2, message: /32 times/ },
    { name: 'a long chain of attributes', policy: when(`context${'.a'.repeat(9000)}`), line: 2, message: /64 times/ },
    { name: 'a long chain of indexes', policy: when(`context${'["a"]'.repeat(9000)}`), line: 2, message: /64 times/ },
    { name: 'a long conjunction', policy: when(Array(9000).fill('true').join('&&')), line: 2, message: /64 times/ },
    { name: 'a long disjunction', policy: when(Array(7000).fill('true').join(' || ')), line: 2, message: /64 times/ },
    {
      name: 'many conditions',
      policy: `permit (principal, action, resource) ${'when{true}'.repeat(5000)};`,
      line: 1,
      message: /16 times/,
    },
    { name: 'many negations', policy: when(`${'!'.repeat(30_000)}true`), line: 2, message: /./ },
    { name: 'a path without end', policy: when(`${'A::'.repeat(20_000)}B::"x" == 1`), line: 2, message: /./ },
  ]
  for (const { name, policy, line, message } of cases) {
    test(name, () => {
      const [first] = errorsOf(policy)
      assert.ok(first, 'nothing was wrong')
      assert.match(first.message, message)
      assert.equal(first.line, line)
      assert.ok(first.message.length < 400)
      // None of them broke the engine, and what is refused is never an `allow`.
      assert.deepEqual(validatePolicy(permit), [])
      if (typeof policy === 'string') {
        const { allowed, reasons } = decide({ policyText: policy, facts })
        assert.equal(allowed, false)
        assert.deepEqual(
          reasons.map(({ code }) => code),
          ['ERR_POLICY_INVALID'],
        )
      }
    })
  }
})

describe('validatePolicy accepts', () => {
  for (const [name, policy] of [
    ['brackets, `;` and quotes in strings and comments', `// ( [ { " ;\n@note("(;[\\"{")\n${permit}`],
    ['a comment that ends at a carriage return', `// "\r${permit}`],
    ['Unicode in strings', when('context.purpose == "für alle"')],
    ['long flat lists', when(`[${Array(5000).fill('1').join(', ')}].contains(context.uses)`)],
    ['an empty text', ''],
  ] as const) {
    test(name, () => assert.deepEqual(errorsOf(policy), []))
  }

  test('bytes like the text they encode', () => {
    const text = compilePolicy(flags)
    assert.deepEqual(validatePolicy(encode(text)), validatePolicy(text))
  })

  test('a policy at every bound at once, and evaluates it', () => {
    const negated = (inner: string) => `${'!!!!('.repeat(8)}${inner}${')'.repeat(8)}`
    const days = `datetime("2024-01-01")${'.offset(duration("1d"))'.repeat(60)} > datetime("2024-01-01")`
    const sum = `(context.uses${'+1'.repeat(31)}) > 1`
    const ifs = (inner: string) => `${'if '.repeat(8)}${inner}${' then true else true'.repeat(8)}`
    const conditions = ' when { true }'.repeat(15)
    for (const inner of [`${'('.repeat(8)}${days}${')'.repeat(8)}`, sum, negated(days)]) {
      const deep = `${'('.repeat(5)}${ifs(inner)}${')'.repeat(5)}${'&& true'.repeat(64)}`
      const policy = when(deep).replace(/;$/, `${conditions};\n${permit}`)
      assert.deepEqual(errorsOf(policy), [])
      assert.deepEqual(decide({ policyText: policy, facts }), { allowed: true, reasons: [] })
    }
  })
})

test('a policy that can never apply is a warning with its line, not an error', () => {
  const problems = validatePolicy(`${permit}\n${when('context.uses == 1 && false')}`)
  assert.deepEqual(
    problems.map(({ severity, line }) => [severity, line]),
    [['warning', 2]],
  )
})

test('random and mangled texts are refused or mean something, and never break the engine', () => {
  const compiled = compilePolicy({ ...flags, uses: 3, places: ['eu-north'] })
  const mangled = fc
    .tuple(fc.nat(compiled.length), fc.nat(30), fc.string({ unit: 'binary', maxLength: 6 }))
    .map(([at, cut, put]) => compiled.slice(0, at) + put + compiled.slice(at + cut))
  const tokens = fc
    .array(
      fc.constantFrom(
        'permit',
        '(',
        ')',
        '{',
        '}',
        '[',
        ']',
        'principal',
        ',',
        'action',
        'when',
        ';',
        '"',
        '@id',
        '!',
        'if',
      ),
    )
    .map((words) => words.join(' '))
  fc.assert(
    fc.property(fc.oneof(mangled, tokens, fc.string({ unit: 'binary' })), (policyText) => {
      const refused = errorsOf(policyText).length > 0
      const { reasons } = decide({ policyText, facts })
      assert.equal(
        reasons.some(({ code }) => code === 'ERR_POLICY_INVALID'),
        refused,
      )
    }),
    { numRuns: 100 },
  )
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => Array.isArray(validatePolicy(bytes))))
  assert.deepEqual(validatePolicy(permit), [])
})
