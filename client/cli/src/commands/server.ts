import { spawn } from 'node:child_process'
import { existsSync, openSync } from 'node:fs'
import { mkdir, readFile, stat } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { fetchFor, ManagerClient, SdkError } from '@cella/sdk'
import { type Command, Option } from 'commander'
import { z } from 'zod'
import { type Cli, does, leaf, type Result } from '../command.ts'
import type { Context } from '../context.ts'
import { CliError, UsageError } from '../error.ts'
import { type Installation, readInstallation } from '../installation.ts'
import { collect, integerOption } from '../options.ts'
import { renderPairs, renderTable } from '../terminal/table.ts'
import { printable } from '../terminal/text.ts'
import { formatCount, formatSeconds } from '../terminal/units.ts'

const startSecondsMax = 180
const stopSecondsMax = 60

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
    }),
  ),
})
type Status = z.infer<typeof statusSchema>

/** `cella up`, `down`, `status` and `doctor` */
export function addServerCommands(program: Command, cli: Cli): void {
  addUp(program, cli)
  addDown(program, cli)
  addStatus(program, cli)
  addDoctor(program, cli)
}

function dataOption(command: Command): Command {
  return command.option('--data <folder>', 'the server’s data (default: “server” in the home)')
}

async function dataFolder(context: Context, given: string | undefined): Promise<string> {
  return resolve(given ?? (await context.home()).serverFolder)
}

interface UpFlags {
  readonly data?: string
  readonly port?: number
  readonly listen?: string
  readonly tls?: string
  readonly workers?: number
  readonly localWitnesses?: number
  readonly witness?: string[]
  readonly tee?: string[]
  readonly foreground?: boolean
}

function addUp(program: Command, cli: Cli): void {
  const command = dataOption(
    leaf(program, 'up', {
      summary: 'start manager, log, vault and worker on this machine, and wait until they can serve',
      details:
        'The TEE is simulated: for rehearsal and for learning. Everything is kept in one folder; a second `up` on it says so.',
      examples: [
        'cella up',
        'cella up --data /srv/cella --port 7411 --workers 2',
        'cella up --workers 2 --tee sev-snp --tee tdx',
        'cella up --foreground',
        'cella up --listen cella.example:7412 --tls certificate.pem,key.pem',
        'cella up --listen 192.0.2.7:7412 --tls self-signed',
      ],
    }),
  )
    .option('--port <number>', 'of the manager', integerOption('--port', 1))
    .option('--listen <host:port>', 'serve other machines there as well; only with --tls')
    .option(
      '--tls <certificate,key>',
      'two PEM files; or self-signed: a certificate of its own, which invitations carry the key of',
    )
    .option('--workers <count>', 'how many workers', integerOption('--workers', 1))
    .option(
      '--local-witnesses <count>',
      'how many witnesses to run here: rehearsal only',
      integerOption('--local-witnesses', 0),
    )
    .option('--witness <vkey=url>', 'somebody else’s witness; may be repeated', collect)
    .option(
      '--tee <kind>',
      'kind of TEE to simulate, for the workers in turn; the first is a new vault’s too',
      teeOption,
    )
    .addOption(new Option('--foreground', 'do not go to the background; end with Ctrl-C'))
  does<UpFlags>(command, cli, async (context, _, flags) => {
    const folder = await dataFolder(context, flags.data)
    const running = await readStatus(folder)
    if (running !== undefined && isAlive(running.pid)) {
      throw new CliError(
        'ERR_REFUSED',
        `a server runs on ${folder} already (process ${running.pid}, ${running.manager})`,
        'cella status shows it, cella down stops it',
      )
    }
    await mkdir(folder, { recursive: true, mode: 0o700 })
    const started = Date.now()
    const child = startSupervisor(folder, flags)
    // It has a session of its own: a Ctrl-C here does not reach it.
    const interrupted = new AbortController()
    const stop = (): void => {
      interrupted.abort()
      child.kill('SIGTERM')
    }
    const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
    for (const signal of signals) process.on(signal, stop)
    const installation = await untilReady(context, { folder, child, started, interrupted: interrupted.signal })
    const seconds = (Date.now() - started) / 1000
    const home = await context.home()
    if ((await home.profile()).manager === null) await home.saveProfile({ manager: installation.manager })
    const file = join(folder, 'installation.json')
    const result: Result = {
      data: {
        manager: installation.manager,
        public: installation.public,
        data: folder,
        installation: file,
        pid: child.pid ?? null,
        seconds,
      },
      text: renderPairs(
        [
          ['ready', `in ${formatSeconds(seconds)}`],
          ['manager', installation.manager],
          ...(installation.public === null
            ? []
            : [['for others', `${installation.public.url}: cella invite lets them know`] satisfies [string, string]]),
          ['data', folder],
          ['TEE', context.style.yellow('SIMULATED: whoever runs this machine can read everything in it')],
          ['next', `cella org create NAME --installation ${file}`],
        ],
        context.style,
      ),
    }
    if (flags.foreground !== true) {
      for (const signal of signals) process.off(signal, stop)
      child.unref()
      return result
    }
    context.io.stdout.write(`${context.options.json === true ? JSON.stringify(result.data) : result.text}\n`)
    await new Promise((ended) => child.once('exit', ended))
    return { data: { stopped: true }, text: 'stopped' }
  })
}

