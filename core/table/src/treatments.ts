import { encodeHex, encodeUtf8 } from '@cella/bytes'
import { hkdfSha256, hmacSha256 } from '@cella/primitives'
import type { RowBatch } from './batch.ts'
import type { Cell } from './cell.ts'
import { TableError } from './error.ts'
import { readTable } from './reader.ts'
import { type Column, type ColumnNames, type ColumnShape, checkShapes, renameColumns } from './schema.ts'
import { ByteSink } from './sink.ts'
import { type EdgesTreatment, type MapTreatment, type Treatment, treatedType } from './treatment-schema.ts'
import { encodeHeader, rowBytesMax } from './writer.ts'

const comma = 0x2c
const lineFeed = 0x0a

/** A table after its owner's treatments: what a program gets to see. */
export interface TreatedTable {
  /** Name and type of each column that is left, in order. */
  readonly columns: readonly ColumnShape[]
  /**
   * Reads the owner's canonical CSV and gives the treated one, header first. Memory: one batch. Throws TableError as
   * `readTable` does; nothing of a batch with a fault is handed out.
   */
  apply(source: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array>
}

/**
 * The treatments of `columns`, ready to apply. `hashKey` is the asset's secret, at least 16 bytes, needed when a column
 * has a keyed hash. `names` are those under which the program reads columns that are left: treatments know the columns' own.
 * Throws TableError ERR_TABLE_SCHEMA when a treatment or name does not fit its column or nothing is left, and TypeError when
 * the secret is missing.
 */
export function applyTreatments(
  columns: readonly Column[],
  hashKey?: Uint8Array,
  names: ColumnNames = {},
): TreatedTable {
  checkShapes(columns)
  const kept: { column: number; shape: ColumnShape; treat: ((cell: string) => string) | undefined }[] = []
  for (const [index, { name, type, treatment }] of columns.entries()) {
    if (treatment.kind === 'drop') continue
    const treated = treatedType(type, treatment)
    if (treated === undefined) {
      throw new TableError('ERR_TABLE_SCHEMA', `column ${name}: ${treatment.kind} does not apply to ${type}`)
    }
    kept.push({ column: index, shape: { name, type: treated }, treat: treatmentOf({ name, type }, treatment, hashKey) })
  }
  if (kept.length === 0) throw new TableError('ERR_TABLE_SCHEMA', 'every column is dropped')
  const shapes = renameColumns(
    kept.map(({ shape }) => shape),
    names,
  )

  function treatBatch(batch: RowBatch, sink: ByteSink): void {
    for (let row = 0; row < batch.rows; row++) {
      const rowStart = sink.length
      for (let index = 0; index < kept.length; index++) {
        if (index > 0) sink.byte(comma)
        const { column, treat } = kept[index]!
        if (treat === undefined) {
          sink.copy(batch.bytes, batch.start(row, column), batch.end(row, column))
        } else {
          const cell = batch.cell(row, column)
          sink.field(cell === null ? null : treat(cell))
        }
      }
      sink.byte(lineFeed)
      if (sink.length - rowStart > rowBytesMax) {
        throw new TableError('ERR_TABLE_TOO_LARGE', `row ${batch.firstRow + row + 1}: is too long once treated`)
      }
    }
  }

  async function* apply(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
    yield encodeHeader(shapes)
    const sink = new ByteSink()
    for await (const batch of readTable(source, columns)) {
      treatBatch(batch, sink)
      yield sink.take()
    }
  }

  return { columns: shapes, apply }
}

/** The treated text of one cell, for previews and summaries at the owner's. Throws as `applyTreatments` does. */
export function treatCell(column: Column, cell: Cell, hashKey?: Uint8Array): Cell {
  if (column.treatment.kind === 'drop' || cell === null) return null
  const treat = treatmentOf(column, column.treatment, hashKey)
  return treat === undefined ? cell : treat(cell)
}

/** What `treatment` makes of a canonical text; `undefined` when it stays as it is. */
function treatmentOf(
  { name, type }: ColumnShape,
  treatment: Exclude<Treatment, { kind: 'drop' }>,
  hashKey: Uint8Array | undefined,
): ((cell: string) => string) | undefined {
  switch (treatment.kind) {
    case 'pass':
      return undefined
    case 'mask':
      return (cell) => mask(cell, treatment.keepFirst ?? 0, treatment.keepLast ?? 0)
    case 'keyed-hash':
      return keyedHash(name, hashKey)
    case 'round':
      return type === 'integer' && Number.isSafeInteger(treatment.to)
        ? (cell) => roundInteger(BigInt(cell), BigInt(treatment.to))
        : (cell) => roundNumber(Number(cell), treatment.to)
    case 'bucket':
      return 'map' in treatment ? byMap(treatment) : byEdges(treatment)
    case 'year':
      return (cell) => String(Number(cell.slice(0, 4)))
    default:
      return treatment satisfies never
  }
}

function mask(cell: string, keepFirst: number, keepLast: number): string {
  const characters = Array.from(cell)
  // A text that would be shown whole is hidden whole.
  if (characters.length <= keepFirst + keepLast) return '***'
  const last = keepLast === 0 ? '' : characters.slice(-keepLast).join('')
  return `${characters.slice(0, keepFirst).join('')}***${last}`
}

/**
 * HMAC-SHA-256, cut to 16 bytes, under HKDF-SHA-256(asset's secret, info = "cella/v1/keyed-hash" ‖ 0x00 ‖ name). The
 * name keeps two columns from being joined with each other; the asset's secret, two assets.
 */
function keyedHash(name: string, hashKey: Uint8Array | undefined): (cell: string) => string {
  if (hashKey === undefined || hashKey.length < 16) {
    throw new TypeError(`column ${name} has a keyed hash: hashKey of at least 16 bytes is needed`)
  }
  const info = encodeUtf8(`cella/v1/keyed-hash\0${name}`)
  const key = hkdfSha256({ ikm: hashKey, salt: new Uint8Array(0), info, length: 32 })
  return (cell) => encodeHex(hmacSha256(key, encodeUtf8(cell)).subarray(0, 16))
}

function roundInteger(value: bigint, to: bigint): string {
  const magnitude = value < 0n ? -value : value
  const rounded = ((2n * magnitude + to) / (2n * to)) * to
  const signed = value < 0n ? -rounded : rounded
  // Near the ends of the range only the multiple towards zero is an integer of the type.
  if (BigInt.asIntN(64, signed) === signed) return String(signed)
  return String((value / to) * to)
}

function roundNumber(value: number, to: number): string {
  const steps = Math.abs(value) / to
  // The doubles around here are farther apart than `to`.
  if (steps >= 2 ** 53) return String(value)
  const whole = Math.floor(steps)
  const count = steps - whole >= 0.5 ? whole + 1 : whole
  const rounded = multiple(count, to)
  const magnitude = Number.isFinite(rounded) ? rounded : multiple(whole, to)
  return String(magnitude === 0 ? 0 : value < 0 ? -magnitude : magnitude)
}

/** `count * to` without the noise of 3 * 0.1 = 0.30000000000000004. */
function multiple(count: number, to: number): number {
  return Number((count * to).toPrecision(15))
}

function byMap(treatment: MapTreatment): (cell: string) => string {
  const map = new Map(Object.entries(treatment.map))
  return (cell) => map.get(cell) ?? treatment.default
}

function byEdges({ edges }: EdgesTreatment): (cell: string) => string {
  const labels = [`<${edges[0]}`, ...edges.slice(1).map((edge, index) => `${edges[index]}..${edge}`)]
  labels.push(`>=${edges.at(-1)}`)
  return (cell) => {
    // Beyond 2^53 an integer and an edge are compared exactly as BigInt and number.
    const value = /^-?[0-9]{16,}$/.test(cell) ? BigInt(cell) : Number(cell)
    let index = 0
    while (index < edges.length && value >= edges[index]!) index++
    return labels[index]!
  }
}
