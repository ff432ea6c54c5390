import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Digest, encodeUtf8 } from '@cella/bytes'
import type { Contract } from '@cella/documents'
import { LogView, parseLogPolicy } from '@cella/log'
import type { MemoryLog } from '@cella/testing/memory-log'
import type { Scenario, ScenarioChanges } from '@cella/testing/scenario'
import { arrange, codesOf, judge, start } from '../test/judging.ts'
import { assetsOf, contractProblems, type DocumentSet, organisationName, readDocumentSet, rulesFor } from './index.ts'

async function documentsOf({ world }: Pick<Scenario<MemoryLog>, 'world'>): Promise<DocumentSet> {
  const view = new LogView({ policy: parseLogPolicy(encodeUtf8(world.log.policyOf())), read: world.log })
  await view.advance()
  return readDocumentSet(world.documents(), view)
}

const fileRules = { format: 'file', bytesMax: 100 } as const
const grouped = {
  format: 'table',
  bytesMax: 65_536,
  rowsMax: 100,
  columns: 'any-declared',
  minimumGroupSize: 5,
  suppress: 'row-values',
} as const

interface Case {
  readonly name: string
  readonly change?: ScenarioChanges
  readonly contract: (
    contract: Contract,
    scenario: Scenario<MemoryLog>,
  ) => Partial<Contract> | Promise<Partial<Contract>>
  readonly codes: readonly string[]
}

const withOutput = (
  { outputs: [output] }: Contract,
  change: Partial<Contract['outputs'][number]>,
): Partial<Contract> => ({ outputs: [{ ...output!, ...change }] })

const named = (step: Contract['steps'][number], columns: Record<string, string>): Partial<Contract> => ({
  steps: [{ ...step, inputs: step.inputs.map((input) => ({ ...input, columns })) }],
})

const cases: Case[] = [
  { name: 'what everyone permits', contract: () => ({}), codes: [] },
  {
    name: 'two steps',
    contract: ({ steps: [step] }) => ({ steps: [step!, { ...step!, id: 'again' }] }),
    codes: ['ERR_CONTRACT_STEPS'],
  },
  {
    name: 'two vaults',
    contract: ({ vaults: [vault] }) => ({ vaults: [vault!, vault!] }),
    codes: ['ERR_CONTRACT_VAULTS'],
  },
  {
    name: 'an end before its beginning',
    contract: () => ({ notBefore: start + 2, notAfter: start + 1 }),
    codes: ['ERR_CONTRACT_WINDOW'],
  },
  {
    name: 'two inputs of one name',
    contract: ({ steps: [step] }) => ({ steps: [{ ...step!, inputs: [...step!.inputs, ...step!.inputs] }] }),
    codes: ['ERR_CONTRACT_NAMES'],
  },
  {
    name: 'a column under another name',
    contract: ({ steps: [step] }) => named(step!, { industry: 'sector' }),
    codes: [],
  },
  ...(
    [
      ['a column that is not there', { industry: 'branch' }],
      ['a column that its owner drops', { person: 'name' }],
      ['a column under two names', { industry: 'sector', branch: 'sector' }],
      ['a name that another column has', { wage: 'sector' }],
    ] as const
  ).map(
    ([name, columns]): Case => ({
      name: `names for ${name}`,
      contract: ({ steps: [step] }) => named(step!, columns),
      codes: ['ERR_CONTRACT_COLUMNS'],
    }),
  ),
  {
    name: 'names for columns of what has none',
    change: { manifest: { table: null } },
    contract: ({ steps: [step] }) => named(step!, { industry: 'sector' }),
    codes: ['ERR_CONTRACT_COLUMNS'],
  },
  {
    name: 'two outputs of one name',
    contract: ({ outputs: [output] }) => ({ outputs: [output!, output!] }),
    codes: ['ERR_CONTRACT_NAMES'],
  },
  {
    name: 'an output that the program does not write',
    contract: (contract) => withOutput(contract, { name: 'secrets' }),
    codes: ['ERR_CONTRACT_OUTPUT'],
  },
  {
    name: 'data in the program’s place',
    contract: ({ steps: [step] }) => ({ steps: [{ ...step!, program: step!.inputs[0]!.manifest }] }),
    codes: ['ERR_CONTRACT_ASSET_KIND', 'ERR_CONTRACT_OUTPUT'],
  },
  {
    name: 'a program in the place of data',
    contract: ({ steps: [step] }) => ({ steps: [{ ...step!, inputs: [{ name: 'x', manifest: step!.program }] }] }),
    codes: ['ERR_CONTRACT_ASSET_KIND'],
  },
  {
    name: 'an input without a manifest, and so without a policy',
    contract: ({ steps: [step] }) => ({
      steps: [{ ...step!, inputs: [{ name: 'x', manifest: 'f'.repeat(64) as Digest }] }],
    }),
    codes: ['ERR_DOCUMENT_MISSING'],
  },
  {
    name: 'a receiver without the role',
    contract: async (contract, { world, office }) => {
      const member = await world.member(office, ['auditor'])
      const [receiver] = contract.outputs[0]!.receivers
      return withOutput(contract, { receivers: [{ ...receiver!, membership: member.membership.digest }] })
    },
    codes: ['ERR_CONTRACT_RECEIVER'],
  },
  {
    name: 'a receiver without a key: no membership',
    contract: (contract) => {
      const [receiver] = contract.outputs[0]!.receivers
      return withOutput(contract, { receivers: [{ ...receiver!, membership: 'f'.repeat(64) as Digest }] })
    },
    codes: ['ERR_DOCUMENT_MISSING'],
  },
  {
    name: 'a reader of diagnostics of another organisation',
    contract: ({ outputs: [output] }, { hospital }) => ({
      diagnostics: [{ ...output!.receivers[0]!, organisation: hospital.id }],
    }),
    codes: ['ERR_CONTRACT_RECEIVER'],
  },
  {
    name: 'an owner’s rules of another format',
    change: { manifest: { outputRules: fileRules } },
    contract: () => ({}),
    codes: ['ERR_OUTPUT_FORMAT'],
  },
  {
    name: 'its own rules of another format than declared',
    contract: (contract) => withOutput(contract, { rules: fileRules }),
    codes: ['ERR_OUTPUT_FORMAT'],
  },
  {
    name: 'no count column under a group size',
    change: { manifest: { outputRules: grouped } },
    contract: (contract) =>
      withOutput(contract, {
        declared: { format: 'table', columns: [{ name: 'sector', type: 'text', role: 'group' }] },
      }),
    codes: ['ERR_OUTPUT_NO_COUNT'],
  },
  {
    name: 'a count column under a group size',
    change: { manifest: { outputRules: grouped } },
    contract: () => ({}),
    codes: [],
  },
]

