import { TableError } from './error.ts'
import type { DeclaredOutput, OutputColumn, OutputRules, TableOutputRules } from './output-schema.ts'

/** Why an output may not leave. */
export type OutputRefusalCode =
  /** A table where a file is ruled, or the reverse. */
  | 'ERR_OUTPUT_FORMAT'
  /** The output is not a canonical table of the declared columns, or these are not columns of the rules. */
  | 'ERR_OUTPUT_SCHEMA'
  /** A minimum group size, or a count of the rules, without a declared count. */
  | 'ERR_OUTPUT_NO_COUNT'
  | 'ERR_OUTPUT_TOO_LARGE'
  | 'ERR_OUTPUT_ROWS'

/**
 * A refusal. `code` may go to the operator as the run's status. `message` depends on plaintext once a program ran (which
 * row, which column; never a cell): receivers of diagnostics only.
 */
export interface OutputRefusal {
  readonly ok: false
  readonly code: OutputRefusalCode
  readonly message: string
}

export function refuse(code: OutputRefusalCode, message: string): OutputRefusal {
  return { ok: false, code, message }
}

/**
 * The rules that hold when all of `rules` do: the smallest sizes, the largest group, `row` before `row-values`, the
 * columns that all allow. Throws TableError ERR_OUTPUT_RULES_CONFLICT when no output could satisfy all of them: another
 * format, no common column, a count that one demands and another does not know. Throws RangeError without rules.
 */
export function intersectOutputRules(rules: readonly OutputRules[]): OutputRules {
  const [first, ...rest] = rules
  if (first === undefined) throw new RangeError('intersectOutputRules: no rules, so nothing would be ruled')
  return rest.reduce(intersect, first)
}

/**
 * Why an output declared like this can't ever leave under `rules`, or `undefined`. Needs no output: ask before a
 * contract is made. Every declared column must be one of the rules', with the same type and role, and every count of
 * the rules must be declared: else leaving a count out would leave its suppression out.
 */
export function checkDeclaredOutput(rules: OutputRules, declared: DeclaredOutput): OutputRefusal | undefined {
  if (rules.format !== declared.format) {
    return refuse('ERR_OUTPUT_FORMAT', `declared as ${declared.format}, the rules are for ${rules.format}`)
  }
  if (rules.format === 'file' || declared.format === 'file') return undefined
  const { columns } = rules
  if (columns !== 'any-declared') {
    const stranger = declared.columns.find((column) => !columns.some((allowed) => same(allowed, column)))
    if (stranger !== undefined) {
      const { name, type, role } = stranger
      return refuse('ERR_OUTPUT_SCHEMA', `column ${name} (${type}, ${role}) is not among the columns of the rules`)
    }
    const lost = columns.find((column) => column.role === 'count' && !declared.columns.some((own) => same(own, column)))
    if (lost !== undefined) return refuse('ERR_OUTPUT_NO_COUNT', `the count ${lost.name} of the rules is not declared`)
  }
  if (rules.minimumGroupSize !== undefined && !declared.columns.some(({ role }) => role === 'count')) {
    return refuse('ERR_OUTPUT_NO_COUNT', 'a minimum group size holds, and no column with the role count is declared')
  }
  return undefined
}

function intersect(a: OutputRules, b: OutputRules): OutputRules {
  const bytesMax = Math.min(a.bytesMax, b.bytesMax)
  if (a.format === 'file' && b.format === 'file') return { format: 'file', bytesMax }
  if (a.format !== 'table' || b.format !== 'table') {
    throw new TableError('ERR_OUTPUT_RULES_CONFLICT', 'one owner rules a table, another a file')
  }
  const minimumGroupSize = Math.max(a.minimumGroupSize ?? 0, b.minimumGroupSize ?? 0)
  return {
    format: 'table',
    bytesMax,
    rowsMax: Math.min(a.rowsMax, b.rowsMax),
    columns: intersectColumns(a.columns, b.columns),
    ...(minimumGroupSize > 0 && { minimumGroupSize }),
    suppress: a.suppress === 'row' || b.suppress === 'row' ? 'row' : 'row-values',
  }
}

function intersectColumns(a: TableOutputRules['columns'], b: TableOutputRules['columns']): TableOutputRules['columns'] {
  if (a === 'any-declared') return b
  if (b === 'any-declared') return a
  const common = a.filter((column) => b.some((other) => same(column, other)))
  const lost = [...a, ...b].find(({ name, role }) => role === 'count' && !common.some((column) => column.name === name))
  if (lost !== undefined) {
    throw new TableError('ERR_OUTPUT_RULES_CONFLICT', `the count ${lost.name} is not a count in every owner's rules`)
  }
  if (common.length === 0) throw new TableError('ERR_OUTPUT_RULES_CONFLICT', 'no column is allowed by every owner')
  return common
}

function same(a: OutputColumn, b: OutputColumn): boolean {
  return a.name === b.name && a.type === b.type && a.role === b.role
}
