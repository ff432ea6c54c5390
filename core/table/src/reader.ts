import { decodeUtf8, equalBytes, FormatError } from '@cella/bytes'
import { RowBatch } from './batch.ts'
import { type CellCheck, cellChecks, isDecimal } from './cell.ts'
import { TableError, type TableErrorCode } from './error.ts'
import { type ColumnShape, checkShapes } from './schema.ts'
import { encodeHeader, rowBytesMax } from './writer.ts'

const sliceLength = 262_144
const comma = 0x2c
const lineFeed = 0x0a
const carriageReturn = 0x0d
const quote = 0x22

/** Where in a field the scan stands. */
const atStart = 0
const inPlain = 1
const inQuotes = 2
const afterQuote = 3

/** `decimal` also takes other spellings of a number, for outputs of programs; the caller writes them canonically. */
export type NumberSpelling = 'canonical' | 'decimal'

/**
 * The rows of a table of `columns`, in batches of about a chunk of `source`. Memory: one batch and one row.
 * Throws TableError ERR_TABLE_MALFORMED, ERR_TABLE_VALUE, ERR_TABLE_SCHEMA (the header is another) or
 * ERR_TABLE_TOO_LARGE; batches before the fault were handed out by then.
 */
export async function* readTable(
  source: AsyncIterable<Uint8Array>,
  columns: readonly ColumnShape[],
): AsyncGenerator<RowBatch, void, undefined> {
  const parser = new TableParser(columns)
  for await (const chunk of source) yield* parser.push(chunk)
  parser.end()
}

/** The same for a table that is in memory. */
export function* parseTable(
  bytes: Uint8Array,
  columns: readonly ColumnShape[],
  numbers: NumberSpelling = 'canonical',
): Generator<RowBatch, void, undefined> {
  const parser = new TableParser(columns, numbers)
  yield* parser.push(bytes)
  parser.end()
}

/** The state between two chunks. Every byte is looked at once, however the table is cut. */
class TableParser {
  readonly #columns: readonly ColumnShape[]
  readonly #checks: readonly CellCheck[]
  readonly #header: Uint8Array
  #headerLength = 0
  /** Complete rows of the current slice, then the beginning of the next row. */
  #bytes: Uint8Array = new Uint8Array(0)
  #length = 0
  #at = 0
  #fieldStart = 0
  #rowStart = 0
  #column = 0
  #state = atStart
  #quotesNeeded = false
  /** The OR of all bytes since the last batch: above 0x7f, there is UTF-8 to check. */
  #seen = 0
  #ends: Uint32Array = new Uint32Array(4096)
  #fields = 0
  /** Rows in earlier batches, and complete ones in this. */
  #rowsBefore = 0
  #rows = 0

