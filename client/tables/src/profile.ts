import type { ColumnType } from '@cella/table'
import { convert, isMissing, type Spelling, spellings, typeOf } from './convert.ts'
import { DistinctCounter } from './distinct.ts'
import type { RawCell } from './raw-table.ts'
import type { ReadOptions } from './report.ts'

const categoriesMax = 40
const categoryLengthMax = 64
const examplesMax = 3
const exampleLengthMax = 80

/** Forms of values that tell who someone is, whatever the column is called. */
const forms = {
  'e-mail address': /^[^@\s]{1,64}@[^@\s]{1,190}\.[a-z]{2,24}$/i,
  IBAN: /^[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?$/,
  'social security number': /^\d{3}-\d{2}-\d{4}$/,
  'telephone number':
    /^(?:\+|00)[1-9][\d ()/.-]{6,20}$|^\(?0\d{1,5}\)?[ /-][\d -]{4,14}$|^\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}$/,
  'IP address': /^(?:\d{1,3}\.){3}\d{1,3}$/,
} as const
/** Two words or more that begin with capitals. */
const nameForm = /^\p{Lu}[\p{L}'’.-]+[ ,]+\p{Lu}[\p{L}'’. -]+$/u
/** After so many values, a form that fewer than one in ten had is given up. */
const formValuesMin = 4096
export type ValueForm = keyof typeof forms

/** What is known of a column after all its values went by, in constant memory. */
export class ColumnProfile {
  values = 0
  /** Quoted empty fields: a value in a text column, and a missing one in others. */
  emptyTexts = 0
  readonly examples: string[] = []
  readonly #distinct: DistinctCounter = new DistinctCounter()
  /** `undefined` once there are too many. */
  #categories: Map<string, number> | undefined = new Map()
  #possible: readonly Spelling[] = spellings
  readonly #formCounts: Map<ValueForm, number> = new Map()
  readonly #markers: Map<string, number> = new Map()
  #commaCount = 0
  #commaThousands = 0
  #forms: readonly ValueForm[] = Object.keys(forms) as ValueForm[]
  #nameLike = true
  #wordy = 0
  #min = Number.POSITIVE_INFINITY
  #max = Number.NEGATIVE_INFINITY

  observe(cell: RawCell, markers: ReadonlySet<string>): void {
    if (cell === null) return
    if (isMissing(cell, markers)) {
      this.#observeMarker(typeof cell === 'string' ? cell.trim() : cell.text.trim())
      return
    }
    const text = typeof cell === 'string' ? cell : cell.text
    const emptyText = typeof cell === 'object' && text === ''
    if (emptyText) {
      this.emptyTexts++
      return
    }
    this.values++
    this.#distinct.add(text)
    this.#observeExample(text)
    this.#observeCategory(text)
    for (const spelling of this.#possible) {
      if (convert(cell, spelling) === undefined) this.#possible = this.#possible.filter((other) => other !== spelling)
    }
    if (this.#possible.includes('number')) this.#observeNumber(Number(text))
    if (this.#possible.includes('number-comma')) this.#observeComma(text.trim())
    this.#observeForms(text)
  }

  get distinct(): number {
    return this.#distinct.count
  }

  /** Smallest and largest, of columns that are numbers. */
  get range(): { min: number; max: number } {
    return { min: this.#min, max: this.#max }
  }

  /** The form of at least nine in ten values. */
  get form(): ValueForm | undefined {
    for (const [form, count] of this.#formCounts) if (this.values > 0 && count >= this.values * 0.9) return form
    return undefined
  }

  /** Whether at least nine in ten values look like the name of a person: two words or more with capitals. */
  get looksLikeNames(): boolean {
    return this.values > 0 && this.#wordy >= this.values * 0.9
  }

  /** Each value and how often it comes, where they are few and short. */
  get categories(): ReadonlyMap<string, number> | undefined {
    return this.#categories
  }

  /** Markers that were taken as missing, and how often. */
  get markers(): ReadonlyMap<string, number> {
    return this.#markers
  }

  /** How the values are spelled, and what about that a person should know. */
  spelling(options: ReadOptions): { spelling: Spelling; doubt?: 'date-ambiguous' | 'thousands' } {
    if (this.values === 0) return { spelling: 'text' }
    const possible = this.#possible.filter(
      (spelling) => spelling !== 'date-day-first' && spelling !== 'date-month-first',
    )
    const dayFirst = this.#possible.includes('date-day-first')
    const monthFirst = this.#possible.includes('date-month-first')
    if (dayFirst && monthFirst) {
      if (options.dateOrder === undefined) return { spelling: 'text', doubt: 'date-ambiguous' }
      return { spelling: options.dateOrder === 'day-first' ? 'date-day-first' : 'date-month-first' }
    }
    if (dayFirst) return { spelling: 'date-day-first' }
    if (monthFirst) return { spelling: 'date-month-first' }
    const [spelling] = possible
    if (spelling === 'number-comma' && this.#commaThousands === this.#commaCount) {
      return { spelling: 'text', doubt: 'thousands' }
    }
    return { spelling: spelling ?? 'text' }
  }

  /** A spelling by which every value can be read as `type`, if there is one. */
  spellingFor(type: ColumnType, options: ReadOptions): Spelling | undefined {
    if (type === 'text') return 'text'
    const preferred = this.spelling(options).spelling
    if (typeOf(preferred) === type) return preferred
    if (this.values === 0) return type === 'date' ? 'date-iso' : type
    if (type === 'date' && options.dateOrder === undefined && preferred === 'text') return undefined
    return this.#possible.find((spelling) => typeOf(spelling) === type)
  }

  #observeMarker(marker: string): void {
    if (marker !== '') this.#markers.set(marker, (this.#markers.get(marker) ?? 0) + 1)
  }

  #observeForms(text: string): void {
    if (text.length > 256) return
    // Most columns have none of the forms: after enough values they stop paying for the question.
    if (this.values === formValuesMin) {
      const common = (count: number | undefined): boolean => (count ?? 0) >= formValuesMin / 10
      this.#forms = this.#forms.filter((form) => common(this.#formCounts.get(form)))
      this.#nameLike = common(this.#wordy)
    }
    for (const form of this.#forms) {
      if (forms[form].test(text)) this.#formCounts.set(form, (this.#formCounts.get(form) ?? 0) + 1)
    }
    if (this.#nameLike && nameForm.test(text)) this.#wordy++
  }

  #observeExample(text: string): void {
    if (this.examples.length === examplesMax) return
    const example = text.slice(0, exampleLengthMax).toWellFormed()
    if (!this.examples.includes(example)) this.examples.push(example)
  }

  #observeCategory(text: string): void {
    if (this.#categories === undefined) return
    if (text.length > categoryLengthMax) {
      this.#categories = undefined
      return
    }
    const count = this.#categories.get(text)
    this.#categories.set(text, (count ?? 0) + 1)
    if (this.#categories.size > categoriesMax) this.#categories = undefined
  }

  #observeNumber(value: number): void {
    if (value < this.#min) this.#min = value
    if (value > this.#max) this.#max = value
  }

  #observeComma(text: string): void {
    this.#observeNumber(Number(text.replace(',', '.')))
    const comma = text.indexOf(',')
    if (comma < 0) return
    this.#commaCount++
    if (text.length - comma === 4) this.#commaThousands++
  }
}
