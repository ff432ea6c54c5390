import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { SupervisorError } from './error.ts'
import { LogFile } from './files.ts'
import { startOf } from './lock.ts'

export interface ChildOptions {
  readonly name: string
  readonly command: string
  readonly arguments: readonly string[]
  /** Written to standard input, which is closed after it. */
  readonly input?: () => string
  readonly environment?: Record<string, string>
  /** Everything that it prints goes here. */
  readonly logFile: string
  /** Each line of standard output that is a JSON object. */
  readonly onReport: (report: Record<string, unknown>) => void
  /** It began or ended. */
  readonly onChange: () => void
  readonly onEnd: () => void
}

/** Options of the host's own programs. */
export const quiet = ['--disable-warning=ExperimentalWarning']

const stableMs = 10_000
const waitMsMax = 10_000

/** One process of the installation, started again whenever it ends, at growing intervals while it ends at once. */
export class Child {
  readonly name: string
  readonly #options: ChildOptions
  readonly #log: LogFile
  #process: ChildProcess | undefined
  #stopping = false
  #waitMs = 100
  #timer: NodeJS.Timeout | undefined
  #startedAt: string | undefined
  starts = 0
  lastExit: string | undefined
  /** What it said went wrong and what to do, when it said so last: its lines `error: …` and `hint: …`. */
  failure: { readonly error: string; readonly hint: string | undefined } | undefined

  constructor(options: ChildOptions) {
    this.name = options.name
    this.#options = options
    this.#log = new LogFile(options.logFile)
  }

  get pid(): number | undefined {
    return this.#process?.pid
  }

  /** When the process began, as `startOf` says. */
  get startedAt(): string | undefined {
    return this.#startedAt
  }

  start(): void {
    if (this.#stopping) return
    const { command, environment = {}, input } = this.#options
    const startedAt = performance.now()
    const child = spawn(command, this.#options.arguments, {
      stdio: ['pipe', 'pipe', 'pipe'],
      // Its own group: Ctrl-C at a terminal is for the supervisor, which ends the processes in order.
      detached: true,
      // Enclaves start with an empty environment; the host's own processes get what is given here and no more.
      env: environment,
    })
    this.#process = child
    this.starts += 1
    this.#startedAt = child.pid === undefined ? undefined : startOf(child.pid)
    child.stdin.on('error', () => undefined)
    child.stdin.end(input?.() ?? '')
    child.stderr.on('data', (chunk: Uint8Array) => this.#complaint(chunk))
    createInterface({ input: child.stdout }).on('line', (line) => this.#line(line))
    child.once('error', (error) => {
      this.lastExit = error.message
    })
    child.once('close', (code, signal) => {
      this.#process = undefined
      this.lastExit = signal === null ? `exit code ${code}` : `signal ${signal}`
      this.#options.onEnd()
      this.#options.onChange()
      if (this.#stopping) return
      this.#waitMs = performance.now() - startedAt > stableMs ? 100 : Math.min(this.#waitMs * 2, waitMsMax)
      this.#timer = setTimeout(() => this.start(), this.#waitMs)
    })
    this.#options.onChange()
  }

  /** SIGTERM, and SIGKILL if that does not end it in `timeoutMs`. */
  async stop(timeoutMs = 8000): Promise<void> {
    this.#stopping = true
    clearTimeout(this.#timer)
    const child = this.#process
    if (child !== undefined) {
      const ended = new Promise((resolve) => child.once('close', resolve))
      child.kill('SIGTERM')
      const killer = setTimeout(() => child.kill('SIGKILL'), timeoutMs)
      await ended
      clearTimeout(killer)
    }
    this.#log.close()
  }

  #complaint(chunk: Uint8Array): void {
    this.#log.write(chunk)
    const said = /^error: (.+)(?:\nhint: (.+))?/m.exec(Buffer.from(chunk).toString('utf8'))
    if (said !== null) this.failure = { error: said[1]!, hint: said[2] }
  }

  #line(line: string): void {
    this.#log.write(`${line}\n`)
    if (!line.startsWith('{')) return
    let report: unknown
    try {
      report = JSON.parse(line)
    } catch {
      return
    }
    if (typeof report === 'object' && report !== null) this.#options.onReport(report as Record<string, unknown>)
    this.#options.onChange()
  }
}

/** Runs a command to its end and returns the JSON object that it prints. Throws as `runToEnd`. */
export async function runOnce(
  command: string,
  parameters: readonly string[],
  signal: AbortSignal,
): Promise<Record<string, unknown>> {
  return JSON.parse(await runToEnd(command, parameters, signal))
}

/**
 * Runs a command to its end and returns what it prints. Ends it when `signal` aborts, and settles once it is gone, never
 * before. Throws ERR_PROCESS_FAILED, and the signal's reason.
 */
export async function runToEnd(command: string, parameters: readonly string[], signal: AbortSignal): Promise<string> {
  signal.throwIfAborted()
  const child = spawn(command, parameters, { stdio: ['ignore', 'pipe', 'pipe'], env: compileCache(), signal })
  const [stdout, stderr] = [[], []] as [Buffer[], Buffer[]]
  child.stdout.on('data', (chunk) => stdout.push(chunk))
  child.stderr.on('data', (chunk) => stderr.push(chunk))
  let failure = ''
  child.on('error', (error) => {
    failure = error.message
  })
  const code = await new Promise((resolve) => child.once('close', resolve))
  signal.throwIfAborted()
  if (code !== 0) {
    const said = failure || Buffer.concat(stderr).toString('utf8').trim().slice(-500)
    throw new SupervisorError('ERR_PROCESS_FAILED', `${parameters.join(' ')} ended with ${code}: ${said}`)
  }
  return Buffer.concat(stdout).toString('utf8')
}

/** Where Node keeps what it compiled, if it was told so: it makes the host's own processes start sooner. Never an enclave's. */
export function compileCache(): Record<string, string> {
  const { NODE_COMPILE_CACHE } = process.env
  return NODE_COMPILE_CACHE === undefined ? {} : { NODE_COMPILE_CACHE }
}
