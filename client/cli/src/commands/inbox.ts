import { type Asked, answerRequest, type Notice, type RunNews, readInbox, type ToApprove } from '@cella/sdk'
import type { Command } from 'commander'
import { type Cli, does, group, leaf } from '../command.ts'
import type { Context } from '../context.ts'
import { UsageError } from '../error.ts'
import { integerOption } from '../options.ts'
import { renderTable } from '../terminal/table.ts'
import { printable } from '../terminal/text.ts'
import { formatTime, shortDigest } from '../terminal/units.ts'

/** `cella inbox`, `cella watch` and `cella webhook …` */
export function addInboxCommands(program: Command, cli: Cli): void {
  addInbox(program, cli)
  addWatch(program, cli)
  addWebhooks(group(program, 'webhook', 'have a URL told of what concerns your organisation'), cli)
}

function addInbox(program: Command, cli: Cli): void {
  const command = leaf(program, 'inbox', {
    summary: 'what waits for you: contracts to approve, answers to what you asked, results',
    details:
      'What is shown was verified here and stands in the log. Who asked is told that you have seen it, unless you say otherwise.',
    examples: ['cella inbox', 'cella inbox --unseen --json', 'cella inbox --before 812'],
  })
    .option('--unseen', 'don’t tell who asked that you have seen it')
    .option('--before <entry>', 'the next page: what stands before this log entry', integerOption('--before', 0))
  does<{ unseen?: boolean; before?: number }>(command, cli, async (context, _, { unseen, before }) => {
    const session = await context.session()
    const inbox = await readInbox(session, { before })
    if (unseen !== true) {
      for (const { request, delegatedTo, declined, seen } of inbox.approve) {
        if (request === null || seen || declined || delegatedTo !== null) continue
        await answerRequest(session, { request, answer: 'seen', account: null, message: '' })
      }
    }
    const { keyId } = (await session.keys()).account
    return { data: inbox, text: inboxText(inbox, keyId, context) }
  })
}

function inboxText(
  { approve, asked, runs, next, moreRuns }: Awaited<ReturnType<typeof readInbox>>,
  own: string,
  context: Context,
): string {
  const { style } = context
  const open = asked.filter(({ standing }) => standing !== 'approved')
  const sections = [
    ['to approve', approve.map((item) => approveText(item, own, context))],
    ['you asked', open.map((item) => askedText(item))],
    ['results', runs.filter(({ isReceiver, status }) => isReceiver && status === 'finished').map(resultText)],
    ['refused or failed', runs.filter(({ status }) => status === 'refused' || status === 'failed').map(brokenText)],
  ] as const
  const texts = sections
    .filter(([, items]) => items.length > 0)
    .map(([title, items]) => [style.bold(title), ...items.map((item) => `  ${item}`)].join('\n'))
  const more = [
    ...(next === null ? [] : [`older ones are there as well: cella inbox --before ${next}`]),
    ...(moreRuns ? ['there were more runs in these 30 days: cella runs list'] : []),
  ]
  return texts.length + more.length === 0 ? 'nothing waits for you' : [...texts, ...more].join('\n\n')
}

function approveText(item: ToApprove, own: string, context: Context): string {
  const { style } = context
  const due = item.by ?? item.until
  const late = due * 1000 < Date.now() ? style.red(' (past)') : ''
  const lines = [
    `${style.bold(printable(item.name))} of ${printable(item.author)}, ${item.by === null ? 'ends' : 'answer by'} ${formatTime(due)}${late}`,
    `would read: ${item.assets.map(printable).join(', ')}; its output goes to: ${item.receivers.map(printable).join(', ')}`,
    ...(item.message === '' ? [] : [`“${printable(item.message)}”`]),
    ...(item.delegatedTo === null
      ? []
      : [item.delegatedTo.account === own ? 'handed to you' : `handed to ${printable(item.delegatedTo.name)}`]),
    ...(item.declined ? ['declined'] : []),
    style.dim(`cella contract approve ${item.contract}`),
  ]
  return lines.join('\n    ')
}

const standings: Record<Asked['standing'], string> = {
  waiting: 'has not seen it yet',
  seen: 'has seen it',
  delegated: 'handed it on',
  declined: 'declined',
  approved: 'approved',
}

