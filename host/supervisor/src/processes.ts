import { join } from 'node:path'
import { canonicalJson } from '@cella/bytes'
import { Child, type ChildOptions, compileCache, quiet, runOnce } from './child.ts'
import { SupervisorError } from './error.ts'

/** What an enclave reports beside that it is ready, no longer true once it ended. */
const events = ['listening', 'ready', 'successor', 'standing', 'joined']
const upMs = 60_000

/** The processes of one installation, and what each reported since it began. */
export class Processes {
  readonly #folder: string
  readonly #onChange: () => void
  readonly #children: Child[] = []
  readonly #reports = new Map<string, Record<string, unknown>>()
  readonly #stop = new AbortController()
  #onReport: () => void = () => undefined

  /** `onChange` hears when one began, ended, or stands otherwise. */
  constructor({ dataFolder, onChange }: { dataFolder: string; onChange: () => void }) {
    this.#folder = dataFolder
    this.#onChange = onChange
  }

  /** Aborts when all are told to end. */
  get signal(): AbortSignal {
    return this.#stop.signal
  }

  /** Runs a program of the host to its end, and returns what it prints. */
  command(parameters: readonly string[]): Promise<Record<string, unknown>> {
    return runOnce(process.execPath, [...quiet, ...parameters], this.#stop.signal)
  }

  /** Starts a program of the host, which reports once it is ready. */
  run(name: string, parameters: readonly string[]): void {
    this.#add(
      new Child({
        ...this.#childOptions(name),
        command: process.execPath,
        arguments: [...quiet, ...parameters],
        environment: { PATH: process.env.PATH ?? '', ...compileCache() },
        onReport: (report) => this.#report(name, report),
      }),
    )
  }

  /** Starts an enclave, which reports events by name. */
  runEnclave(name: string, bundle: string, options: readonly string[], configuration: object): void {
    this.#add(
      new Child({
        ...this.#childOptions(name),
        command: process.execPath,
        arguments: [...options, bundle],
        input: () => canonicalJson(configuration),
        onReport: (report) => this.#report(`${name}:${String(report.event)}`, report),
      }),
    )
  }

  /** What a process of the host reported, by its name; what an enclave did, by `NAME:EVENT`. */
  reported(event: string): Record<string, unknown> | undefined {
    return this.#reports.get(event)
  }

  /** Waits until all of these were reported. Throws as `until`. */
  all(reports: readonly string[]): Promise<void> {
    return this.until(() => reports.every((event) => this.#reports.has(event)))
  }

  /** Waits for reports; a process that keeps ending before is an error with its log. Throws ERR_PROCESS_FAILED, ERR_STOPPED. */
  async until(condition: () => boolean): Promise<void> {
    const deadline = performance.now() + upMs
    for (;;) {
      this.#stop.signal.throwIfAborted()
      if (condition()) return
      const failing = this.#children.find(({ starts, pid }) => starts >= 3 && pid === undefined)
      if (failing !== undefined || performance.now() > deadline) throw this.#notUp(failing)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 100)
        this.#onReport = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
  }

  #notUp(failing: Child | undefined): SupervisorError {
    const names = failing?.name ?? this.#children.filter(({ name }) => !this.#isReady(name)).map(({ name }) => name)
    return new SupervisorError(
      'ERR_PROCESS_FAILED',
      `${names} does not come up (${failing?.failure?.error ?? failing?.lastExit ?? 'no answer'})`,
      { hint: [failing?.failure?.hint, `see ${join(this.#folder, 'logs')}`].filter(Boolean).join('; ') },
    )
  }

  /** Ends one, for good. */
  async end(name: string): Promise<void> {
    const at = this.#children.findIndex((child) => child.name === name)
    await this.#children.splice(at, 1)[0]?.stop()
  }

  /** From here on nothing is started. */
  refuseMore(): void {
    this.#stop.abort(new SupervisorError('ERR_STOPPED', 'it was told to end'))
  }

  /** Ends all, those that others depend on last. */
  async endAll(): Promise<void> {
    this.refuseMore()
    const stages = Map.groupBy(this.#children, ({ name }) => stageOf(name))
    for (const stage of [...stages.keys()].sort((a, b) => a - b)) {
      await Promise.all(stages.get(stage)!.map((child) => child.stop(stage === managerStage ? 20_000 : 8000)))
    }
  }

  /** Each of them, for the status. */
  list(): object[] {
    return this.#children.map(({ name, pid, startedAt, starts, lastExit }) => ({
      name,
      pid: pid ?? null,
      // Ticks since boot: tells the process apart from a later one of its number.
      startedAt: startedAt ?? null,
      restarts: Math.max(0, starts - 1),
      ready: pid !== undefined && this.#isReady(name),
      lastExit: lastExit ?? null,
      ...this.#vaultStanding(name),
    }))
  }

  /** What a vault says of itself in numbers, and what came of its joining another. */
  #vaultStanding(name: string): object {
    const standing = this.#reports.get(`${name}:standing`)
    const joined = this.#reports.get(`${name}:joined`)
    if (standing === undefined) return {}
    const { organisations, standsInFor, epochs } = standing
    return { vault: { organisations, standsInFor, epochs, refused: joined?.refused ?? 0 } }
  }

  #isReady(name: string): boolean {
    return this.#reports.has(name) || this.#reports.has(`${name}:ready`)
  }

  #childOptions(name: string): Pick<ChildOptions, 'name' | 'logFile' | 'onChange' | 'onEnd'> {
    return {
      name,
      logFile: join(this.#folder, 'logs', `${name}.log`),
      onChange: this.#onChange,
      onEnd: () => {
        // What it said no longer holds: the next one says it anew.
        for (const event of [name, ...events.map((what) => `${name}:${what}`)]) this.#reports.delete(event)
      },
    }
  }

  #add(child: Child): void {
    this.#stop.signal.throwIfAborted()
    this.#children.push(child)
    child.start()
  }

  #report(event: string, report: Record<string, unknown>): void {
    this.#reports.set(event, report)
    if (event.endsWith(':standing') || event.endsWith(':joined')) this.#onChange()
    this.#onReport()
  }
}

const managerStage = 2

/** In which order they end. */
function stageOf(name: string): number {
  if (name.startsWith('worker') || name === 'attest') return 0
  if (name === 'vault' || name.startsWith('vault-') || name.startsWith('replica-')) return 1
  if (name === 'manager') return managerStage
  if (name === 'log') return 3
  return 4
}