const simulatedTees = ['sev-snp', 'tdx', 'sgx', 'nitro']

function teeOption(text: string, before: string[] = []): string[] {
  if (!simulatedTees.includes(text)) {
    throw new UsageError(`--tee ${text}: is not simulated here`, `one of ${simulatedTees.join(', ')}`)
  }
  return [...before, text]
}

function startSupervisor(folder: string, flags: UpFlags): ReturnType<typeof spawn> {
  const reach = reachOf(flags)
  const log = openSync(join(folder, 'supervisor.log'), 'a', 0o600)
  const numbers = { port: reach.port, workers: flags.workers, 'local-witnesses': flags.localWitnesses }
  return spawn(
    process.execPath,
    [
      '--disable-warning=ExperimentalWarning',
      supervisorEntry(),
      '--data',
      folder,
      ...Object.entries(numbers).flatMap(([name, value]) => (value === undefined ? [] : [`--${name}`, `${value}`])),
      ...reach.parameters,
      ...(flags.witness ?? []).flatMap((witness) => ['--witness', witness]),
      ...(flags.tee ?? []).flatMap((tee) => ['--tee', tee]),
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

/** The server's entry point: in the source tree, or in a package beside this one. */
function supervisorEntry(): string {
  const inTree = fileURLToPath(new URL('../../../../host/supervisor/src/main.ts', import.meta.url))
  // A bundle lies elsewhere, where the same path would be somebody else’s file.
  if (import.meta.url.endsWith('/client/cli/src/commands/server.ts') && existsSync(inTree)) return inTree
  try {
    return createRequire(import.meta.url).resolve('@cella/supervisor/main')
  } catch (cause) {
    throw new CliError(
      'ERR_SERVER_NOT_INSTALLED',
      'the server is not part of this installation: only the client is',
      'use --manager URL of a server that runs elsewhere, or run `npm run cella -- up` in a checkout of the project',
      { cause },
    )
  }
}

async function untilReady(
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

function addDown(program: Command, cli: Cli): void {
  const command = dataOption(
    leaf(program, 'down', {
      summary: 'stop the server; everything that it acknowledged is kept',
      examples: ['cella down', 'cella down --data /srv/cella'],
    }),
  )
  does<{ data?: string }>(command, cli, async (context, _, flags) => {
    const folder = await dataFolder(context, flags.data)
    const status = await readStatus(folder)
    if (status === undefined || !(await isSupervisor(status.pid))) {
      return { data: { stopped: false }, text: `no server runs on ${folder}` }
    }
    process.kill(status.pid, 'SIGTERM')
    const deadline = Date.now() + stopSecondsMax * 1000
    while (isAlive(status.pid)) {
      if (Date.now() > deadline) {
        throw new CliError(
          'ERR_SERVER_UNAVAILABLE',
          `process ${status.pid} does not end`,
          `see ${join(folder, 'supervisor.log')}`,
        )
      }
      await delay(100)
    }
    return { data: { stopped: true, pid: status.pid }, text: 'stopped' }
  })
}

function addStatus(program: Command, cli: Cli): void {
  const command = dataOption(
    leaf(program, 'status', {
      summary: 'what runs on this machine, and whether the manager can serve',
      details: 'Exit code 0: ready; 3: not.',
      examples: ['cella status', 'cella status --json'],
    }),
  )
  does<{ data?: string }>(command, cli, async (context, _, flags) => {
    const folder = await dataFolder(context, flags.data)
    const status = await readStatus(folder)
    const alive = status !== undefined && isAlive(status.pid)
    const url = context.options.manager ?? (alive ? status.manager : (await (await context.home()).profile()).manager)
    const ready = url !== null && url !== '' && (await isReady(context, url))
    const pairs: [string, string][] = [
      ['server', alive ? `${status.state}, process ${status.pid}` : 'not running here'],
      ['manager', url ? `${url}: ${ready ? 'ready' : 'not ready'}` : 'none known'],
      ['data', folder],
    ]
    const table =
      alive &&
      renderTable(
        {
          columns: [
            { name: 'process', align: 'left' },
            { name: 'pid', align: 'right' },
            { name: 'restarts', align: 'right' },
            { name: 'state', align: 'left' },
          ],
          rows: status.processes.map(({ name, pid, restarts, ready: up, lastExit }) => [
            name,
            pid === null ? null : `${pid}`,
            `${restarts}`,
            up ? 'ready' : (lastExit ?? 'starting'),
          ]),
        },
        context,
      )
    return {
      data: {
        running: alive,
        ready,
        manager: url,
        data: folder,
        ...(alive && { state: status.state, pid: status.pid, processes: status.processes }),
      },
      text: [renderPairs(pairs, context.style), ...(table ? [table] : [])].join('\n\n'),
      exitCode: ready ? 0 : 3,
    }
  })
}

interface Finding {
  readonly check: string
  readonly ok: boolean
  readonly found: string
  readonly fix?: string
}

function addDoctor(program: Command, cli: Cli): void {
  const command = dataOption(
    leaf(program, 'doctor', {
      summary: 'look for what could be wrong here, and say what to do about it',
      examples: ['cella doctor', 'cella doctor --json'],
    }),
  )
  does<{ data?: string }>(command, cli, async (context, _, flags) => {
    const findings = [
      checkNode(),
      await checkHome(context),
      await checkKeystore(context),
      ...(await checkManager(context, await dataFolder(context, flags.data))),
    ]
    const bad = findings.filter(({ ok }) => !ok)
    return {
      data: { ok: bad.length === 0, findings },
      text: findings
        .map(({ check, ok, found, fix }) => {
          const mark = ok ? context.style.green('✓') : context.style.red('✗')
          return `${mark} ${check}: ${printable(found)}${ok || fix === undefined ? '' : `\n    ${fix}`}`
        })
        .join('\n'),
      exitCode: bad.length === 0 ? 0 : 1,
    }
  })
}

function checkNode(): Finding {
  const major = Number(process.versions.node.split('.')[0])
  return {
    check: 'Node',
    ok: major >= 26,
    found: process.versions.node,
    fix: 'npm install brings Node 26 along; run cella through its launcher',
  }
}

async function checkHome(context: Context): Promise<Finding> {
  const { folder } = await context.home()
  try {
    const { mode } = await stat(folder)
    const open = process.platform !== 'win32' && (mode & 0o077) !== 0
    return {
      check: 'home',
      ok: !open,
      found: `${folder}${open ? ' can be read by others' : ''}`,
      fix: `chmod 700 ${folder}`,
    }
  } catch {
    return { check: 'home', ok: true, found: `${folder} is not there yet` }
  }
}

async function checkKeystore(context: Context): Promise<Finding> {
  const home = await context.home()
  try {
    const { mode } = await stat(home.keystorePath)
    const open = process.platform !== 'win32' && (mode & 0o077) !== 0
    return { check: 'keystore', ok: !open, found: home.keystorePath, fix: `chmod 600 ${home.keystorePath}` }
  } catch {
    return {
      check: 'keystore',
      ok: false,
      found: `profile ${home.profileName} has none`,
      fix: 'cella org create NAME, or cella keys list --create',
    }
  }
}

async function checkManager(context: Context, folder: string): Promise<Finding[]> {
  const status = await readStatus(folder)
  const url = context.options.manager ?? (await (await context.home()).profile()).manager ?? status?.manager
  if (!url) return [{ check: 'manager', ok: false, found: 'none known', fix: 'cella up, or --manager URL' }]
  try {
    const request = await fetchFor(await context.home(), url)
    const response = await request(`${url}/readyz`, { signal: AbortSignal.timeout(5000) })
    const date = Date.parse(response.headers.get('date') ?? '')
    const skew = Number.isNaN(date) ? 0 : Math.round((Date.now() - date) / 1000)
    const findings: Finding[] = [
      {
        check: 'manager',
        ok: response.ok,
        found: `${url} ${response.ok ? 'is ready' : `answers ${response.status}`}`,
        fix: 'cella status',
      },
      {
        check: 'clock',
        ok: Math.abs(skew) <= 30,
        found: `${skew} s from the manager’s`,
        fix: 'set this machine’s clock: requests are accepted for 60 s',
      },
    ]
    return [...findings, await checkLog(context, url)]
  } catch {
    return [{ check: 'manager', ok: false, found: `${url} does not answer`, fix: 'cella up, or --manager URL' }]
  }
}

async function checkLog(context: Context, url: string): Promise<Finding> {
  try {
    const { origin } = (await new ManagerClient({ url, fetch: await fetchFor(await context.home(), url) }).info()).log
    const { logs } = await (await context.home()).anchors()
    if (logs.length === 0)
      return {
        check: 'log',
        ok: false,
        found: `${origin} is not trusted yet`,
        fix: 'cella org trust --log FILE or --installation FILE',
      }
    const { checkpoint } = await (await context.session()).log()
    return {
      check: 'log',
      ok: true,
      found: `${formatCount(checkpoint.size, 'entry', 'entries')}, consistent with what was seen before`,
    }
  } catch (error) {
    const hint = error instanceof SdkError ? error.hint : undefined
    return { check: 'log', ok: false, found: (error as Error).message, ...(hint !== undefined && { fix: hint }) }
  }
}

async function readStatus(folder: string): Promise<Status | undefined> {
  try {
    const parsed = statusSchema.safeParse(JSON.parse(await readFile(join(folder, 'status.json'), 'utf8')))
    return parsed.success ? parsed.data : undefined
  } catch {
    return undefined
  }
}

function isAlive(pid: number): boolean {
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

async function isReady(context: Context, url: string): Promise<boolean> {
  try {
    const request = await fetchFor(await context.home(), url)
    return (await request(`${url}/readyz`, { signal: AbortSignal.timeout(5000) })).ok
  } catch {
    return false
  }
}
