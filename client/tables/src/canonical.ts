import {
  type Cell,
  type Column,
  type ColumnClass,
  type ColumnType,
  TableError,
  TableWriter,
  type Treatment,
  tableSchema,
} from '@cella/table'
import { canonicalCell, type Spelling } from './convert.ts'
import { TablesError } from './error.ts'
import { type Inspection, inspectFile, markersOf } from './inspect.ts'
import { missingMarkers, type ReadOptions } from './report.ts'
import { readHead } from './text-file.ts'

const pieceLength = 65_536

/** What an owner says about a column; what is left out stays as proposed. `name` is that of the report. */
export interface ColumnChoice {
  readonly name: string
  readonly type?: ColumnType
  readonly class?: ColumnClass
  readonly treatment?: Treatment
}

/** A table ready to be sealed. */
export interface CanonicalTable {
  /** All columns of the file, dropped ones too: treatments are applied by the worker. */
  readonly columns: readonly Column[]
  /** Canonical CSV. Reads the file again; can be iterated more than once. */
  readonly bytes: AsyncIterable<Uint8Array>
}

/**
 * The canonical table of an inspected file. Throws TablesError ERR_FILE_COLUMN at once for a choice that does not fit;
 * while it is read, ERR_FILE_VALUE with the line, and ERR_FILE_CHANGED before the last piece if the file is another.
 */
export function toCanonical(inspection: Inspection, choices: readonly ColumnChoice[] = []): CanonicalTable {
  const { report, profiles, options } = inspection
  const chosen = new Map(choices.map((choice) => [choice.name, choice]))
  for (const { name } of choices) {
    if (!report.columns.some((column) => column.name === name)) {
      throw new TablesError('ERR_FILE_COLUMN', `${inspection.path} has no column ${name}`, {
        hint: `its columns are: ${report.columns.map((column) => column.name).join(', ')}`,
      })
    }
  }
  const spellings: Spelling[] = []
  const columns = report.columns.map(({ name, type, proposal }, index): Column => {
    const choice = chosen.get(name)
    const wanted = choice?.type ?? type
    const spelling = profiles[index]!.spellingFor(wanted, options)
    if (spelling === undefined) {
      throw new TablesError('ERR_FILE_COLUMN', `column ${name}: not every value is of type ${wanted}`, {
        hint: `leave it ${type}, or name the texts that stand for a missing value`,
      })
    }
    spellings.push(spelling)
    // A proposed treatment is for the proposed type.
    const proposed = wanted === type ? proposal.treatment : { kind: 'keyed-hash' as const }
    return { name, type: wanted, class: choice?.class ?? proposal.class, treatment: choice?.treatment ?? proposed }
  })
  const parsed = tableSchema.safeParse(columns)
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    const [index] = issue?.path ?? []
    const name = typeof index === 'number' ? `column ${columns[index]?.name}: ` : ''
    throw new TablesError('ERR_FILE_COLUMN', `${name}${issue?.message ?? 'is not a table'}`, {
      hint: 'choose another type or treatment for the column',
    })
  }
  return { columns, bytes: { [Symbol.asyncIterator]: () => convertRows(inspection, columns, spellings) } }
}

/** Inspects a file and converts it, with the proposals but for what `columns` says. */
export async function readUserTable(
  path: string,
  options: ReadOptions & { readonly columns?: readonly ColumnChoice[] } = {},
): Promise<CanonicalTable & { inspection: Inspection }> {
  const { columns, ...read } = options
  const inspection = await inspectFile(path, read)
  return { ...toCanonical(inspection, columns), inspection }
}

async function* convertRows(
  inspection: Inspection,
  columns: readonly Column[],
  spellings: readonly Spelling[],
): AsyncGenerator<Uint8Array, void, undefined> {
  const { raw, options, path } = inspection
  const markers = markersOf(raw, new Set(options.missing ?? missingMarkers))
  const writer = new TableWriter(columns)
  await checkUnchanged(inspection)
  let rows = 0
  for await (const piece of raw.rows(() => {})) {
    for (const { line, cells } of piece) {
      rows++
      const row: Cell[] = []
      for (let index = 0; index < spellings.length; index++) {
        const cell = canonicalCell(cells[index] ?? null, spellings[index]!, markers)
        if (cell === undefined) throw wrongValue(path, line, columns[index]!)
        row.push(cell)
      }
      writeRow(writer, row, path, line)
      if (writer.pending >= pieceLength) yield writer.take()
    }
  }
  await checkUnchanged(inspection)
  if (rows !== inspection.report.rows) throw changed(path)
  if (writer.pending > 0) yield writer.take()
}

function writeRow(writer: TableWriter, row: readonly Cell[], path: string, line: number): void {
  try {
    writer.row(row)
  } catch (cause) {
    if (!(cause instanceof TableError)) throw cause
    throw new TablesError('ERR_FILE_TOO_LARGE', `${path}, line ${line}: ${cause.message}`, {
      line,
      hint: 'a row may have 16 MiB',
      cause,
    })
  }
}

async function checkUnchanged({ path, identity }: Inspection): Promise<void> {
  if ((await readHead(path)).identity !== identity) throw changed(path)
}

function changed(path: string): TablesError {
  return new TablesError('ERR_FILE_CHANGED', `${path} changed since it was inspected`, { hint: 'inspect it again' })
}

function wrongValue(path: string, line: number, { name, type }: Column): TablesError {
  return new TablesError('ERR_FILE_VALUE', `${path}, line ${line}, column ${name}: is not a ${type}`, {
    line,
    hint:
      type === 'text'
        ? 'text may not hold a zero character or half of a surrogate pair: remove it'
        : 'mend the value, or choose type text',
  })
}
