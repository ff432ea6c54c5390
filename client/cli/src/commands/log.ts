import { resolve } from 'node:path'
import { decodeBase64url, encodeBase64, encodeBase64url, encodeUtf8, equalBytes } from '@cella/bytes'
import { parseDocumentOf } from '@cella/documents'
import {
  checkCopy,
  encodeProofFile,
  type LogPolicy,
  leafHash,
  type MirrorStore,
  makeProofFile,
  parseCheckpointText,
  parseLogPolicy,
  parseNote,
  parseProofFile,
  publishedTag,
  receiptKeyOf,
  verifyInclusionReceipt,
  verifyOfflineProof,
} from '@cella/log'
import { folderStore, storeOfLog } from '@cella/monitor'
import { logPolicyFor, logSigners, signerProof } from '@cella/sdk'
import { encodeProofExtra } from '@cella/verify'
import { type Command, Option } from 'commander'
import { type Cli, does, group, leaf, type Result } from '../command.ts'
import type { Context } from '../context.ts'
import { CliError, UsageError } from '../error.ts'
import { auditLines, entryJson, entrySheet, timed } from '../event-lines.ts'
import { readTextFile, writeNewFile } from '../files.ts'
import { digestArgument } from '../options.ts'
import { renderPairs } from '../terminal/table.ts'
import { printable } from '../terminal/text.ts'
import { formatCount, formatTime } from '../terminal/units.ts'
import { addEventCommands, entryNumber, openStream, type VaultFlag, vaultOption } from './log-events.ts'
import { addFollowCommands, namedLog } from './log-follow.ts'
import { addPushCommand } from './log-push.ts'
import { addSuccessionCommands } from './log-succession.ts'
import { addVerifyCommand } from './verify.ts'

/** `cella log …` */
export function addLogCommands(program: Command, cli: Cli): void {
  const log = group(program, 'log', 'the witnessed log: the one memory that can’t go back')
  addShow(log, cli)
  addEventCommands(log, cli)
  addCheck(log, cli)
  addProve(log, cli)
  addVerifyCommand(log, cli)
  addFollowCommands(log, cli)
  addPushCommand(log, cli)
  addSuccessionCommands(log, cli)
}

function addShow(log: Command, cli: Cli): void {
  const show = vaultOption(
    leaf(log, 'show [entry]', {
      summary: 'the newest checkpoint and who cosigned it when; or one event of your organisation, decrypted',
      details: 'An event takes a membership with the role auditor or regulator. cella log tail lists their numbers.',
      examples: ['cella log show', 'cella log show 17', 'cella log show --json'],
    }),
  )
  does<VaultFlag>(show, cli, async (context, [entry], flags) =>
    entry === undefined ? showCheckpoint(context) : showEvent(context, entryNumber(entry), flags),
  )
}

async function showCheckpoint(context: Context): Promise<Result> {
  const session = await context.session()
  const { checkpoint, policy } = await session.log()
  const { statements } = await logSigners(session)
  const holder = statements.at(-1)
  const witnesses = checkpoint.witnesses.map(({ name, time }) => ({ name, time }))
  return {
    data: {
      origin: checkpoint.origin,
      size: checkpoint.size,
      root: encodeBase64(checkpoint.root),
      witnesses,
      quorum: policy.quorum ?? null,
      signer: holder === undefined ? null : { entry: holder.index, ...releaseOf(holder.statement) },
    },
    text: renderPairs(
      [
        ['log', printable(checkpoint.origin)],
        ['entries', `${checkpoint.size}`],
        ['root', encodeBase64(checkpoint.root)],
        ['key', holderText(holder)],
        ['quorum', policy.quorum ?? 'none: the time is the host’s'],
        ...witnesses.map(({ name, time }): [string, string] => [
          'witness',
          `${printable(name)} at ${formatTime(time)}`,
        ]),
      ],
      context.style,
    ),
  }
}

