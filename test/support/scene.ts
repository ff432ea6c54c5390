import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Digest } from '@cella/bytes'
import { compilePolicy } from '@cella/policy'
import { digestOf, type KeyId } from '@cella/primitives'
import {
  approveContract,
  type ContractDraft,
  createContract,
  defaultBudgets,
  type Published,
  publishAsset,
  type Run,
  resolveContract,
  type Session,
  startRuns,
} from '@cella/sdk'
import { inspectFile, toCanonical } from '@cella/tables'
import type { InstallationFile } from './installation.ts'
import { founded, introduce, type Party } from './parties.ts'

const program = fileURLToPath(new URL('../../examples/programs/pay-gap/pay-gap.wasm', import.meta.url))
const rules = {
  format: 'table' as const,
  bytesMax: 65_536,
  rowsMax: 100,
  columns: 'any-declared' as const,
  minimumGroupSize: 5,
  suppress: 'row-values' as const,
}
const inputs = ['north', 'south'] as const

/** Two firms with payrolls, a university with a program, an office that receives. */
export interface Scene {
  readonly north: Party
  readonly south: Party
  readonly university: Party
  readonly office: Party
  readonly assets: { readonly north: Published; readonly south: Published; readonly program: Published }
  /** What the office has to get. */
  readonly result: string
}

interface Validity {
  readonly notBefore: number
  readonly notAfter: number
}

/** A word that stands in every payroll and must stand nowhere outside of an enclave. */
export const plaintextCanary = 'Quillon-Vandersloot'

/** The payroll of a firm: twelve of each sex, wages that depend on `step`, names that nobody may see. */
export function payroll(step: number, sexColumn = 'sex'): string {
  const rows = Array.from({ length: 24 }, (_, at) => {
    const sex = at % 2 === 0 ? 'female' : 'male'
    return `S-${1000 + at},${plaintextCanary} ${at},${sex},${20 + step * at}`
  })
  return `staff_no,name,${sexColumn},wage\n${rows.join('\n')}\n`
}

/** Founds the four, publishes, and lets them know each other. `uses` is the limit of each payroll. */
export async function setScene(
  installation: InstallationFile,
  { folder, uses, now }: { folder: string; uses: number; now?: () => number },
): Promise<Scene> {
  const where = (name: string) => ({ folder: join(folder, name), installation, ...(now && { now }) })
  const [north, south, university, office] = await Promise.all([
    founded({ name: 'north', roles: ['publisher', 'approver'] }, where('north')),
    founded({ name: 'south', roles: ['publisher', 'approver'] }, where('south')),
    founded({ name: 'university', roles: ['publisher', 'approver'] }, where('university')),
    founded({ name: 'office', roles: ['receiver'] }, where('office')),
  ])
  await introduce([north, south, university, office])
  const [first, second, code] = await Promise.all([
    publishPayroll(north, { step: 2, uses, receiver: office.id }),
    publishPayroll(south, { step: 3, uses, receiver: office.id }),
    publishProgram(university),
  ])
  return {
    north,
    south,
    university,
    office,
    assets: { north: first, south: second, program: code },
    result:
      'source,sex,n,mean,median\nnorth,female,12,42,42\nnorth,male,12,44,44\nsouth,female,12,53,53\nsouth,male,12,56,56\n',
  }
}

/** Publishes the payroll of a firm under its own name. */
export async function publishPayroll(
  owner: Party,
  {
    step,
    uses,
    receiver,
    validity = month(),
    sexColumn = 'sex',
    series = 'payroll',
    ...granted
  }: {
    step: number
    uses: number
    receiver: Digest
    validity?: Validity
    sexColumn?: string
    series?: string
    vaults?: readonly KeyId[]
    threshold?: number
  },
): Promise<Published> {
  const path = join(owner.folder, 'payroll.csv')
  writeFileSync(path, payroll(step, sexColumn))
  const pass = (name: string) => ({ name, treatment: { kind: 'pass' as const } })
  const drop = (name: string) => ({ name, treatment: { kind: 'drop' as const } })
  const table = toCanonical(await inspectFile(path), [drop('staff_no'), drop('name'), pass(sexColumn), pass('wage')])
  return publishAsset(owner.session, {
    series,
    title: `Payroll of ${owner.name}`,
    ...granted,
    content: { kind: 'table', table, rows: 24 },
    policy: compilePolicy({
      programs: [digestOf(readFileSync(program))],
      receiverRoles: ['receiver'],
      receiverOrganisations: [receiver],
      uses,
      simulated: true,
    }),
    outputRules: rules,
    approval: 'each-contract',
    purposes: [],
    ...validity,
    runs: uses,
  })
}

