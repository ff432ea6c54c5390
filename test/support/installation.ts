import { type ChildProcess, spawn } from 'node:child_process'
import { cpSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { InstallationTerms, TermsDraft } from '@cella/sdk'

const root = fileURLToPath(new URL('../..', import.meta.url))
const supervisor = join(root, 'host/supervisor/src/main.ts')
const readyMs = 60_000
const stopMs = 45_000

/** `installation.json` of the supervisor. */
export interface InstallationFile {
  readonly manager: string
  readonly logPolicy: string
  readonly log: { readonly origin: string; readonly vkey: string }
  readonly vaults: readonly string[]
  readonly roots: TermsDraft['roots']
  readonly builds: InstallationTerms['builds']
}

/** How a supervisor ended that did not come up. */
export class DidNotStart extends Error {
  readonly exitCode: number | null
  readonly said: string
  constructor(exitCode: number | null, said: string) {
    super(`the installation did not come up (exit code ${exitCode}): ${said}`)
    this.name = 'DidNotStart'
    this.exitCode = exitCode
    this.said = said
  }
}

/** A folder for one test file, closed to others, that `nobody` can pass where tests run as root. */
export function temporaryFolder(name: string): string {
  return realpathSync(mkdtempSync(join(tmpdir(), `cella-${name}-`)))
}

/** Copies the enclave bundles, which `scripts/test.ts` built of the sources as they are now, to `folder`. */
export function takeBundles(folder: string): string {
  cpSync(join(root, 'dist/enclave'), folder, { recursive: true })
  return folder
}

// Whatever way this process ends, nothing that it started may outlive it.
const running = new Set<RealInstallation>()
process.once('exit', () => {
  for (const installation of running) installation.kill()
})
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))

/** A real installation in processes of its own, on a data folder that may have been used before. */
export class RealInstallation {
  readonly data: string
  readonly #options: readonly string[]
  #child: ChildProcess | undefined

  constructor(data: string, options: readonly string[]) {
    this.data = data
    this.#options = options
  }

  /** Starts it and waits until a run could be served. Throws DidNotStart with the supervisor's own words. */
  async up(): Promise<InstallationFile> {
    const child = spawn(
      process.execPath,
      ['--disable-warning=ExperimentalWarning', supervisor, '--data', this.data, ...this.#options],
      {
        stdio: ['ignore', 'pipe', 'pipe'],
        detached: true,
        env: { PATH: process.env.PATH, NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE },
      },
    )
    this.#child = child
    running.add(this)
    let said = ''
    let errors = ''
    child.stderr!.on('data', (part) => {
      errors += part
    })
    const ready = new Promise<void>((resolve) => {
      child.stdout!.on('data', (part) => {
        said += part
        if (said.includes('"ready"')) resolve()
      })
    })
    const ended = new Promise<never>((_, reject) => {
      child.once('close', (code) => reject(new DidNotStart(code, errors)))
    })
    ended.catch(() => undefined)
    const late = new AbortController()
    const tooLate = sleep(readyMs, undefined, { signal: late.signal, ref: false }).then(() => {
      throw new DidNotStart(null, `not ready after ${readyMs} ms: ${errors}`)
    })
    tooLate.catch(() => undefined)
    try {
      await Promise.race([ready, ended, tooLate])
    } catch (error) {
      this.kill()
      throw error
    } finally {
      late.abort()
    }
    return this.file()
  }

  get pid(): number | undefined {
    return this.#child?.pid
  }

  file(): InstallationFile {
    return JSON.parse(readFileSync(join(this.data, 'installation.json'), 'utf8'))
  }

  /** The supervisor's status: what runs, by name. */
  status(): {
    pid: number
    state: string
    processes: { name: string; pid: number | null; restarts: number; ready: boolean }[]
  } {
    return JSON.parse(readFileSync(join(this.data, 'status.json'), 'utf8'))
  }

  /** Sends `signal` to the supervisor, waits for its end, and returns the exit code. Kills what did not end in time. */
  async down(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    const child = this.#child
    if (child === undefined) return null
    const ended =
      child.exitCode !== null || child.signalCode !== null
        ? Promise.resolve()
        : new Promise((resolve) => child.once('close', resolve))
    child.kill(signal)
    const isLate = await Promise.race([ended.then(() => false), sleep(stopMs, true, { ref: false })])
    if (isLate) this.kill()
    await ended
    running.delete(this)
    this.#child = undefined
    return child.exitCode
  }

  /** Ends every process at once, in no order. */
  kill(): void {
    const { pid } = this.#child ?? {}
    const pids = [...(pid === undefined ? [] : [pid]), ...this.#known()]
    for (const one of pids) {
      // Each leads a group of its own: runners go with their worker.
      for (const target of [-one, one]) {
        try {
          process.kill(target, 'SIGKILL')
        } catch {
          // It ended before.
        }
      }
    }
    running.delete(this)
  }

  #known(): number[] {
    const pids: number[] = []
    try {
      const status = this.status()
      // Another supervisor's, where this one was refused the folder.
      if (status.pid !== this.pid) return []
      for (const { pid } of status.processes) if (pid !== null) pids.push(pid)
    } catch {
      // No status was written.
    }
    const postgres = postgresPid(this.data)
    return postgres === undefined ? pids : [...pids, postgres]
  }
}

/** The number of the database server's first process, if its file is there. */
export function postgresPid(data: string): number | undefined {
  try {
    const pid = Number(readFileSync(join(data, 'manager/postgres/data/postmaster.pid'), 'utf8').split('\n')[0])
    return Number.isInteger(pid) && pid > 1 ? pid : undefined
  } catch {
    return undefined
  }
}

/** Processes, by number, of which command line, environment or working folder names `text`. Linux only, else empty. */
export function processesNaming(text: string): { pid: number; where: 'cmdline' | 'environ' | 'cwd' }[] {
  const found: { pid: number; where: 'cmdline' | 'environ' | 'cwd' }[] = []
  for (const entry of process.platform === 'linux' ? readdirSync('/proc') : []) {
    const pid = Number(entry)
    if (!Number.isInteger(pid) || pid === process.pid) continue
    for (const where of ['cmdline', 'environ', 'cwd'] as const) {
      try {
        const path = `/proc/${pid}/${where}`
        if ((where === 'cwd' ? realpathSync(path) : readFileSync(path, 'latin1')).includes(text)) {
          found.push({ pid, where })
        }
      } catch {
        // It ended, or belongs to another user.
      }
    }
  }
  return found
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  if (typeof address !== 'object' || address === null) throw new Error('no port is free')
  return address.port
}

export function removeFolder(folder: string): void {
  rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })
}
