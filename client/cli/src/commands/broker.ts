import { existsSync } from 'node:fs'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { rootField } from '@cella/documents'
import { enrolBroker, type Session, startBroker } from '@cella/sdk'
import type { Command } from 'commander'
import { z } from 'zod'
import { type Cli, does, group, leaf } from '../command.ts'
import type { Context } from '../context.ts'
import { CliError } from '../error.ts'
import { isAlive } from '../supervisor.ts'
import { askTee } from '../tee-tool.ts'
import { renderPairs } from '../terminal/table.ts'
import { formatCount } from '../terminal/units.ts'

interface BrokerFlags {
  readonly folder?: string
  readonly enclaves?: string
  readonly tee: string
}

const statusSchema = z.object({
  format: z.literal('cella-broker/1'),
  pid: z.int().min(1),
  vault: z.string(),
  manager: z.string(),
  startedAt: z.string(),
  calls: z.int().min(0),
})
type BrokerStatus = z.infer<typeof statusSchema>

/** `cella broker`: the organisation's own vault, on a machine of its own. */
export function addBrokerCommands(program: Command, cli: Cli): void {
  const broker = group(program, 'broker', 'a vault of your own, at home: your keys leave this machine for runs alone')
  addEnroll(broker, cli)
  addServe(broker, cli)
  addStatus(broker, cli)
}

function options(command: Command): Command {
  return command
    .option('--folder <folder>', 'where the vault keeps its state (default: “broker” in the home)')
    .option('--enclaves <folder>', 'bundles to take the vault from, the first time (default: dist/enclave)')
    .option('--tee <kind>', 'simulated, or hardware: the TEE that is found here', 'simulated')
}

function addEnroll(broker: Command, cli: Cli): void {
  const command = options(
    leaf(broker, 'enroll', {
      summary:
        'have your organisation accept a vault on this machine: its build, its TEE, and this account as its broker',
      details:
        'New terms are signed by the organisation’s root keys: those in force, and the vault’s build and the root of its TEE beside them. A simulated TEE is as good as its owner’s word: its keys are on this machine. Roots of hardware have to be in your terms already.',
      examples: ['cella broker enroll', 'cella broker enroll --tee hardware'],
    }),
  )
  does<BrokerFlags>(command, cli, async (context, _, flags) => {
    const session = await context.session()
    const folder = await folderOf(context, flags)
    await mkdir(folder, { recursive: true, mode: 0o700 })
    const roots = isSimulated(flags) ? await simulatedRoots(folder) : []
    if (roots.length > 0) context.say('note: these terms accept a SIMULATED TEE, the one of this machine.')
    await context.demand('Sign terms that accept a vault on this machine?')
    const enrolled = await enrolBroker(session, { folder, enclaves: enclavesOf(flags), roots })
    const rootsFile = roots.length === 0 ? undefined : join(folder, 'roots.json')
    if (rootsFile !== undefined) await writeFile(rootsFile, `${JSON.stringify(roots, null, 2)}\n`)
    return {
      data: { ...enrolled, folder, ...(rootsFile && { roots: rootsFile }) },
      text: [
        enrolled.isNew
          ? `terms ${enrolled.terms} accept the vault of build ${enrolled.build}; next: cella broker serve`
          : `terms ${enrolled.terms} accept it already; next: cella broker serve`,
        ...(rootsFile === undefined ? [] : [`who verifies receipts takes ${rootsFile}: cella org trust --roots FILE`]),
      ].join('\n'),
    }
  })
}

