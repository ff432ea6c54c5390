import { encodeUtf8 } from '@cella/bytes'
import { z } from 'zod'
import { TableError } from './error.ts'
import { type Treatment, treatedType, treatmentSchema } from './treatment-schema.ts'

/** The most columns a table may have. */
export const columnCountMax = 1024
/** The longest column name, in UTF-8 bytes. */
export const columnNameBytesMax = 256

/**
 * - `text`: any UTF-8 without U+0000
 * - `integer`: −2^63 … 2^63 − 1, decimal, no `+`, no leading zero, no `-0`
 * - `number`: finite IEEE 754 double as ECMAScript writes it (`Number::toString`), no `-0`
 * - `boolean`: `true` or `false`
 * - `date`: `YYYY-MM-DD`, a day of the proleptic Gregorian calendar
 */
export type ColumnType = 'text' | 'integer' | 'number' | 'boolean' | 'date'

/** What a column tells about a person, by its owner's judgement. */
export type ColumnClass = 'identifying' | 'sensitive' | 'quasi' | 'plain'

/** Name and type: what a reader needs, and all that a program learns. */
export interface ColumnShape {
  readonly name: string
  readonly type: ColumnType
}

/** A column of a table asset as its owner's manifest declares it. */
export interface Column extends ColumnShape {
  readonly class: ColumnClass
  readonly treatment: Treatment
}

/** 1 to 256 bytes of UTF-8, no control characters: a name is shown to people and quoted in terminals. */
export const columnNameSchema: z.ZodType<string> = z.string().check((context) => {
  const problem = columnNameProblem(context.value)
  if (problem !== undefined) context.issues.push({ code: 'custom', message: problem, input: context.value })
})

/** One of the column types. */
export const columnTypeSchema: z.ZodType<ColumnType> = z.enum(['text', 'integer', 'number', 'boolean', 'date'])

/** One of the column classes. */
export const columnClassSchema: z.ZodType<ColumnClass> = z.enum(['identifying', 'sensitive', 'quasi', 'plain'])

/** `{name, type}`. */
export const columnShapeSchema: z.ZodType<ColumnShape> = z.strictObject({
  name: columnNameSchema,
  type: columnTypeSchema,
})

/** `{name, type, class, treatment}`; the treatment must be one that the type allows. */
export const columnSchema: z.ZodType<Column> = z
  .strictObject({
    name: columnNameSchema,
    type: columnTypeSchema,
    class: columnClassSchema,
    treatment: treatmentSchema,
  })
  .check((context) => {
    const { type, treatment } = context.value
    if (treatment.kind !== 'drop' && treatedType(type, treatment) === undefined) {
      context.issues.push({
        code: 'custom',
        path: ['treatment'],
        message: `${treatment.kind} does not apply to a column of type ${type}`,
        input: treatment,
      })
    }
  })

/** The columns of a table asset in their order: 1 to 1024, names unique, not all of them dropped. */
export const tableSchema: z.ZodType<readonly Column[]> = z
  .array(columnSchema)
  .min(1)
  .max(columnCountMax)
  .check((context) => {
    const name = firstRepeated(context.value)
    if (name !== undefined) {
      context.issues.push({ code: 'custom', message: `two columns are named ${name}`, input: context.value })
    }
    if (context.value.every(({ treatment }) => treatment.kind === 'drop')) {
      context.issues.push({ code: 'custom', message: 'every column is dropped', input: context.value })
    }
  })

/** Names under which a program reads columns, each with the column's own: `{"sex": "gndr"}`. */
export const columnNamesSchema: z.ZodType<ColumnNames> = z
  .record(columnNameSchema, columnNameSchema)
  .check((context) => {
    const count = Object.keys(context.value).length
    if (count >= 1 && count <= columnCountMax) return
    context.issues.push({
      code: 'custom',
      message: `names ${count} columns, not 1 to ${columnCountMax}`,
      input: context.value,
    })
  })
export type ColumnNames = Readonly<Record<string, string>>

/**
 * The columns with the names that `names` gives some of them. Throws TableError ERR_TABLE_SCHEMA for a column that is not
 * there or named twice, and where two would have one name.
 */
export function renameColumns<Shape extends ColumnShape>(columns: readonly Shape[], names: ColumnNames): Shape[] {
  const renamed = new Map<string, string>()
  for (const [name, column] of Object.entries(names)) {
    if (!columns.some((one) => one.name === column)) {
      throw new TableError('ERR_TABLE_SCHEMA', `there is no column ${column} to be read as ${name}`)
    }
    if (renamed.has(column)) throw new TableError('ERR_TABLE_SCHEMA', `column ${column} is to be read under two names`)
    renamed.set(column, name)
  }
  const all = columns.map((column) => ({ ...column, name: renamed.get(column.name) ?? column.name }))
  checkShapes(all)
  return all
}

/** Throws TableError ERR_TABLE_SCHEMA or ERR_TABLE_TOO_LARGE unless `columns` can be the columns of a table. */
export function checkShapes(columns: readonly ColumnShape[]): void {
  if (columns.length === 0) throw new TableError('ERR_TABLE_SCHEMA', 'a table has at least one column')
  if (columns.length > columnCountMax) {
    throw new TableError('ERR_TABLE_TOO_LARGE', `${columns.length} columns; a table has at most ${columnCountMax}`)
  }
  for (const [index, { name }] of columns.entries()) {
    const problem = columnNameProblem(name)
    if (problem !== undefined) throw new TableError('ERR_TABLE_SCHEMA', `name of column ${index + 1} ${problem}`)
  }
  const repeated = firstRepeated(columns)
  if (repeated !== undefined) throw new TableError('ERR_TABLE_SCHEMA', `two columns are named ${repeated}`)
}

/** Why `name` can't name a column, or `undefined` when it can. */
function columnNameProblem(name: string): string | undefined {
  if (name.length === 0) return 'is empty'
  if (!name.isWellFormed()) return 'has a lone surrogate'
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
  if (/[\u0000-\u001f\u007f-\u009f]/.test(name)) return 'has a control character'
  if (encodeUtf8(name).length > columnNameBytesMax) return `is longer than ${columnNameBytesMax} bytes`
  return undefined
}

function firstRepeated(columns: readonly ColumnShape[]): string | undefined {
  const seen = new Set<string>()
  for (const { name } of columns) {
    if (seen.has(name)) return name
    seen.add(name)
  }
  return undefined
}
