import { spawn } from 'node:child_process'
import { existsSync, openSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Command } from 'commander'
import { z } from 'zod'
import type { Context } from './context.ts'
import { CliError, UsageError } from './error.ts'
import { type Installation, readInstallation } from './installation.ts'
import { parseTime } from './options.ts'
import { printable } from './terminal/text.ts'

// The supervisor of this machine's server: a process of its own, known by the data folder that it works on.

const startSecondsMax = 180

/** `status.json` of a supervisor. */
const statusSchema = z.object({
  format: z.literal('cella-status/1'),
  pid: z.int().min(1),
  startedAt: z.string(),
  state: z.enum(['starting', 'up', 'stopping']),
  manager: z.string(),
  processes: z.array(
    z.object({
      name: z.string(),
      pid: z.int().nullable(),
      restarts: z.int(),
      ready: z.boolean(),
      lastExit: z.string().nullable(),
      /** Of a vault: how much it holds, and for how many organisations it was refused what another holds. */
      vault: z
        .object({
          organisations: z.int(),
          standsInFor: z.int(),
          epochs: z.record(z.string(), z.int()),
          refused: z.int(),
        })
        .optional(),
    }),
  ),
})
type Status = z.infer<typeof statusSchema>
export type VaultStanding = NonNullable<Status['processes'][number]['vault']>

export function dataOption(command: Command): Command {
  return command.option('--data <folder>', 'the server’s data (default: “server” in the home)')
}

export async function dataFolder(context: Context, given: string | undefined): Promise<string> {
  return resolve(given ?? (await context.home()).serverFolder)
}

/** Kinds of TEE that an installation can simulate. */
export const simulatedTees: readonly string[] = ['sev-snp', 'tdx', 'sgx', 'nitro']

/** What a supervisor is started with. */
export interface UpFlags {
  readonly data?: string
  readonly port?: number
  readonly listen?: string
  readonly tls?: string
  readonly workers?: number
  readonly vaults?: number
  readonly replicas?: number
  readonly nextEnclaves?: string
  readonly vaultUntil?: string
  readonly localWitnesses?: number
  readonly witness?: string[]
  readonly tee?: string[]
  readonly attest?: boolean
  readonly logSigner?: string
  readonly upgradeLogSigner?: boolean
  readonly coverSeconds?: number
  readonly blobs?: string
  readonly publicUrl?: string
  readonly traces?: string | undefined
  readonly foreground?: boolean
}

/** The status of the server on `folder` while its supervisor lives, whatever a supervisor that was killed left behind. */
export async function runningServer(folder: string): Promise<Status | undefined> {
  const status = await readStatus(folder)
  return status !== undefined && (await isSupervisor(status.pid)) ? status : undefined
}

/** Starts it on `folder`, in a session of its own unless it is to end with this terminal. */
export function startSupervisor(folder: string, flags: UpFlags): ReturnType<typeof spawn> {
  const reach = reachOf(flags)
  const log = openSync(join(folder, 'supervisor.log'), 'a', 0o600)
  const numbers = {
    port: reach.port,
    workers: flags.workers,
    vaults: flags.vaults,
    replicas: flags.replicas,
    'local-witnesses': flags.localWitnesses,
    'cover-seconds': flags.coverSeconds,
  }
  return spawn(
    process.execPath,
    [
      '--disable-warning=ExperimentalWarning',
      hostEntry('supervisor'),
      '--data',
      folder,
      ...Object.entries(numbers).flatMap(([name, value]) => (value === undefined ? [] : [`--${name}`, `${value}`])),
      ...reach.parameters,
      ...(flags.witness ?? []).flatMap((witness) => ['--witness', witness]),
      ...(flags.tee ?? []).flatMap((tee) => ['--tee', tee]),
      ...(flags.nextEnclaves === undefined ? [] : ['--next-enclaves', resolve(flags.nextEnclaves)]),
      ...(flags.vaultUntil === undefined ? [] : ['--vault-until', `${parseTime(flags.vaultUntil, 'end')}`]),
      ...(flags.blobs === undefined ? [] : ['--blobs', resolve(flags.blobs)]),
      ...(flags.attest ? ['--attest'] : []),
      ...(flags.logSigner === undefined ? [] : ['--log-signer', flags.logSigner]),
      ...(flags.upgradeLogSigner ? ['--upgrade-log-signer'] : []),
      ...(flags.traces === undefined ? [] : ['--traces', flags.traces]),
      ...(flags.publicUrl === undefined ? [] : ['--public-url', flags.publicUrl]),
    ],
    // With a session of its own it lives on when this terminal is closed.
    { detached: flags.foreground !== true, stdio: ['ignore', log, log] },
  )
}

