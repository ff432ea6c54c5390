import type { ColumnType } from '@cella/table'
import { fits, type Markers, type Spelling, spellings, trim, typeOf } from './convert.ts'
import { DistinctCounter } from './distinct.ts'
import type { RawCell } from './raw-table.ts'
import type { ReadOptions } from './report.ts'

const categoriesMax = 40
const categoryLengthMax = 64
const examplesMax = 3
const exampleLengthMax = 80
const formLengthMax = 256

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
/** Values of a column that are remembered with what was found out about them. A column with more is not asked again. */
const knownMax = 512
/** After so many values, a form that fewer than one in ten had is given up. */
const formValuesMin = 4096
export type ValueForm = keyof typeof forms
const noForms: readonly ValueForm[] = []

/** What each further time of a value adds. */
interface Known {
  count: number
  readonly forms: readonly ValueForm[]
  readonly nameLike: boolean
  readonly comma: Comma
}

/** Whether a value has a comma, and whether that could separate thousands. */
type Comma = 'none' | 'decimal' | 'thousands'

/** What is known of a column after all its values went by, in constant memory. */
export class ColumnProfile {
  values = 0
  /** Quoted empty fields: a value in a text column, and a missing one in others. */
  emptyTexts = 0
  readonly examples: string[] = []
  readonly #markersKnown: Markers
  readonly #distinct: DistinctCounter = new DistinctCounter()
  /** By value, as long as they are few; no long ones. */
  #known: Map<string, Known> | undefined = new Map()
  #longValues = false
  #possible: readonly Exclude<Spelling, 'text'>[] = spellings
  readonly #formCounts: Map<ValueForm, number> = new Map()
  readonly #markers: Map<string, number> = new Map()
  #commaCount = 0
  #commaThousands = 0
  #forms: readonly ValueForm[] = Object.keys(forms) as ValueForm[]
  #nameLike = true
  #wordy = 0
  #min = Number.POSITIVE_INFINITY
  #max = Number.NEGATIVE_INFINITY

  constructor(markers: Markers) {
    this.#markersKnown = markers
  }

  observe(cell: RawCell): void {
    if (cell === null) return
    const text = typeof cell === 'string' ? cell : cell.text
    if (this.#markersKnown.missing(cell)) {
      this.#observeMarker(trim(text))
      return
    }
    if (typeof cell === 'object' && text === '') {
      this.emptyTexts++
      return
    }
    this.values++
    if (this.values === formValuesMin) this.#giveUpForms()
    // A text may come with one type and with another.
    const known = this.#known?.get(text)
    if (known === undefined || typeof cell !== 'string') this.#find(cell, text)
    else this.#again(known)
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
    if (this.#known === undefined || this.#longValues || this.#known.size > categoriesMax) return undefined
    return new Map([...this.#known].map(([text, { count }]) => [text, count]))
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

  /** A value that was seen before changes nothing but what is counted. */
  #again(known: Known): void {
    known.count++
    for (const form of known.forms) if (this.#forms.includes(form)) this.#countForm(form)
    if (known.nameLike && this.#nameLike) this.#wordy++
    if (known.comma !== 'none') this.#countComma(known.comma)
  }

  #find(cell: Exclude<RawCell, null>, text: string): void {
    this.#distinct.add(text)
    this.#observeExample(text)
    for (const spelling of this.#possible) {
      if (!fits(cell, spelling)) this.#possible = this.#possible.filter((other) => other !== spelling)
    }
    let comma: Comma = 'none'
    // As long as all are numbers with a point, none has a comma.
    if (this.#possible.includes('number')) this.#observeNumber(Number(text))
    else if (this.#possible.includes('number-comma')) comma = this.#observeComma(trim(text))
    const short = text.length <= formLengthMax
    const found = short && this.#forms.length > 0 ? this.#forms.filter((form) => forms[form].test(text)) : noForms
    for (const form of found) this.#countForm(form)
    const nameLike = short && this.#nameLike && nameForm.test(text)
    if (nameLike) this.#wordy++
    if (this.#known !== undefined) this.#remember(this.#known, text, { count: 1, forms: found, nameLike, comma })
  }

  #remember(known: Map<string, Known>, text: string, found: Known): void {
    if (text.length > categoryLengthMax) {
      this.#longValues = true
      return
    }
    const before = known.get(text)
    if (before !== undefined) before.count++
    else if (known.size === knownMax) this.#known = undefined
    else known.set(copyOf(text), found)
  }

  /** Most columns have none of the forms: after enough values they stop paying for the question. */
  #giveUpForms(): void {
    const common = (count: number | undefined): boolean => (count ?? 0) >= formValuesMin / 10
    this.#forms = this.#forms.filter((form) => common(this.#formCounts.get(form)))
    this.#nameLike = common(this.#wordy)
  }

  #countForm(form: ValueForm): void {
    this.#formCounts.set(form, (this.#formCounts.get(form) ?? 0) + 1)
  }

  #observeExample(text: string): void {
    if (this.examples.length === examplesMax) return
    const example = text.slice(0, exampleLengthMax).toWellFormed()
    if (!this.examples.includes(example)) this.examples.push(example)
  }

  #observeNumber(value: number): void {
    if (value < this.#min) this.#min = value
    if (value > this.#max) this.#max = value
  }

  #observeComma(text: string): Comma {
    this.#observeNumber(Number(text.replace(',', '.')))
    const at = text.indexOf(',')
    if (at < 0) return 'none'
    const comma = text.length - at === 4 ? 'thousands' : 'decimal'
    this.#countComma(comma)
    return comma
  }

  #countComma(comma: 'decimal' | 'thousands'): void {
    this.#commaCount++
    if (comma === 'thousands') this.#commaThousands++
  }
}

/** The same text in memory of its own: a part of a long text keeps all of it in memory. */
function copyOf(text: string): string {
  return ` ${text}`.slice(1)
}