/** Publishes the program of the scene. */
export async function publishProgram(owner: Party, validity: Validity = month()): Promise<Published> {
  return publishAsset(owner.session, {
    series: 'pay-gap',
    title: 'Pay gap',
    content: { kind: 'program', path: program, outputs: [{ name: 'result', declared: null }] },
    policy: compilePolicy({ programs: 'any', receiverRoles: 'any', simulated: true }),
    outputRules: { format: 'file', bytesMax: 2 ** 20 },
    approval: 'policy-suffices',
    purposes: [],
    ...validity,
    runs: null,
  })
}

interface ContractOptions {
  readonly runs: number
  readonly attempts: number
  readonly name?: string
  readonly boundary?: ContractDraft['boundary']
}

/** The contract of the scene, not signed yet. */
export function draftOf(
  { north, south, university, office }: Scene,
  { runs, attempts, name = 'wages', boundary = 'vm' }: ContractOptions,
): ContractDraft {
  const column = (column: string, type: 'text' | 'integer' | 'number', role: 'group' | 'count' | 'value') => ({
    name: column,
    type,
    role,
  })
  return {
    name,
    purpose: 'equal pay report',
    program: { organisation: university.id, series: 'pay-gap' },
    arguments: [...inputs.flatMap((input) => ['--input', input]), '--value', 'wage', '--group', 'sex'],
    inputs: [
      { name: 'north', organisation: north.id, series: 'payroll' },
      { name: 'south', organisation: south.id, series: 'payroll' },
    ],
    outputs: [
      {
        name: 'result',
        receivers: [{ organisation: office.id, role: 'receiver' }],
        rules,
        declared: {
          format: 'table',
          columns: [
            column('source', 'text', 'group'),
            column('sex', 'text', 'group'),
            column('n', 'integer', 'count'),
            column('mean', 'number', 'value'),
            column('median', 'number', 'value'),
          ],
        },
      },
    ],
    diagnostics: [],
    boundary,
    attempts,
    budgets: defaultBudgets,
    simulated: true,
    isolation: 2,
    runs,
    ...month(),
  }
}

/** A contract of the university's that both firms approved. Returns its digest. */
export async function approvedContract(scene: Scene, options: ContractOptions): Promise<Digest> {
  const { university, north, south } = scene
  const resolved = await resolveContract(university.session, draftOf(scene, options))
  const { digest } = (await createContract(university.session, resolved)).document
  const { runs } = options
  await Promise.all(
    [north, south].map(({ session }) => approveContract(session, { contract: digest, runs, ...month() })),
  )
  return digest
}

/** Starts one run and waits for its end. */
export async function runOnce(session: Session, contract: Digest, timeoutMs = 60_000): Promise<Run> {
  const [started] = await startRuns(session, contract)
  return endOf(session, { contract, run: started!.run }, timeoutMs)
}

/** Waits until a run ended, by asking. */
export async function endOf(
  session: Session,
  { contract, run }: { contract: Digest; run: number },
  timeoutMs = 60_000,
): Promise<Run> {
  const deadline = performance.now() + timeoutMs
  for (;;) {
    const now = await session.manager.run(contract, run)
    if (now.status !== 'queued' && now.status !== 'running') return now
    if (performance.now() > deadline)
      throw new Error(`run ${run} is ${now.status} (${now.phase}) after ${timeoutMs} ms`)
    await sleep(40)
  }
}

export function month(): Validity {
  const now = Math.floor(Date.now() / 1000)
  return { notBefore: now - 60, notAfter: now + 30 * 86_400 }
}
