import { parentPort, workerData } from 'node:worker_threads'
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects, parquetSchema } from 'hyparquet'
import { compressors } from 'hyparquet-compressors'
import { JsonNumber } from './json-source.ts'
import { cellTypes, type ParquetAnswer, type ParquetRows, type ParquetTask } from './parquet-protocol.ts'

// Entry of the thread that decodes Parquet for `parquet.ts`; in published packages a file of its own beside the bundle.

const asText = cellTypes.indexOf('text')
const asInteger = cellTypes.indexOf('integer')
const asNumber = cellTypes.indexOf('number')
const asBoolean = cellTypes.indexOf('boolean')
const asDate = cellTypes.indexOf('date')

/** Rows decoded at a time. A column chunk is decompressed whole: memory is that of a row group. */
const rowsAtOnce = 131_072
/** Cells in one answer, about. */
const cellsAnswered = 16_384

/** The answers for one file, in order. */
async function* answers({ path, progress }: ParquetTask): AsyncGenerator<ParquetAnswer, void, undefined> {
  const opened = await asyncBufferFromFile(path)
  let steps = 0
  const step = (): void => {
    Atomics.add(progress, 0, 1)
    // Each step of one reading takes bytes of its own: more steps than bytes are a loop.
    if (++steps > opened.byteLength + 64) throw new Error('decoding goes round in circles')
  }
  const file = {
    byteLength: opened.byteLength,
    slice(start: number, end?: number) {
      step()
      // Else the whole gap would be read, or nothing at all.
      if (!(start >= 0 && start <= (end ?? opened.byteLength) && (end ?? 0) <= opened.byteLength)) {
        throw new Error('a part lies outside of the file')
      }
      return opened.slice(start, end)
    },
  }
  const counted = Object.fromEntries(
    Object.entries(compressors).map(([codec, decompress]) => [
      codec,
      (input: Uint8Array, length: number) => {
        step()
        return decompress(input, length)
      },
    ]),
  )
  const metadata = await parquetMetadataAsync(file)
  const names = parquetSchema(metadata).children.map(({ element }) => element.name)
  yield { kind: 'names', names }
  const rowsAnswered = Math.max(1, Math.floor(cellsAnswered / Math.max(1, names.length)))
  let row = 0
  for (const group of metadata.row_groups) {
    const groupEnd = row + rowCount(group.num_rows)
    while (row < groupEnd) {
      const rowEnd = Math.min(row + rowsAtOnce, groupEnd)
      steps = 0
      const objects = await parquetReadObjects({
        file,
        metadata,
        compressors: counted,
        rowStart: row,
        rowEnd,
        onPage: step,
      })
      if (row + objects.length !== rowEnd) throw new Error('a row group has fewer rows than it says')
      for (let from = 0; from < objects.length; from += rowsAnswered) {
        Atomics.add(progress, 0, 1)
        yield encodeRows(objects.slice(from, from + rowsAnswered), names)
      }
      row = rowEnd
    }
  }
  if (row !== rowCount(metadata.num_rows)) throw new Error('the row groups have other rows than the file says')
  yield { kind: 'end' }
}

/** Read from the file as it is: may be anything. */
function rowCount(count: unknown): number {
  const rows = Number(count)
  if (!Number.isSafeInteger(rows) || rows < 0) throw new Error('a number of rows is none')
  return rows
}

function encodeRows(objects: readonly Record<string, unknown>[], names: readonly string[]): ParquetRows {
  const texts: (string | null)[] = []
  const types = new Uint8Array(objects.length * names.length)
  const nested: number[] = []
  for (let row = 0; row < objects.length; row++) {
    for (const name of names) {
      const value = objects[row]![name]
      types[texts.length] = typeOfValue(value)
      if (isNested(value)) nested.push(row)
      texts.push(textOfValue(value))
    }
  }
  return { kind: 'rows', count: objects.length, texts, types, nested }
}

function typeOfValue(value: unknown): number {
  switch (typeof value) {
    case 'bigint':
      return asInteger
    case 'number':
      return asNumber
    case 'boolean':
      return asBoolean
    default:
      return value instanceof Date && isDay(value) ? asDate : asText
  }
}

/** `null` is missing. Throws RangeError for a moment that no calendar has. */
function textOfValue(value: unknown): string | null {
  if (value === null || value === undefined) return null
  if (typeof value === 'string') return value
  if (typeof value === 'number') return Number.isFinite(value) ? String(value + 0) : null
  if (typeof value !== 'object') return String(value)
  if (value instanceof Date) return isDay(value) ? value.toISOString().slice(0, 10) : value.toISOString()
  if (value instanceof Uint8Array) return value.toBase64()
  return JSON.stringify(value, jsonValue)
}

/** A day of a year with four digits. */
function isDay(date: Date): boolean {
  const iso = date.toISOString()
  return iso.length === 24 && iso.endsWith('T00:00:00.000Z')
}

function isNested(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !(value instanceof Date) && !(value instanceof Uint8Array)
}

function jsonValue(_name: string, value: unknown): unknown {
  if (typeof value === 'bigint') return new JsonNumber(String(value)).toJSON()
  return value instanceof Uint8Array ? value.toBase64() : value
}

/** Hands out one answer for each message, and so is never ahead of its reader by more than it was asked for. */
function serve(port: NonNullable<typeof parentPort>, task: ParquetTask): void {
  const source = answers(task)
  port.on('message', async () => {
    let answer: ParquetAnswer
    try {
      const { done, value } = await source.next()
      answer = done === true ? { kind: 'end' } : value
    } catch (error) {
      answer = { kind: 'damaged', reason: String(error) }
    }
    port.postMessage(answer)
  })
}

if (parentPort !== null) serve(parentPort, workerData as ParquetTask)
