import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type Digest, encodeHex, encodeUtf8 } from '@cella/bytes'
import { parseDocument } from '@cella/documents'
import {
  LogError,
  type LogPolicy,
  type LogReader,
  LogView,
  mirrorLog,
  mirrorPrefix,
  parseCheckpointText,
  parseLogPolicy,
  parseNote,
  publishedTag,
  revokedTag,
} from '@cella/log'
import { folderStore, monitorLog, urlLog, type Watched } from '@cella/monitor'
import { digestOf } from '@cella/primitives'
import { fetchFor, logPolicyFor, readStream } from '@cella/sdk'
import type { Command } from 'commander'
import { type Cli, does, leaf, type Result } from '../command.ts'
import type { Context } from '../context.ts'
import { UsageError } from '../error.ts'
import { entryLine, timed } from '../event-lines.ts'
import { readTextFile } from '../files.ts'
import { interruption } from '../interruption.ts'
import { collect, digestArgument, integerOption } from '../options.ts'
import { printable } from '../terminal/text.ts'
import { formatCount } from '../terminal/units.ts'
import { openStream, type Stream, type VaultFlag, vaultOption } from './log-events.ts'

/** Which log, and by whose word. */
export interface LogFlags {
  readonly url?: string
  readonly policy?: string
}

interface NamedLog {
  readonly origin: string
  /** Of this log alone. */
  readonly policy: LogPolicy
  readonly log: LogReader
}

export function logOptions(command: Command): Command {
  return command
    .option('--url <url>', 'a log of c2sp.org/tlog-tiles (default: that of the profile’s manager)')
    .option('--policy <file>', 'a C2SP tlog-policy, in place of the one among the anchors')
}

/** A log with the verifier's own policy for it: what the log says of itself only picks which. */
export async function namedLog(context: Context, { url, policy: file }: LogFlags): Promise<NamedLog> {
  const home = await context.home()
  let log: LogReader
  if (url === undefined) {
    const { manager } = await context.session()
    log = urlLog(`${manager.url}/v1/log/`, await fetchFor(home, manager.url))
  } else {
    if (!URL.canParse(url)) throw new UsageError(`--url ${url}: is no URL`, 'https://log.example.org/')
    log = urlLog(url)
  }
  const { origin } = parseCheckpointText(parseNote(await log.checkpoint()).text)
  const known =
    file === undefined
      ? logPolicyFor(await home.anchors(), origin)
      : parseLogPolicy(encodeUtf8(await readTextFile(file)))
  const named = known.logs.find(({ key }) => key.name === origin)
  if (named === undefined) throw new LogError('ERR_LOG_ORIGIN', `the log is ${origin}, which ${file} does not name`)
  return { origin, policy: { ...known, logs: [named] }, log }
}

/** `cella log mirror | monitor` */
export function addFollowCommands(log: Command, cli: Cli): void {
  addMirror(log, cli)
  addMonitor(log, cli)
}

function addMirror(log: Command, cli: Cli): void {
  const command = logOptions(
    leaf(log, 'mirror <folder>', {
      summary: 'keep a verified copy of the whole log, which any static server can serve',
      details:
        'Every entry is checked against the checkpoint before it is written. What is there already is continued; a copy that was interrupted goes on. A log that does not continue the copy is refused.',
      examples: [
        'cella log mirror ./log-copy',
        'cella log mirror ./log-copy --url https://log.example.org/ --policy policy.txt',
      ],
    }),
  )
  does<LogFlags>(command, cli, async (context, [folder], flags) => {
    const { policy, log, origin } = await namedLog(context, flags)
    const bar = context.progress('copying', 'entry')
    try {
      const { size } = await mirrorLog({
        policy,
        log,
        store: folderStore(resolve(folder!)),
        onProgress: (done, total) => bar.update(done, total),
      })
      return {
        data: { origin, folder, size },
        text: `${folder}: ${formatCount(size, 'entry', 'entries')} of ${printable(origin)}`,
      }
    } finally {
      bar.end()
    }
  })
}