function addServe(broker: Command, cli: Cli): void {
  const command = options(
    leaf(broker, 'serve', {
      summary: 'run the vault of your organisation on this machine, until Ctrl-C',
      details:
        'It asks the manager for what is asked of it, so nothing at home has to be open to others; the manager passes on what it can neither read nor forge. While it is away, runs that need it fail by name and are tried again. Publish to it: cella publish --vault ID.',
      examples: ['cella broker serve', 'cella broker serve --json --passphrase-fd 3'],
    }),
  )
  does<BrokerFlags>(command, cli, async (context, _, flags) => {
    const session = await context.session()
    const folder = await folderOf(context, flags)
    const before = await readStatus(folder)
    if (before !== undefined && isAlive(before.pid)) {
      throw new CliError(
        'ERR_REFUSED',
        `a broker serves ${folder} already (process ${before.pid})`,
        'cella broker status',
      )
    }
    await mkdir(folder, { recursive: true, mode: 0o700 })
    const simulated = isSimulated(flags)
    if (simulated) await simulatedRoots(folder)
    const tee = simulated
      ? ({ kind: 'simulated', folder: join(folder, 'tee') } as const)
      : ({ kind: 'hardware' } as const)
    const running = await startBroker(session, { folder, enclaves: enclavesOf(flags), tee })
    const startedAt = new Date().toISOString()
    const status = (): BrokerStatus => ({
      format: 'cella-broker/1',
      pid: process.pid,
      vault: running.vault,
      manager: session.manager.url,
      startedAt,
      calls: running.calls(),
    })
    await writeStatus(folder, status())
    const timer = setInterval(() => void writeStatus(folder, status()).catch(() => undefined), 5000)
    // At once and not at the end: others wait for this line.
    context.io.stdout.write(
      context.options.json === true
        ? `${JSON.stringify(status())}\n`
        : `vault ${running.vault} serves ${session.manager.url}; publish to it: cella publish FILE --vault ${running.vault}\n`,
    )
    const asked = new Promise<'asked'>((end) => {
      for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.once(signal, () => end('asked'))
    })
    const how = await Promise.race([asked, running.ended.then(() => 'ended' as const)])
    clearInterval(timer)
    const { calls } = status()
    await running.stop()
    await writeStatus(folder, { ...status(), calls })
    if (how === 'ended')
      throw new CliError('ERR_SERVER_UNAVAILABLE', 'the vault’s process ended', 'start it again: cella broker serve')
    return { data: { stopped: true, vault: running.vault, calls }, text: `stopped after ${formatCount(calls, 'call')}` }
  })
}

function addStatus(broker: Command, cli: Cli): void {
  const command = leaf(broker, 'status', {
    summary: 'whether the vault on this machine runs, and whether the manager reaches it',
    details: 'Exit code 0: it serves; 3: it does not.',
    examples: ['cella broker status', 'cella broker status --json'],
  }).option('--folder <folder>', 'where the vault keeps its state (default: “broker” in the home)')
  does<BrokerFlags>(command, cli, async (context, _, flags) => {
    const folder = await folderOf(context, flags)
    const status = await readStatus(folder)
    const running = status !== undefined && isAlive(status.pid)
    const reached = running && (await isReached(await context.session(), status.vault))
    const pairs: [string, string][] = [
      ['broker', running ? `process ${status.pid}, since ${status.startedAt}` : 'not running here'],
      ...(status === undefined ? [] : ([['vault', status.vault]] satisfies [string, string][])),
      ...(running
        ? ([
            ['manager', `${status.manager}: ${reached ? 'reaches it' : 'does not reach it'}`],
            ['calls', `${status.calls}`],
          ] satisfies [string, string][])
        : []),
      ['folder', folder],
    ]
    return {
      data: { running, reached, folder, ...(status && { vault: status.vault, pid: status.pid, calls: status.calls }) },
      text: renderPairs(pairs, context.style),
      exitCode: reached ? 0 : 3,
    }
  })
}

async function isReached(session: Session, vault: string): Promise<boolean> {
  try {
    return (await session.manager.info()).vaults.some(({ id }) => id === vault)
  } catch {
    return false
  }
}

async function folderOf(context: Context, { folder }: Pick<BrokerFlags, 'folder'>): Promise<string> {
  return resolve(folder ?? join((await context.home()).folder, 'broker'))
}

/** Of the checkout, where there is one. */
function enclavesOf({ enclaves }: BrokerFlags): string {
  if (enclaves !== undefined) return resolve(enclaves)
  const inTree = fileURLToPath(new URL('../../../../dist/enclave', import.meta.url))
  if (existsSync(inTree)) return inTree
  throw new CliError(
    'ERR_SERVER_NOT_INSTALLED',
    'no vault’s bundle is known here',
    '--enclaves FOLDER, or npm run build:enclave in a checkout',
  )
}

function isSimulated({ tee }: BrokerFlags): boolean {
  if (tee === 'simulated' || tee === 'hardware') return tee === 'simulated'
  throw new CliError('ERR_USAGE', `--tee ${tee}: simulated or hardware`)
}

/** Of the platform of this machine, made the first time. */
async function simulatedRoots(folder: string): Promise<z.infer<typeof rootField>[]> {
  return z.array(rootField).parse(await askTee(['create', '--folder', join(folder, 'tee')]))
}

async function readStatus(folder: string): Promise<BrokerStatus | undefined> {
  try {
    const parsed = statusSchema.safeParse(JSON.parse(await readFile(join(folder, 'status.json'), 'utf8')))
    return parsed.success ? parsed.data : undefined
  } catch {
    return undefined
  }
}

async function writeStatus(folder: string, status: BrokerStatus): Promise<void> {
  const path = join(folder, 'status.json')
  await writeFile(`${path}.tmp`, JSON.stringify(status), { mode: 0o600 })
  await rename(`${path}.tmp`, path)
}
