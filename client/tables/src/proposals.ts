import type { ColumnShape, Treatment } from '@cella/table'
import type { ColumnProfile } from './profile.ts'
import type { Proposal } from './report.ts'

/** A category may be shown in a proposed bucket when this many rows have it. */
const categoryRowsMin = 10
/** Below this many values, all different says nothing. */
const uniqueValuesMin = 20
const uniqueShare = 0.95

type Rule = {
  readonly what: string
  /** Matched against the words of the name: lower case, separated by single spaces, with one at each end. */
  readonly words: RegExp
  readonly class: Proposal['class']
  readonly treat: (column: ColumnShape, profile: ColumnProfile) => Treatment
}

const drop = (): Treatment => ({ kind: 'drop' })
const hash = (): Treatment => ({ kind: 'keyed-hash' })
const pass = (): Treatment => ({ kind: 'pass' })

/** First match wins: identifying before sensitive before quasi-identifying. English and German names of columns. */
const rules: readonly Rule[] = [
  {
    what: 'an e-mail address',
    words: / (?:e ?mail|mail|email address|e mail adresse) /,
    class: 'identifying',
    treat: drop,
  },
  {
    what: 'a telephone number',
    words: / (?:tele)?(?:phone|fon)(?:nummer)? | (?:mobile|cell|fax|handy|tel|rufnummer)(?: number| no| nr)? $/,
    class: 'identifying',
    treat: drop,
  },
  {
    what: 'an official number of a person or account',
    words:
      / (?:ssn|social security|nino?|national (?:id|insurance)|passport|tax (?:id|number|no)|steuer(?: id|nummer)|sozialversicherungs?\w*|iban|bic|account|konto\w*|card|credit card|licen[cs]e|plate|nhs|mrn|insurance (?:id|number|no)|aadhaar|cpf|nif|pesel) /,
    class: 'identifying',
    treat: drop,
  },
  {
    what: 'a postal address or place on the map',
    words:
      / (?:address|street|stra(?:ss|ß)e|hausnummer|adresse|anschrift|latitude|longitude|lat|lon|lng|gps|ip(?: address)?) /,
    class: 'identifying',
    treat: drop,
  },
  {
    what: 'a name of a person',
    words:
      / (?:name|names|(?:first|last|given|family|middle|full|maiden|user|patient|employee|customer)name|surname|forename|vorname|nachname|familienname|geburtsname|signature) (?!of )/,
    class: 'identifying',
    treat: drop,
  },
  {
    what: 'a number that stands for a person or record',
    words:
      / (?:(?:staff|employee|personnel|personal|patient|person|customer|client|member|student|subject|user|case|record|kunden|mitarbeiter|versicherten?)(?: ?(?:id|ids|number|no|nr|num|nummer|code|key))|id|uid|uuid|guid|personalnummer|patientennummer|kundennummer) /,
    class: 'identifying',
    treat: hash,
  },
  {
    what: 'a secret',
    words: / (?:password|passwort|passphrase|pin|secret|token|api key) /,
    class: 'identifying',
    treat: drop,
  },
  {
    what: 'origin, belief, politics or sexuality',
    words:
      / (?:race|ethnic\w*|ethnie|origin|nationality|nationalit\w*|citizenship|religio\w*|konfession|denomination|caste|tribe|politic\w*|party|union|gewerkschaft|sexual\w*|orientation|immigra\w*|migra\w*) /,
    class: 'sensitive',
    treat: categories,
  },
  {
    what: 'health',
    words:
      / (?:diagnos\w*|disease\w*|illness|condition|health|medica\w*|drug\w*|therap\w*|treatment|symptom\w*|icd(?: ?\d+)?|hiv|cancer|tumou?r|pregnan\w*|disab\w*|blood|chol\w*|glucose|hba1c|bmi|weight|height|ecg|restecg|ekg|bp|bps|trestbps|systolic|diastolic|pulse|heart\w*|thalach|thal|angina|exang|smok\w*|alcohol|krankheit\w*|gesundheit\w*|blutdruck|psych\w*|depress\w*|allerg\w*|vaccin\w*|genotype|gene|mortality|death|died) /,
    class: 'sensitive',
    treat: categories,
  },
  {
    what: 'pay, wealth or debt',
    words:
      / (?:wages?|salar\w*|pay|payroll|income|earnings?|compensation|bonus|gehalt|lohn|einkommen|wealth|assets|balance|credit|debt|loan|mortgage|savings|rent|amount|price paid) /,
    class: 'sensitive',
    treat: roundedToHundredth,
  },
  {
    what: 'offences or social benefits',
    words: / (?:criminal|crime|offen[cs]e|convict\w*|arrest\w*|sentence|vorstrafe\w*|welfare|benefits|sozialhilfe) /,
    class: 'sensitive',
    treat: categories,
  },
  {
    what: 'a date of birth',
    words: / (?:dob|birth\w*|date of birth|geburts?(?:datum|tag)|geboren) /,
    class: 'quasi',
    treat: yearOrPass,
  },
  { what: 'an age', words: / (?:age|alter) /, class: 'quasi', treat: ageBands },
  {
    what: 'a place',
    words:
      / (?:zip\w*|post ?code|postal(?: code)?|plz|postleitzahl|city|town|village|ort|stadt|wohnort|municipality|county|district|gemeinde|region|neighbou?rhood) /,
    class: 'quasi',
    treat: (column) =>
      column.type === 'text' && / (?:zip\w*|post ?code|postal(?: code)?|plz|postleitzahl) /.test(wordsOf(column.name))
        ? { kind: 'mask', keepFirst: 2 }
        : column.type === 'integer'
          ? { kind: 'round', to: 1000 }
          : { kind: 'pass' },
  },
  {
    what: 'sex, family or schooling: with other columns it may single a person out',
    words:
      / (?:sex|gender|geschlecht|marital\w*|married|marr|familienstand|children|kinder|household|education|schooling|school|degree|bildung|occupation|job|profession|beruf|title) /,
    class: 'quasi',
    treat: pass,
  },
]

