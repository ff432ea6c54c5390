import { encodeBase64 } from '@cella/bytes'
import { type AccessRecord, type AccessReport, readAccess } from '@cella/sdk'
import type { Command } from 'commander'
import { type Cli, does, leaf } from '../command.ts'
import type { Context } from '../context.ts'
import { UsageError } from '../error.ts'
import { writeNewFile } from '../files.ts'
import { assetName } from '../options.ts'
import { renderTable } from '../terminal/table.ts'
import { printable } from '../terminal/text.ts'
import { formatTime, shortDigest } from '../terminal/units.ts'

/** `cella assets access` */
export function addAccess(assets: Command, cli: Cli): void {
  const command = leaf(assets, 'access <asset>', {
    summary: 'list who asked for an asset of yours, when and for what, and what the vaults decided',
    details:
      'Read from your organisation’s own stream of events, which says by itself whether something is missing. For members with the role auditor or regulator; each reading stands in the stream too.',
    examples: ['cella assets access own/payroll', 'cella assets access own/payroll --csv access.csv'],
  }).option('--csv <file>', 'write them all to a file, each with its proof from the log')
  does<{ csv?: string }>(command, cli, async (context, [which], { csv }) => {
    const { organisation, series } = assetName(which!, 'asset')
    if (organisation !== 'own') throw new UsageError('access is told to an asset’s owner', 'write own/SERIES')
    const report = await readAccess(await context.session(), { series })
    if (csv !== undefined) await writeNewFile(csv, csvOf(report.records), { hint: 'choose another name' })
    return {
      data: {
        complete: report.problems.length === 0,
        problems: report.problems,
        streams: report.streams,
        records: report.records.map((record) => ({ ...record, proof: encodeBase64(record.proof) })),
        ...(csv !== undefined && { csv }),
      },
      text: textOf(context, report, csv),
    }
  })
}

function textOf(context: Context, { records, problems, streams }: AccessReport, csv: string | undefined): string {
  const table = renderTable(
    {
      columns: ['when', 'who', 'purpose', 'program', 'run', 'verdict', 'to', 'log entry'].map((name) => ({
        name,
        align: name === 'log entry' ? ('right' as const) : ('left' as const),
      })),
      rows: records.map(({ time, who, purpose, program, contract, run, verdict, reasons, receivers, index }) => [
        formatTime(time.latest),
        printable(who),
        printable(purpose),
        printable(program),
        contract === null ? '' : `${run} of ${shortDigest(contract)}`,
        reasons.length === 0 ? verdict : `${verdict}: ${reasons.join(', ')}`,
        receivers.map(printable).join(', '),
        `${index}`,
      ]),
    },
    context,
  )
  const { style } = context
  const read = streams.map(
    ({ vault, entries, size }) => `${entries} entries of vault ${shortDigest(vault)} up to log entry ${size}`,
  )
  return [
    table,
    '',
    ...(problems.length === 0
      ? [style.green(`complete: ${read.join('; ')}, none missing`)]
      : [style.yellow('this may not be everything:'), ...problems.map((problem) => `  ${printable(problem)}`)]),
    ...(csv === undefined ? [] : [`written to ${csv}`]),
  ].join('\n')
}

const columns: readonly [string, (record: AccessRecord) => string | number | null][] = [
  ['earliest', ({ time }) => new Date(time.earliest * 1000).toISOString()],
  ['latest', ({ time }) => new Date(time.latest * 1000).toISOString()],
  ['who', ({ who }) => who],
  ['account', ({ account }) => account],
  ['purpose', ({ purpose }) => purpose],
  ['program', ({ program }) => program],
  ['contract', ({ contract }) => contract],
  ['run', ({ run }) => run],
  ['attempt', ({ attempt }) => attempt],
  ['verdict', ({ verdict }) => verdict],
  ['reasons', ({ reasons }) => reasons.join(' ')],
  ['receivers', ({ receivers }) => receivers.join('; ')],
  ['manifest', ({ manifest }) => manifest],
  ['revision', ({ revision }) => revision],
  ['decision', ({ decision }) => decision],
  ['vault', ({ vault }) => vault],
  ['entry', ({ entry }) => entry],
  ['index', ({ index }) => index],
  ['commitment', ({ commitment }) => commitment],
  ['proof', ({ proof }) => encodeBase64(proof)],
]

/** RFC 4180. */
export function csvOf(records: readonly AccessRecord[]): string {
  const lines = [
    columns.map(([name]) => name),
    ...records.map((record) => columns.map(([, of]) => `${of(record) ?? ''}`)),
  ]
  return `${lines.map((cells) => cells.map(cell).join(',')).join('\r\n')}\r\n`
}

/** Others chose these texts: what a spreadsheet would run as a formula gets an apostrophe before it. */
function cell(text: string): string {
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe
}
