import { decodeHex } from '@cella/bytes'
import { admitModule, reserved } from './admit.ts'
import { OutputFile } from './files.ts'
import { InputStream } from './input-stream.ts'
import { ProgramEnd, type SandboxStatus } from './program-end.ts'
import type { JobHeader } from './protocol.ts'
import { SandboxError } from './sandbox-error.ts'
import { SeededRandom } from './seeded-random.ts'
import { Wasi } from './wasi.ts'
import { wasiModule } from './wasi-functions.ts'

export interface Execution {
  readonly status: SandboxStatus
  readonly exitCode: number | null
  readonly trapText: string | null
  readonly fuelUsed: bigint
  readonly memoryPeakPages: number
  /** Empty files unless the status is `ok`. */
  readonly outputs: readonly OutputFile[]
  readonly stdout: Uint8Array
  readonly stderr: Uint8Array
}

/**
 * Runs one program to its end inside this process: admission, metering, WASI. `next` gives the pieces of the inputs.
 * Nothing of it depends on time, on the machine's load or on how the inputs were cut. Throws only when the host itself
 * failed (no memory, the stream broke): then there is no outcome.
 */
export function execute(job: JobHeader, module: Uint8Array, next: () => Uint8Array): Execution {
  const outputs = job.outputs.map(({ name, bytesMax }) => new OutputFile(name, bytesMax))
  let admitted: Uint8Array
  try {
    admitted = admitModule(module, job).module
  } catch (error) {
    if (!(error instanceof SandboxError)) throw error
    return {
      status: 'not-admitted',
      exitCode: null,
      trapText: `${error.code}: ${error.message}`,
      fuelUsed: 0n,
      memoryPeakPages: 0,
      outputs,
      stdout: new Uint8Array(0),
      stderr: new Uint8Array(0),
    }
  }
  const inputs = new InputStream({ inputs: job.inputs, keptBytesMax: job.inputKeptBytesMax, next })
  const budget = BigInt(job.fuel)
  const wasi: Wasi = new Wasi({
    args: job.args,
    random: new SeededRandom(decodeHex(job.seed, 'seed')),
    inputs: inputs.files,
    outputs,
    diagnosticsBytesMax: job.diagnosticsBytesMax,
    charge: (amount) => {
      fuel.value -= BigInt(amount)
      if (fuel.value < 0n) throw new ProgramEnd('out-of-fuel')
    },
    fuelUsed: () => budget - fuel.value,
    memory: () => memory,
  })
  const compiled = new WebAssembly.Module(admitted as Uint8Array<ArrayBuffer>)
  const instance = instantiate(compiled, { [wasiModule]: wasi.functions() })
  if (instance instanceof Error) {
    // A data or element segment that doesn't fit: a trap before the first instruction.
    return {
      status: 'trap',
      exitCode: null,
      trapText: instance.message,
      fuelUsed: 0n,
      memoryPeakPages: 0,
      outputs,
      stdout: wasi.stdout.written(),
      stderr: wasi.stderr.written(),
    }
  }
  const { exports } = instance
  const fuel = exports[reserved.fuel] as WebAssembly.Global<'i64'>
  const depth = exports[reserved.depth] as WebAssembly.Global<'i64'>
  const refused = exports[reserved.memoryRefused] as WebAssembly.Global<'i32'>
  const memory = exports.memory as WebAssembly.Memory
  fuel.value = budget
  depth.value = BigInt(job.callDepth)

  let end: Pick<Execution, 'status' | 'exitCode' | 'trapText'>
  try {
    ;(exports[reserved.start] as (() => void) | undefined)?.()
    ;(exports._start as () => void)()
    end = { status: 'ok', exitCode: 0, trapText: null }
  } catch (error) {
    end = endOf(error)
  }
  // A native stack overflow falls at another instruction in each compiler tier; the whole budget does not.
  if (end.trapText === nativeOverflow) fuel.value = 0n
  else if (fuel.value < 0n) end = { ...end, status: 'out-of-fuel' }
  else if (depth.value < 0n) end = { ...end, status: 'call-depth' }
  else if (refused.value === 1 && end.status !== 'ok') end = { ...end, status: 'out-of-memory' }

  const memoryPeakPages = memory.buffer.byteLength / 65536
  new Uint8Array(memory.buffer).fill(0)
  inputs.wipe()
  if (end.status !== 'ok') for (const output of outputs) output.truncate()
  const left = fuel.value < 0n ? 0n : fuel.value
  return {
    ...end,
    fuelUsed: budget - left,
    memoryPeakPages,
    outputs,
    stdout: wasi.stdout.written(),
    stderr: wasi.stderr.written(),
  }
}

const nativeOverflow = 'Maximum call stack size exceeded'

function instantiate(module: WebAssembly.Module, imports: WebAssembly.Imports): WebAssembly.Instance | Error {
  try {
    return new WebAssembly.Instance(module, imports)
  } catch (error) {
    if (error instanceof WebAssembly.RuntimeError) return error
    throw error
  }
}

function endOf(error: unknown): Pick<Execution, 'status' | 'exitCode' | 'trapText'> {
  if (error instanceof ProgramEnd) return { status: error.status, exitCode: error.exitCode, trapText: null }
  if (error instanceof WebAssembly.RuntimeError) return { status: 'trap', exitCode: null, trapText: error.message }
  if (error instanceof RangeError && error.message === nativeOverflow) {
    return { status: 'call-depth', exitCode: null, trapText: nativeOverflow }
  }
  throw error
}