type Holder = Awaited<ReturnType<typeof logSigners>>['statements'][number]

/** By its own statement: who judges it are terms, and cella verify of a proof. */
function releaseOf({ build }: Holder['statement']): { build: string; release: string; simulated: boolean } {
  const { digest, payload } = parseDocumentOf('cella/build', build)
  return {
    build: digest,
    release: payload.release,
    simulated: payload.measurements.every(({ simulated }) => simulated),
  }
}

function holderText(holder: Holder | undefined): string {
  if (holder === undefined) return 'in a file of the operator: the log says of no code that holds it'
  const { release, build, simulated } = releaseOf(holder.statement)
  return `held by release ${printable(release)} of the log signer (build ${build}) in ${simulated ? 'a SIMULATED TEE' : 'a TEE'}, says entry ${holder.index}`
}

async function showEvent(context: Context, n: number, flags: VaultFlag): Promise<Result> {
  const { own } = await openStream(context, flags)
  const entry = timed(own.audit).find((one) => one.n === n)
  if (entry === undefined) {
    throw new CliError('ERR_REFUSED', `your organisation has no event ${n}`, 'cella log tail lists the newest')
  }
  return { data: entryJson(entry), text: entrySheet(entry, context.style) }
}

interface CheckFlags extends VaultFlag {
  readonly policy?: string
  readonly config?: string
  readonly events?: boolean
}

function addCheck(log: Command, cli: Cli): void {
  const check = vaultOption(
    leaf(log, 'check [place]', {
      summary:
        'read every entry again and compare with all that this profile saw before; or check a folder, URL or database',
      details:
        'Without a place: the manager’s log, as this profile sees it; one that was set back or forked is refused, and nothing of it is kept. With a folder or a URL: every file of the log there is derived again from its entries. With --config, on the server’s machine: the log of these settings, also one that PostgreSQL puts in order. Exit code 1: something is wrong.',
      examples: [
        'cella log check',
        'cella log check --events',
        'cella log check ./log-copy',
        'cella log check https://log.example.org/ --policy policy.txt',
        'cella log check --config log.json --policy policy.txt',
      ],
    }),
  )
    .option('--policy <file>', 'a C2SP tlog-policy, in place of the one among the anchors')
    .option('--config <file>', 'settings of a log server on this machine')
    .option('--events', 'check that the stream of your organisation is complete, too')
  does<CheckFlags>(check, cli, async (context, [place], flags) => {
    if (flags.config !== undefined) return checkServer(context, flags.config, flags.policy)
    if (place !== undefined) return checkPlace(context, place, flags.policy)
    if (flags.policy !== undefined) throw new UsageError('--policy goes with a folder, a URL or --config')
    return checkOwnView(context, flags)
  })
}

async function checkOwnView(context: Context, flags: CheckFlags): Promise<Result> {
  const session = await context.session()
  const before = await (await context.home()).logMemory((await session.info()).log.origin)
  const { checkpoint, view } = await session.log()
  const text = `${context.style.green('✓')} ${printable(checkpoint.origin)}: ${formatCount(view.size, 'entry', 'entries')} under the root that ${formatCount(checkpoint.witnesses.length, 'witness', 'witnesses')} cosigned, in continuation of the ${before?.size ?? 0} seen before`
  const data = { origin: checkpoint.origin, size: view.size, before: before?.size ?? 0, consistent: true }
  if (flags.events !== true) return { data, text }
  const { audit } = (await openStream(context, flags)).own
  const problems = audit.problems.map(({ text: problem, code }) => `${problem} (${code})`)
  const { length } = audit.entries
  return {
    data: { ...data, events: length, problems: auditLines(audit) },
    text:
      problems.length === 0
        ? `${text}\n${context.style.green('✓')} all ${formatCount(length, 'event')} of your organisation are there`
        : `${text}\n${problems.map((problem) => `${context.style.red('✗')} ${problem}`).join('\n')}`,
    exitCode: problems.length === 0 ? 0 : 1,
  }
}

