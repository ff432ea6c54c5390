import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import fc from 'fast-check'
import { facts, factsWith, flags, hour, id, key, member, noon, receiver, startEngine } from '../test/fixture.ts'
import {
  compilePolicy,
  decide,
  type PolicyFacts,
  type PolicyFlags,
  type PolicyReasonCode,
  reasonText,
  validatePolicy,
} from './index.ts'
import { preparedMax } from './prepared.ts'

before(startEngine)

const codesOf = (policyText: string, asked: PolicyFacts) => {
  const decision = decide({ policyText, facts: asked })
  assert.equal(decision.allowed, decision.reasons.length === 0)
  return decision.reasons.map((reason) => reason.code)
}

type Change = Parameters<typeof factsWith>[0]
const cases: readonly {
  flag: PolicyFlags
  permitted?: Change
  refused: Change
  code: PolicyReasonCode
  expected: string
  got: string
}[] = [
  {
    flag: { organisations: [id('university'), id('lab')] },
    refused: { author: member('rival', 'ada') },
    code: 'ERR_POLICY_ORGANISATION',
    expected: `${id('lab')}, ${id('university')}`,
    got: id('rival'),
  },
  {
    flag: { accounts: [key('ada')] },
    refused: { author: { account: key('eve') } },
    code: 'ERR_POLICY_ACCOUNT',
    expected: key('ada'),
    got: key('eve'),
  },
  {
    flag: { roles: ['publisher', 'auditor'] },
    refused: { author: { roles: ['receiver'] } },
    code: 'ERR_POLICY_ROLE',
    expected: 'auditor, publisher',
    got: 'receiver',
  },
  {
    flag: { programs: [id('pay-gap')] },
    refused: { programs: [...facts.programs, { digest: id('thief'), publisher: id('university') }] },
    code: 'ERR_POLICY_PROGRAM',
    expected: id('pay-gap'),
    got: id('thief'),
  },
  {
    flag: { publishers: [id('university')] },
    refused: { programs: [{ digest: id('pay-gap'), publisher: id('rival') }] },
    code: 'ERR_POLICY_PUBLISHER',
    expected: id('university'),
    got: id('rival'),
  },
  {
    flag: { purposes: ['statistics', 'Forschung für alle'] },
    permitted: { contract: { purpose: 'Forschung für alle' } },
    refused: { contract: { purpose: 'marketing' } },
    code: 'ERR_POLICY_PURPOSE',
    expected: 'Forschung für alle, statistics',
    got: 'marketing',
  },
  {
    flag: { sources: [id('notary'), id('deliverer')] },
    refused: { asset: { sources: [id('rival')] } },
    code: 'ERR_POLICY_SOURCE',
    expected: [id('notary'), id('deliverer')].sort().join(', '),
    got: id('rival'),
  },
  {
    flag: { receiverRoles: ['receiver'] },
    refused: { receivers: [...facts.receivers, receiver('office', 'eve', 'auditor')] },
    code: 'ERR_POLICY_RECEIVER_ROLE',
    expected: 'receiver',
    got: 'auditor',
  },
  {
    flag: { receiverOrganisations: [id('office')] },
    refused: { receivers: [receiver('rival', 'otto', 'receiver')] },
    code: 'ERR_POLICY_RECEIVER_ORGANISATION',
    expected: id('office'),
    got: id('rival'),
  },
  {
    flag: { receiverAccounts: [key('otto')] },
    refused: { receivers: [receiver('office', 'eve', 'receiver')] },
    code: 'ERR_POLICY_RECEIVER_ACCOUNT',
    expected: key('otto'),
    got: key('eve'),
  },
  {
    flag: { places: ['eu-north'] },
    permitted: { place: { source: 'terms' } },
    refused: { place: { region: 'us-east' } },
    code: 'ERR_POLICY_PLACE',
    expected: 'eu-north',
    got: 'us-east (evidence)',
  },
  {
    flag: { places: ['eu-north'] },
    refused: { place: { source: 'operator' } },
    code: 'ERR_POLICY_PLACE',
    expected: 'eu-north',
    got: 'eu-north (operator)',
  },
  {
    flag: { tees: ['sev-snp', 'tdx'] },
    refused: { tee: { kind: 'sgx' } },
    code: 'ERR_POLICY_TEE',
    expected: 'sev-snp, tdx',
    got: 'sgx',
  },
  {
    flag: { boundaries: ['vm', 'process'] },
    refused: { tee: { boundary: 'container-group' } },
    code: 'ERR_POLICY_BOUNDARY',
    expected: 'process, vm',
    got: 'container-group',
  },
  {
    flag: { chips: ['c0ffee'.repeat(16)] },
    refused: { tee: { platformId: 'decaf0'.repeat(16) } },
    code: 'ERR_POLICY_CHIP',
    expected: 'c0ffee'.repeat(16),
    got: 'decaf0'.repeat(16),
  },
  {
    flag: { providers: ['example-cloud'] },
    refused: { tee: { provider: '' } },
    code: 'ERR_POLICY_PROVIDER',
    expected: 'example-cloud',
    got: '',
  },
  {
    flag: {},
    refused: { tee: { simulated: true } },
    code: 'ERR_POLICY_SIMULATED',
    expected: 'hardware',
    got: 'simulated',
  },
  {
    flag: { simulated: true },
    permitted: { tee: { simulated: true } },
    refused: { tee: { simulated: true, debug: true } },
    code: 'ERR_POLICY_DEBUG',
    expected: 'off',
    got: 'on',
  },
  {
    flag: { notBefore: noon },
    refused: { time: { earliest: noon - 1 } },
    code: 'ERR_POLICY_NOT_YET',
    expected: '2026-09-21T14:13:20Z',
    got: '2026-09-21T14:13:19Z',
  },
  {
    flag: { notAfter: noon + 60 },
    refused: { time: { latest: noon + 61 } },
    code: 'ERR_POLICY_EXPIRED',
    expected: '2026-09-21T14:14:20Z',
    got: '2026-09-21T14:14:21Z',
  },
  {
    flag: { uses: 10 },
    permitted: { uses: 10 },
    refused: { uses: 11 },
    code: 'ERR_POLICY_USES',
    expected: '10',
    got: '11',
  },
  {
    flag: { isolation: 2 },
    permitted: { isolation: 3 },
    refused: { isolation: 1 },
    code: 'ERR_POLICY_ISOLATION',
    expected: '2',
    got: '1',
  },
  {
    flag: { derive: false },
    refused: { derives: true },
    code: 'ERR_POLICY_DERIVE',
    expected: 'no',
    got: 'yes',
  },
  {
    flag: {},
    permitted: { approvers: [member('builders', 'bob', 'approver')] },
    refused: { approvers: [member('rival', 'bob', 'approver')] },
    code: 'ERR_POLICY_APPROVER',
    expected: 'approver',
    got: `approver of ${id('rival')}`,
  },
  {
    flag: { regulators: [id('regulator')] },
    permitted: { disclosure: { regulator: member('regulator', 'rita', 'regulator'), scope: 'tax' } },
    refused: { disclosure: { regulator: member('rival', 'rita', 'regulator'), scope: 'tax' } },
    code: 'ERR_POLICY_REGULATOR',
    expected: id('regulator'),
    got: id('rival'),
  },
]