function askedText({ name, to, by, standing, who, message }: Asked): string {
  const detail = [who, message].filter((text) => text !== null && text !== '').map((text) => printable(text!))
  const said = detail.length === 0 ? '' : ` (${detail.join(': ')})`
  return `${printable(name)}: ${printable(to)} ${standings[standing]}${said}; answer by ${formatTime(by)}`
}

function resultText({ name, contract, run, at }: RunNews): string {
  return `${printable(name)}, run ${run}, ${formatTime(at)}: cella open ${contract} ${run}`
}

function brokenText({ name, contract, run, status }: RunNews): string {
  return `${printable(name)}, run ${run} ${status}: cella policy explain ${contract} ${run}`
}

function addWatch(program: Command, cli: Cli): void {
  const command = leaf(program, 'watch', {
    summary: 'follow what concerns your organisation, as it happens',
    details:
      'One line an event; with --json one object a line. It goes on after the number of the last event that you name. Events say where to look: what is there, each command verifies.',
    examples: ['cella watch', 'cella watch --after 812 --json', 'cella watch --count 1'],
  })
    .option('--after <id>', 'go on after this event (default: from now on)')
    .option('--count <number>', 'end after so many')
  does<{ after?: string; count?: string }>(command, cli, async (context, _, options) => {
    const session = await context.session()
    await session.keys()
    const count = options.count === undefined ? Number.POSITIVE_INFINITY : positive(options.count, '--count')
    let left = count
    let last = options.after === undefined ? (await session.manager.inbox()).last : positive(options.after, '--after')
    for await (const notice of session.manager.notices(last)) {
      last = Number(notice.id)
      context.io.stdout.write(`${context.options.json === true ? JSON.stringify(notice) : noticeText(notice)}\n`)
      left -= 1
      if (left <= 0) break
    }
    return { data: { last }, text: '' }
  })
}

function positive(text: string, option: string): number {
  if (/^[0-9]{1,15}$/.test(text)) return Number(text)
  throw new UsageError(`${option} ${text}: is no number`)
}

function noticeText({ id, at, kind, about, detail }: Notice): string {
  const what = kind === 'run' ? `run ${String(detail.run)} ${String(detail.status)}` : String(detail.type)
  return `${id.padStart(8)}  ${formatTime(Math.floor(at))}  ${printable(what).padEnd(22)}  ${shortDigest(about)}`
}

function addWebhooks(webhook: Command, cli: Cli): void {
  const add = leaf(webhook, 'add <url>', {
    summary: 'have the manager post each event of your organisation to a URL, signed, with retries',
    details:
      'By Standard Webhooks with an Ed25519 signature (v1a). The URL is https and leads outside of the operator’s network. One that failed for days rests until it is added again.',
    examples: ['cella webhook add https://hooks.clinic.example/cella'],
  })
  does(add, cli, async (context, [url]) => {
    const session = await context.session()
    await session.keys()
    const added = await session.manager.addWebhook(await session.organisation(), url!)
    return { data: added, text: `${added.url} is told from now on; check its signatures by ${added.publicKey}` }
  })
  const list = leaf(webhook, 'list', {
    summary: 'list webhooks, and how their last delivery went',
    examples: ['cella webhook list --json'],
  })
  does(list, cli, async (context) => {
    const session = await context.session()
    await session.keys()
    const found = await session.manager.webhooks()
    const columns = ['id', 'url', 'delivered', 'state'].map((name) => ({ name, align: 'left' as const }))
    const rows = found.webhooks.map(({ id, url, delivered, failures, resting, problem }) => [
      `${id}`,
      printable(url),
      `${delivered}`,
      failures === 0
        ? 'fine'
        : `${resting ? 'rests' : 'tried again'} after ${failures} failures: ${printable(problem ?? '')}`,
    ])
    return { data: found, text: `${renderTable({ columns, rows }, context)}\nsignatures by ${found.publicKey}` }
  })
  const remove = leaf(webhook, 'remove <id>', {
    summary: 'tell a URL no more',
    examples: ['cella webhook remove 3'],
  })
  does(remove, cli, async (context, [id]) => {
    const session = await context.session()
    await session.keys()
    const removed = await session.manager.removeWebhook(positive(id!, 'id'))
    return {
      data: { removed },
      text: removed ? 'removed' : `your organisation has no webhook ${id}`,
      exitCode: removed ? 0 : 1,
    }
  })
}
