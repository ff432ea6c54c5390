import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { FrameAssembler, frameBytesMax, frameHeader, frameType, type ReadyReport } from './protocol.ts'
import { SandboxError } from './sandbox-error.ts'

/** How V8 compiles: `fast` starts at once, `batch` optimises before the first call. Results and fuel are the same. */
export type Tier = 'fast' | 'batch'

export interface RunnerOptions {
  /** Node 26 or later: its permission model also denies the network. */
  readonly nodePath: string
  readonly runnerPath: string
  /** What the runner may read: of a bundle nothing but itself. */
  readonly readablePaths: readonly string[]
  /** RLIMIT_DATA: private writable memory of the whole process. */
  readonly processBytesMax: number
}

const prlimitPath = '/usr/bin/prlimit'
/** Room for the deepest call chain that the depth counter lets through, so that the counter ends first. */
const nativeStackKiB = 64 * 1024
const bareStackKiB = 6 * 1024

/** A started runner that has reported ready. Used once. */
export class RunnerProcess {
  /** The layers around the program that were seen to be there. */
  readonly layers: readonly string[]
  readonly #child: ChildProcess
  readonly #input: Socket
  #onFrame: (type: number, payload: Uint8Array) => void
  #onGone: () => void = () => {}
  #gone = false

  /** Resolves when the runner is ready. Throws ERR_RUNNER_UNAVAILABLE when it can't start or isn't confined. */
  static async start(options: RunnerOptions, tier: Tier): Promise<RunnerProcess> {
    const child = spawnRunner(options, tier)
    try {
      return await new Promise<RunnerProcess>((resolve, reject) => {
        const fail = (cause?: Error): void => reject(unavailable('ended before it was ready', cause))
        child.once('error', fail)
        child.once('exit', () => fail())
        let runner: RunnerProcess | undefined
        const assembler = new FrameAssembler((type, payload) => {
          if (runner !== undefined) {
            runner.#onFrame(type, payload)
            return
          }
          if (type !== frameType.ready) fail()
          checkConfined(payload)
          observedLayers(child.pid!).then((layers) => {
            child.removeAllListeners('exit')
            runner = new RunnerProcess(child, layers)
            resolve(runner)
          }, reject)
        })
        const output = child.stdio[4] as Socket
        output.on('error', () => child.kill('SIGKILL'))
        output.on('data', (piece: Uint8Array) => {
          try {
            assembler.push(piece)
          } catch (error) {
            child.kill('SIGKILL')
            reject(error instanceof SandboxError ? error : unavailable('said what it should not', error as Error))
          }
        })
      })
    } catch (error) {
      child.kill('SIGKILL')
      throw error
    }
  }

  private constructor(child: ChildProcess, layers: readonly string[]) {
    this.#child = child
    this.layers = layers
    this.#input = child.stdio[3] as Socket
    this.#onFrame = () => this.kill()
    // EPIPE when the program ended before it read everything: what it left unread is no one's concern.
    this.#input.on('error', () => {})
    child.on('close', () => {
      this.#gone = true
      this.#onGone()
    })
  }

  get gone(): boolean {
    return this.#gone
  }

  /** From here on, frames and the end of the process (after its last frame) go to these. */
  listen(onFrame: (type: number, payload: Uint8Array) => void, onGone: () => void): void {
    this.#onFrame = onFrame
    this.#onGone = onGone
    if (this.#gone) onGone()
  }

  /** Resolves when the bytes have left our memory, so that the caller may overwrite them; also when nobody reads. */
  async send(type: number, payload: Uint8Array): Promise<void> {
    this.#input.write(frameHeader(type, payload.length))
    await new Promise<void>((resolve) => this.#input.write(payload, () => resolve()))
  }

  async sendPieces(type: number, bytes: Uint8Array): Promise<void> {
    for (let start = 0; start < bytes.length && !this.#gone; start += frameBytesMax) {
      await this.send(type, bytes.subarray(start, start + frameBytesMax))
    }
  }

  kill(): void {
    this.#child.kill('SIGKILL')
  }

  /** Resolves when the process is gone. */
  async end(): Promise<void> {
    if (this.#gone) return
    const closed = new Promise<void>((resolve) => this.#child.once('close', () => resolve()))
    this.kill()
    await closed
  }
}

function spawnRunner(options: RunnerOptions, tier: Tier): ChildProcess {
  const limited = existsSync(prlimitPath)
  const node = [
    '--permission',
    ...options.readablePaths.map((path) => `--allow-fs-read=${path}`),
    '--disable-warning=ExperimentalWarning',
    '--disallow-code-generation-from-strings',
    '--disable-proto=delete',
    '--disable-sigusr1',
    `--stack-size=${limited ? nativeStackKiB - 1024 : bareStackKiB}`,
    // A runner lives for one program: its own code is not run often enough to become fast by itself.
    tier === 'batch' ? '--no-liftoff' : '--always-sparkplug',
    options.runnerPath,
  ]
  const limits = [
    '--core=0',
    `--data=${options.processBytesMax}`,
    `--stack=${nativeStackKiB * 1024}:`,
    '--fsize=0',
    '--nofile=64',
  ]
  const [command, args] = limited
    ? [prlimitPath, [...limits, '--', options.nodePath, ...node]]
    : [options.nodePath, node]
  const child = spawn(command, args, {
    cwd: '/',
    env: {},
    stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
    windowsHide: true,
  })
  return child
}

/** Fails closed: a runner that the permission model doesn't hold must not see a program. */
function checkConfined(payload: Uint8Array): void {
  const report = JSON.parse(new TextDecoder().decode(payload)) as ReadyReport
  if (report.granted.length > 0) {
    throw unavailable(`is not confined: it still has ${report.granted.join(', ')}; use Node 26 or later`)
  }
}

async function observedLayers(pid: number): Promise<string[]> {
  const layers = ['process', 'permission']
  const limits = await readFile(`/proc/${pid}/limits`, 'utf8').catch(() => '')
  if (/^Max core file size\s+0\s+0\s/m.test(limits)) layers.push('rlimits')
  return layers
}

function unavailable(what: string, cause?: Error): SandboxError {
  return new SandboxError('ERR_RUNNER_UNAVAILABLE', `the runner ${what}`, cause === undefined ? undefined : { cause })
}
