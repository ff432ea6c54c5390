import { rowBytesMax } from '@cella/table'
import { TablesError } from './error.ts'
import type { Delimiter, Quote } from './report.ts'

/** How delimited text is written. */
export interface Dialect {
  readonly delimiter: Delimiter
  readonly quote: Quote
  /** How a quote inside quotes is written: `""` or `\"`. */
  readonly escape: 'double' | 'backslash'
}

/**
 * A field of delimited text. A quoted empty one is an empty text and not a missing value; any other is a bare string, so
 * that a cell costs no object.
 */
export type Field = string | typeof emptyText

const emptyText = { type: 'text', text: '' } as const

/** The text of a field, whichever way it is kept. */
export function textOf(field: Field): string {
  return typeof field === 'string' ? field : field.text
}

/** Takes one record; `line` is where it starts, counted from 1. */
export type TakeRecord = (line: number, fields: readonly Field[]) => void

/** A record as `recordsOf` hands it out. */
export interface TextRecord {
  readonly line: number
  readonly cells: readonly Field[]
}

/** The records of `source`, in pieces. What comes before a fault is handed out before the fault is thrown. */
export async function* recordsOf(
  reader: RecordReader,
  source: AsyncIterable<string>,
): AsyncGenerator<readonly TextRecord[], void, undefined> {
  let piece: TextRecord[] = []
  const take = (line: number, cells: readonly Field[]): void => {
    piece.push({ line, cells })
  }
  try {
    for await (const text of source) {
      reader.push(text, take)
      yield piece
      piece = []
    }
    reader.end(take)
  } catch (error) {
    yield piece
    throw error
  }
  yield piece
}

const atStart = 0
const inPlain = 1
const inQuotes = 2
const afterQuote = 3
const afterEscape = 4

const lineFeed = 0x0a
const carriageReturn = 0x0d
const space = 0x20
const tab = 0x09
const backslash = 0x5c

/**
 * Cuts delimited text into records, in whatever pieces it comes; each character is looked at once. Takes LF, CRLF and
 * CR, quotes anywhere but at the start of a field as characters, and blank lines as nothing. Throws TablesError
 * ERR_FILE_QUOTING or ERR_FILE_TOO_LARGE with the line.
 */
export class RecordReader {
  blankLines = 0
  readonly #delimiter: number
  /** A second delimiter where white space separates, else the same once more. */
  readonly #delimiterToo: number
  readonly #whitespace: boolean
  readonly #quote: number
  readonly #escape: 'double' | 'backslash'
  #state = atStart
  #text = ''
  #quoted = false
  #fields: Field[] = []
  #firstQuoted = false
  #recordLength = 0
  #line = 1
  #recordLine = 1
  #quoteLine = 1
  #afterReturn = false

  constructor(dialect: Dialect) {
    this.#whitespace = dialect.delimiter === 'whitespace'
    this.#delimiter = this.#whitespace ? space : dialect.delimiter.charCodeAt(0)
    this.#delimiterToo = this.#whitespace ? tab : this.#delimiter
    this.#quote = dialect.quote === 'none' ? -1 : dialect.quote.charCodeAt(0)
    this.#escape = dialect.escape
  }

  push(text: string, take: TakeRecord): void {
    let at = 0
    const [delimiter, delimiterToo] = [this.#delimiter, this.#delimiterToo]
    const stopMax = Math.max(delimiter, delimiterToo, carriageReturn)
    const { length } = text
    while (at < length) {
      const unit = text.charCodeAt(at)
      if (this.#afterReturn) {
        this.#afterReturn = false
        if (unit === lineFeed) {
          at++
          continue
        }
      }
      switch (this.#state) {
        case atStart:
          if (unit === this.#quote) {
            this.#state = inQuotes
            this.#quoted = true
            this.#quoteLine = this.#line
            at++
          } else if (this.#whitespace && this.#isDelimiter(unit)) {
            at++
          } else {
            this.#state = inPlain
          }
          break
        case inPlain: {
          const start = at
          let stop = unit
          // Most characters are above all stops: one comparison each.
          while (
            stop > stopMax ||
            (stop !== delimiter && stop !== lineFeed && stop !== carriageReturn && stop !== delimiterToo)
          ) {
            if (++at === length) break
            stop = text.charCodeAt(at)
          }
          this.#add(text, start, at)
          if (at < length) this.#stop(stop, take)
          at++
          break
        }
        case inQuotes: {
          const start = at
          let stop = unit
          while (stop !== this.#quote && !(stop === backslash && this.#escape === 'backslash')) {
            if (stop === lineFeed) this.#line++
            if (++at === length) break
            stop = text.charCodeAt(at)
          }
          this.#add(text, start, at)
          if (at < length) this.#state = stop === this.#quote ? afterQuote : afterEscape
          at++
          break
        }
        case afterEscape:
          this.#add(text, at, at + 1)
          if (unit === lineFeed) this.#line++
          this.#state = inQuotes
          at++
          break
        default:
          // After a closing quote.
          if (unit === this.#quote && this.#escape === 'double') {
            this.#add(text, at, at + 1)
            this.#state = inQuotes
          } else if (unit === lineFeed || unit === carriageReturn || this.#isDelimiter(unit)) {
            this.#stop(unit, take)
          } else if (unit !== space) {
            throw this.#quoting(this.#line, 'something follows a closing quote')
          }
          at++
      }
    }
  }

  end(take: TakeRecord): void {
    if (this.#state === inQuotes || this.#state === afterEscape) {
      throw this.#quoting(this.#quoteLine, 'a quote is opened and never closed')
    }
    if (this.#state !== atStart || this.#fields.length > 0) this.#stop(lineFeed, take)
  }

  #isDelimiter(unit: number): boolean {
    return unit === this.#delimiter || unit === this.#delimiterToo
  }

  #add(text: string, start: number, end: number): void {
    this.#recordLength += end - start
    if (this.#recordLength > rowBytesMax) {
      throw new TablesError(
        'ERR_FILE_TOO_LARGE',
        `line ${this.#recordLine}: the row is longer than ${rowBytesMax} characters`,
        {
          line: this.#recordLine,
          hint: 'a row may have 16 MiB; is a quote never closed, or the delimiter another?',
        },
      )
    }
    this.#text += text.slice(start, end)
  }

  /** A field ended before `unit`; with a line end, so did the record. */
  #stop(unit: number, take: TakeRecord): void {
    const lineEnd = unit === lineFeed || unit === carriageReturn
    const fields = this.#fields
    // Spaces at the end of a line of white-space separated fields separate nothing.
    if (!(this.#whitespace && lineEnd && this.#state !== afterQuote && this.#text === '')) {
      if (fields.length === 0) this.#firstQuoted = this.#quoted
      fields.push(this.#quoted && this.#text === '' ? emptyText : this.#text)
    }
    this.#text = ''
    this.#quoted = false
    this.#state = atStart
    if (!lineEnd) return
    const line = this.#recordLine
    this.#fields = []
    this.#recordLength = 0
    this.#recordLine = ++this.#line
    this.#afterReturn = unit === carriageReturn
    const blank = fields.length === 1 && !this.#firstQuoted && textOf(fields[0]!).trim() === ''
    if (fields.length === 0 || blank) this.blankLines++
    else take(line, fields)
  }

  #quoting(line: number, problem: string): TablesError {
    return new TablesError('ERR_FILE_QUOTING', `line ${line}: ${problem}`, {
      line,
      hint: 'if quotes are ordinary characters in this file, read it with --quote none',
    })
  }
}