describe('each flag', () => {
  for (const { flag, permitted, refused, code, expected, got } of cases) {
    test(`${JSON.stringify(flag).slice(0, 60)} permits what it names and refuses ${code}`, () => {
      const policyText = compilePolicy({ ...flags, ...flag })
      assert.deepEqual(validatePolicy(policyText), [])
      assert.deepEqual(codesOf(policyText, facts), [])
      if (permitted) assert.deepEqual(codesOf(policyText, factsWith(permitted)), [])
      const { allowed, reasons } = decide({ policyText, facts: factsWith(refused) })
      assert.equal(allowed, false)
      assert.deepEqual(
        reasons.map((reason) => [reason.code, reason.expected, reason.got]),
        [[code, expected, got]],
      )
      assert.match(reasonText(reasons[0]!), /\. (?:The|Nobody) .*\.$/)
    })
  }

  test('derive permits keeping an output', () => {
    assert.deepEqual(codesOf(compilePolicy({ ...flags, derive: true }), factsWith({ derives: true })), [])
  })

  test('a limit on uses refuses where nobody counts them', () => {
    const asked = factsWith({ uses: null })
    assert.deepEqual(codesOf(compilePolicy(flags), asked), [])
    assert.deepEqual(codesOf(compilePolicy({ ...flags, uses: 1_000_000_000 }), asked), ['ERR_POLICY_USES'])
  })

  test('a receiver counts in the role in which the contract names it, whatever else it is', () => {
    const asked = factsWith({
      receivers: [{ ...receiver('office', 'otto', 'auditor'), roles: ['auditor', 'receiver'] }],
    })
    assert.deepEqual(codesOf(compilePolicy(flags), asked), ['ERR_POLICY_RECEIVER_ROLE'])
    assert.deepEqual(codesOf(compilePolicy({ ...flags, receiverRoles: ['auditor'] }), asked), [])
  })

  test('no receiver flag lets nobody read', () => {
    assert.deepEqual(codesOf(compilePolicy({ programs: 'any' }), facts), ['ERR_POLICY_RECEIVER'])
  })

  test('no regulator flag discloses to nobody', () => {
    const asked = factsWith({ disclosure: { regulator: member('regulator', 'rita'), scope: 'tax' } })
    assert.deepEqual(codesOf(compilePolicy(flags), asked), ['ERR_POLICY_REGULATOR'])
  })

  test('`any` admits every program and every receiver', () => {
    const asked = factsWith({
      programs: [{ digest: id('other'), publisher: id('rival') }],
      receivers: [receiver('rival', 'eve', 'auditor')],
    })
    assert.deepEqual(codesOf(compilePolicy({ programs: 'any', receiverRoles: 'any' }), asked), [])
  })

  test('programs and publishers given together must both hold', () => {
    const both = compilePolicy({ ...flags, publishers: [id('rival')] })
    assert.deepEqual(codesOf(both, facts), ['ERR_POLICY_PUBLISHER'])
  })

  test('every failing clause is reported, each once', () => {
    const policyText = compilePolicy({ ...flags, uses: 1, notAfter: noon, boundaries: ['process'], isolation: 9 })
    const asked = factsWith({
      uses: 2,
      programs: [
        { digest: id('a'), publisher: id('x') },
        { digest: id('b'), publisher: id('x') },
      ],
    })
    assert.deepEqual(codesOf(policyText, asked).sort(), [
      'ERR_POLICY_BOUNDARY',
      'ERR_POLICY_EXPIRED',
      'ERR_POLICY_ISOLATION',
      'ERR_POLICY_PROGRAM',
      'ERR_POLICY_PROGRAM',
      'ERR_POLICY_USES',
    ])
  })
})

