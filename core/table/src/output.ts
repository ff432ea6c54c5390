import type { RowBatch } from './batch.ts'
import { TableError } from './error.ts'
import { checkDeclaredOutput, type OutputRefusal, refuse } from './output-rules.ts'
import type { DeclaredOutput, OutputColumn, OutputRules, TableOutputRules } from './output-schema.ts'
import { parseTable } from './reader.ts'
import { ByteSink } from './sink.ts'
import { encodeHeader } from './writer.ts'

const comma = 0x2c
const lineFeed = 0x0a

/** An output that may leave, after suppression. Of a file, `rows` is undefined and nothing is suppressed. */
export interface ReleasableOutput {
  readonly ok: true
  readonly bytes: Uint8Array
  readonly rows: number | undefined
  readonly suppressedRows: number
}

/**
 * Judges what a program wrote by `rules` (those of every owner, intersected) and by its declaration. A table must be the
 * canonical CSV of the declared columns, except that a number may be any finite decimal (`12.50`, `1E3`): it is
 * rewritten, as is everything else, so that of each table one spelling leaves. A row in which any count is below
 * `minimumGroupSize`, or missing, is suppressed: its counts and values become missing, or the row goes.
 */
export function applyOutputRules(
  bytes: Uint8Array,
  rules: OutputRules,
  declared: DeclaredOutput,
): ReleasableOutput | OutputRefusal {
  const refusal = checkDeclaredOutput(rules, declared)
  if (refusal !== undefined) return refusal
  if (bytes.length > rules.bytesMax) {
    return refuse('ERR_OUTPUT_TOO_LARGE', `has ${bytes.length} bytes, at most ${rules.bytesMax} may leave`)
  }
  if (rules.format === 'file' || declared.format === 'file') {
    return { ok: true, bytes, rows: undefined, suppressedRows: 0 }
  }
  try {
    return ruleTable(bytes, rules, declared.columns)
  } catch (error) {
    if (!(error instanceof TableError)) throw error
    const code = error.code === 'ERR_TABLE_TOO_LARGE' ? 'ERR_OUTPUT_TOO_LARGE' : 'ERR_OUTPUT_SCHEMA'
    return refuse(code, error.message)
  }
}

function ruleTable(
  bytes: Uint8Array,
  rules: TableOutputRules,
  columns: readonly OutputColumn[],
): ReleasableOutput | OutputRefusal {
  const sink = new ByteSink()
  const header = encodeHeader(columns)
  sink.copy(header, 0, header.length)
  let rows = 0
  let suppressedRows = 0
  for (const batch of parseTable(bytes, columns, 'decimal')) {
    rows += batch.rows
    if (rows > rules.rowsMax) return refuse('ERR_OUTPUT_ROWS', `has more than the ${rules.rowsMax} rows that may leave`)
    for (let row = 0; row < batch.rows; row++) {
      const suppressed = isSmall(batch, row, columns, rules.minimumGroupSize)
      if (suppressed) suppressedRows++
      if (!suppressed || rules.suppress === 'row-values') writeRow(sink, batch, row, columns, suppressed)
    }
  }
  // 1E9 is shorter than 1000000000: the size that counts is that of what leaves.
  if (sink.length > rules.bytesMax) {
    return refuse(
      'ERR_OUTPUT_TOO_LARGE',
      `has ${sink.length} bytes in canonical form, at most ${rules.bytesMax} may leave`,
    )
  }
  const kept = rules.suppress === 'row' ? rows - suppressedRows : rows
  return { ok: true, bytes: sink.take(), rows: kept, suppressedRows }
}

function isSmall(
  batch: RowBatch,
  row: number,
  columns: readonly OutputColumn[],
  minimumGroupSize: number | undefined,
): boolean {
  if (minimumGroupSize === undefined) return false
  return columns.some(({ role }, index) => {
    if (role !== 'count') return false
    const cell = batch.cell(row, index)
    return cell === null || BigInt(cell) < minimumGroupSize
  })
}

function writeRow(
  sink: ByteSink,
  batch: RowBatch,
  row: number,
  columns: readonly OutputColumn[],
  suppressed: boolean,
): void {
  for (const [index, { role, type }] of columns.entries()) {
    if (index > 0) sink.byte(comma)
    if (suppressed && role !== 'group') continue
    const start = batch.start(row, index)
    const end = batch.end(row, index)
    // Adding zero turns -0 into 0, which is how it prints.
    if (type === 'number' && end > start) sink.field(String(Number(batch.cell(row, index)) + 0))
    else sink.copy(batch.bytes, start, end)
  }
  sink.byte(lineFeed)
}
