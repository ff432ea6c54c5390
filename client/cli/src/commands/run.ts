import type { Digest } from '@cella/bytes'
import { fetchReceipt, followRun, openReasons, type Run, type RunEvent, type Session, startRuns } from '@cella/sdk'
import type { Command } from 'commander'
import { type Cli, does, group, leaf, type Result } from '../command.ts'
import type { Context } from '../context.ts'
import { UsageError } from '../error.ts'
import { addPageOptions, digestArgument, integerOption, moreText } from '../options.ts'
import { renderTable } from '../terminal/table.ts'
import { printable } from '../terminal/text.ts'
import { formatSeconds, formatTime, shortDigest } from '../terminal/units.ts'
import { waitingLine } from '../waiting.ts'

/** `cella run` and `cella runs …` */
export function addRunCommands(program: Command, cli: Cli): void {
  const run = leaf(program, 'run <contract>', {
    summary: 'start a run of a contract of yours and follow it to its receipt',
    examples: ['cella run 91c2…', 'cella run 91c2… --count 3', 'cella run 91c2… --detach --json'],
  })
    .option('--count <runs>', 'how many runs', integerOption('--count', 1), 1)
    .option('--priority <0-9>', 'before others that your organisation has waiting', integerOption('--priority', 0), 0)
    .option('--detach', 'do not wait for it')
  does<{ count: number; priority: number; detach?: boolean }>(run, cli, async (context, [contract], options) => {
    const session = await context.session()
    const digest = digestArgument(contract, 'contract')
    const started = await startRuns(session, digest, { count: options.count, priority: options.priority })
    if (options.detach === true) {
      return { data: { runs: started }, text: started.map((one) => `run ${one.run} is ${one.status}`).join('\n') }
    }
    const results: Result[] = []
    for (const one of started) results.push(await follow(context, session, { contract: digest, run: one.run }))
    return {
      data: results.length === 1 ? results[0]!.data : { runs: results.map(({ data }) => data) },
      text: results.map(({ text }) => text).join('\n'),
      exitCode: results.some(({ exitCode }) => exitCode === 1) ? 1 : 0,
    }
  })
  const runs = group(program, 'runs', 'runs of contracts: list, show, cancel')
  addList(runs, cli)
  addShow(runs, cli)
  addCancel(runs, cli)
}

function addList(runs: Command, cli: Cli): void {
  const command = leaf(runs, 'list', {
    summary: 'list runs, newest first',
    examples: ['cella runs list', 'cella runs list --contract 91c2… --limit 200 --json'],
  }).option('--contract <digest>', 'of this contract only')
  addPageOptions(command)
  does<{ contract?: string; limit: number; before?: number }>(command, cli, async (context, _, options) => {
    const session = await context.session()
    await session.keys()
    const { limit, before } = options
    const contract = options.contract === undefined ? undefined : digestArgument(options.contract, 'contract')
    const { runs: newest, next } = await session.manager.runs({ contract, limit, before })
    return {
      data: { runs: newest, next: next ?? null },
      text: `${renderTable(
        {
          columns: [
            { name: 'contract', align: 'left' },
            { name: 'run', align: 'right' },
            { name: 'attempt', align: 'right' },
            { name: 'status', align: 'left' },
            { name: 'phase', align: 'left' },
            { name: 'since', align: 'left' },
          ],
          rows: newest.map(({ contract, run, attempt, status, phase, createdAt }) => [
            shortDigest(contract),
            `${run}`,
            `${attempt ?? 0}`,
            status,
            phase ?? null,
            createdAt === null || createdAt === undefined ? null : formatTime(createdAt),
          ]),
        },
        context,
      )}${moreText(next)}`,
    }
  })
}

function addShow(runs: Command, cli: Cli): void {
  const command = leaf(runs, 'show <contract> <run>', {
    summary: 'show a run; with --follow, live to its end',
    examples: ['cella runs show 91c2… 1', 'cella runs show 91c2… 2 --follow'],
  }).option('--follow', 'follow it live')
  does<{ follow?: boolean }>(command, cli, async (context, [contract, run], { follow: live }) => {
    const session = await context.session()
    await session.keys()
    const which = { contract: digestArgument(contract, 'contract'), run: runNumber(run) }
    if (live === true) return follow(context, session, which)
    return ending(context, session, await session.manager.run(which.contract, which.run), [])
  })
}

