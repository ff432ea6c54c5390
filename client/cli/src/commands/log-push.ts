import { setTimeout as delay } from 'node:timers/promises'
import { LogError, type NoteKey, parseVkey, pushLog } from '@cella/log'
import { postToMirror } from '@cella/monitor'
import type { Command } from 'commander'
import { type Cli, does, leaf, type Result } from '../command.ts'
import type { Context } from '../context.ts'
import { UsageError } from '../error.ts'
import { interruption } from '../interruption.ts'
import { collect, integerOption } from '../options.ts'
import { printable } from '../terminal/text.ts'
import { formatCount } from '../terminal/units.ts'
import { type LogFlags, logOptions, namedLog } from './log-follow.ts'

interface PushFlags extends LogFlags {
  readonly key?: string[]
  readonly interval?: number
}

/** `cella log push` */
export function addPushCommand(log: Command, cli: Cli): void {
  const command = logOptions(
    leaf(log, 'push <mirror>', {
      summary: 'have a mirror of somebody else take the whole log, and say that it holds every entry',
      details:
        'The mirror speaks c2sp.org/tlog-mirror, at the URL that it gives for submissions. What it has already is not sent again, and an upload that was interrupted goes on. A mirror that has seen more of the log than there is, or another history, ends it: that is a log set back or forked. With --interval it goes on until it is stopped.',
      examples: [
        'cella log push https://mirror.example.org/ --key "mirror.example.org+3fb1…+BA…"',
        'cella log push https://mirror.example.org/ --key "…" --url https://log.example.org/ --policy policy.txt --interval 60',
      ],
    }),
  )
    .option('--key <vkey>', 'a key by which the mirror is known; may be repeated', collect)
    .option('--interval <seconds>', 'push again, as often as that', integerOption('--interval', 1))
  does<PushFlags>(command, cli, async (context, [mirror], flags) => {
    const { interval } = flags
    if (!URL.canParse(mirror!)) throw new UsageError(`${mirror}: is no URL`, 'https://mirror.example.org/')
    const keys = (flags.key ?? []).map(mirrorKey)
    if (keys.length === 0) throw new UsageError('--key is needed: nothing that a mirror says of itself counts')
    if (interval === undefined) return push(context, mirror!, { keys, flags })
    const stop = interruption()
    while (!stop.aborted) {
      const { data, text } = await push(context, mirror!, { keys, flags }).catch(unavailable)
      context.io.stdout.write(`${context.options.json === true ? JSON.stringify(data) : text}\n`)
      await delay(interval * 1000, undefined, { signal: stop }).catch(() => undefined)
    }
    return { data: { stopped: true }, text: 'stopped' }
  })
}

async function push(
  context: Context,
  mirror: string,
  { keys, flags }: { keys: readonly NoteKey[]; flags: PushFlags },
): Promise<Result> {
  const { policy, log, origin } = await namedLog(context, flags)
  const bar = context.progress('pushing', 'entry')
  try {
    const { checkpoint, cosignatures } = await pushLog({
      policy,
      log,
      keys,
      post: postToMirror(mirror),
      onProgress: (done, total) => bar.update(done, total),
    })
    const { size } = checkpoint
    const names = [...new Set(cosignatures.map(({ key }) => key.name))]
    return {
      data: { origin, mirror, size, cosigned: names },
      text: `${mirror}: ${formatCount(size, 'entry', 'entries')} of ${printable(origin)}, cosigned by ${names.join(', ')}`,
    }
  } finally {
    bar.end()
  }
}

/** It may be back at the next try; who waits for it learns that it is away. */
function unavailable(error: unknown): Result {
  if (!(error instanceof LogError) || error.code !== 'ERR_LOG_UNAVAILABLE') throw error
  return { data: { unavailable: error.message }, text: error.message }
}

function mirrorKey(vkey: string): NoteKey {
  try {
    const key = parseVkey(vkey)
    if (key.type === 'cosignature') return key
  } catch (cause) {
    throw new UsageError(`--key ${vkey}: is no verifier key`, 'NAME+HEX+BASE64, as the mirror prints it', { cause })
  }
  throw new UsageError(`--key ${vkey}: can’t cosign`, 'that of a mirror, not of a log')
}
