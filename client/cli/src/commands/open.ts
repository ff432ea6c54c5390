import { type OpenedOutput, openOutput } from '@cella/sdk'
import { parseTable } from '@cella/table'
import type { Command } from 'commander'
import { type Cli, does, leaf } from '../command.ts'
import type { Context } from '../context.ts'
import { writeNewFile } from '../files.ts'
import { digestArgument } from '../options.ts'
import { type Bar, renderBars } from '../terminal/chart.ts'
import { renderTable } from '../terminal/table.ts'
import { printableLines } from '../terminal/text.ts'
import { formatCount } from '../terminal/units.ts'
import { runNumber } from './run.ts'

const rowsShownMax = 200

/** `cella open` */
export function addOpenCommand(program: Command, cli: Cli): void {
  const command = leaf(program, 'open <contract> <run>', {
    summary: 'verify a run’s receipt, then open its output',
    details:
      'A table is shown as a table and a bar chart; --output writes the exact bytes. Nothing is shown unless the receipt is proved.',
    examples: ['cella open 91c2… 1', 'cella open 91c2… 1 --name report --output report.csv'],
  })
    .option('--name <output>', 'which output, where there are several')
    .option('--output <file>', 'write the bytes to this file; “-” is standard output')
    .option('--chart <column>', 'the column that the bars show (default: the first value)')
    .option('--force', 'replace the file if it is there')
  does<{ name?: string; output?: string; chart?: string; force?: boolean }>(
    command,
    cli,
    async (context, [contract, run], options) => {
      const session = await context.session()
      const opened = await openOutput(session, {
        contract: digestArgument(contract, 'contract'),
        run: runNumber(run),
        name: options.name,
      })
      const data = {
        name: opened.name,
        bytes: opened.bytes.length,
        suppressed: opened.suppressed,
        outcome: opened.verdict.outcome,
        notProved: opened.verdict.notProved,
      }
      if (options.output === '-') {
        context.io.stdout.write(opened.bytes)
        return { data, text: '' }
      }
      if (options.output !== undefined) {
        await writeNewFile(options.output, opened.bytes, {
          overwrite: options.force === true,
          hint: 'choose another name, or --force',
        })
        return {
          data: { ...data, file: options.output },
          text: `${formatCount(opened.bytes.length, 'byte')} in ${options.output}`,
        }
      }
      const rows = opened.declared.format === 'table' ? tableOf(opened) : undefined
      return {
        data: { ...data, ...(rows && { rows: rows.objects }) },
        text: outputText(context, opened, rows, options.chart),
      }
    },
  )
}

interface Rows {
  readonly cells: (string | null)[][]
  readonly objects: Record<string, string | null>[]
}

function tableOf({ declared, bytes }: OpenedOutput): Rows {
  if (declared.format !== 'table') throw new TypeError('tableOf: not a table')
  const { columns } = declared
  const cells = [...parseTable(bytes, columns)].flatMap((batch) =>
    Array.from({ length: batch.rows }, (_, index) => batch.row(index)),
  )
  return {
    cells,
    objects: cells.map((row) => Object.fromEntries(columns.map(({ name }, index) => [name, row[index] ?? null]))),
  }
}

function outputText(context: Context, opened: OpenedOutput, rows: Rows | undefined, chart: string | undefined): string {
  const { style, width } = context
  const simulated = opened.verdict.notProved.some(({ code }) => code === 'SIMULATED_TEE')
  const foot = [
    style.green('✓ receipt verified'),
    ...(simulated ? [style.yellow('  the TEE was SIMULATED: nothing was protected from the operator')] : []),
    ...(opened.suppressed > 0
      ? [`  ${formatCount(opened.suppressed, 'row was', 'rows were')} suppressed: too small a group to speak of`]
      : []),
  ].join('\n')
  if (rows === undefined || opened.declared.format !== 'table') {
    const isText = !opened.bytes.includes(0)
    const shown = isText
      ? printableLines(new TextDecoder().decode(opened.bytes.subarray(0, 65_536)))
      : `${formatCount(opened.bytes.length, 'byte')}, no text; write them with --output FILE`
    return `${shown}\n\n${foot}`
  }
  const { columns } = opened.declared
  const table = renderTable(
    {
      columns: columns.map(({ name, type }) => ({
        name,
        align: type === 'integer' || type === 'number' ? 'right' : 'left',
      })),
      rows: rows.cells.slice(0, rowsShownMax),
    },
    { width, style },
  )
  const more =
    rows.cells.length > rowsShownMax ? `… and ${rows.cells.length - rowsShownMax} more rows: --output FILE\n` : ''
  const value = columns.findIndex(({ name, role }) => (chart === undefined ? role === 'value' : name === chart))
  const labels = columns.flatMap(({ role }, index) => (role === 'group' ? [index] : []))
  if (value < 0 || labels.length === 0 || rows.cells.length > 60) return `${table}\n${more}\n${foot}`
  const bars: Bar[] = rows.cells.map((row) => ({
    label: labels.map((index) => row[index] ?? '·').join(' · '),
    value: row[value] === null || row[value] === undefined ? null : Number(row[value]),
  }))
  return `${table}\n${more}\n${renderBars(bars, { width, style, title: columns[value]!.name })}\n\n${foot}`
}
