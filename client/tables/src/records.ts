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

/** One record of delimited text; `line` is where it starts, counted from 1. */
export interface TextRecord {
  readonly line: number
  readonly fields: readonly TextField[]
}

/** A field; a quoted empty one is an empty text and not a missing value. */
export interface TextField {
  readonly text: string
  readonly quoted: boolean
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
  readonly #whitespace: boolean
  readonly #quote: number
  readonly #escape: 'double' | 'backslash'
  #state = atStart
  #text = ''
  #quoted = false
  #fields: TextField[] = []
  #recordLength = 0
  #line = 1
  #recordLine = 1
  #quoteLine = 1
  #afterReturn = false

  constructor(dialect: Dialect) {
    this.#whitespace = dialect.delimiter === 'whitespace'
    this.#delimiter = this.#whitespace ? space : dialect.delimiter.charCodeAt(0)
    this.#quote = dialect.quote === 'none' ? -1 : dialect.quote.charCodeAt(0)
    this.#escape = dialect.escape
  }

  *push(text: string): Generator<TextRecord, void, undefined> {
    let at = 0
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
          while (stop !== lineFeed && stop !== carriageReturn && !this.#isDelimiter(stop)) {
            if (++at === length) break
            stop = text.charCodeAt(at)
          }
          this.#add(text, start, at)
          if (at < length) yield* this.#stop(stop)
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
            yield* this.#stop(unit)
          } else if (unit !== space) {
            throw this.#quoting(this.#line, 'something follows a closing quote')
          }
          at++
      }
    }
  }

  *end(): Generator<TextRecord, void, undefined> {
    if (this.#state === inQuotes || this.#state === afterEscape) {
      throw this.#quoting(this.#quoteLine, 'a quote is opened and never closed')
    }
    if (this.#state !== atStart || this.#fields.length > 0) yield* this.#stop(lineFeed)
  }

  #isDelimiter(unit: number): boolean {
    return unit === this.#delimiter || (this.#whitespace && unit === tab)
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
  *#stop(unit: number): Generator<TextRecord, void, undefined> {
    const lineEnd = unit === lineFeed || unit === carriageReturn
    // Spaces at the end of a line of white-space separated fields separate nothing.
    const nothing = this.#state !== afterQuote && this.#text === ''
    if (!(this.#whitespace && lineEnd && nothing)) this.#fields.push({ text: this.#text, quoted: this.#quoted })
    this.#text = ''
    this.#quoted = false
    this.#state = atStart
    if (!lineEnd) return
    const fields = this.#fields
    const line = this.#recordLine
    this.#fields = []
    this.#recordLength = 0
    this.#recordLine = ++this.#line
    this.#afterReturn = unit === carriageReturn
    const [first] = fields
    if (first === undefined || (fields.length === 1 && !first.quoted && first.text.trim() === '')) this.blankLines++
    else yield { line, fields }
  }

  #quoting(line: number, problem: string): TablesError {
    return new TablesError('ERR_FILE_QUOTING', `line ${line}: ${problem}`, {
      line,
      hint: 'if quotes are ordinary characters in this file, read it with quote "none"',
    })
  }
}