interface MonitorFlags extends LogFlags, VaultFlag {
  readonly once?: boolean
  readonly interval: number
  readonly keep?: string
  readonly watch?: string[]
  readonly events?: boolean
  readonly maxAge?: number
}

function addMonitor(log: Command, cli: Cli): void {
  const command = vaultOption(
    logOptions(
      leaf(log, 'monitor', {
        summary: 'follow the log: is it the same for ever, and what in it concerns you',
        details:
          'Keeps a verified copy, in which the last checkpoint is, and reads some of the old entries again each time. Names a log that is set back, forks, leaves entries out, reorders or rewrites them, and keeps the note that shows it; tells of your documents that are published or withdrawn, with --events also of decisions and releases, and which witness is behind. With --once, for cron: exit code 0 the log behaves, 1 it does not, 3 it can’t be read.',
        examples: [
          'cella log monitor --events',
          'cella log monitor --once --max-age 86400 --json',
          'cella log monitor --url https://log.example.org/ --policy policy.txt --keep ./watched --watch 3f9a…',
        ],
      }),
    ),
  )
    .option('--once', 'look once, say what is new, and end')
    .option('--interval <seconds>', 'how often to look', integerOption('--interval', 1), 60)
    .option('--keep <folder>', 'where the copy and evidence are kept (default: in the profile)')
    .option('--watch <digest>', 'a document whose publication and withdrawal to tell; may be repeated', collect)
    .option('--events', 'tell events of your organisation too: the stream key that it takes is an event each time')
    .option('--max-age <seconds>', 'say so where the witnesses’ newest time is older', integerOption('--max-age', 1))
  does<MonitorFlags>(command, cli, async (context, _, flags) => {
    const monitor = await startMonitor(context, flags)
    if (flags.once === true) {
      const look = await monitor.look()
      return { data: look.data, text: look.lines.join('\n'), exitCode: look.misbehaves ? 1 : 0 }
    }
    return follow(context, monitor, flags.interval)
  })
}

interface Look {
  readonly data: object
  readonly lines: readonly string[]
  readonly misbehaves: boolean
}

interface Monitor {
  look(): Promise<Look>
}

async function follow(context: Context, monitor: Monitor, interval: number): Promise<Result> {
  const stop = interruption()
  let told = ''
  let misbehaved = false
  while (!stop.aborted) {
    let text: string
    try {
      const look = await monitor.look()
      misbehaved ||= look.misbehaves
      text = context.options.json === true ? JSON.stringify(look.data) : look.lines.join('\n')
    } catch (error) {
      // It may be back at the next look; who waits for it learns that it is away.
      if (!(error instanceof LogError) || error.code !== 'ERR_LOG_UNAVAILABLE') throw error
      text = context.options.json === true ? JSON.stringify({ unavailable: error.message }) : error.message
    }
    if (text !== told) context.io.stdout.write(`${text}\n`)
    told = text
    await delay(interval * 1000, undefined, { signal: stop }).catch(() => undefined)
  }
  return { data: { stopped: true, misbehaved }, text: '', exitCode: misbehaved ? 1 : 0 }
}

async function startMonitor(context: Context, flags: MonitorFlags): Promise<Monitor> {
  const named = await namedLog(context, flags)
  const home = await context.home()
  const folder = resolve(flags.keep ?? join(dirname(home.keystorePath), 'monitor', mirrorPrefix(named.origin)))
  const store = folderStore(folder)
  let stream: Stream | undefined
  return {
    async look() {
      const bar = context.progress('reading', 'entry')
      let watched: Watched
      try {
        watched = await monitorLog({
          ...named,
          store,
          tags: await tagsOf(context, flags),
          now: Math.floor(Date.now() / 1000),
          maxAgeSeconds: flags.maxAge,
          onProgress: (done, total) => bar.update(done, total),
        })
      } finally {
        bar.end()
      }
      if (watched.before === 0) await compareWithHome(context, named, watched, store)
      const events: string[] = []
      if (flags.events === true && watched.findings.length === 0) {
        stream =
          stream === undefined
            ? await openStream(context, flags)
            : { ...stream, own: await readStream(stream.session, stream.key, stream.own) }
        events.push(
          ...timed(stream.own.audit)
            .filter(({ index }) => index >= watched.before)
            .map(entryLine),
        )
      }
      return lookOf(named.origin, watched, events, await keepEvidence(folder, watched.evidence))
    },
  }
}

