import { canonicalJson, encodeHex } from '@cella/bytes'
import { injectorVersion } from './admit.ts'
import type { SandboxStatus } from './program-end.ts'
import { type EndReport, frameType, type JobHeader } from './protocol.ts'
import { RunnerProcess, type Tier } from './runner-process.ts'
import { SandboxError } from './sandbox-error.ts'

export interface SandboxOptions {
  readonly nodePath: string
  /** The runner's bundle, or `runner-main.ts` itself. */
  readonly runnerPath: string
  /** What the runner may read; the runner's file alone when left out. */
  readonly readablePaths?: readonly string[]
  /** Runners that are started beforehand, from 0. */
  readonly poolSize: number
  /** RLIMIT_DATA of a runner, where the system has it. Default 6 GiB: above the 4 GiB a program's memory can have. */
  readonly processBytesMax?: number
}

export interface Budgets {
  /** 1 per instruction executed; see docs/formats/program.md. */
  readonly fuel: bigint | number
  /** 64 KiB each, at most 65536. */
  readonly memoryPages: number
  /** Calls within calls, at most 10000. */
  readonly callDepth: number
  /** The backstop, killed hard: a run that meets it is not repeatable. */
  readonly wallMs: number
  /** Of stdout and of stderr each. */
  readonly diagnosticsBytesMax: number
}

export interface SandboxJob {
  readonly module: Uint8Array
  /** After the program's name. */
  readonly args: readonly string[]
  /** 32 bytes; all randomness the program gets. */
  readonly seed: Uint8Array
  /** Read under /in/<name>. Always consumed to the end, in order, whatever the program does. */
  readonly inputs: readonly SandboxInput[]
  /** Written under /out/<name>. */
  readonly outputs: readonly { readonly name: string; readonly bytesMax: number }[]
  readonly budgets: Budgets
  /** Left out: `batch` for inputs of 16 MiB and more together. */
  readonly tier?: Tier
}

export interface SandboxInput {
  readonly name: string
  /** Exact; a stream of another length is ERR_INPUT_LENGTH. */
  readonly length: number
  readonly bytes: AsyncIterable<Uint8Array>
}

export interface SandboxResult {
  /** The only part that the operator may see. */
  readonly status: SandboxStatus
  /** Every declared output when the status is `ok` (empty if never written), none otherwise. */
  readonly outputs: ReadonlyMap<string, Uint8Array>
  /** Depends on plaintext: only for receivers that the contract names for it. */
  readonly diagnostics: Diagnostics
  readonly injectorVersion: number
  readonly isolation: Isolation
}

export interface Diagnostics {
  readonly stdout: Uint8Array
  readonly stderr: Uint8Array
  readonly exitCode: number | null
  readonly trapText: string | null
  readonly fuelUsed: bigint
  readonly memoryPeakPages: number
}

/** 1: shares an address space; 2: own process under Node's permission model; 3: also namespaces and seccomp. */
export interface Isolation {
  readonly level: 1 | 2 | 3
  readonly layers: readonly string[]
}

export interface Sandbox {
  /**
   * Runs one program in a process of its own. Throws SandboxError only for a job that makes no sense
   * (ERR_JOB_INVALID), inputs of another length than declared (ERR_INPUT_LENGTH) and runners that can't start
   * (ERR_RUNNER_UNAVAILABLE), and what an input's iterator throws; whatever the program does is a status.
   */
  run(job: SandboxJob): Promise<SandboxResult>
  /**
   * Starts runners in place of those that were used. To be called when there is nothing more urgent: starting a process
   * holds up everything else in this one for some milliseconds.
   */
  refill(): void
  /** Ends all runners, running ones too (their status is `runner-lost`). */
  close(): Promise<void>
}

export const moduleBytesMax = 64 * 1024 * 1024
const inputKeptBytesMax = 64 * 1024 * 1024
const batchInputBytesMin = 16 * 1024 * 1024
const reportBytesMax = 64 * 1024
const callDepthMax = 10_000
const filesMax = 128
const statuses: readonly string[] = [
  'ok',
  'exit-nonzero',
  'trap',
  'out-of-fuel',
  'out-of-memory',
  'call-depth',
  'output-too-large',
  'not-admitted',
]