  constructor(columns: readonly ColumnShape[], numbers: NumberSpelling = 'canonical') {
    checkShapes(columns)
    this.#columns = columns
    this.#checks = columns.map(({ type }) =>
      type === 'number' && numbers === 'decimal' ? isDecimal : cellChecks[type],
    )
    this.#header = encodeHeader(columns)
  }

  *push(chunk: Uint8Array): Generator<RowBatch, void, undefined> {
    for (let offset = this.#takeHeader(chunk); offset < chunk.length; offset += sliceLength) {
      this.#append(chunk.subarray(offset, offset + sliceLength))
      this.#scan()
      if (this.#length - this.#rowStart > rowBytesMax) throw this.#tooLarge()
      if (this.#rows > 0) yield this.#batch()
    }
  }

  end(): void {
    if (this.#headerLength < this.#header.length) {
      throw new TableError('ERR_TABLE_MALFORMED', 'the table ends before its header does')
    }
    if (this.#length > 0) throw this.#fault('ERR_TABLE_MALFORMED', 'the table ends before the row does')
  }

  /** Compares the header and returns how many bytes of `chunk` belong to it. */
  #takeHeader(chunk: Uint8Array): number {
    const missing = this.#header.length - this.#headerLength
    if (missing === 0) return 0
    const part = chunk.subarray(0, missing)
    if (!equalBytes(part, this.#header.subarray(this.#headerLength, this.#headerLength + part.length))) {
      throw new TableError('ERR_TABLE_SCHEMA', 'the header is not that of the declared columns')
    }
    this.#headerLength += part.length
    return part.length
  }

  #append(slice: Uint8Array): void {
    const needed = this.#length + slice.length
    if (needed > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(needed, this.#length === 0 ? 0 : this.#length * 2))
      grown.set(this.#bytes.subarray(0, this.#length))
      this.#bytes = grown
    }
    this.#bytes.set(slice, this.#length)
    this.#length = needed
  }

  #scan(): void {
    const bytes = this.#bytes
    const length = this.#length
    const width = this.#columns.length
    let at = this.#at
    let state = this.#state
    let seen = this.#seen
    while (at < length) {
      let byte = bytes[at]!
      if (state === atStart) {
        if (byte === quote) {
          state = inQuotes
          this.#quotesNeeded = false
          at++
          continue
        }
        state = inPlain
      }
      if (state === inPlain) {
        // All four bytes that matter are at or below the comma.
        while (byte > comma) {
          seen |= byte
          if (++at === length) break
          byte = bytes[at]!
        }
        if (at === length) break
        if (byte !== comma && byte !== lineFeed) {
          if (byte === quote || byte === carriageReturn) throw this.#fault('ERR_TABLE_MALFORMED', 'needs quotes')
          if (byte === 0) throw this.#fault('ERR_TABLE_MALFORMED', 'has a zero byte')
          at++
          continue
        }
        if (at > this.#fieldStart && !this.#checks[this.#column]!(bytes, this.#fieldStart, at)) {
          throw this.#fault('ERR_TABLE_VALUE', `is not a canonical ${this.#columns[this.#column]!.type}`)
        }
      } else if (state === inQuotes) {
        if (byte === quote) state = afterQuote
        else if (byte === 0) throw this.#fault('ERR_TABLE_MALFORMED', 'has a zero byte')
        else if (byte === comma || byte === lineFeed || byte === carriageReturn) this.#quotesNeeded = true
        seen |= byte
        at++
        continue
      } else if (byte === quote) {
        this.#quotesNeeded = true
        state = inQuotes
        at++
        continue
      } else {
        this.#checkQuoted(byte, at)
      }
      this.#endField(byte, at, width)
      state = atStart
      at++
    }
    this.#at = at
    this.#state = state
    this.#seen = seen
  }

  /** A quoted field ended before `byte`. */
  #checkQuoted(byte: number, at: number): void {
    if (byte !== comma && byte !== lineFeed) {
      throw this.#fault('ERR_TABLE_MALFORMED', 'has bytes after its closing quote')
    }
    if (!this.#quotesNeeded && at - this.#fieldStart > 2) {
      throw this.#fault('ERR_TABLE_MALFORMED', 'has quotes that it does not need')
    }
    if (this.#columns[this.#column]!.type !== 'text') {
      throw this.#fault('ERR_TABLE_VALUE', `is not a canonical ${this.#columns[this.#column]!.type}`)
    }
  }

  #endField(byte: number, at: number, width: number): void {
    if (this.#fields === this.#ends.length) {
      const grown = new Uint32Array(this.#ends.length * 2)
      grown.set(this.#ends)
      this.#ends = grown
    }
    this.#ends[this.#fields++] = at
    this.#fieldStart = at + 1
    if (byte === comma) {
      if (++this.#column === width) {
        this.#column--
        throw this.#fault('ERR_TABLE_MALFORMED', 'is followed by more fields than there are columns')
      }
      return
    }
    if (this.#column !== width - 1) throw this.#fault('ERR_TABLE_MALFORMED', 'ends the row before the last column')
    if (at + 1 - this.#rowStart > rowBytesMax) throw this.#tooLarge()
    this.#column = 0
    this.#rows++
    this.#rowStart = at + 1
  }

  /** Hands out the complete rows and keeps the beginning of the next. */
  #batch(): RowBatch {
    const complete = this.#rows * this.#columns.length
    const whole = this.#rowStart
    const batch = new RowBatch({
      bytes: this.#bytes.subarray(0, whole),
      ends: this.#ends.slice(0, complete),
      rows: this.#rows,
      columns: this.#columns.length,
      firstRow: this.#rowsBefore,
    })
    if (this.#seen > 0x7f) this.#checkUtf8(batch)
    const tail = this.#bytes.slice(whole, this.#length)
    // Bytes of the open row were seen with this batch; looking at them again in the next is cheap and safe.
    this.#seen = tail.some((byte) => byte > 0x7f) ? 0x80 : 0
    for (let index = complete; index < this.#fields; index++) this.#ends[index - complete] = this.#ends[index]! - whole
    this.#fields -= complete
    this.#bytes = tail
    this.#length = tail.length
    this.#at -= whole
    this.#fieldStart -= whole
    this.#rowStart = 0
    this.#rowsBefore += this.#rows
    this.#rows = 0
    return batch
  }

  /** A field is well-formed exactly when the rows are, since the bytes between fields are ASCII. */
  #checkUtf8(batch: RowBatch): void {
    try {
      decodeUtf8(batch.bytes, 'table')
    } catch (cause) {
      if (!(cause instanceof FormatError)) throw cause
      const from = this.#rowsBefore + 1
      throw new TableError(
        'ERR_TABLE_MALFORMED',
        `rows ${from} to ${from + batch.rows - 1}: are not well-formed UTF-8`,
        { cause },
      )
    }
  }

  #tooLarge(): TableError {
    const row = this.#rowsBefore + this.#rows + 1
    return new TableError('ERR_TABLE_TOO_LARGE', `row ${row} is longer than ${rowBytesMax} bytes`)
  }

  #fault(code: TableErrorCode, problem: string): TableError {
    const row = this.#rowsBefore + this.#rows + 1
    return new TableError(code, `row ${row}, column ${this.#columns[this.#column]!.name}: ${problem}`)
  }
}