/** What this profile saw of the log in other commands holds for the monitor's first look too. */
async function compareWithHome(
  context: Context,
  { origin, policy }: NamedLog,
  { checkpoint }: Watched,
  store: ReturnType<typeof folderStore>,
): Promise<void> {
  const memory = await (await context.home()).logMemory(origin)
  if (memory === undefined || checkpoint === undefined) return
  const tile = async (path: string): Promise<Uint8Array> => {
    const bytes = await store.read(path)
    if (bytes === undefined) throw new LogError('ERR_LOG_UNAVAILABLE', `the copy has no ${path}`)
    return bytes
  }
  await new LogView({ policy, read: { checkpoint: async () => checkpoint.bytes, tile }, memory }).advance()
}

/** Tags of the documents that the person names and of those of its organisation. */
async function tagsOf(context: Context, flags: MonitorFlags): Promise<Map<string, string>> {
  const tags = new Map<string, string>()
  const add = (digest: Digest, name: string): void => {
    tags.set(encodeHex(publishedTag(digest)), `${name} is published`)
    tags.set(encodeHex(revokedTag(digest)), `${name} is withdrawn`)
  }
  for (const digest of flags.watch ?? []) add(digestArgument(digest, '--watch'), `document ${digest}`)
  const { organisation } = await (await context.home()).profile()
  if (organisation === null || flags.url !== undefined) return tags
  const { manager, keys } = await context.session()
  // The manager lists documents for accounts alone.
  await keys()
  for (const { document } of await manager.documents({ organisations: [organisation] })) {
    const { digest, payload } = parseDocument(document)
    const title = 'title' in payload ? ` “${printable(payload.title)}”` : ''
    add(digest, `${payload.type}${title} ${digest}`)
  }
  return tags
}

async function keepEvidence(folder: string, evidence: Uint8Array | undefined): Promise<string | undefined> {
  if (evidence === undefined) return undefined
  const file = join(folder, 'evidence', `${digestOf(evidence).slice(0, 16)}.note`)
  await mkdir(dirname(file), { recursive: true })
  await writeFile(file, evidence)
  return file
}

function lookOf(origin: string, watched: Watched, events: readonly string[], evidence: string | undefined): Look {
  const { checkpoint, before, findings, entries, signers, behind } = watched
  const size = checkpoint?.size ?? 0
  const misbehaves = findings.length > 0
  return {
    misbehaves,
    data: { origin, size, before, findings, entries, signers, events, behind, evidence: evidence ?? null },
    lines: [
      ...findings.map(({ code, text }) => `ALERT ${text} (${code})`),
      ...(evidence === undefined
        ? []
        : [`what the log showed is kept in ${evidence}: ask its other users and witnesses what they see`]),
      ...signers.map(
        ({ index, about }) => `${before > 0 ? 'ALERT ' : ''}entry ${index}: ${about}; cella log show ${index}`,
      ),
      ...entries.map(({ index, about }) => `entry ${index}: ${about}`),
      ...events,
      ...behind.map((line) => `late: ${line}`),
      ...(misbehaves
        ? []
        : [
            `${printable(origin)}: ${formatCount(size, 'entry', 'entries')}, in continuation of the ${before} seen before`,
          ]),
    ],
  }
}
