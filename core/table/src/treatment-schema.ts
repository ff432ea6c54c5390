import { z } from 'zod'
import type { ColumnType } from './schema.ts'

/** The column as it is. */
export interface PassTreatment {
  readonly kind: 'pass'
}

/** The column is absent from what the program sees. */
export interface DropTreatment {
  readonly kind: 'drop'
}

/**
 * Text only. The first `keepFirst` and last `keepLast` characters (Unicode code points) stay, `***` stands for all
 * between, however many; a text no longer than both together becomes `***`.
 */
export interface MaskTreatment {
  readonly kind: 'mask'
  readonly keepFirst?: number
  readonly keepLast?: number
}

/** 32 hexadecimal digits of an HMAC under a key of this asset and this column: equal cells stay equal, no more. */
export interface KeyedHashTreatment {
  readonly kind: 'keyed-hash'
}

/** Integers and numbers: the nearest multiple of `to`, ties away from zero. */
export interface RoundTreatment {
  readonly kind: 'round'
  readonly to: number
}

/** Integers and numbers: the text `<e1`, `e1..e2` (e1 ≤ x < e2) … `>=en`. `edges` ascend strictly. */
export interface EdgesTreatment {
  readonly kind: 'bucket'
  readonly edges: readonly number[]
}

/** Any type: `map[cell]` by the cell's canonical text, `default` for all others. The result is text. */
export interface MapTreatment {
  readonly kind: 'bucket'
  readonly map: { readonly [cell: string]: string }
  readonly default: string
}

/** Dates: the year as an integer. */
export interface YearTreatment {
  readonly kind: 'year'
}

/** What happens to a column before a program sees it. A missing cell stays missing under each of them. */
export type Treatment =
  | PassTreatment
  | DropTreatment
  | MaskTreatment
  | KeyedHashTreatment
  | RoundTreatment
  | EdgesTreatment
  | MapTreatment
  | YearTreatment

const kept = z.int().min(0).max(1024).exactOptional()
const edges = z
  .array(z.number())
  .min(1)
  .max(1024)
  .refine((list) => list.every((edge, index) => index === 0 || edge > list[index - 1]!), 'edges must ascend strictly')
const label = z.string().min(1).max(256).refine(isPlainText, 'has a control character or a lone surrogate')

/** A treatment, one strict object per `kind`. */
export const treatmentSchema: z.ZodType<Treatment> = z.union([
  z.discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('pass') }),
    z.strictObject({ kind: z.literal('drop') }),
    z.strictObject({ kind: z.literal('mask'), keepFirst: kept, keepLast: kept }),
    z.strictObject({ kind: z.literal('keyed-hash') }),
    z.strictObject({ kind: z.literal('round'), to: z.number().positive() }),
    z.strictObject({ kind: z.literal('year') }),
  ]),
  z.strictObject({ kind: z.literal('bucket'), edges }),
  z.strictObject({
    kind: z.literal('bucket'),
    map: z.record(z.string(), label).refine((map) => Object.keys(map).length <= 10_000, 'has more than 10000 entries'),
    default: label,
  }),
])

/** The type of a column of `type` after `treatment`; `undefined` where the treatment does not apply or drops it. */
export function treatedType(type: ColumnType, treatment: Treatment): ColumnType | undefined {
  const numeric = type === 'integer' || type === 'number'
  switch (treatment.kind) {
    case 'pass':
      return type
    case 'drop':
      return undefined
    case 'mask':
      return type === 'text' ? 'text' : undefined
    case 'keyed-hash':
      return 'text'
    case 'round':
      if (!numeric) return undefined
      return type === 'integer' && Number.isSafeInteger(treatment.to) ? 'integer' : 'number'
    case 'bucket':
      return 'map' in treatment || numeric ? 'text' : undefined
    case 'year':
      return type === 'date' ? 'integer' : undefined
    default:
      return treatment satisfies never
  }
}

function isPlainText(text: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
  return text.isWellFormed() && !/[\u0000-\u001f\u007f-\u009f]/.test(text)
}
