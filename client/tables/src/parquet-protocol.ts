import type { ColumnType } from '@cella/table'

// What passes between `parquet.ts` and its thread, `parquet-worker.ts`.

/** What the thread is started with. */
export interface ParquetTask {
  readonly path: string
  /** One 32-bit counter in shared memory that goes up with every step of decoding. */
  readonly progress: Int32Array<SharedArrayBuffer>
}

/** What the thread answers to each message that it gets: names, then rows, then the end; or what is wrong, at any time. */
export type ParquetAnswer =
  | { readonly kind: 'names'; readonly names: readonly string[] }
  | ParquetRows
  | { readonly kind: 'end' }
  | { readonly kind: 'damaged'; readonly reason: string }

/** Some rows, cell after cell: texts, and for each the index of its type in `cellTypes`. */
export interface ParquetRows {
  readonly kind: 'rows'
  readonly count: number
  readonly texts: readonly (string | null)[]
  readonly types: Uint8Array
  /** Rows of this answer, counted from 0, once for each list or object in them. */
  readonly nested: readonly number[]
}

export const cellTypes: readonly ColumnType[] = ['text', 'integer', 'number', 'boolean', 'date']
