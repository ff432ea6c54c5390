import { readdirSync, statSync, writeFileSync } from 'node:fs'
import { basename, extname, join, resolve } from 'node:path'
import type { Digest } from '@cella/bytes'
import { diagnosticsName, fetchReceipt, openOutput, receiptOf } from '@cella/sdk'
import { type OutputColumn, type OutputRules, outputColumnSchema } from '@cella/table'
import { printableLines } from '../../client/cli/src/terminal/text.ts'
import { type Cast, DemoError, type Told } from './cast.ts'
import { chapter, done } from './narrate.ts'
import { founded, introduce, type Party } from './parties.ts'
import {
  agree,
  type ContractOptions,
  groupsOfFive,
  openAndShow,
  publishProgram,
  publishTable,
  runOnce,
} from './story.ts'

/** What a user brings. */
export interface OwnFiles {
  readonly program: string
  readonly tables: readonly { readonly path: string; readonly name: string }[]
  readonly arguments: readonly string[]
  readonly outputs: readonly string[]
  /** Undefined: the outputs are files. */
  readonly columns: readonly OutputColumn[] | undefined
}

const tableEndings = ['.csv', '.tsv', '.txt', '.data', '.jsonl', '.ndjson', '.parquet']

/** Reads what the command line says, before anything is started. Throws DemoError. */
export function ownFilesOf(given: {
  data: string
  program: string
  arguments: string
  output: readonly string[] | undefined
  columns: string | undefined
}): OwnFiles {
  const folder = resolve(given.data)
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) {
    throw new DemoError(`--data ${given.data}: is no folder`, 'give a folder of tables')
  }
  const program = resolve(given.program)
  if (!statSync(program, { throwIfNoEntry: false })?.isFile()) {
    throw new DemoError(`--program ${given.program}: is no file`, 'give a WASI preview 1 module')
  }
  const files = readdirSync(folder)
    .filter((file) => tableEndings.includes(extname(file).toLowerCase()))
    .sort()
  if (files.length === 0) {
    throw new DemoError(`--data ${given.data}: holds no table`, `it takes files that end in ${tableEndings.join(', ')}`)
  }
  return {
    program,
    tables: named(files).map(({ file, name }) => ({ path: join(folder, file), name })),
    arguments: given.arguments.split(' ').filter((word) => word !== ''),
    outputs: given.output ?? ['result'],
    columns: given.columns?.split(',').map(columnOf),
  }
}

/** Each file's name as a program reads it below /in: no two alike. */
function named(files: readonly string[]): { file: string; name: string }[] {
  const taken = new Set<string>()
  return files.map((file, index) => {
    const plain = basename(file, extname(file))
      .toLowerCase()
      .replace(/[^a-z0-9._-]+/g, '-')
      .replace(/^[^a-z0-9]+/, '')
    const name = plain === '' || taken.has(plain) ? `${plain || 'table'}-${index + 1}` : plain
    taken.add(name)
    return { file, name }
  })
}

function columnOf(text: string): OutputColumn {
  const [name, type, role, ...rest] = text.split(':')
  const column = outputColumnSchema.safeParse({ name, type, role })
  if (column.success && rest.length === 0) return column.data
  throw new DemoError(
    `--columns: “${text}” is not NAME:TYPE:ROLE`,
    'types are text, integer, number, boolean, date; roles are group, count, value',
  )
}

/** Each table is published by an owner of its own, and the program run on all of them. */
export async function ownFiles({ stage, folder }: Cast, own: OwnFiles): Promise<Told> {
  const installation = stage.installation()
  const rules = rulesFor(own.columns)

  chapter(`${own.tables.length} owners, a program author and a receiver`)
  const at = (name: string): string => join(folder, 'homes', name)
  const author = await founded(
    { name: 'Program author', person: 'Author', roles: ['publisher'] },
    { folder: at('author'), installation },
  )
  const receiver = await founded(
    { name: 'Receiver', person: 'Receiver', roles: ['receiver'] },
    { folder: at('receiver'), installation },
  )
  const program = await publishProgram(author, {
    path: own.program,
    series: 'program',
    outputs: own.outputs,
    rules: { format: 'file', bytesMax: 1_048_576 },
  })
  const inputs: ContractOptions['inputs'][number][] = []
  const columnNames = new Set<string>()
  for (const { path, name } of own.tables) {
    const owner = await founded(
      { name: `Owner of ${basename(path)}`, person: 'Owner', roles: ['publisher', 'approver'] },
      { folder: at(`owner-${name}`), installation },
    )
    await introduce([owner, receiver, author])
    const { rows, columns } = await publishTable(owner, {
      path,
      series: name,
      title: basename(path),
      treatments: {},
      program: program.digest,
      receiver,
      rules,
      runs: 10,
      pass: true,
    })
    for (const column of columns) columnNames.add(column)
    inputs.push({ name, owner, series: name })
    done(`${basename(path)}: ${rows} rows, sealed and published by an owner of its own`)
  }

  chapter('Contract, approvals, run')
  const contract = await agree(author, receiver, {
    name: 'own-files',
    purpose: 'to see how it works',
    program: 'program',
    arguments: own.arguments.flatMap((word) =>
      word === '{inputs}' ? inputs.flatMap(({ name }) => ['--input', name]) : [word],
    ),
    inputs,
    outputs: own.outputs.map((name) => ({
      name,
      declared: own.columns === undefined ? { format: 'file' } : { format: 'table', columns: own.columns },
    })),
    rules,
    diagnostics: true,
  })
  const run = await runOnce(author, contract)
  if (run.status !== 'finished')
    throw new Error(`the run ended as ${run.status}: ${run.error?.code} ${run.error?.reasons?.join(', ') ?? ''}`)
  const { bytes, bundle, verdict } = await fetchReceipt(receiver.session, { contract, run: run.run })
  const { status } = receiptOf(bundle)
  if (status !== 'ok') {
    const words = await programsWords(receiver, { contract, run: run.run })
    throw new DemoError(
      `the program ended as “${status}”${words}`,
      `--arguments "…" says what it is started with, where {inputs} stands for “--input NAME” of each file; columns here: ${[...columnNames].join(', ')}`,
    )
  }

  chapter('The receiver opens the result')
  for (const name of own.outputs) await openAndShow(receiver, { contract, run: run.run, name, folder })
  const receiptPath = join(folder, 'receipt.json')
  writeFileSync(receiptPath, bytes)
  done(`receipt ${verdict.outcome}: ${verdict.statements.length} statements hold`)
  return { receiptPath, receiver }
}

/** Small groups can be suppressed where a column says how many people are behind a row. */
function rulesFor(columns: OwnFiles['columns']): OutputRules {
  if (columns === undefined) return { format: 'file', bytesMax: 1_048_576 }
  if (columns.some(({ role }) => role === 'count')) return groupsOfFive
  const { minimumGroupSize: _, ...withoutGroups } = groupsOfFive
  return withoutGroups
}

/** What the program said: for the receiver, and for nobody at the operator's. */
async function programsWords(receiver: Party, { contract, run }: { contract: Digest; run: number }): Promise<string> {
  const opened = await openOutput(receiver.session, { contract, run, name: diagnosticsName })
  const { stdout, stderr, exitCode } = JSON.parse(new TextDecoder().decode(opened.bytes))
  const text = (base64: string): string => Buffer.from(base64, 'base64').toString('utf8').trim()
  return ` (exit code ${exitCode}): ${printableLines(text(stderr) || text(stdout) || 'it said nothing')}`
}
