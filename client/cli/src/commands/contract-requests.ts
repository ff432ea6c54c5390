import {
  type Approver,
  answerRequest,
  approversOf,
  askApproval,
  nameOf,
  requestAbout,
  resolveOrganisation,
  type Session,
  showContract,
} from '@cella/sdk'
import type { Command } from 'commander'
import { type Cli, does, leaf } from '../command.ts'
import { CliError } from '../error.ts'
import { collect, digestArgument, parseTime } from '../options.ts'
import { printable } from '../terminal/text.ts'
import { formatTime } from '../terminal/units.ts'

/** `cella contract ask`, `decline` and `delegate` */
export function addRequestCommands(contract: Command, cli: Cli): void {
  addAsk(contract, cli)
  addDecline(contract, cli)
  addDelegate(contract, cli)
}

const defaultDays = 14

function addAsk(contract: Command, cli: Cli): void {
  const command = leaf(contract, 'ask <digest>', {
    summary: 'ask the owners for their approval; asked again, it is a reminder',
    details: 'The request is in the log: it can’t get lost, and cella inbox shows where it stands.',
    examples: [
      'cella contract ask 91c2… --by 2026-12-15',
      'cella contract ask 91c2… --to Clinic --message "Due Friday."',
    ],
  })
    .option('--to <organisation>', 'whom to ask; may be repeated (default: all owners who have not approved)', collect)
    .option('--by <time>', `when an answer is of use until (default: in ${defaultDays} days, or the contract’s end)`)
    .option('--message <text>', 'a line for them', '')
  does<{ to?: string[]; by?: string; message: string }>(command, cli, async (context, [digest], options) => {
    const session = await context.session()
    const { contract: found, forecast, gathered } = await showContract(session, digestArgument(digest, 'contract'))
    const waiting = new Set(
      forecast.flatMap(({ awaitsApproval, organisation }) => (awaitsApproval && organisation ? [organisation] : [])),
    )
    const asked = options.to
      ? await Promise.all(options.to.map((name) => resolveOrganisation(session, name)))
      : [...waiting]
    if (asked.length === 0) {
      throw new CliError(
        'ERR_REFUSED',
        'no owner’s approval is missing',
        'cella contract show DIGEST shows who allows it',
      )
    }
    const by =
      options.by === undefined
        ? Math.min(session.now() + defaultDays * 86_400, found.payload.notAfter)
        : parseTime(options.by, 'end')
    const requests = []
    for (const to of asked) {
      const { document, index } = await askApproval(session, {
        contract: found.digest,
        to,
        by,
        message: options.message,
      })
      const name = await nameOf(session, gathered.documents, to)
      requests.push({ request: document.digest, to, name, reminder: document.payload.previous !== null, index })
    }
    return {
      data: { contract: found.digest, by, requests },
      text: requests
        .map(({ name, reminder, index }) => {
          return `${reminder ? 'reminded' : 'asked'} ${printable(name)}, answer by ${formatTime(by)}, log entry ${index}`
        })
        .join('\n'),
    }
  })
}

function addDecline(contract: Command, cli: Cli): void {
  const command = leaf(contract, 'decline <digest>', {
    summary: 'tell who asks that your organisation does not approve a contract',
    examples: ['cella contract decline 91c2… --message "Not without the board."'],
  }).option('--message <text>', 'why', '')
  does<{ message: string }>(command, cli, async (context, [digest], { message }) => {
    const session = await context.session()
    const request = await requestAbout(session, digestArgument(digest, 'contract'))
    await context.demand('Decline it?')
    const { index } = await answerRequest(session, {
      request: request.digest,
      answer: 'declined',
      account: null,
      message,
    })
    return { data: { request: request.digest, index }, text: `declined, log entry ${index}` }
  })
}

function addDelegate(contract: Command, cli: Cli): void {
  const command = leaf(contract, 'delegate <digest>', {
    summary: 'hand a request to another member of your organisation, who is an approver',
    examples: ['cella contract delegate 91c2… --to "Ada Example"'],
  })
    .requiredOption('--to <member>', 'the member’s name, or the beginning of the membership’s digest')
    .option('--message <text>', 'a line for them', '')
  does<{ to: string; message: string }>(command, cli, async (context, [digest], options) => {
    const session = await context.session()
    const request = await requestAbout(session, digestArgument(digest, 'contract'))
    const member = await approver(session, options.to)
    const { index } = await answerRequest(session, {
      request: request.digest,
      answer: 'delegated',
      account: member.account,
      message: options.message,
    })
    return {
      data: { request: request.digest, to: member.name, account: member.account, index },
      text: `handed to ${printable(member.name)}, log entry ${index}`,
    }
  })
}

async function approver(session: Session, wanted: string): Promise<Approver> {
  const approvers = await approversOf(session)
  const found = approvers.filter(
    ({ membership, name }) => name === wanted || (wanted.length >= 8 && membership.startsWith(wanted)),
  )
  const [member] = found
  if (member !== undefined && found.length === 1) return member
  throw new CliError(
    'ERR_REFUSED',
    found.length === 0
      ? `“${wanted}” is no approver of your organisation`
      : `“${wanted}” fits ${found.length} approvers`,
    `approvers are: ${approvers.map(({ name }) => name).join(', ') || 'none'}`,
  )
}
