import {
  asyncBufferFromFile,
  type FileMetaData,
  parquetMetadataAsync,
  parquetReadObjects,
  parquetSchema,
} from 'hyparquet'
import { compressors } from 'hyparquet-compressors'
import { TablesError } from './error.ts'
import { JsonNumber } from './json-source.ts'
import type { RawCell, RawRow, RawTable } from './raw-table.ts'
import type { InspectionWarning } from './report.ts'
import { empty, type FileHead } from './text-file.ts'

/** Rows decoded at a time. A column chunk is decompressed whole: memory is that of a row group. */
const rowsAtOnce = 131_072

/** Apache Parquet, with all its usual compressions. Throws TablesError ERR_FILE_FORMAT for a damaged file. */
export async function parquetTable({ path }: FileHead): Promise<RawTable> {
  const file = await asyncBufferFromFile(path)
  const metadata = await guard<FileMetaData>(path, () => parquetMetadataAsync(file))
  const names = parquetSchema(metadata).children.map(({ element }) => element.name)
  if (names.length === 0) throw empty(path)

  async function* rows(warn: (warning: InspectionWarning) => void): AsyncGenerator<RawRow, void, undefined> {
    let row = 0
    for (const group of metadata.row_groups) {
      const groupEnd = row + Number(group.num_rows)
      while (row < groupEnd) {
        const rowEnd = Math.min(row + rowsAtOnce, groupEnd)
        const rowStart = row
        const objects = await guard(path, () => parquetReadObjects({ file, metadata, compressors, rowStart, rowEnd }))
        for (const object of objects) {
          row++
          const line = row
          yield { line, cells: names.map((name) => cellOf(object[name], line, warn)) }
        }
        if (row !== rowEnd) throw damaged(path, undefined)
      }
    }
  }

  return { format: 'parquet', delimiter: null, quote: null, header: true, encoding: null, names: () => names, rows }
}

async function guard<Value>(path: string, read: () => Value | Promise<Value>): Promise<Value> {
  try {
    return await read()
  } catch (cause) {
    throw damaged(path, cause)
  }
}

function damaged(path: string, cause: unknown): TablesError {
  return new TablesError('ERR_FILE_FORMAT', `${path} is not a Parquet file that can be read`, {
    hint: 'is it complete? encrypted Parquet is not read: decrypt it first',
    cause,
  })
}

function cellOf(value: unknown, line: number, warn: (warning: InspectionWarning) => void): RawCell {
  switch (typeof value) {
    case 'string':
      return { type: 'text', text: value }
    case 'bigint':
      return { type: 'integer', text: String(value) }
    case 'number':
      return Number.isFinite(value) ? { type: 'number', text: String(value + 0) } : null
    case 'boolean':
      return { type: 'boolean', text: String(value) }
    case 'undefined':
      return null
    default:
      break
  }
  if (value === null) return null
  if (value instanceof Date) {
    const iso = value.toISOString()
    return iso.endsWith('T00:00:00.000Z') ? { type: 'date', text: iso.slice(0, 10) } : { type: 'text', text: iso }
  }
  if (value instanceof Uint8Array) return { type: 'text', text: value.toBase64() }
  warn({ line, code: 'nested-value', message: 'holds a list or an object, which became JSON text' })
  return { type: 'text', text: JSON.stringify(value, jsonValue) }
}

function jsonValue(_name: string, value: unknown): unknown {
  if (typeof value === 'bigint') return new JsonNumber(String(value)).toJSON()
  return value instanceof Uint8Array ? value.toBase64() : value
}
