import { type Digest, parseDigest } from '@cella/bytes'
import { type Role, roleField } from '@cella/documents'
import type { ColumnType, Treatment } from '@cella/table'
import type { Command } from 'commander'
import { UsageError } from './error.ts'
import { integerOption } from './flags.ts'

export { collect, integerOption } from './flags.ts'

/** `--limit` and `--before`, of lists that begin with the newest. */
export function addPageOptions(command: Command): void {
  command
    .option('--limit <count>', 'so many at most, 1 to 200', integerOption('--limit', 1), 50)
    .option('--before <position>', 'the page before this one began here', integerOption('--before', 0))
}

/** How to see the rest of a list. */
export function moreText(next: number | undefined): string {
  return next === undefined ? '' : `\nthere are more: --before ${next}`
}

/** 64 hexadecimal digits. */
export function digestArgument(text: string | undefined, what: string): Digest {
  try {
    return parseDigest(text ?? '', what)
  } catch (cause) {
    throw new UsageError(`${what}: “${text ?? ''}” is not a digest`, '64 hexadecimal digits, lower case', { cause })
  }
}

/** A day, or a moment with zone: `2026-12-31`, `2026-12-31T18:00:00Z`. Seconds since 1970. A day is its last second for `end`. */
export function parseTime(text: string, which: 'start' | 'end'): number {
  const wholeDay = /^\d{4}-\d{2}-\d{2}$/.test(text)
  const moment = wholeDay || /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2})?(Z|[+-]\d{2}:\d{2})$/.test(text)
  const milliseconds = moment ? Date.parse(wholeDay ? `${text}T00:00:00Z` : text) : Number.NaN
  if (Number.isNaN(milliseconds)) {
    throw new UsageError(`“${text}” is no time`, 'a day (2026-12-31) or a moment with zone (2026-12-31T18:00:00Z)')
  }
  const seconds = Math.floor(milliseconds / 1000)
  return wholeDay && which === 'end' ? seconds + 86_399 : seconds
}

export interface WindowOptions {
  readonly from?: string
  readonly until?: string
  readonly days?: number
}

/** Clocks differ: what is to be in force at once begins this much before now. */
const clockSkewSeconds = 300

/** The window that `--from`, `--until` and `--days` say; `--days` counts from the start. */
export function windowOf(
  options: WindowOptions,
  now: number,
  defaultEnd: number,
): { notBefore: number; notAfter: number } {
  if (options.until !== undefined && options.days !== undefined) {
    throw new UsageError('--until and --days say the same thing', 'give one of them')
  }
  const notBefore = options.from === undefined ? now - clockSkewSeconds : parseTime(options.from, 'start')
  const notAfter =
    options.until !== undefined
      ? parseTime(options.until, 'end')
      : options.days !== undefined
        ? (options.from === undefined ? now : notBefore) + options.days * 86_400
        : defaultEnd
  if (notAfter < notBefore) throw new UsageError('the window ends before it begins')
  return { notBefore, notAfter }
}

/** `NAME=VALUE`, split at the first `=`. */
export function pair(text: string, option: string): { name: string; value: string } {
  const at = text.indexOf('=')
  if (at < 1 || at === text.length - 1) throw new UsageError(`${option} ${text}: write it as NAME=VALUE`)
  return { name: text.slice(0, at), value: text.slice(at + 1) }
}

/** `ORGANISATION/SERIES`, split at the last `/`. */
export function assetName(text: string, option: string): { organisation: string; series: string } {
  const at = text.lastIndexOf('/')
  if (at < 1 || at === text.length - 1) {
    throw new UsageError(`${option} ${text}: name an asset as ORGANISATION/SERIES`, 'for example "Clinic/admissions"')
  }
  return { organisation: text.slice(0, at), series: text.slice(at + 1) }
}

/** `ORGANISATION:ROLE`, split at the last `:`. */
export function receiverName(
  text: string,
  option: string,
): { organisation: string; role: 'receiver' | 'auditor' | 'regulator' } {
  const at = text.lastIndexOf(':')
  const role = text.slice(at + 1)
  if (at < 1 || (role !== 'receiver' && role !== 'auditor' && role !== 'regulator')) {
    throw new UsageError(
      `${option} ${text}: an output needs a receiver with a role`,
      'write ORGANISATION:ROLE with receiver, auditor or regulator, for example "Labour Office:receiver"',
    )
  }
  return { organisation: text.slice(0, at), role }
}

/** Roles of an organisation, comma-separated or repeated. */
export function roles(texts: readonly string[], option: string): Role[] {
  const all = texts.flatMap((text) => text.split(',')).filter((text) => text !== '')
  return all.map((text) => {
    const parsed = roleField.safeParse(text)
    if (parsed.success) return parsed.data
    throw new UsageError(`${option} ${text}: is no role`, 'publisher, approver, receiver, auditor, regulator, broker')
  })
}

/**
 * `drop`, `pass`, `mask`, `mask:2:2`, `keyed-hash`, `round:10`, `year`, `bucket:10,20,30`, or
 * `bucket:white=white,other` (cells to labels, the last one for all others).
 */
export function parseTreatment(text: string, column: string, type: ColumnType | undefined): Treatment {
  const [kind = '', ...rest] = text.split(':')
  const parameters = rest.join(':')
  const wrong = (expected: string): UsageError =>
    new UsageError(
      `--treat ${column}=${text}: ${expected}`,
      'pass, drop, mask[:FIRST:LAST], keyed-hash, round:TO, bucket:…, year',
    )
  switch (kind) {
    case 'pass':
    case 'drop':
    case 'keyed-hash':
    case 'year':
      if (parameters !== '') throw wrong(`${kind} takes no parameter`)
      return { kind }
    case 'mask': {
      if (parameters === '') return { kind: 'mask' }
      const [, first, last] = /^(\d{1,4}):(\d{1,4})$/.exec(parameters) ?? []
      if (first === undefined || last === undefined) throw wrong('write mask:FIRST:LAST, the characters that stay')
      return { kind: 'mask', keepFirst: Number(first), keepLast: Number(last) }
    }
    case 'round': {
      const to = Number(parameters)
      if (!(to > 0)) throw wrong('write round:TO with a number above zero')
      return { kind: 'round', to }
    }
    case 'bucket':
      return bucket(parameters, type, wrong)
    default:
      throw wrong(`“${kind}” is no treatment`)
  }
}

function bucket(parameters: string, type: ColumnType | undefined, wrong: (expected: string) => UsageError): Treatment {
  const parts = parameters.split(',')
  if (parts.some((part) => part === '')) throw wrong('has an empty part')
  if ((type === undefined || type === 'integer' || type === 'number') && !parameters.includes('=')) {
    const edges = parts.map(Number)
    if (edges.some((edge, index) => !Number.isFinite(edge) || (index > 0 && edge <= edges[index - 1]!))) {
      throw wrong('edges are numbers that ascend: bucket:18,40,65')
    }
    return { kind: 'bucket', edges }
  }
  const other = parts.at(-1)!
  const named = parts.slice(0, -1).map((part) => pair(part, '--treat'))
  if (other.includes('=') || named.length === 0) throw wrong('write bucket:CELL=LABEL,…,LABEL-OF-ALL-OTHERS')
  return { kind: 'bucket', map: Object.fromEntries(named.map(({ name, value }) => [name, value])), default: other }
}