/** What a column probably is, why, and a treatment to begin with. A proposal: its owner decides. */
export function propose(column: ColumnShape, profile: ColumnProfile): Proposal {
  const { form } = profile
  if (form !== undefined && column.type === 'text') {
    return { class: 'identifying', treatment: { kind: 'drop' }, reason: `nine in ten values look like: ${form}` }
  }
  const words = wordsOf(column.name)
  for (const rule of rules) {
    if (!rule.words.test(words)) continue
    return {
      class: rule.class,
      treatment: rule.treat(column, profile),
      reason: `the name of the column says: ${rule.what}`,
    }
  }
  if (column.type === 'text' && profile.looksLikeNames && profile.distinct > 10) {
    return { class: 'identifying', treatment: { kind: 'drop' }, reason: 'nine in ten values look like names of people' }
  }
  if (isNearlyUnique(column, profile)) {
    const share = Math.min(100, Math.floor((100 * profile.distinct) / profile.values))
    const reason = `${share} % of the values are different: each may stand for one person`
    return { class: 'identifying', treatment: { kind: 'keyed-hash' }, reason }
  }
  if (column.type === 'date') {
    return { class: 'quasi', treatment: { kind: 'year' }, reason: 'a day may single a person out; a year rarely does' }
  }
  return { class: 'plain', treatment: { kind: 'pass' }, reason: 'nothing in name or values points to a person' }
}

/** Measurements are often all different; numbers with a fraction are never taken for numbers of people. */
function isNearlyUnique({ type }: ColumnShape, { distinct, values }: ColumnProfile): boolean {
  return (type === 'text' || type === 'integer') && values >= uniqueValuesMin && distinct >= values * uniqueShare
}

/** `staffNo`, `staff_no` and `Staff-No.` have the same words: ` staff no `. */
function wordsOf(name: string): string {
  const spaced = name.replace(/(\p{Ll}|\d)(\p{Lu})/gu, '$1 $2').toLowerCase()
  return ` ${spaced.replace(/[^\p{L}\p{N}]+/gu, ' ').trim()} `
}

/** Text: the categories that are common enough stay, the rest becomes `other`. Numbers stay: they are what is asked. */
function categories({ type }: ColumnShape, profile: ColumnProfile): Treatment {
  if (type !== 'text') return { kind: 'pass' }
  if (profile.categories === undefined) return { kind: 'keyed-hash' }
  const common = [...profile.categories]
    .filter(([text, count]) => count >= categoryRowsMin && /^[^\p{Cc}\p{Cs}]+$/u.test(text))
    .map(([text]): [string, string] => [text, text])
    .sort()
  return { kind: 'bucket', map: Object.fromEntries(common), default: 'other' }
}

/** Two significant digits of the largest value. */
function roundedToHundredth({ type }: ColumnShape, { range }: ColumnProfile): Treatment {
  if (type !== 'integer' && type !== 'number') return { kind: 'keyed-hash' }
  const largest = Math.max(Math.abs(range.min), Math.abs(range.max))
  if (!(largest > 0 && Number.isFinite(largest))) return { kind: 'pass' }
  const exponent = Math.floor(Math.log10(largest)) - 1
  if (type === 'integer' && exponent <= 0) return { kind: 'pass' }
  return { kind: 'round', to: Number(`1e${exponent}`) }
}

function ageBands({ type }: ColumnShape): Treatment {
  if (type !== 'integer' && type !== 'number') return { kind: 'pass' }
  return { kind: 'bucket', edges: [18, 25, 35, 45, 55, 65, 75] }
}

function yearOrPass({ type }: ColumnShape): Treatment {
  if (type === 'date') return { kind: 'year' }
  return type === 'text' ? { kind: 'drop' } : { kind: 'pass' }
}