function addCancel(runs: Command, cli: Cli): void {
  const command = leaf(runs, 'cancel <contract> <run>', {
    summary: 'cancel a run that has no receipt yet; a use that was reserved stays used',
    examples: ['cella runs cancel 91c2… 3 --yes'],
  })
  does(command, cli, async (context, [contract, run]) => {
    const session = await context.session()
    const digest = digestArgument(contract, 'contract')
    const number = runNumber(run)
    await context.demand(`Cancel run ${number}? Uses that vaults reserved for it stay used.`)
    await session.keys()
    const status = await session.manager.cancel(digest, number)
    return { data: { contract: digest, run: number, status }, text: `run ${number} is ${status}` }
  })
}

const sayWhyMs = 5000

/** A run's number from the command line. */
export function runNumber(text: string | undefined): number {
  if (text === undefined || !/^[1-9]\d{0,6}$/.test(text))
    throw new UsageError(`run: “${text ?? ''}” is no number of a run`)
  return Number(text)
}

async function follow(context: Context, session: Session, which: { contract: Digest; run: number }): Promise<Result> {
  const events: RunEvent[] = []
  context.say(`run ${which.run} of ${shortDigest(which.contract)}`)
  const waiting = setTimeout(() => void sayWhy(context, session, which), sayWhyMs)
  try {
    const run = await followRun(session, which, (event) => {
      const before = events.at(-1)
      events.push(event)
      // Each phase is told when the next one begins, with how long it took.
      if (before !== undefined) context.say(phaseLine(context, before, event.at - before.at))
    })
    return await ending(context, session, run, events)
  } finally {
    clearTimeout(waiting)
  }
}

/** Said once where a run is still queued by then; nobody waits for it, and whoever follows hears of what is wrong anyway. */
async function sayWhy(context: Context, session: Session, which: { contract: Digest; run: number }): Promise<void> {
  const { waiting } = await session.manager.run(which.contract, which.run).catch(() => ({ waiting: undefined }))
  if (waiting) context.say(`  ${waitingLine(waiting)}`)
}

function phaseLine(context: Context, event: RunEvent, seconds: number): string {
  const attempt = (event.attempt ?? 1) > 1 ? ` (attempt ${event.attempt})` : ''
  const took = seconds < 1 ? `${Math.round(seconds * 1000)} ms` : formatSeconds(seconds)
  return `  ${context.errStyle.green('✓')} ${printable(event.phase)}${attempt} ${context.errStyle.dim(took)}`
}

async function ending(context: Context, session: Session, run: Run, events: readonly RunEvent[]): Promise<Result> {
  const first = events[0]
  const last = events.at(-1)
  const total = first && last ? ` in ${formatSeconds(last.at - first.at)}` : ''
  if (run.status === 'finished') {
    const { verdict } = await fetchReceipt(session, run)
    const proved = verdict.outcome === 'proved'
    const lines = [
      `run ${run.run} finished${total}; its receipt is ${verdict.outcome === 'proved' ? context.style.green('verified') : context.style.red(verdict.outcome)}`,
      ...[...verdict.wrong, ...verdict.missing].map(({ text }) => `  ${printable(text)}`),
      ...(proved
        ? [
            `open it:   cella open ${run.contract} ${run.run}`,
            `keep it:   cella receipt show ${run.contract} ${run.run} --output receipt.json`,
          ]
        : []),
    ]
    return { data: { ...run, receipt: verdict.outcome }, text: lines.join('\n'), exitCode: proved ? 0 : 1 }
  }
  if (run.status === 'queued' || run.status === 'running') {
    const phase = run.phase && run.phase !== run.status ? `, ${printable(run.phase)}` : ''
    const why = run.waiting ? `\n${waitingLine(run.waiting)}` : ''
    return { data: run, text: `run ${run.run} is ${run.status}${phase}${why}` }
  }
  const reasons = await reasonLines(session, run)
  const text = [
    `run ${run.run} ${run.status}${total}: ${run.error?.code ?? 'no reason was given'}`,
    ...reasons,
    ...(reasons.length === 0 ? [] : [`more: cella policy explain ${run.contract}`]),
  ].join('\n')
  return { data: run, text, exitCode: 1 }
}

/** Why vaults refused: in full where the reasons were sealed to this account, as codes otherwise. */
export async function reasonLines(session: Session, run: Run): Promise<string[]> {
  const opened = await openReasons(session, run.decisions ?? [])
  return opened
    .filter(({ allowed }) => !allowed)
    .flatMap(({ manifest, codes, reasons }) => [
      `  asset ${shortDigest(manifest)}:`,
      ...(reasons === undefined
        ? codes.map((code) => `    ${code} (its owner can read more)`)
        : reasons.map(
            ({ code, clause, expected, got, whoCanChange }) =>
              `    ${code} at ${printable(clause)}: expected ${printable(expected)}, got ${printable(got)}; the ${whoCanChange} can change that`,
          )),
    ])
}