async function checkPlace(context: Context, place: string, policyFile: string | undefined): Promise<Result> {
  if (/^https?:/.test(place)) {
    const { policy, log } = await namedLog(context, {
      url: place,
      ...(policyFile !== undefined && { policy: policyFile }),
    })
    return checkStore(context, { place, policy, store: storeOfLog(log) })
  }
  const store = folderStore(resolve(place))
  const note = await store.read('checkpoint')
  if (note === undefined) {
    throw new CliError(
      'ERR_FILE',
      `${place} holds no checkpoint`,
      'a folder that cella log mirror wrote, or a log’s own',
    )
  }
  return checkStore(context, { place, policy: await policyOfNote(context, note, policyFile), store })
}

async function policyOfNote(context: Context, note: Uint8Array, file: string | undefined): Promise<LogPolicy> {
  if (file !== undefined) return parseLogPolicy(encodeUtf8(await readTextFile(file)))
  return logPolicyFor(await (await context.home()).anchors(), parseCheckpointText(parseNote(note).text).origin)
}

async function checkStore(
  context: Context,
  { place, policy, store }: { place: string; policy: LogPolicy; store: Pick<MirrorStore, 'read'> },
): Promise<Result> {
  const bar = context.progress('checking', 'entry')
  try {
    const { checkpoint, tiles, problems } = await checkCopy({
      policy,
      store,
      onProgress: (done, total) => bar.update(done, total),
    })
    const { origin, size, root } = checkpoint
    return checked(context, place, { origin, size, root: encodeBase64(root), tiles, problems })
  } finally {
    bar.end()
  }
}

/** What a check of a log's files came to. */
interface Checked {
  readonly origin: string
  readonly size: number
  readonly root: string
  readonly tiles: number
  readonly problems: readonly string[]
}

function checked(context: Context, place: string, report: Checked): Result {
  const { origin, size, tiles, problems } = report
  const { green, red } = context.style
  return {
    data: report,
    text:
      problems.length === 0
        ? `${green('✓')} ${printable(place)}: ${formatCount(size, 'entry', 'entries')} of ${printable(origin)} and ${formatCount(tiles, 'tile')} are what its checkpoint says`
        : problems.map((problem) => `${red('✗')} ${printable(problem)}`).join('\n'),
    exitCode: problems.length === 0 ? 0 : 1,
  }
}

/** The server's own program reads its database: the client has no part in that. */
async function checkServer(context: Context, config: string, policyFile: string | undefined): Promise<Result> {
  const { checkLogServer } = await import('../log-server.ts')
  const policy = policyFile === undefined ? undefined : resolve(policyFile)
  return checked(context, config, await checkLogServer({ config: resolve(config), policy }))
}

function addProve(log: Command, cli: Cli): void {
  const prove = vaultOption(
    leaf(log, 'prove <what>', {
      summary:
        'prove that a document, or an event of your organisation, is in the log, as a .tlog-proof that other tools read',
      details:
        'A document by its digest, an event by its number. The file holds the entry itself and, of a document, all that it says: cella verify FILE needs nothing else. What an event says, it does not show: cella log disclose does. With --format cose: a COSE receipt (RFC 9942), which the log’s key alone has signed, and the entry beside it as FILE.entry.',
      examples: [
        'cella log prove 3f9a… --output manifest.tlog-proof',
        'cella log prove 17 --output event.tlog-proof',
        'cella log prove 3f9a… --format cose --output manifest.cose',
      ],
    }),
  )
    .option('--output <file>', 'where to write the proof (default: standard output)')
    .addOption(new Option('--format <format>', 'of the proof').choices(['tlog-proof', 'cose']).default('tlog-proof'))
  does<ProveFlags>(prove, cli, async (context, [what], flags) => {
    const {
      leaf: entry,
      proof,
      index,
      size,
      about,
    } = what !== undefined && /^\d{1,15}$/.test(what)
      ? await proveEvent(context, entryNumber(what), flags)
      : await proveDocument(context, what)
    const { output } = flags
    if (flags.format === 'cose') return writeReceipt(context, { leaf: entry, index, about }, output)
    if (output !== undefined)
      await writeNewFile(output, proof, { overwrite: true, mode: 0o644, hint: 'choose another name' })
    const text = new TextDecoder().decode(proof)
    return {
      data: { ...about, index, size, leaf: encodeBase64url(entry), proof: text },
      text: output === undefined ? text : `entry ${index} of ${size}: ${output}; check it with: cella verify ${output}`,
    }
  })
}