test('a decision stays small, whatever is asked', () => {
  const many = (name: string, count: number) => Array.from({ length: count }, (_, index) => id(`${name}${index}`))
  const policyText = compilePolicy({ ...flags, programs: many('good', 128), places: ['eu-north'] })
  const asked = factsWith({
    programs: many('bad', 64).map((digest) => ({ digest, publisher: id('rival') })),
    place: { region: 'x'.repeat(256) },
  })
  const { reasons } = decide({ policyText, facts: asked })
  assert.equal(reasons.length, 48)
  assert.match(reasons[0]!.expected, /^(?:[0-9a-f]{64}, ){8}…$/)
  assert.ok(JSON.stringify(reasons).length < 40_000)
})

describe('time', () => {
  test('a window is judged by the earliest time at its beginning and the latest at its end', () => {
    const window = compilePolicy({ ...flags, notBefore: noon, notAfter: noon + hour })
    const at = (earliest: number, latest: number) => codesOf(window, factsWith({ time: { earliest, latest } }))
    assert.deepEqual(at(noon, noon + hour), [])
    assert.deepEqual(at(noon - 1, noon + hour), ['ERR_POLICY_NOT_YET'])
    assert.deepEqual(at(noon, noon + hour + 1), ['ERR_POLICY_EXPIRED'])
    assert.deepEqual(at(noon - 1, noon + hour + 1), ['ERR_POLICY_NOT_YET', 'ERR_POLICY_EXPIRED'])
  })
})

