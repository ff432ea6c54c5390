import { setTimeout as delay } from 'node:timers/promises'
import type { KeyId } from '@cella/primitives'
import {
  discloseEntry,
  exportStream,
  fetchStreamKey,
  type OwnStream,
  readStream,
  type Session,
  type StreamKey,
  signerProof,
} from '@cella/sdk'
import type { Command } from 'commander'
import { type Cli, does, leaf, type Result } from '../command.ts'
import type { Context } from '../context.ts'
import { CliError, UsageError } from '../error.ts'
import { auditLines, type EntryFilter, entryJson, entryLine, entryTable, matches, timed } from '../event-lines.ts'
import { readBytesFile, writeNewFile } from '../files.ts'
import { interruption } from '../interruption.ts'
import { collect, integerOption, parseTime } from '../options.ts'
import { formatCount } from '../terminal/units.ts'
import { vaultId } from './verify.ts'

const noteBytesMax = 65_536

/** What of one's organisation the log holds, as a vault vouched for it and this machine read it. */
export interface Stream {
  readonly session: Session
  readonly key: StreamKey
  readonly own: OwnStream
}

export interface VaultFlag {
  readonly vault?: string
}

export function vaultOption(command: Command): Command {
  return command.option('--vault <id>', 'the vault whose entries are meant (default: the manager’s first)')
}

/** `cella log tail | search | disclose | export` */
export function addEventCommands(log: Command, cli: Cli): void {
  addTail(log, cli)
  addSearch(log, cli)
  addDisclose(log, cli)
  addExport(log, cli)
}

/** Reads one's stream. That the key was given out is an entry of it. */
export async function openStream(context: Context, { vault }: VaultFlag): Promise<Stream> {
  const session = await context.session()
  const chosen = vault === undefined ? await firstVault(session) : vaultId(vault)
  const key = await fetchStreamKey(session, { vault: chosen })
  const own = await readStream(session, key)
  for (const line of auditLines(own.audit)) context.say(`warning: ${line}`)
  return { session, key, own }
}

async function firstVault(session: Session): Promise<KeyId> {
  const [first] = (await session.info()).vaults
  if (first === undefined)
    throw new CliError('ERR_REFUSED', 'the manager names no vault', 'is one running? cella status')
  return first.id
}

function addTail(log: Command, cli: Cli): void {
  const command = vaultOption(
    leaf(log, 'tail', {
      summary: 'the newest events of your organisation, decrypted; with --follow, those to come as well',
      details:
        'Needs a membership with the role auditor or regulator. What is missing of the stream is said. That its key was given to you is an event too.',
      examples: ['cella log tail', 'cella log tail --lines 50 --follow', 'cella log tail --follow --json'],
    }),
  )
    .option('--lines <count>', 'how many', integerOption('--lines', 0), 20)
    .option('--follow', 'go on until it is interrupted')
    .option('--interval <seconds>', 'how often to look', integerOption('--interval', 1), 2)
  does<VaultFlag & { lines: number; follow?: boolean; interval: number }>(command, cli, async (context, _, flags) => {
    let { session, key, own } = await openStream(context, flags)
    const entries = timed(own.audit).slice(own.audit.entries.length - flags.lines)
    if (flags.follow !== true) return listed(context, own, entries)
    const write = (line: string): void => void context.io.stdout.write(`${line}\n`)
    const tell = (more: typeof entries): void => {
      for (const entry of more)
        write(context.options.json === true ? JSON.stringify(entryJson(entry)) : entryLine(entry))
    }
    tell(entries)
    const stop = interruption()
    while (!stop.aborted) {
      await delay(flags.interval * 1000, undefined, { signal: stop }).catch(() => undefined)
      if (stop.aborted) break
      const seen = own.audit.entries.length
      own = await readStream(session, key, own)
      tell(timed(own.audit).slice(seen))
    }
    return { data: { stopped: true, entries: own.audit.entries.length }, text: '' }
  })
}

function addSearch(log: Command, cli: Cli): void {
  const command = vaultOption(
    leaf(log, 'search', {
      summary: 'events of your organisation by kind, contract, asset, time or verdict',
      details:
        'Digests may be cut; each further option narrows. An event without a time of its own has that of the event before. Needs a membership with the role auditor or regulator.',
      examples: [
        'cella log search --verdict denied --since 2026-11-01',
        'cella log search --kind decision --asset 3f9a --contract 91c2 --json',
        'cella log search --reason ERR_LIMIT_RUNS',
      ],
    }),
  )
    .option('--kind <kind>', 'decision, released, denials, access, erasure, audit-batch …')
    .option('--contract <digest>', 'of this contract')
    .option('--asset <digest>', 'of this asset’s manifest')
    .option('--verdict <verdict>', 'allowed or denied')
    .option('--reason <code>', 'denied for this reason')
    .option('--since <time>', 'not before this day or moment')
    .option('--until <time>', 'not after this day or moment')
  does<VaultFlag & SearchFlags>(command, cli, async (context, _, flags) => {
    const filter = filterOf(flags)
    const { own } = await openStream(context, flags)
    return listed(
      context,
      own,
      timed(own.audit).filter((entry) => matches(entry, filter)),
    )
  })
}

