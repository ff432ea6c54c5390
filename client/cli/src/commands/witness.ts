import { mkdir, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { parseVkey } from '@cella/log'
import { loadWitnessKeys, openWitness, readWitnessConfig } from '@cella/witness'
import type { Command } from 'commander'
import { type Cli, does, group, leaf, type Result } from '../command.ts'
import type { Context } from '../context.ts'
import { UsageError } from '../error.ts'
import { collect } from '../options.ts'

/** `cella witness serve | mirror` */
export function addWitnessCommands(program: Command, cli: Cli): void {
  const witness = group(program, 'witness', 'watch a log for others: cosign what continues what was seen before')
  const serve = leaf(witness, 'serve', {
    summary: 'serve the C2SP witness protocol, with durable state',
    details:
      'Give the printed keys to those who are to rely on you; they name it in their log policy and terms. A witness that the operator runs watches nobody.',
    examples: [
      'cella witness serve --name notary.example.org --log "log.example.org+1f0c…+AX…" --listen 0.0.0.0:7422 --data /var/lib/witness',
      'cella witness serve --config witness.json --show-key',
    ],
  })
  const mirror = leaf(witness, 'mirror', {
    summary: 'serve the C2SP mirror protocol: hold every entry of a log, say so, and serve the copy',
    details:
      'Others push to it (cella log push). It cosigns a checkpoint once every entry under it is on its disk, so its keys need a name of their own: that of no witness. The copy of a log is at /HEX/, HEX the SHA-256 of its origin.',
    examples: [
      'cella witness mirror --name mirror.example.org --log "log.example.org+1f0c…+AX…" --listen 0.0.0.0:7423 --data /var/lib/mirror',
      'cella witness mirror --config mirror.json --show-key',
    ],
  })
  for (const command of [serve, mirror]) {
    command
      .option('--config <file>', 'settings as JSON, in place of the flags below')
      .option('--name <name>', 'the name that stands in its key')
      .option('--log <vkey>', 'key of a log to watch; may be repeated', collect)
      .option('--listen <address>', 'HOST:PORT', '127.0.0.1:7422')
      .option('--data <folder>', 'where key, state and copies are kept')
      .option('--post-quantum', 'cosign with a key of ML-DSA-44 as well, which signs subtrees too')
      .option('--show-key', 'print its keys and end')
    const kind = command === mirror ? 'mirror' : 'witness'
    does<ServeFlags>(command, cli, (context, _, options) => serveAs(kind, context, options))
  }
}

type Kind = 'witness' | 'mirror'

async function serveAs(kind: Kind, context: Context, options: ServeFlags): Promise<Result> {
  const file = options.config ?? (await writeConfig(kind, options))
  const config = readWitnessConfig(file)
  if ((config.copies !== undefined) !== (kind === 'mirror')) {
    throw new UsageError(`${file} is of no ${kind}`, 'a mirror’s settings have copies, a witness’s don’t')
  }
  const { vkeys } = loadWitnessKeys(config)
  const shown = { vkey: vkeys[0], vkeys }
  if (options.showKey === true) return { data: shown, text: vkeys.join('\n') }
  const running = await openWitness(config)
  // At once and not at the end: others wait for this line.
  context.io.stdout.write(
    context.options.json === true
      ? `${JSON.stringify({ url: running.url, ...shown })}\n`
      : `${kind} ${config.name} at ${running.url}\n${vkeys.map((vkey) => `key ${vkey}\n`).join('')}`,
  )
  await new Promise<void>((end) => {
    process.once('SIGTERM', () => end())
    process.once('SIGINT', () => end())
  })
  await running.close()
  return { data: { stopped: true }, text: 'stopped' }
}

interface ServeFlags extends WitnessFlags {
  readonly config?: string
  readonly showKey?: boolean
}

interface WitnessFlags {
  readonly name?: string
  readonly log?: string[]
  readonly listen: string
  readonly data?: string
  readonly postQuantum?: boolean
}

async function writeConfig(kind: Kind, options: WitnessFlags): Promise<string> {
  if (options.name === undefined || options.log === undefined || options.data === undefined) {
    throw new UsageError('--name, --log and --data are needed, or --config FILE')
  }
  const [, host, port] = /^(.+):(\d{1,5})$/.exec(options.listen) ?? []
  if (host === undefined || Number(port) > 65_535) throw new UsageError(`--listen ${options.listen}: write HOST:PORT`)
  for (const key of options.log) {
    try {
      parseVkey(key)
    } catch (cause) {
      throw new UsageError(
        `--log ${key}: is no verifier key`,
        'NAME+HEX+BASE64, as `cella status` and the log’s policy show it',
        { cause },
      )
    }
  }
  const folder = resolve(options.data)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const file = join(folder, 'config.json')
  const settings = {
    name: options.name,
    file: join(folder, 'state.db'),
    keyFile: join(folder, 'key'),
    ...(options.postQuantum === true ? { mlDsaKeyFile: join(folder, 'ml-dsa-key') } : {}),
    logs: options.log,
    ...(kind === 'mirror' ? { copies: join(folder, 'copies') } : {}),
    listen: { host, port: Number(port) },
  }
  await writeFile(file, `${JSON.stringify(settings, undefined, 2)}\n`, { mode: 0o600 })
  return file
}