describe('closed by default', () => {
  const permitAll = 'permit (principal, action, resource);'

  for (const [name, policyText] of [
    ['an empty policy', ''],
    ['a comment alone', '// nothing\n'],
    ['a permit for another action', 'permit (principal, action == Cella::Action::"compute", resource);'],
    ['a permit for another asset', `permit (principal, action, resource == Cella::Asset::"${id('another')}");`],
    [
      'a permit for another owner',
      `permit (principal, action, resource) when { resource.owner == Cella::Organisation::"${id('x')}" };`,
    ],
  ] as const) {
    test(`${name} permits nothing`, () => {
      assert.ok(codesOf(policyText, facts).every((code) => code === 'ERR_POLICY_NO_PERMIT'))
      assert.notDeepEqual(codesOf(policyText, facts), [])
    })
  }

  test("one asset's permit does not speak for another", () => {
    const mine = compilePolicy(flags)
    const theirs = compilePolicy({ programs: [id('theirs')], receiverRoles: 'any' })
    assert.deepEqual(codesOf(mine, facts), [])
    assert.deepEqual(codesOf(theirs, factsWith({ asset: { manifest: id('theirs') } })), ['ERR_POLICY_PROGRAM'])
    // In either order, and again from the cache.
    assert.deepEqual(codesOf(theirs, facts), ['ERR_POLICY_PROGRAM'])
    assert.deepEqual(codesOf(mine, facts), [])
  })

  test('a forbid that errs denies, though Cedar skips it', () => {
    const policyText = `${permitAll}\n@id("broken") forbid (principal, action == Cella::Action::"compute", resource)
      when { context.uses + 9223372036854775807 < 0 };`
    assert.deepEqual(validatePolicy(policyText), [])
    const { allowed, reasons } = decide({ policyText, facts })
    assert.equal(allowed, false)
    assert.deepEqual(
      reasons.map(({ code, clause, whoCanChange }) => [code, clause, whoCanChange]),
      [['ERR_POLICY_EVALUATION', 'broken', 'publisher']],
    )
  })

  test('a permit that errs denies, even where another permit applies', () => {
    const policyText = `${permitAll}\npermit (principal, action == Cella::Action::"compute", resource) when { context.uses + 9223372036854775807 > 0 };`
    assert.deepEqual(codesOf(policyText, facts), ['ERR_POLICY_EVALUATION'])
  })

  test('a contract without a program or a receiver is refused', () => {
    assert.deepEqual(codesOf(permitAll, factsWith({ programs: [] })), ['ERR_POLICY_NOTHING_ASKED'])
    assert.deepEqual(codesOf(permitAll, factsWith({ receivers: [] })), ['ERR_POLICY_NOTHING_ASKED'])
  })

  test('any fact left out denies, at every depth', () => {
    const paths: (readonly string[])[] = []
    const walk = (value: unknown, path: readonly string[]) => {
      if (path.length > 0) paths.push(path)
      if (typeof value === 'object' && value !== null) {
        for (const [name, child] of Object.entries(value)) walk(child, [...path, name])
      }
    }
    const asked = factsWith({
      approvers: [member('builders', 'bob', 'approver')],
      disclosure: { regulator: member('regulator', 'rita'), scope: 'tax' },
    })
    assert.deepEqual(codesOf(permitAll, asked), [])
    walk(asked, [])
    assert.ok(paths.length > 50)
    for (const path of paths) {
      const copy = structuredClone(asked) as unknown as Record<string, unknown>
      const parent = path.slice(0, -1).reduce((value, name) => value[name] as Record<string, unknown>, copy)
      // An entry of a list that is missing is a shorter list, which is another question.
      if (Array.isArray(parent)) continue
      delete parent[path.at(-1)!]
      const reasons = decide({ policyText: permitAll, facts: copy as unknown as PolicyFacts }).reasons
      assert.ok(reasons.length > 0 && reasons.every(({ code }) => code === 'ERR_POLICY_FACTS'), path.join('.'))
    }
  })

  for (const [name, change] of [
    ['an unknown fact', { extra: 1 }],
    ['a time that ends before it begins', { time: { earliest: 2, latest: 1 } }],
    ['an account with two sets of roles', { receivers: [{ ...facts.author, role: 'receiver', roles: ['receiver'] }] }],
    [
      'a program with two publishers',
      { programs: [...facts.programs, { digest: id('pay-gap'), publisher: id('rival') }] },
    ],
    ['more programs than are ever asked', { programs: Array(65).fill(facts.programs[0]) }],
    ['a receiver in a role that it does not have', { receivers: [{ ...facts.receivers[0]!, role: 'auditor' }] }],
    ['a use that is not counted yet', { uses: 0 }],
  ] as const) {
    test(`refuses ${name}`, () => {
      assert.deepEqual([...new Set(codesOf(permitAll, factsWith(change as Change)))], ['ERR_POLICY_FACTS'])
    })
  }

  test('one key that is a member of two organisations has the roles of each apart', () => {
    const policyText = compilePolicy({ ...flags, receiverRoles: ['receiver'] })
    const asked = factsWith({
      author: member('university', 'ada', 'publisher'),
      receivers: [receiver('office', 'ada', 'receiver')],
    })
    assert.deepEqual(codesOf(policyText, asked), [])
    const other = factsWith({
      author: member('office', 'ada', 'receiver'),
      receivers: [receiver('university', 'ada', 'auditor')],
    })
    assert.deepEqual(codesOf(policyText, other), ['ERR_POLICY_RECEIVER_ROLE'])
  })
})