/** Starts `poolSize` runners in the background. A `run` takes one of them, or waits for one of its own. */
export function createSandbox(options: SandboxOptions): Sandbox {
  const runnerOptions = {
    nodePath: options.nodePath,
    runnerPath: options.runnerPath,
    readablePaths: options.readablePaths ?? [options.runnerPath],
    processBytesMax: options.processBytesMax ?? 6 * 1024 ** 3,
  }
  const ready: Promise<RunnerProcess>[] = []
  const running = new Set<RunnerProcess>()
  let closed = false

  const refill = (): void => {
    while (!closed && ready.length < options.poolSize) {
      const started = RunnerProcess.start(runnerOptions, 'fast')
      // Whoever takes it from the pool sees the failure.
      started.catch(() => {})
      ready.push(started)
    }
  }
  const acquire = async (tier: Tier): Promise<RunnerProcess> => {
    if (closed) throw new SandboxError('ERR_RUNNER_UNAVAILABLE', 'the sandbox is closed')
    for (let taken = tier === 'fast' ? ready.shift() : undefined; taken !== undefined; taken = ready.shift()) {
      const runner = await taken
      if (!runner.gone) return runner
    }
    return RunnerProcess.start(runnerOptions, tier)
  }
  refill()

  return {
    run: async (job) => {
      const header = headerOf(job)
      const inputBytes = job.inputs.reduce((sum, input) => sum + input.length, 0)
      const runner = await acquire(job.tier ?? (inputBytes >= batchInputBytesMin ? 'batch' : 'fast'))
      running.add(runner)
      try {
        return await runOn(runner, job, header)
      } finally {
        // The process is killed now; its end need not hold up the result.
        runner.end().then(
          () => running.delete(runner),
          () => {},
        )
      }
    },
    refill,
    close: async () => {
      closed = true
      const idle = await Promise.allSettled(ready.splice(0))
      const all = [...running, ...idle.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []))]
      await Promise.all(all.map((runner) => runner.end()))
    },
  }
}

async function runOn(runner: RunnerProcess, job: SandboxJob, header: JobHeader): Promise<SandboxResult> {
  const answer = collect(runner, job)
  const deadline = new Deadline(job.budgets.wallMs, () => runner.kill())
  try {
    await runner.send(frameType.job, new TextEncoder().encode(canonicalJson(header)))
    await runner.send(frameType.module, job.module)
    for (const input of job.inputs) await feed(runner, input, deadline)
    const isolation: Isolation = { level: 2, layers: runner.layers }
    const result = await answer
    if (result !== undefined) return { ...result, injectorVersion, isolation }
    const status = deadline.passed ? 'deadline' : 'runner-lost'
    return { status, outputs: new Map(), diagnostics: emptyDiagnostics, injectorVersion, isolation }
  } finally {
    deadline.clear()
  }
}

class Deadline {
  readonly reached: Promise<undefined>
  passed = false
  readonly #timer: NodeJS.Timeout

  constructor(ms: number, onPassed: () => void) {
    const { promise, resolve } = Promise.withResolvers<undefined>()
    this.reached = promise
    this.#timer = setTimeout(() => {
      this.passed = true
      onPassed()
      resolve(undefined)
    }, ms)
  }

  clear(): void {
    clearTimeout(this.#timer)
  }
}

/**
 * Goes on to the input's end although the program may be done: what is fetched must not tell what it read. The deadline
 * ends that too, even when the input has stalled.
 */
async function feed(runner: RunnerProcess, input: SandboxInput, deadline: Deadline): Promise<void> {
  const iterator = input.bytes[Symbol.asyncIterator]()
  const abandon = (): void => {
    iterator.return?.().catch(() => {})
  }
  let sent = 0
  while (!deadline.passed) {
    const next = await Promise.race([iterator.next(), deadline.reached])
    if (next === undefined) return abandon()
    if (next.done === true) break
    sent += next.value.length
    if (sent > input.length) {
      abandon()
      break
    }
    await runner.sendPieces(frameType.input, next.value)
  }
  if (sent !== input.length && !deadline.passed) {
    const than = `${sent > input.length ? 'longer' : 'shorter'} than its ${input.length} bytes`
    throw new SandboxError('ERR_INPUT_LENGTH', `input ${JSON.stringify(input.name)} is ${than}`)
  }
}

const emptyDiagnostics: Diagnostics = {
  stdout: new Uint8Array(0),
  stderr: new Uint8Array(0),
  exitCode: null,
  trapText: null,
  fuelUsed: 0n,
  memoryPeakPages: 0,
}

/**
 * The runner's answer, or undefined when it is gone without one. A program that broke out of V8 could speak here, so
 * every cap is counted again and anything unexpected ends the runner.
 */
function collect(
  runner: RunnerProcess,
  job: SandboxJob,
): Promise<Pick<SandboxResult, 'status' | 'outputs' | 'diagnostics'> | undefined> {
  const outputs = job.outputs.map(({ bytesMax }) => new Pieces(bytesMax))
  const stdout = new Pieces(job.budgets.diagnosticsBytesMax)
  const stderr = new Pieces(job.budgets.diagnosticsBytesMax)
  return new Promise((resolve) => {
    const onFrame = (type: number, payload: Uint8Array): void => {
      try {
        if (type === frameType.stdout) stdout.add(payload)
        else if (type === frameType.stderr) stderr.add(payload)
        else if (type === frameType.output) {
          const index = new DataView(payload.buffer, payload.byteOffset).getUint32(0)
          const output = outputs[index]
          if (output === undefined) throw new SandboxError('ERR_FRAME_MALFORMED', `no output ${index}`)
          output.add(payload.subarray(4))
        } else if (type === frameType.end) {
          const end = parseEnd(payload, BigInt(job.budgets.fuel))
          const named = job.outputs.map(({ name }, index) => [name, outputs[index]!.whole()] as const)
          resolve({
            status: end.status,
            outputs: new Map(end.status === 'ok' ? named : []),
            diagnostics: { ...end.diagnostics, stdout: stdout.whole(), stderr: stderr.whole() },
          })
        } else throw new SandboxError('ERR_FRAME_MALFORMED', `frame ${type}`)
      } catch {
        runner.kill()
        resolve(undefined)
      }
    }
    runner.listen(onFrame, () => resolve(undefined))
  })
}

