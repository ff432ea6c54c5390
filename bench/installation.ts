import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Digest } from '@cella/bytes'
import { compilePolicy } from '@cella/policy'
import { type ContractDraft, createContract, defaultBudgets, publishAsset, resolveContract } from '@cella/sdk'
import { founded, type Party } from '../examples/demo/parties.ts'
import { Stage } from '../examples/demo/stage.ts'

const program = fileURLToPath(new URL('../examples/programs/empty/empty.wasm', import.meta.url))
const day = 86_400

/** An installation with one witness and `workers` workers, in a folder that goes when `body` is done. */
export async function withInstallation(
  body: (stage: Stage, folder: string) => Promise<void>,
  { workers = 1 }: { workers?: number } = {},
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'cella-bench-'))
  const stage = new Stage(join(folder, 'operator'), [
    '--local-witnesses',
    '1',
    '--port',
    '0',
    '--workers',
    `${workers}`,
  ])
  try {
    await body(stage, folder)
  } finally {
    await stage.down()
    await rm(folder, { recursive: true, force: true })
  }
}

/** One organisation with a file of one byte, the program `empty`, and a contract for `runs` runs of it; `more` such contracts. */
export async function emptyContract(
  stage: Stage,
  { folder, runs, more = 0 }: { folder: string; runs: number; more?: number },
): Promise<{ party: Party; contract: Digest; others: readonly Digest[] }> {
  const party = await founded(
    { name: 'bench', person: 'bench', roles: ['publisher', 'approver', 'receiver'] },
    { folder: join(folder, 'bench'), installation: stage.installation() },
  )
  const { session, id } = party
  const now = session.now()
  const common = {
    policy: compilePolicy({ programs: 'any', receiverRoles: 'any', simulated: true }),
    outputRules: { format: 'file', bytesMax: 65_536 },
    approval: 'policy-suffices',
    purposes: [],
    notBefore: now - 60,
    notAfter: now + day,
    runs: null,
  } as const
  const input = join(folder, 'input')
  await writeFile(input, 'x')
  await publishAsset(session, { ...common, series: 'input', title: 'input', content: { kind: 'file', path: input } })
  const outputs = [{ name: 'result', declared: null }]
  await publishAsset(session, {
    ...common,
    series: 'empty',
    title: 'empty',
    content: { kind: 'program', path: program, outputs },
  })
  const draft: ContractDraft = {
    name: 'empty',
    purpose: 'bench',
    program: { organisation: id, series: 'empty' },
    arguments: [],
    inputs: [{ name: 'input', organisation: id, series: 'input' }],
    outputs: [
      {
        name: 'result',
        receivers: [{ organisation: id, role: 'receiver' }],
        rules: common.outputRules,
        declared: { format: 'file' },
      },
    ],
    diagnostics: [],
    boundary: 'vm',
    attempts: 1,
    budgets: defaultBudgets,
    simulated: true,
    isolation: 2,
    runs,
    notBefore: now - 60,
    notAfter: now + day,
  }
  const made: Digest[] = []
  while (made.length <= more) {
    const { document } = await createContract(session, await resolveContract(session, draft))
    made.push(document.digest)
  }
  const [contract, ...others] = made
  return { party, contract: contract!, others }
}