interface ProveFlags extends VaultFlag {
  readonly output?: string
  readonly format: 'tlog-proof' | 'cose'
}

/** The receipt and its entry, once it was verified under the key among the anchors. */
async function writeReceipt(
  context: Context,
  { leaf, index, about }: { leaf: Uint8Array; index: number; about: object },
  output: string | undefined,
): Promise<Result> {
  if (output === undefined) throw new UsageError('a COSE receipt is no text', '--output FILE')
  const session = await context.session()
  const { policy } = await session.log()
  const receipt = await session.manager.logBytes(`receipt?index=${index}`)
  const key = receiptKeyOf(policy.logs[0]!.key)
  const proven = await verifyInclusionReceipt({ receipt, leaf: leafHash(leaf), key })
  const more = { overwrite: true, mode: 0o644, hint: 'choose another name' }
  await writeNewFile(output, receipt, more)
  await writeNewFile(`${output}.entry`, leaf, more)
  return {
    data: { ...about, index: proven.index, size: proven.size, receipt: output, entry: `${output}.entry` },
    text: `entry ${proven.index} of ${proven.size}: ${output}; check it with: cella verify ${output} --entry ${output}.entry`,
  }
}

interface Proof {
  readonly leaf: Uint8Array
  readonly proof: Uint8Array
  readonly index: number
  readonly size: number
  readonly about: object
}

async function proveDocument(context: Context, digest: string | undefined): Promise<Proof> {
  const document = digestArgument(digest, 'document')
  const session = await context.session()
  const stored = await session.manager.document(document)
  const { policy, view } = await session.log()
  const leaf = decodeBase64url(stored.leaf, 'leaf')
  const entry = verifyOfflineProof({ proofFile: encodeUtf8(stored.proof), leaf, policy })
  if (!equalBytes(entry.leaf.tag, publishedTag(document))) {
    throw new CliError('ERR_REFUSED', `the manager’s proof is of another document than ${document}`)
  }
  const extra = encodeProofExtra({
    leaf,
    document: { envelope: stored.document, salt: decodeBase64url(stored.salt, 'salt') },
    signer: await signerProof(session, { size: entry.size, hashes: view.hashes() }),
  })
  const proof = encodeProofFile({ ...parseProofFile(encodeUtf8(stored.proof)), extra })
  return { leaf, proof, index: entry.index, size: entry.size, about: { document } }
}

async function proveEvent(context: Context, n: number, flags: VaultFlag): Promise<Proof> {
  const { session, own } = await openStream(context, flags)
  const { log, checkpoint, audit } = own
  const entry = audit.entries.find((one) => one.n === n)
  if (entry === undefined) {
    throw new CliError('ERR_REFUSED', `your organisation has no event ${n}`, 'cella log tail lists the newest')
  }
  const leaf = log.view.leafBytesAt(entry.index)
  const signer = await signerProof(session, { size: checkpoint.size, hashes: log.view.hashes() })
  const extra = encodeProofExtra({ leaf, document: undefined, signer })
  const proof = await makeProofFile({ checkpoint, index: entry.index, hashes: log.view.hashes(), extra })
  return { leaf, proof, index: entry.index, size: checkpoint.size, about: { entry: n } }
}
