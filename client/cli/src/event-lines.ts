import type { Json } from '@cella/bytes'
import { type StreamAudit, type StreamEntry, unfinishedReleases, valuesOf } from '@cella/events'
import type { Style } from './terminal/style.ts'
import { renderPairs, renderTable } from './terminal/table.ts'
import { formatCount, formatTime, shortDigest } from './terminal/units.ts'

/** An entry of one's stream with the time that is known of it. */
export interface TimedEntry extends StreamEntry {
  /** Seconds since 1970, by the witnesses, of the newest entry up to this one that has a time. */
  readonly time: number | undefined
}

/** Which entries are asked for; what is left out admits all. */
export interface EntryFilter {
  readonly type?: string | undefined
  /** Digests, or how they begin. */
  readonly asset?: string | undefined
  readonly contract?: string | undefined
  readonly reason?: string | undefined
  readonly allowed?: boolean | undefined
  /** Seconds since 1970. */
  readonly since?: number | undefined
  readonly until?: number | undefined
}

/** Entries in order, each with its time: one without has that of the entry before. */
export function timed({ entries }: StreamAudit): TimedEntry[] {
  let last: number | undefined
  return entries.map((entry) => {
    const { time } = valuesOf(entry.fields) as { time?: { latest?: Json } | null }
    const latest = time?.latest
    if (typeof latest === 'number' && latest > 0) last = latest
    return { ...entry, time: last }
  })
}

export function matches(entry: TimedEntry, filter: EntryFilter): boolean {
  const { asset, contract, reasons, allowed } = valuesOf(entry.fields)
  const begins = (value: Json | undefined, start: string | undefined): boolean =>
    start === undefined || (typeof value === 'string' && value.startsWith(start))
  return (
    (filter.type === undefined || entry.type === filter.type) &&
    begins(asset, filter.asset) &&
    begins(contract, filter.contract) &&
    (filter.reason === undefined || (Array.isArray(reasons) && reasons.includes(filter.reason))) &&
    (filter.allowed === undefined || allowed === filter.allowed) &&
    (filter.since === undefined || (entry.time !== undefined && entry.time >= filter.since)) &&
    (filter.until === undefined || (entry.time !== undefined && entry.time <= filter.until))
  )
}

/** An entry for `--json`. */
export function entryJson({ n, index, state, type, fields, time }: TimedEntry): Json {
  return { n, index, state, type: type ?? null, time: time ?? null, fields: valuesOf(fields) }
}

/** Entries as a table, the newest last. */
export function entryTable(entries: readonly TimedEntry[], options: { width: number; style?: Style }): string {
  const columns = [
    { name: 'entry', align: 'right' },
    { name: 'index', align: 'right' },
    { name: 'time', align: 'left' },
    { name: 'event', align: 'left' },
    { name: 'what', align: 'left' },
  ] as const
  return renderTable(
    {
      columns,
      rows: entries.map((entry) => [
        `${entry.n}`,
        `${entry.index}`,
        entry.time === undefined ? null : formatTime(entry.time),
        entry.type ?? entry.state,
        wordsOf(entry),
      ]),
    },
    options,
  )
}

/** One entry on one line, for who follows the stream. */
export function entryLine(entry: TimedEntry): string {
  const time = entry.time === undefined ? '' : `${formatTime(entry.time)}  `
  return `${time}${entry.n}  ${entry.type ?? entry.state}  ${wordsOf(entry)}`.trimEnd()
}

/** All fields of one entry. */
export function entrySheet(entry: TimedEntry, style: Style): string {
  const pairs = entry.fields.map(({ name, value }): [string, string] => [
    name,
    typeof value === 'string' ? value : JSON.stringify(value),
  ])
  return renderPairs([['index', `${entry.index}`], ['state', entry.state], ...pairs], style)
}

/** What keeps this from being everything, and what was not finished. */
export function auditLines(audit: StreamAudit): string[] {
  return [
    ...audit.problems.map(({ text, code }) => `${text} (${code})`),
    ...unfinishedReleases(audit.entries).map(
      ({ n }) => `entry ${n} allowed a release of which nothing more is known: the keys may have gone out, or not`,
    ),
  ]
}

function wordsOf({ type, fields }: TimedEntry): string {
  const values = valuesOf(fields)
  const digest = (value: Json | undefined): string => (typeof value === 'string' ? shortDigest(value) : '?')
  const run = `run ${values.run ?? '?'} of contract ${digest(values.contract)}, asset ${digest(values.asset)}`
  switch (type) {
    case 'decision': {
      const reasons = Array.isArray(values.reasons) ? values.reasons.join(', ') : ''
      return values.allowed === true ? `allowed: ${run}` : `denied: ${run}: ${reasons}`
    }
    case 'released':
      return `key released: ${run}`
    case 'denials':
      return `${formatCount(Number(values.count ?? 0), 'further denial')}: ${Object.keys(values.codes ?? {}).join(', ')}`
    case 'access':
      return `stream key given to membership ${digest(values.membership)}`
    case 'erasure':
      return `erased: ${Array.isArray(values.erased) ? values.erased.join(', ') : '?'}`
    case 'audit-batch':
      return formatCount(Number(values.records ?? 0), 'audit record')
    case 'cover':
      return 'nothing happened'
    default:
      return fields
        .filter(({ name }) => !['n', 'previous', 'type', 'time'].includes(name))
        .map(({ name, value }) => `${name} ${typeof value === 'string' ? value.slice(0, 12) : JSON.stringify(value)}`)
        .join(', ')
  }
}
