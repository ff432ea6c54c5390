import assert from 'node:assert/strict'
import { before, test } from 'node:test'
import type { Manifest } from '@cella/documents'
import { compilePolicy } from '@cella/policy'
import { startPolicyEngine } from '@cella/sdk'
import { changedLines, manifestLines } from './manifest-lines.ts'

const digest = 'ab'.repeat(32) as Manifest['organisation']
const manifest: Manifest = {
  type: 'cella/manifest',
  version: 1,
  organisation: digest,
  signer: 'k'.repeat(43) as Manifest['signer'],
  kind: 'data',
  series: 'payroll',
  revision: 1,
  previous: null,
  title: 'Payroll',
  sealed: { format: 'cella-sealed/1', rootDigest: digest, size: 1000, keyCommitment: digest },
  table: {
    columns: [
      { name: 'sex', type: 'text', class: 'quasi', treatment: { kind: 'pass' } },
      { name: 'wage', type: 'number', class: 'sensitive', treatment: { kind: 'round', to: 10 } },
    ],
    rows: 24,
  },
  program: null,
  policy: compilePolicy({ programs: 'any', receiverRoles: ['receiver'] }),
  outputRules: { format: 'file', bytesMax: 1000 },
  approval: 'each-contract',
  purposes: [],
  notBefore: 0,
  notAfter: 1_800_000_000,
  runs: null,
}

before(startPolicyEngine)

const changes: [string, Partial<Manifest>, { added: RegExp[]; removed: RegExp[] }][] = [
  ['nothing', { revision: 2 }, { added: [], removed: [] }],
  [
    'a treatment',
    {
      table: {
        ...manifest.table!,
        columns: [manifest.table!.columns[0]!, { ...manifest.table!.columns[1]!, treatment: { kind: 'pass' } }],
      },
    },
    { added: [/^column wage: number, sensitive, pass$/], removed: [/^column wage: number, sensitive, round to 10$/] },
  ],
  [
    'a column',
    { table: { ...manifest.table!, columns: manifest.table!.columns.slice(0, 1) } },
    { added: [], removed: [/^column wage/] },
  ],
  [
    'the policy',
    { policy: compilePolicy({ programs: 'any', receiverRoles: ['auditor'] }) },
    { added: [/^policy: .*auditor/], removed: [/^policy: .*receiver/] },
  ],
  [
    'the audience',
    { catalogue: { audience: [digest], description: '', tags: ['heart'] } },
    { added: [/^shown to: Clinic$/, /^tag: heart$/], removed: [/^shown to: everyone$/] },
  ],
  ['approval', { approval: 'policy-suffices' }, { added: [/policy suffices/], removed: [/each contract/] }],
]
for (const [what, change, { added, removed }] of changes) {
  test(`a revision that changes ${what} is told by its lines`, () => {
    const lines = (of: Manifest) => manifestLines(of, () => 'Clinic')
    const told = changedLines(lines(manifest), lines({ ...manifest, ...change }))
    for (const [found, expected] of [
      [told.added, added],
      [told.removed, removed],
    ] as const) {
      assert.equal(found.length, expected.length, found.join('\n'))
      for (const [at, pattern] of expected.entries()) assert.match(found[at]!, pattern)
    }
  })
}

test('two policies that were written by hand differ by their text', () => {
  const lines = (policy: string) => manifestLines({ ...manifest, policy }, () => 'Clinic')
  const [before, after] = [
    'permit (principal, action, resource);',
    'permit (principal, action, resource) when { true };',
  ]
  const told = changedLines(lines(before!), lines(after!))
  assert.ok(told.removed.includes(`policy text: ${before}`))
  assert.ok(told.added.includes(`policy text: ${after}`))
})
