import { readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { Digest } from '@cella/bytes'
import type { SignedDocument } from '@cella/documents'
import { compilePolicy, explainPolicy } from '@cella/policy'
import { digestOf } from '@cella/primitives'
import {
  approveContract,
  type ContractDraft,
  createContract,
  defaultBudgets,
  followRun,
  openOutput,
  type PublishOptions,
  publishAsset,
  type Run,
  resolveContract,
  startRuns,
} from '@cella/sdk'
import type { DeclaredOutput, OutputRules, Treatment } from '@cella/table'
import { readUserTable } from '@cella/tables'
import { renderBars } from '../../client/cli/src/terminal/chart.ts'
import { renderTable } from '../../client/cli/src/terminal/table.ts'
import { printableLines } from '../../client/cli/src/terminal/text.ts'
import { formatCount } from '../../client/cli/src/terminal/units.ts'
import { show, style, width } from './narrate.ts'
import type { Party } from './parties.ts'

export const day = 86_400
export const now = (): number => Math.floor(Date.now() / 1000)

/** At least five people behind every figure that leaves. */
export const groupsOfFive = {
  format: 'table',
  bytesMax: 65_536,
  rowsMax: 200,
  columns: 'any-declared',
  minimumGroupSize: 5,
  suppress: 'row-values',
} as const satisfies OutputRules

/** Publishes a table under terms for one program and one receiver. Returns the policy in plain words, and what the table has. */
export async function publishTable(
  owner: Party,
  options: {
    path: string
    series: string
    title: string
    treatments: Record<string, Treatment>
    program: Digest
    receiver: Party
    rules: OutputRules
    runs: number
    pass: boolean
  },
): Promise<{
  manifest: SignedDocument<'cella/manifest'>
  words: readonly string[]
  rows: number
  columns: readonly string[]
}> {
  const { columns, bytes, inspection } = await readUserTable(options.path)
  const passed: Treatment = { kind: 'pass' }
  const treated = columns.map((column) => ({
    ...column,
    treatment: options.treatments[column.name] ?? (options.pass ? passed : column.treatment),
  }))
  const policy = compilePolicy({
    programs: [options.program],
    receiverRoles: ['receiver'],
    receiverOrganisations: [options.receiver.id],
    uses: options.runs,
    notAfter: now() + 30 * day,
    simulated: true,
  })
  const published = await publishAsset(owner.session, {
    series: options.series,
    title: options.title,
    content: { kind: 'table', table: { columns: treated, bytes }, rows: inspection.report.rows },
    policy,
    outputRules: options.rules,
    approval: 'each-contract',
    purposes: [],
    notBefore: now() - 60,
    notAfter: now() + 30 * day,
    runs: options.runs,
  })
  return {
    manifest: published.manifest,
    words: explainPolicy(policy),
    rows: inspection.report.rows,
    columns: treated.map(({ name }) => name),
  }
}

/** Publishes a WASI module. Its author lets anyone run it who has data for it. */
export async function publishProgram(
  author: Party,
  options: { path: string; series: string; outputs: readonly string[]; rules: OutputRules },
): Promise<{ manifest: SignedDocument<'cella/manifest'>; digest: Digest }> {
  const content: PublishOptions['content'] = {
    kind: 'program',
    path: options.path,
    outputs: options.outputs.map((name) => ({ name, declared: null })),
  }
  const published = await publishAsset(author.session, {
    series: options.series,
    title: basename(options.path),
    content,
    policy: compilePolicy({ programs: 'any', receiverRoles: 'any', simulated: true }),
    outputRules: options.rules,
    approval: 'policy-suffices',
    purposes: [],
    notBefore: now() - 60,
    notAfter: now() + 365 * day,
    runs: null,
  })
  return { manifest: published.manifest, digest: digestOf(readFileSync(options.path)) }
}

/** What a contract of the demo differs in. */
export interface ContractOptions {
  readonly name: string
  readonly purpose: string
  readonly program: string
  readonly arguments: readonly string[]
  readonly inputs: readonly { readonly name: string; readonly owner: Party; readonly series: string }[]
  readonly outputs: readonly { readonly name: string; readonly declared: DeclaredOutput }[]
  readonly rules: OutputRules
  /** Whether the receiver gets what the program said. */
  readonly diagnostics?: boolean
  readonly runs?: number
  readonly notAfter?: number
}

/** The author writes a contract, and every owner of data approves it. */
export async function agree(author: Party, receiver: Party, options: ContractOptions): Promise<Digest> {
  const receivers = [{ organisation: receiver.id, role: 'receiver' as const }]
  const draft: ContractDraft = {
    name: options.name,
    purpose: options.purpose,
    program: { organisation: author.id, series: options.program },
    arguments: options.arguments,
    inputs: options.inputs.map(({ name, owner, series }) => ({ name, organisation: owner.id, series })),
    outputs: options.outputs.map(({ name, declared }) => ({ name, declared, receivers, rules: options.rules })),
    diagnostics: options.diagnostics ? receivers : [],
    boundary: 'vm',
    attempts: 2,
    budgets: defaultBudgets,
    simulated: true,
    isolation: 2,
    runs: options.runs ?? 100,
    notBefore: now() - 60,
    notAfter: options.notAfter ?? now() + 30 * day,
  }
  const { document } = await createContract(author.session, await resolveContract(author.session, draft))
  const owners = new Set(options.inputs.map(({ owner }) => owner))
  for (const owner of owners) {
    await approveContract(owner.session, {
      contract: document.digest,
      runs: options.runs ?? 100,
      notBefore: now() - 60,
      notAfter: options.notAfter ?? now() + 30 * day,
    })
  }
  return document.digest
}

/** Starts one run and waits for its end. */
export async function runOnce(
  author: Party,
  contract: Digest,
  onPhase: (phase: string) => void = () => {},
): Promise<Run> {
  const [started] = await startRuns(author.session, contract)
  return followRun(author.session, { contract, run: started!.run }, ({ phase }) => onPhase(phase))
}

/** Opens an output for its receiver and shows it, a table with bars of one column where there is one to compare. */
export async function openAndShow(
  receiver: Party,
  {
    contract,
    run,
    name,
    bars,
    folder,
  }: {
    contract: Digest
    run: number
    name: string
    bars?: { label: string; value: string; title: string }
    folder: string
  },
): Promise<void> {
  const opened = await openOutput(receiver.session, { contract, run, name })
  const text = new TextDecoder().decode(opened.bytes)
  if (opened.declared.format !== 'table') {
    writeFileSync(join(folder, name), opened.bytes)
    // A file may be anything: it must not steer the terminal.
    show(printableLines(text.slice(0, 2000)))
    return
  }
  writeFileSync(join(folder, `${name}.csv`), text)
  const { columns } = opened.declared
  const rows = text.trimEnd().split('\n').slice(1).map(splitRow)
  const suppressed = style.dim('suppressed')
  show(
    renderTable(
      {
        columns: columns.map((column) => ({ name: column.name, align: column.role === 'group' ? 'left' : 'right' })),
        rows: rows.map((row) =>
          row.map((cell, at) => (cell === '' && columns[at]?.role !== 'group' ? suppressed : cell)),
        ),
      },
      { width: width - 4, style },
    ),
  )
  if (opened.suppressed > 0) {
    show(style.dim(`${formatCount(opened.suppressed, 'row', 'rows')} emptied: fewer than 5 people behind`))
  }
  if (bars === undefined) return
  const [label, value] = [bars.label, bars.value].map((wanted) => columns.findIndex((column) => column.name === wanted))
  show('')
  show(
    renderBars(
      rows.map((row) => ({ label: row[label!] ?? '', value: row[value!] === '' ? null : Number(row[value!]) })),
      { width: width - 4, style, title: bars.title },
    ),
  )
}

/** Cells of a canonical row; the demo's outputs have no quoted line breaks. */
function splitRow(line: string): string[] {
  return [...line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)].map((match) =>
    match[1] === undefined ? (match[2] ?? '') : match[1].replaceAll('""', '"'),
  )
}