for (const { name, change, contract: bend, codes } of cases) {
  test(`finds in a contract: ${name}`, async () => {
    const scenario = await arrange(change)
    const contract = { ...scenario.contract.payload, ...(await bend(scenario.contract.payload, scenario)) }
    const problems = contractProblems(contract, await documentsOf(scenario))
    assert.deepEqual([...new Set(problems.map(({ code }) => code))].sort(), codes)
    // The vault finds the same, whatever the manager said at create, approve and queue.
    if (codes.length === 0 || contract.vaults.length !== 1) return
    const { type: _t, version: _v, organisation: _o, signer: _s, ...members } = contract
    const bent = await scenario.world.signed(scenario.author, 'cella/contract', members)
    const { data, program } = await judge(scenario, { contract: bent })
    for (const judgement of [data, program ?? data]) {
      assert.ok(!judgement.allowed)
      for (const code of codes) assert.ok(codesOf(judgement).includes(code), code)
    }
  })
}

test('assets come once each, inputs before the program that reads them', async () => {
  const { contract, data, program } = await arrange()
  const [step] = contract.payload.steps
  const twice = { ...step!, inputs: [...step!.inputs, { name: 'again', manifest: data.digest }] }
  assert.deepEqual(assetsOf({ ...contract.payload, steps: [twice, { ...twice, id: 'b' }] }), [
    { manifest: data.digest, use: 'input' },
    { manifest: program.digest, use: 'program' },
  ])
})

test('the rules of an output are the contract’s and those of every input', async () => {
  const scenario = await arrange({ manifest: { outputRules: grouped } })
  const documents = await documentsOf(scenario)
  const rules = rulesFor(scenario.contract.payload, 'result', documents)
  assert.deepEqual(rules, [scenario.contract.payload.outputs[0]!.rules, grouped])
  assert.throws(() => rulesFor(scenario.contract.payload, 'other', documents), RangeError)
})

test('an organisation is called by the name in its newest revision', async () => {
  const scenario = await arrange()
  await scenario.world.rotate(scenario.hospital)
  const documents = await documentsOf(scenario)
  assert.equal(organisationName(documents, scenario.hospital.id), 'Hospital')
  assert.equal(organisationName(documents, 'f'.repeat(64) as Digest), 'f'.repeat(64))
})