/** Plain HTTP is for this machine alone: everywhere else it takes a certificate. */
function reachOf({ port, listen, tls }: UpFlags): { port: number | undefined; parameters: readonly string[] } {
  if (listen === undefined) {
    if (tls === undefined) return { port, parameters: [] }
    throw new UsageError('--tls says how to serve others, and --listen is missing', '--listen HOST:PORT')
  }
  const [, host, listenPort] = /^(.+):([0-9]{1,5})$/.exec(listen) ?? []
  if (host === undefined) throw new UsageError(`--listen ${listen}: write HOST:PORT`)
  if (tls !== undefined) return { port, parameters: ['--public', listen, '--tls', tls] }
  if (!/^(?:localhost|\[::1\]|127(?:\.[0-9]{1,3}){3})$/.test(host)) {
    throw new UsageError(
      `--listen ${listen}: plain HTTP is served to this machine alone`,
      'add --tls CERTIFICATE,KEY, or --tls self-signed',
    )
  }
  if (port !== undefined) throw new UsageError('--port and --listen say the same thing', 'give one of them')
  return { port: Number(listenPort), parameters: [] }
}

/** The entry point of one of the server's programs: in the source tree, or in a package beside this one. */
export function hostEntry(name: 'supervisor' | 'backup'): string {
  const inTree = fileURLToPath(new URL(`../../../host/${name}/src/main.ts`, import.meta.url))
  // A bundle lies elsewhere, where the same path would be somebody else’s file.
  if (import.meta.url.endsWith('/client/cli/src/supervisor.ts') && existsSync(inTree)) return inTree
  try {
    return createRequire(import.meta.url).resolve(`@cella/${name}/main`)
  } catch (cause) {
    throw new CliError(
      'ERR_SERVER_NOT_INSTALLED',
      'the server is not part of this installation: only the client is',
      'use --manager URL of a server that runs elsewhere, or run `npm run cella -- up` in a checkout of the project',
      { cause },
    )
  }
}

/** Waits until it can serve, and says what has become ready. Throws the supervisor's own last words. */
export async function untilReady(
  context: Context,
  {
    folder,
    child,
    started,
    interrupted,
  }: { folder: string; child: ReturnType<typeof spawn>; started: number; interrupted: AbortSignal },
): Promise<Installation> {
  let exit: number | null | undefined
  child.once('exit', (code) => {
    exit = code
  })
  const told = new Set<string>()
  while (exit === undefined) {
    const status = await readStatus(folder)
    if (status?.pid === child.pid) {
      for (const { name, ready } of status?.processes ?? []) {
        if (!ready || told.has(name)) continue
        told.add(name)
        context.say(`  ${context.errStyle.green('✓')} ${printable(name)}`)
      }
      if (status?.state === 'up') return readInstallation(join(folder, 'installation.json'))
    }
    if (Date.now() - started > startSecondsMax * 1000) {
      child.kill('SIGTERM')
      throw new CliError(
        'ERR_SERVER_UNAVAILABLE',
        `the server was not ready after ${startSecondsMax} s`,
        `see ${join(folder, 'logs')}`,
      )
    }
    await delay(100)
  }
  if (interrupted.aborted) {
    throw new CliError('ERR_INTERRUPTED', 'stopped before it was ready, as you asked; nothing of it runs', 'cella up')
  }
  throw await supervisorFailure(folder, exit)
}

/** The supervisor's own last words. */
async function supervisorFailure(folder: string, code: number | null): Promise<CliError> {
  const lines = (await readFile(join(folder, 'supervisor.log'), 'utf8').catch(() => '')).trim().split('\n')
  for (const line of lines.reverse()) {
    try {
      const { event, message, hint } = JSON.parse(line) as { event?: string; message?: string; hint?: string }
      if (event === 'failed' && message !== undefined) return new CliError('ERR_SERVER_UNAVAILABLE', message, hint)
    } catch {
      // Not one of its own lines: the one before.
    }
  }
  return new CliError(
    'ERR_SERVER_UNAVAILABLE',
    `the server ended at once (exit code ${code})`,
    `see ${join(folder, 'supervisor.log')}`,
  )
}

async function readStatus(folder: string): Promise<Status | undefined> {
  try {
    const parsed = statusSchema.safeParse(JSON.parse(await readFile(join(folder, 'status.json'), 'utf8')))
    return parsed.success ? parsed.data : undefined
  } catch {
    return undefined
  }
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** Process numbers are used again: where the system tells, the process has to be a supervisor. */
async function isSupervisor(pid: number): Promise<boolean> {
  if (!isAlive(pid)) return false
  const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => undefined)
  return command === undefined || command.includes('supervisor')
}
