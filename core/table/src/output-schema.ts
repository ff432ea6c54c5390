import { z } from 'zod'
import { type ColumnShape, columnCountMax, columnNameSchema, columnTypeSchema } from './schema.ts'

/** `group` names who a row is about, `count` says how many people are behind it, `value` is a figure about them. */
export type OutputRole = 'group' | 'count' | 'value'

/** A column of an output table. A `count` is an integer. */
export interface OutputColumn extends ColumnShape {
  readonly role: OutputRole
}

/** What one owner allows an output table to be. */
export interface TableOutputRules {
  readonly format: 'table'
  /** Of the canonical CSV, before padding. */
  readonly bytesMax: number
  /** Without the header, before suppression. */
  readonly rowsMax: number
  /**
   * The columns that an output may have; it must have each `count` among them. `any-declared`: whatever the contract
   * declares, roles included, so whoever approves the contract approves them.
   */
  readonly columns: 'any-declared' | readonly OutputColumn[]
  /** A row with a count below this, or missing, is suppressed. */
  readonly minimumGroupSize?: number
  /** `row-values` empties the counts and values of a suppressed row and leaves its groups; `row` removes it. */
  readonly suppress: 'row-values' | 'row'
}

/** Kinds without columns have a size and nothing else to rule. */
export interface FileOutputRules {
  readonly format: 'file'
  readonly bytesMax: number
}

/** What one owner allows an output to be. */
export type OutputRules = TableOutputRules | FileOutputRules

/** What a contract declares an output to be. */
export type DeclaredOutput =
  | { readonly format: 'table'; readonly columns: readonly OutputColumn[] }
  | { readonly format: 'file' }

const limit = z.int().min(1)

/** `{name, type, role}`; a count must be an integer. */
export const outputColumnSchema: z.ZodType<OutputColumn> = z
  .strictObject({
    name: columnNameSchema,
    type: columnTypeSchema,
    role: z.enum(['group', 'count', 'value']),
  })
  .refine(({ role, type }) => role !== 'count' || type === 'integer', 'a count column has type integer')

const outputColumns = z
  .array(outputColumnSchema)
  .min(1)
  .max(columnCountMax)
  .refine((columns) => new Set(columns.map(({ name }) => name)).size === columns.length, 'two columns have one name')

/** Rules on an output, one strict object per `format`. A minimum group size over named columns needs a count among them. */
export const outputRulesSchema: z.ZodType<OutputRules> = z.discriminatedUnion('format', [
  z
    .strictObject({
      format: z.literal('table'),
      bytesMax: limit,
      rowsMax: limit,
      columns: z.union([z.literal('any-declared'), outputColumns]),
      minimumGroupSize: limit.exactOptional(),
      suppress: z.enum(['row-values', 'row']),
    })
    .refine(
      ({ columns, minimumGroupSize }) =>
        minimumGroupSize === undefined || columns === 'any-declared' || columns.some(({ role }) => role === 'count'),
      'minimumGroupSize needs a count column',
    ),
  z.strictObject({ format: z.literal('file'), bytesMax: limit }),
])

/** The declaration of an output in a contract. */
export const declaredOutputSchema: z.ZodType<DeclaredOutput> = z.discriminatedUnion('format', [
  z.strictObject({ format: z.literal('table'), columns: outputColumns }),
  z.strictObject({ format: z.literal('file') }),
])