describe('policies written by hand', () => {
  test('are reported by their @id, else by their number', () => {
    const policyText = [
      'permit (principal, action, resource);',
      '@id("no-otto") forbid (principal, action == Cella::Action::"readOutput", resource)',
      `when { context.receiver.account == "${key('otto')}" };`,
      'forbid (principal, action in [Cella::Action::"compute"], resource) when { context.runs > 5 };',
    ].join('\n')
    const { reasons } = decide({ policyText, facts })
    assert.deepEqual(
      reasons.map(({ code, clause, action, whoCanChange }) => [code, clause, action, whoCanChange]),
      [
        ['ERR_POLICY_FORBIDDEN', 'policy-3', 'compute', 'publisher'],
        ['ERR_POLICY_FORBIDDEN', 'no-otto', 'readOutput', 'publisher'],
      ],
    )
  })

  test('do not borrow the words of a flag by its @id', () => {
    const policyText = 'permit (principal, action, resource);\n@id("program") forbid (principal, action, resource);'
    assert.deepEqual([...new Set(codesOf(policyText, facts))], ['ERR_POLICY_FORBIDDEN'])
  })

  test('may look at every attribute of the schema', () => {
    const policyText = `permit (principal in Cella::Organisation::"${id('university')}", action, resource)
      when { resource.kind == "data" && resource.series == "payroll" && resource.revision == 1
        && resource.manifest == "${id('manifest')}" && resource.purposes.contains(context.purpose)
        && context.contract == "${id('contract')}" && context.author.roles.contains("publisher")
        && context.programs == [Cella::Program::"${id('pay-gap')}"]
        && context.programPublishers == [Cella::Organisation::"${id('university')}"]
        && context.receiverRoles.contains("receiver") && context.receiverAccounts.contains("${key('otto')}")
        && context.receiverOrganisations.contains(Cella::Organisation::"${id('office')}")
        && context.receivers.contains({ account: "${key('otto')}", organisation: Cella::Organisation::"${id('office')}", role: "receiver", roles: ["receiver"] })
      };`
    assert.deepEqual(validatePolicy(policyText), [])
    assert.deepEqual(codesOf(policyText, facts), [])
  })

  test('that are not valid deny with the line', () => {
    const { reasons } = decide({
      policyText: 'permit (principal, action, resource)\nwhen { context.colour == 1 };',
      facts,
    })
    assert.deepEqual(
      reasons.map(({ code }) => code),
      ['ERR_POLICY_INVALID'],
    )
    assert.match(reasons[0]!.got, /^line 2: .*colour/)
  })
})

test('more policies than are kept parsed each keep their own answer', () => {
  const ask = (uses: number) => {
    const policyText = compilePolicy({ ...flags, uses })
    assert.deepEqual(codesOf(policyText, factsWith({ uses })), [])
    assert.deepEqual(codesOf(policyText, factsWith({ uses: uses + 1 })), ['ERR_POLICY_USES'])
  }
  for (let uses = 1; uses <= preparedMax + 4; uses++) ask(uses)
  // The first were overwritten, the last are still there.
  for (const uses of [1, 2, 3, 4, 5, preparedMax, preparedMax + 4]) ask(uses)
})

