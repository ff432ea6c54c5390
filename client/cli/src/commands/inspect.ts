import { type InspectionReport, inspectFile, type ReadOptions } from '@cella/tables'
import { type Command, Option } from 'commander'
import { type Cli, does, leaf } from '../command.ts'
import { UsageError } from '../error.ts'
import { collect } from '../options.ts'
import type { Style } from '../terminal/style.ts'
import { renderPairs, renderTable } from '../terminal/table.ts'
import { printable } from '../terminal/text.ts'
import { formatBytes, formatCount } from '../terminal/units.ts'
import { treatmentText } from '../words.ts'

/** How a table file is to be read: shared by `inspect` and `publish`. */
export interface ReadFlags {
  readonly delimiter?: string
  readonly header?: boolean
  readonly encoding?: 'utf-8' | 'latin1'
  readonly missing?: string[]
  readonly quote?: NonNullable<ReadOptions['quote']>
  readonly ragged?: 'refuse' | 'pad'
  readonly dateOrder?: 'day-first' | 'month-first'
  readonly format?: 'delimited' | 'jsonl' | 'parquet'
}

export function addReadOptions(command: Command): Command {
  return command
    .addOption(new Option('--format <format>', 'how the file is written').choices(['delimited', 'jsonl', 'parquet']))
    .option('--delimiter <character>', 'what separates fields: a character, tab, or whitespace')
    .option('--header', 'the first line names the columns')
    .option('--no-header', 'the first line is data')
    .addOption(new Option('--encoding <name>', 'of the text').choices(['utf-8', 'latin1']))
    .option('--missing <text>', 'a text that stands for a missing value; may be repeated', collect)
    .addOption(new Option('--quote <character>', 'what fields are quoted with').choices(['"', "'", 'none']))
    .addOption(new Option('--ragged <how>', 'rows with too few fields').choices(['refuse', 'pad']))
    .addOption(new Option('--date-order <order>', 'how 03/04/2020 is to be read').choices(['day-first', 'month-first']))
}

export function readOptionsOf(flags: ReadFlags): ReadOptions {
  const { format, header, encoding, missing, quote, ragged, dateOrder } = flags
  return {
    ...(format !== undefined && { format }),
    ...(flags.delimiter !== undefined && { delimiter: delimiterOf(flags.delimiter) }),
    ...(header !== undefined && { header }),
    ...(encoding !== undefined && { encoding }),
    ...(missing !== undefined && { missing }),
    ...(quote !== undefined && { quote }),
    ...(ragged !== undefined && { ragged }),
    ...(dateOrder !== undefined && { dateOrder }),
  }
}

function delimiterOf(text: string): NonNullable<ReadOptions['delimiter']> {
  const named: Record<string, NonNullable<ReadOptions['delimiter']>> = {
    ',': ',',
    ';': ';',
    '|': '|',
    '\t': '\t',
    tab: '\t',
    whitespace: 'whitespace',
  }
  const delimiter = Object.hasOwn(named, text) ? named[text] : undefined
  if (delimiter === undefined)
    throw new UsageError(`--delimiter ${text}: is not one that is read`, '“,”, “;”, “|”, tab, or whitespace')
  return delimiter
}

/** `cella inspect` */
export function addInspectCommand(program: Command, cli: Cli): void {
  const command = leaf(program, 'inspect <file>', {
    summary: 'read a table, say what is in it, and propose what to protect',
    details:
      'Reads CSV, TSV, JSON Lines and Parquet. Nothing leaves this machine, and without --examples no value is shown.',
    examples: ['cella inspect admissions.csv', 'cella inspect old.txt --delimiter ";" --no-header --missing "-9"'],
  }).option('--examples', 'show values of each column, in the clear')
  addReadOptions(command)
  does<ReadFlags & { examples?: boolean }>(command, cli, async (context, [file], flags) => {
    const { report } = await inspectFile(file!, { ...readOptionsOf(flags), ...(flags.examples && { examples: true }) })
    return { data: report, text: inspectionText(report, context) }
  })
}

/** What an inspection found, for people. */
function inspectionText(report: InspectionReport, { width, style }: { width: number; style: Style }): string {
  const head = renderPairs(
    [
      [
        'format',
        [
          report.format,
          report.delimiter === null ? undefined : `delimiter ${JSON.stringify(report.delimiter)}`,
          report.encoding,
        ]
          .filter(Boolean)
          .join(', '),
      ],
      [
        'size',
        `${formatBytes(report.bytes)}, ${formatCount(report.rows, 'row')}, ${formatCount(report.columns.length, 'column')}${report.header ? '' : ', no header'}`,
      ],
    ],
    style,
  )
  const hasExamples = report.columns.some(({ examples }) => examples !== undefined)
  const table = renderTable(
    {
      columns: [
        { name: 'column', align: 'left' },
        { name: 'type', align: 'left' },
        { name: 'missing', align: 'right' },
        { name: 'distinct', align: 'right' },
        { name: 'class', align: 'left' },
        { name: 'proposal', align: 'left' },
        { name: hasExamples ? 'examples' : 'because', align: 'left' },
      ],
      rows: report.columns.map(({ name, type, missing, distinct, proposal, examples }) => [
        name,
        type,
        `${missing}`,
        `${distinct}`,
        proposal.class,
        treatmentText(proposal.treatment),
        examples?.join(', ') ?? proposal.reason,
      ]),
    },
    { width, style },
  )
  const warnings = report.warnings.map(
    ({ line, message }) =>
      `${style.yellow('note:')} ${line === undefined ? '' : `line ${line}: `}${printable(message)}`,
  )
  return [head, '', table, ...(warnings.length > 0 ? ['', ...warnings] : [])].join('\n')
}