function parseEnd(
  payload: Uint8Array,
  fuel: bigint,
): { status: SandboxStatus; diagnostics: Omit<Diagnostics, 'stdout' | 'stderr'> } {
  if (payload.length > reportBytesMax) throw new SandboxError('ERR_FRAME_MALFORMED', 'the report is too long')
  const report = JSON.parse(new TextDecoder().decode(payload)) as EndReport
  const fuelUsed = BigInt(report.fuelUsed)
  const exitCode = report.exitCode === null ? null : Number(report.exitCode)
  const trapText = report.trapText === null ? null : String(report.trapText)
  const memoryPeakPages = Number(report.memoryPeakPages)
  if (!statuses.includes(report.status) || fuelUsed < 0n || fuelUsed > fuel || !Number.isInteger(memoryPeakPages)) {
    throw new SandboxError('ERR_FRAME_MALFORMED', 'the report makes no sense')
  }
  return { status: report.status as SandboxStatus, diagnostics: { exitCode, trapText, fuelUsed, memoryPeakPages } }
}

class Pieces {
  readonly #bytesMax: number
  readonly #pieces: Uint8Array[] = []
  #length = 0

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  add(piece: Uint8Array): void {
    this.#length += piece.length
    if (this.#length > this.#bytesMax)
      throw new SandboxError('ERR_FRAME_MALFORMED', `more than ${this.#bytesMax} bytes`)
    this.#pieces.push(piece)
  }

  whole(): Uint8Array {
    const whole = new Uint8Array(this.#length)
    let offset = 0
    for (const piece of this.#pieces) {
      whole.set(piece, offset)
      offset += piece.length
      piece.fill(0)
    }
    return whole
  }
}

function headerOf(job: SandboxJob): JobHeader {
  const { fuel, memoryPages, callDepth, wallMs, diagnosticsBytesMax } = job.budgets
  const whole = (name: string, value: number, max: number): void => {
    if (!Number.isSafeInteger(value) || value < 0 || value > max) throw invalid(`${name} is ${value}, of 0 to ${max}`)
  }
  if (typeof fuel === 'number') whole('fuel', fuel, Number.MAX_SAFE_INTEGER)
  else if (fuel < 0n || fuel > 2n ** 62n) throw invalid(`fuel is ${fuel}, of 0 to 2^62`)
  whole('memoryPages', memoryPages, 65_536)
  whole('callDepth', callDepth, callDepthMax)
  whole('wallMs', wallMs, 2 ** 31 - 1)
  whole('diagnosticsBytesMax', diagnosticsBytesMax, 64 * 1024 * 1024)
  if (job.seed.length !== 32) throw invalid(`the seed has ${job.seed.length} bytes, it must have 32`)
  if (job.args.some((arg) => arg.includes('\0') || !arg.isWellFormed())) throw invalid('an argument is not plain text')
  for (const input of job.inputs) whole(`the length of ${input.name}`, input.length, Number.MAX_SAFE_INTEGER)
  for (const output of job.outputs) whole(`bytesMax of ${output.name}`, output.bytesMax, 2 ** 31)
  checkNames(job.inputs.map(({ name }) => name))
  checkNames(job.outputs.map(({ name }) => name))
  return {
    args: ['program', ...job.args],
    seed: encodeHex(job.seed),
    inputs: job.inputs.map(({ name, length }) => ({ name, length })),
    outputs: job.outputs.map(({ name, bytesMax }) => ({ name, bytesMax })),
    fuel: String(fuel),
    memoryPages,
    callDepth,
    diagnosticsBytesMax,
    moduleBytesMax,
    inputKeptBytesMax,
  }
}

/** One path segment each, so that a program's libc can name them. */
function checkNames(names: readonly string[]): void {
  if (names.length > filesMax) throw invalid(`${names.length} files, at most ${filesMax}`)
  if (new Set(names).size !== names.length) throw invalid('two files have the same name')
  for (const name of names) {
    if (!/^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$/.test(name)) {
      throw invalid(`the file name ${JSON.stringify(name)} is not 1 to 128 of A-Z a-z 0-9 . _ - without a dot first`)
    }
  }
}

function invalid(what: string): SandboxError {
  return new SandboxError('ERR_JOB_INVALID', what)
}