const subset = <T>(values: readonly T[]) => fc.subarray([...values], { minLength: 1 })
const anyFacts = fc
  .record({
    author: fc.constantFrom(
      member('university', 'ada', 'publisher'),
      member('rival', 'eve'),
      member('lab', 'lea', 'auditor'),
    ),
    programs: subset([
      { digest: id('pay-gap'), publisher: id('university') },
      { digest: id('thief'), publisher: id('rival') },
    ]),
    receivers: subset([receiver('office', 'otto', 'receiver'), receiver('rival', 'ron', 'auditor')]),
    derives: fc.boolean(),
    uses: fc.integer({ min: 1, max: 4 }),
    isolation: fc.integer({ min: 1, max: 3 }),
    tee: fc.record({ simulated: fc.boolean(), debug: fc.boolean(), kind: fc.constantFrom('sev-snp', 'sgx') }),
  })
  .map(factsWith)
const anyFlags: fc.Arbitrary<PolicyFlags> = fc.record(
  {
    organisations: subset([id('university'), id('lab')]),
    roles: subset(['publisher', 'auditor']),
    programs: fc.oneof(fc.constant('any' as const), subset([id('pay-gap'), id('thief')])),
    receiverRoles: fc.oneof(fc.constant('any' as const), subset(['receiver', 'auditor'])),
    tees: subset(['sev-snp', 'sgx']),
    simulated: fc.boolean(),
    uses: fc.integer({ min: 1, max: 4 }),
    isolation: fc.integer({ min: 1, max: 3 }),
    derive: fc.boolean(),
  },
  { requiredKeys: ['programs'] },
)

describe('properties', () => {
  test('taking a permit out never widens what is allowed', () => {
    fc.assert(
      fc.property(anyFlags, anyFacts, fc.nat(), (someFlags, asked, pick) => {
        const compiled = compilePolicy(someFlags)
        const extra = 'permit (principal, action == Cella::Action::"derive", resource) when { context.uses < 3 };\n'
        const policies = [...compiled.split(/(?<=;\n)/), extra]
        const permits = policies.filter((policy) => policy.includes('permit ('))
        const removed = permits[pick % permits.length]
        const less = policies.filter((policy) => policy !== removed).join('')
        const narrowed = decide({ policyText: less, facts: asked }).allowed
        return !narrowed || decide({ policyText: policies.join(''), facts: asked }).allowed
      }),
      { numRuns: 25 },
    )
  })

  test('one more flag that narrows never widens what is allowed', () => {
    fc.assert(
      fc.property(
        anyFlags,
        anyFacts,
        fc.constantFrom('organisations', 'roles', 'tees', 'uses', 'isolation'),
        (all, asked, name) => {
          const { [name]: _, ...fewer } = all
          const narrow = decide({ policyText: compilePolicy(all), facts: asked }).allowed
          return !narrow || decide({ policyText: compilePolicy(fewer), facts: asked }).allowed
        },
      ),
      { numRuns: 25 },
    )
  })

  test('a decision is what the flags say, reckoned without Cedar', () => {
    const reckon = (f: PolicyFlags, asked: PolicyFacts): boolean =>
      (f.organisations?.includes(asked.author.organisation) ?? true) &&
      (f.roles?.some((role) => asked.author.roles.includes(role)) ?? true) &&
      asked.programs.every(({ digest }) => f.programs === 'any' || f.programs!.includes(digest)) &&
      asked.receivers.every(({ role }) => f.receiverRoles === 'any' || (f.receiverRoles ?? []).includes(role)) &&
      (f.tees?.includes(asked.tee.kind) ?? true) &&
      (f.simulated === true || !asked.tee.simulated) &&
      !asked.tee.debug &&
      (asked.uses ?? 0) <= (f.uses ?? 99) &&
      asked.isolation >= (f.isolation ?? 0) &&
      (f.derive === true || !asked.derives)
    fc.assert(
      fc.property(anyFlags, anyFacts, (someFlags, asked) => {
        assert.equal(decide({ policyText: compilePolicy(someFlags), facts: asked }).allowed, reckon(someFlags, asked))
      }),
      { numRuns: 60 },
    )
  })
})
