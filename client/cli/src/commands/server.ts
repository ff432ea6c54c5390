import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fetchFor } from '@cella/sdk'
import { type Command, Option } from 'commander'
import { type Cli, does, leaf, type Result } from '../command.ts'
import type { Context } from '../context.ts'
import { CliError, UsageError } from '../error.ts'
import { collect, integerOption } from '../flags.ts'
import {
  dataFolder,
  dataOption,
  isAlive,
  runningServer,
  simulatedTees,
  startSupervisor,
  type UpFlags,
  untilReady,
  type VaultStanding,
} from '../supervisor.ts'
import { renderPairs, renderTable } from '../terminal/table.ts'
import { formatCount, formatSeconds } from '../terminal/units.ts'
import { addDoctorCommand } from './doctor.ts'

const stopSecondsMax = 60

/** `cella up`, `down`, `status` and `doctor` */
export function addServerCommands(program: Command, cli: Cli): void {
  addUp(program, cli)
  addDown(program, cli)
  addStatus(program, cli)
  addDoctorCommand(program, cli)
}

function addUp(program: Command, cli: Cli): void {
  const command = dataOption(
    leaf(program, 'up', {
      summary: 'start manager, log, vault and worker on this machine, and wait until they can serve',
      details:
        'The TEE is simulated: for rehearsal and for learning. Everything is kept in one folder; a second `up` on it says so. With --traces, or OTEL_EXPORTER_OTLP_ENDPOINT set, the manager sends traces there for as long as it runs.',
      examples: [
        'cella up',
        'cella up --data /srv/cella --port 7411 --workers 2',
        'cella up --workers 2 --tee sev-snp --tee tdx',
        'cella up --attest',
        'cella up --foreground',
        'cella up --traces http://127.0.0.1:4318',
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
    .option('--vaults <count>', 'how many vaults: owners may keep keys in different ones', integerOption('--vaults', 1))
    .option(
      '--replicas <count>',
      'how many vaults stand in for the first, for organisations whose terms accept them',
      integerOption('--replicas', 0),
    )
    .option(
      '--next-enclaves <folder>',
      'a vault of another build joins the first: organisations go over as their terms accept it',
    )
    .option('--vault-until <time>', 'until when the first vault is served, told to who uses it')
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
    .option('--attest', 'run an attestation service as well; the manager passes it on under /attest')
    .addOption(
      new Option('--log-signer <where>', 'where the key of a new log lies (default: enclave)').choices([
        'enclave',
        'host',
      ]),
    )
    .option(
      '--upgrade-log-signer',
      'the log’s key passes to the newest log signer; the log says so in an entry before the new one signs',
    )
    .option(
      '--cover-seconds <count>',
      'at least one entry for each organisation in each so many seconds: whoever reads the log can’t see when it was quiet',
      integerOption('--cover-seconds', 1),
    )
    .option(
      '--blobs <file>',
      'ciphertext lies in an S3 store, which this file names (docs/manager.md), in place of a folder',
    )
    .option(
      '--public-url <url>',
      'under which others reach the manager: the attestation service’s issuer begins with it',
    )
    .addOption(new Option('--foreground', 'do not go to the background; end with Ctrl-C'))
  does<UpFlags>(command, cli, async (context, _, flags) => {
    const folder = await dataFolder(context, flags.data)
    const running = await runningServer(folder)
    if (running !== undefined) {
      throw new CliError(
        'ERR_REFUSED',
        `a server runs on ${folder} already (process ${running.pid}, ${running.manager})`,
        'cella status shows it, cella down stops it',
      )
    }
    await mkdir(folder, { recursive: true, mode: 0o700 })
    const started = Date.now()
    const child = startSupervisor(folder, { ...flags, traces: context.options.traces })
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

function teeOption(text: string, before: string[] = []): string[] {
  if (!simulatedTees.includes(text)) {
    throw new UsageError(`--tee ${text}: is not simulated here`, `one of ${simulatedTees.join(', ')}`)
  }
  return [...before, text]
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
    const status = await runningServer(folder)
    if (status === undefined) return { data: { stopped: false }, text: `no server runs on ${folder}` }
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
    const status = await runningServer(folder)
    const url = context.options.manager ?? status?.manager ?? (await (await context.home()).profile()).manager
    const ready = url !== null && url !== '' && (await isReady(context, url))
    const pairs: [string, string][] = [
      ['server', status ? `${status.state}, process ${status.pid}` : 'not running here'],
      ['manager', url ? `${url}: ${ready ? 'ready' : 'not ready'}` : 'none known'],
      ['data', folder],
    ]
    const table =
      status &&
      renderTable(
        {
          columns: [
            { name: 'process', align: 'left' },
            { name: 'pid', align: 'right' },
            { name: 'restarts', align: 'right' },
            { name: 'state', align: 'left' },
            { name: 'holds', align: 'left' },
          ],
          rows: status.processes.map(({ name, pid, restarts, ready: up, lastExit, vault }) => [
            name,
            pid === null ? null : `${pid}`,
            `${restarts}`,
            up ? 'ready' : (lastExit ?? 'starting'),
            vault === undefined ? '' : holdingText(vault),
          ]),
        },
        context,
      )
    return {
      data: {
        running: status !== undefined,
        ready,
        manager: url,
        data: folder,
        ...(status && { state: status.state, pid: status.pid, processes: status.processes }),
      },
      text: [renderPairs(pairs, context.style), ...(table ? [table] : [])].join('\n\n'),
      exitCode: ready ? 0 : 3,
    }
  })
}

/** What a vault holds, in numbers: its operator knows no more. */
function holdingText({ organisations, standsInFor, epochs, refused }: VaultStanding): string {
  const newest = Object.keys(epochs).map(Number)
  return [
    `keys of ${formatCount(organisations, 'organisation')}`,
    ...(standsInFor > 0 ? [`stands in for ${standsInFor}`] : []),
    ...(refused > 0 ? [`${refused} refused`] : []),
    ...(newest.length > 0 ? [`epochs up to ${Math.max(...newest)}`] : []),
  ].join(', ')
}

async function isReady(context: Context, url: string): Promise<boolean> {
  try {
    const request = await fetchFor(await context.home(), url)
    return (await request(`${url}/readyz`, { signal: AbortSignal.timeout(5000) })).ok
  } catch {
    return false
  }
}