interface SearchFlags {
  readonly kind?: string
  readonly contract?: string
  readonly asset?: string
  readonly verdict?: string
  readonly reason?: string
  readonly since?: string
  readonly until?: string
}

function filterOf({ kind, verdict, since, until, contract, asset, reason }: SearchFlags): EntryFilter {
  if (verdict !== undefined && verdict !== 'allowed' && verdict !== 'denied') {
    throw new UsageError(`--verdict ${verdict}: is no verdict`, 'allowed or denied')
  }
  for (const digest of [contract, asset]) {
    if (digest !== undefined && !/^[0-9a-f]{4,64}$/.test(digest)) {
      throw new UsageError(`“${digest}” is not how a digest begins`, '4 to 64 hexadecimal digits, lower case')
    }
  }
  return {
    type: kind,
    contract,
    asset,
    reason,
    allowed: verdict === undefined ? undefined : verdict === 'allowed',
    since: since === undefined ? undefined : parseTime(since, 'start'),
    until: until === undefined ? undefined : parseTime(until, 'end'),
  }
}

function listed(context: Context, { audit }: OwnStream, entries: ReturnType<typeof timed>): Result {
  return {
    data: { entries: entries.map(entryJson), of: audit.entries.length, problems: auditLines(audit) },
    text: entries.length === 0 ? `none of ${formatCount(audit.entries.length, 'event')}` : entryTable(entries, context),
  }
}

function addDisclose(log: Command, cli: Cli): void {
  const command = vaultOption(
    leaf(log, 'disclose <entry>', {
      summary: 'write a file that proves chosen fields of one event and hides the others',
      details: 'Anyone can check it without a network: cella verify FILE. It does not hold the key of your stream.',
      examples: ['cella log disclose 17 --field type --field allowed --output decision.cella-disclosure'],
    }),
  )
    .option('--field <name>', 'a field to show; may be repeated (cella log show ENTRY lists them)', collect)
    .requiredOption('--output <file>', 'where to write it')
  does<VaultFlag & { field?: string[]; output: string }>(command, cli, async (context, [entry], flags) => {
    const n = entryNumber(entry)
    if (flags.field === undefined) throw new UsageError('which fields?', `--field NAME; cella log show ${n} lists them`)
    const { session, own, key } = await openStream(context, flags)
    const bytes = await discloseEntry(own, key, { n, names: flags.field, signer: await signerOf(session, own) })
    await writeNewFile(flags.output, bytes, { mode: 0o644, hint: 'choose another name' })
    return {
      data: { entry: n, fields: flags.field, file: flags.output },
      text: `${flags.output} shows ${flags.field.join(', ')} of entry ${n}; anyone can check it with: cella verify ${flags.output}`,
    }
  })
}

function addExport(log: Command, cli: Cli): void {
  const command = vaultOption(
    leaf(log, 'export <file>', {
      summary: 'write everything of your organisation between two checkpoints, provably complete',
      details:
        'The file holds the key of your stream and the bodies in the clear: whoever gets it reads all events of that time and recognises the leaves of others. Without --from it begins with the log. --checkpoint keeps the newest checkpoint, from which the next export can go on.',
      examples: [
        'cella log export 2026.cella-export --checkpoint end-of-2026.note',
        'cella log export 2027.cella-export --from end-of-2026.note',
      ],
    }),
  )
    .option('--from <file>', 'a checkpoint note of this log, to begin after its entries')
    .option('--checkpoint <file>', 'write the checkpoint that it ends with')
  does<VaultFlag & { from?: string; checkpoint?: string }>(command, cli, async (context, [file], flags) => {
    const from = flags.from === undefined ? undefined : await readBytesFile(flags.from, noteBytesMax)
    const { session, own, key } = await openStream(context, flags)
    const bytes = await exportStream(own, key, { from, signer: await signerOf(session, own) })
    await writeNewFile(file!, bytes, { hint: 'choose another name' })
    if (flags.checkpoint !== undefined) {
      await writeNewFile(flags.checkpoint, own.checkpoint.bytes, { mode: 0o644, hint: 'choose another name' })
    }
    const data = {
      file,
      bytes: bytes.length,
      to: own.checkpoint.size,
      organisation: key.organisation,
      vault: key.vault,
    }
    return {
      data,
      text: `${file}: up to entry ${data.to} of the log; check it with: cella verify ${file} --vault ${key.vault}`,
    }
  })
}

/** Which code signs for the log, for a file that is to show it. */
function signerOf(session: Session, { checkpoint, log }: OwnStream): ReturnType<typeof signerProof> {
  return signerProof(session, { size: checkpoint.size, hashes: log.view.hashes() })
}

/** A number of an entry of one's stream, from the command line. */
export function entryNumber(text: string | undefined): number {
  if (text === undefined || !/^(0|[1-9]\d{0,14})$/.test(text)) {
    throw new UsageError(`“${text ?? ''}” is no number of an entry`, 'cella log tail lists the newest')
  }
  return Number(text)
}
