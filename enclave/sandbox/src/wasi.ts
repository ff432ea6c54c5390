import { Diagnostic, type InputFile, type OutputFile } from './files.ts'
import { ProgramEnd } from './program-end.ts'
import type { SeededRandom } from './seeded-random.ts'
import { wasiFunctions } from './wasi-functions.ts'

/** What a host function costs: as much as the same time spent in the program, roughly, and never depending on time. */
const fuelPerCall = 1000
const fuelPerVector = 16
const fuelPerRandomByte = 16

const errno = {
  success: 0,
  access: 2,
  badFile: 8,
  exists: 20,
  fault: 21,
  invalid: 28,
  io: 29,
  isDirectory: 31,
  tooManyFiles: 33,
  noEntry: 44,
  notSupported: 52,
  notDirectory: 54,
  readOnly: 69,
  notSeekable: 70,
} as const

const fileType = { characterDevice: 2, directory: 3, regular: 4 } as const
const right = { read: 1n << 1n, write: 1n << 6n } as const
const openFlag = { create: 1, directory: 2, exclusive: 4, truncate: 8 } as const
const appendFlag = 1
const vectorsMax = 1024
const filesMax = 256
/** 2000-01-01T00:00:00Z in nanoseconds: where the logical clock starts. */
const epoch = 946_684_800_000_000_000n

type Descriptor =
  | { readonly kind: 'stdin' }
  | { readonly kind: 'diagnostic'; readonly sink: Diagnostic }
  | { readonly kind: 'directory'; readonly path: string }
  | { readonly kind: 'input'; readonly file: InputFile; position: number }
  | { readonly kind: 'output'; readonly file: OutputFile; position: number; readonly append: boolean }

type HostFunction = (...values: never[]) => number

/** A pointer or length that leaves the program's memory. Becomes errno FAULT; nothing outside is ever touched. */
class Fault extends Error {}

export interface WasiOptions {
  readonly args: readonly string[]
  readonly random: SeededRandom
  readonly inputs: readonly InputFile[]
  readonly outputs: readonly OutputFile[]
  readonly diagnosticsBytesMax: number
  /** Takes fuel from the program; throws ProgramEnd when none is left. */
  charge(amount: number): void
  /** Fuel used so far: the logical clock, one nanosecond each. */
  fuelUsed(): bigint
  memory(): WebAssembly.Memory
}

/**
 * WASI preview 1 for one program: a logical clock, seeded randomness, empty stdin and environment, the declared files
 * under /in and /out and nothing else of any host. What isn't offered answers NOSYS. No view of the program's memory
 * outlives a call, since memory.grow detaches it.
 */
export class Wasi {
  readonly stdout: Diagnostic
  readonly stderr: Diagnostic
  readonly #options: WasiOptions
  readonly #args: readonly Uint8Array[]
  readonly #inputs: ReadonlyMap<string, InputFile>
  readonly #outputs: ReadonlyMap<string, OutputFile>
  readonly #open = new Map<number, Descriptor>()

  constructor(options: WasiOptions) {
    this.#options = options
    this.stdout = new Diagnostic(options.diagnosticsBytesMax)
    this.stderr = new Diagnostic(options.diagnosticsBytesMax)
    this.#args = options.args.map((text) => new TextEncoder().encode(`${text}\0`))
    this.#inputs = new Map(options.inputs.map((file) => [file.name, file]))
    this.#outputs = new Map(options.outputs.map((file) => [file.name, file]))
    this.#open.set(0, { kind: 'stdin' })
    this.#open.set(1, { kind: 'diagnostic', sink: this.stdout })
    this.#open.set(2, { kind: 'diagnostic', sink: this.stderr })
    this.#open.set(3, { kind: 'directory', path: '/in' })
    this.#open.set(4, { kind: 'directory', path: '/out' })
  }

  /** The import object's functions: each charges first, and answers FAULT for a bad pointer. */
  functions(): Record<string, HostFunction> {
    const offered = this.#offered()
    const functions: Record<string, HostFunction> = {}
    for (const name of wasiFunctions.keys()) {
      const body = offered[name]
      functions[name] = (...values: never[]) => {
        this.#options.charge(fuelPerCall)
        if (body === undefined) return errno.notSupported
        try {
          return body(...values)
        } catch (error) {
          if (error instanceof Fault) return errno.fault
          throw error
        }
      }
    }
    return functions
  }

  #offered(): Record<string, HostFunction> {
    return {
      args_sizes_get: (count: number, size: number) => this.#sizes(this.#args, count, size),
      args_get: (pointers: number, buffer: number) => this.#strings(this.#args, pointers, buffer),
      environ_sizes_get: (count: number, size: number) => this.#sizes([], count, size),
      environ_get: () => errno.success,
      clock_res_get: (_clock: number, result: number) => this.#putU64(result, 1n),
      clock_time_get: (clock: number, _precision: bigint, result: number) => this.#clock(clock, result),
      random_get: (pointer: number, length: number) => this.#randomGet(pointer, length),
      sched_yield: () => errno.success,
      proc_exit: (code: number) => {
        throw new ProgramEnd(code === 0 ? 'ok' : 'exit-nonzero', code >>> 0)
      },
      fd_advise: (fd: number) => (this.#open.has(fd) ? errno.success : errno.badFile),
      fd_datasync: (fd: number) => (this.#open.has(fd) ? errno.success : errno.badFile),
      fd_sync: (fd: number) => (this.#open.has(fd) ? errno.success : errno.badFile),
      fd_close: (fd: number) => (this.#open.delete(fd) ? errno.success : errno.badFile),
      fd_fdstat_get: (fd: number, result: number) => this.#fdstat(fd, result),
      fd_filestat_get: (fd: number, result: number) => this.#filestat(this.#open.get(fd), result),
      fd_prestat_get: (fd: number, result: number) => this.#prestat(fd, result),
      fd_prestat_dir_name: (fd: number, pointer: number, length: number) => this.#prestatName(fd, pointer, length),
      fd_read: (fd: number, vectors: number, count: number, result: number) =>
        this.#read(fd, vectors, count, result, undefined),
      fd_pread: (fd: number, vectors: number, count: number, offset: bigint, result: number) =>
        this.#read(fd, vectors, count, result, offset),
      fd_write: (fd: number, vectors: number, count: number, result: number) =>
        this.#write(fd, vectors, count, result, undefined),
      fd_pwrite: (fd: number, vectors: number, count: number, offset: bigint, result: number) =>
        this.#write(fd, vectors, count, result, offset),
      fd_seek: (fd: number, offset: bigint, whence: number, result: number) => this.#seek(fd, offset, whence, result),
      fd_tell: (fd: number, result: number) => this.#seek(fd, 0n, 1, result),
      path_filestat_get: (fd: number, _flags: number, path: number, length: number, result: number) =>
        this.#pathFilestat(fd, path, length, result),
      path_open: (
        fd: number,
        _lookup: number,
        path: number,
        length: number,
        flags: number,
        rights: bigint,
        _inheriting: bigint,
        fdFlags: number,
        result: number,
      ) => this.#pathOpen({ fd, path, length, flags, rights, fdFlags, result }),
    }
  }

  #sizes(strings: readonly Uint8Array[], count: number, size: number): number {
    this.#putU32(count, strings.length)
    return this.#putU32(
      size,
      strings.reduce((sum, each) => sum + each.length, 0),
    )
  }

  #strings(strings: readonly Uint8Array[], pointers: number, buffer: number): number {
    let [pointer, target] = [pointers >>> 0, buffer >>> 0]
    for (const each of strings) {
      this.#putU32(pointer, target)
      this.#bytes(target, each.length).set(each)
      pointer += 4
      target += each.length
    }
    return errno.success
  }

  /** Realtime and monotonic: fuel used is the only time there is. Other clocks don't exist. */
  #clock(clock: number, result: number): number {
    if (clock !== 0 && clock !== 1) return errno.invalid
    return this.#putU64(result, this.#options.fuelUsed() + (clock === 0 ? epoch : 0n))
  }

  #randomGet(pointer: number, length: number): number {
    const target = this.#bytes(pointer, length)
    this.#options.charge(target.length * fuelPerRandomByte)
    this.#options.random.fill(target)
    return errno.success
  }

  #fdstat(fd: number, result: number): number {
    const descriptor = this.#open.get(fd)
    if (descriptor === undefined) return errno.badFile
    const stat = new DataView(new ArrayBuffer(24))
    stat.setUint8(0, typeOf(descriptor))
    stat.setUint16(2, descriptor.kind === 'output' && descriptor.append ? appendFlag : 0, true)
    // All of them, seeking included: libc then takes stdout for no terminal and buffers it whole.
    const rights = (1n << 30n) - 1n
    stat.setBigUint64(8, rights, true)
    stat.setBigUint64(16, rights, true)
    return this.#put(result, stat)
  }

  #filestat(descriptor: Descriptor | undefined, result: number): number {
    if (descriptor === undefined) return errno.badFile
    const stat = new DataView(new ArrayBuffer(64))
    stat.setUint8(16, typeOf(descriptor))
    stat.setBigUint64(24, 1n, true)
    const size = descriptor.kind === 'input' || descriptor.kind === 'output' ? descriptor.file.length : 0
    stat.setBigUint64(32, BigInt(size), true)
    return this.#put(result, stat)
  }

  #prestat(fd: number, result: number): number {
    const descriptor = this.#open.get(fd)
    if (descriptor?.kind !== 'directory') return errno.badFile
    const stat = new DataView(new ArrayBuffer(8))
    stat.setUint32(4, descriptor.path.length, true)
    return this.#put(result, stat)
  }

  #prestatName(fd: number, pointer: number, length: number): number {
    const descriptor = this.#open.get(fd)
    if (descriptor?.kind !== 'directory') return errno.badFile
    const name = new TextEncoder().encode(descriptor.path)
    if (length >>> 0 < name.length) return errno.invalid
    this.#bytes(pointer, name.length).set(name)
    return errno.success
  }

  #read(fd: number, vectors: number, count: number, result: number, at: bigint | undefined): number {
    const descriptor = this.#open.get(fd)
    if (descriptor?.kind === 'stdin') return this.#putU32(result, 0)
    if (descriptor?.kind === 'directory') return errno.isDirectory
    if (descriptor?.kind !== 'input') return errno.badFile
    const { file } = descriptor
    if (at !== undefined && at < 0n) return errno.invalid
    const start = at === undefined ? descriptor.position : Number(at)
    const targets = this.#vectors(vectors, count)
    this.#bytes(result, 4)
    const wanted = targets.reduce((sum, each) => sum + each.length, 0)
    this.#options.charge(Math.max(0, Math.min(wanted, file.length - start)))
    let offset = start
    for (const target of targets) {
      const piece = target.subarray(0, Math.max(0, file.length - offset))
      if (piece.length > 0 && !file.read(offset, piece)) return errno.io
      offset += piece.length
    }
    if (at === undefined) descriptor.position = offset
    return this.#putU32(result, offset - start)
  }

  #write(fd: number, vectors: number, count: number, result: number, at: bigint | undefined): number {
    const descriptor = this.#open.get(fd)
    if (descriptor?.kind !== 'output' && descriptor?.kind !== 'diagnostic') return errno.badFile
    const sources = this.#vectors(vectors, count)
    this.#bytes(result, 4)
    const length = sources.reduce((sum, each) => sum + each.length, 0)
    this.#options.charge(length)
    if (descriptor.kind === 'diagnostic') {
      if (at !== undefined) return errno.notSeekable
      for (const source of sources) descriptor.sink.write(source)
      return this.#putU32(result, length)
    }
    if (at !== undefined && at < 0n) return errno.invalid
    let offset = at === undefined ? (descriptor.append ? descriptor.file.length : descriptor.position) : Number(at)
    for (const source of sources) {
      descriptor.file.write(offset, source)
      offset += source.length
    }
    if (at === undefined) descriptor.position = offset
    return this.#putU32(result, length)
  }

  #seek(fd: number, offset: bigint, whence: number, result: number): number {
    const descriptor = this.#open.get(fd)
    if (descriptor === undefined) return errno.badFile
    if (descriptor.kind !== 'input' && descriptor.kind !== 'output') return errno.notSeekable
    const base = whence === 0 ? 0 : whence === 1 ? descriptor.position : whence === 2 ? descriptor.file.length : -1
    if (base === -1) return errno.invalid
    const target = BigInt(base) + offset
    if (target < 0n || target > BigInt(Number.MAX_SAFE_INTEGER)) return errno.invalid
    const done = this.#putU64(result, target)
    descriptor.position = Number(target)
    return done
  }

  #pathFilestat(fd: number, path: number, length: number, result: number): number {
    const directory = this.#open.get(fd)
    if (directory === undefined) return errno.badFile
    if (directory.kind !== 'directory') return errno.notDirectory
    const name = this.#name(path, length)
    if (name === '' || name === '.') return this.#filestat(directory, result)
    const input = directory.path === '/in' ? this.#inputs.get(name) : undefined
    if (input !== undefined) return this.#filestat({ kind: 'input', file: input, position: 0 }, result)
    const output = directory.path === '/out' ? this.#outputs.get(name) : undefined
    if (output?.created !== true) return errno.noEntry
    return this.#filestat({ kind: 'output', file: output, position: 0, append: false }, result)
  }

  /** A name is one of those declared or nothing: there are no paths to walk, so none to walk out of. */
  #pathOpen(call: {
    fd: number
    path: number
    length: number
    flags: number
    rights: bigint
    fdFlags: number
    result: number
  }): number {
    const directory = this.#open.get(call.fd)
    if (directory === undefined) return errno.badFile
    if (directory.kind !== 'directory') return errno.notDirectory
    const name = this.#name(call.path, call.length)
    this.#bytes(call.result, 4)
    const opened = directory.path === '/in' ? this.#openInput(name, call) : this.#openOutput(name, call)
    if (typeof opened === 'number') return opened
    let fd = 5
    while (this.#open.has(fd)) fd++
    if (fd >= filesMax) return errno.tooManyFiles
    this.#open.set(fd, opened)
    return this.#putU32(call.result, fd)
  }

  #openInput(name: string, call: { flags: number; rights: bigint }): Descriptor | number {
    const file = this.#inputs.get(name)
    if (file === undefined) return call.flags & openFlag.create ? errno.readOnly : errno.noEntry
    if (call.flags & openFlag.directory) return errno.notDirectory
    if (call.flags & openFlag.exclusive) return errno.exists
    if (call.flags & openFlag.truncate || call.rights & right.write) return errno.readOnly
    return { kind: 'input', file, position: 0 }
  }

  #openOutput(name: string, call: { flags: number; rights: bigint; fdFlags: number }): Descriptor | number {
    const file = this.#outputs.get(name)
    if (file === undefined) return errno.noEntry
    if (call.flags & openFlag.directory) return errno.notDirectory
    if (call.rights & right.read || !(call.rights & right.write)) return errno.access
    if (file.created ? call.flags & openFlag.exclusive : !(call.flags & openFlag.create)) {
      return file.created ? errno.exists : errno.noEntry
    }
    file.created = true
    if (call.flags & openFlag.truncate) file.truncate()
    return { kind: 'output', file, position: 0, append: (call.fdFlags & appendFlag) !== 0 }
  }

  /** Bytes that aren't UTF-8 become U+FFFD, which no declared name holds. */
  #name(pointer: number, length: number): string {
    return new TextDecoder().decode(this.#bytes(pointer, length).slice(0, 4096))
  }

  #vectors(pointer: number, count: number): Uint8Array[] {
    if (count >>> 0 > vectorsMax) throw new Fault()
    this.#options.charge((count >>> 0) * fuelPerVector)
    const list = this.#bytes(pointer, (count >>> 0) * 8)
    const view = new DataView(list.buffer, list.byteOffset, list.byteLength)
    const found: Uint8Array[] = []
    for (let at = 0; at < view.byteLength; at += 8) {
      found.push(this.#bytes(view.getUint32(at, true), view.getUint32(at + 4, true)))
    }
    return found
  }

  /** A view of the program's memory, for this call only. */
  #bytes(pointer: number, length: number): Uint8Array {
    const { buffer } = this.#options.memory()
    const [start, size] = [pointer >>> 0, length >>> 0]
    if (start + size > buffer.byteLength) throw new Fault()
    return new Uint8Array(buffer, start, size)
  }

  #put(pointer: number, value: DataView): number {
    this.#bytes(pointer, value.byteLength).set(new Uint8Array(value.buffer))
    return errno.success
  }

  #putU32(pointer: number, value: number): number {
    const view = new DataView(new ArrayBuffer(4))
    view.setUint32(0, value, true)
    return this.#put(pointer, view)
  }

  #putU64(pointer: number, value: bigint): number {
    const view = new DataView(new ArrayBuffer(8))
    view.setBigUint64(0, value, true)
    return this.#put(pointer, view)
  }
}

function typeOf(descriptor: Descriptor): number {
  if (descriptor.kind === 'directory') return fileType.directory
  return descriptor.kind === 'input' || descriptor.kind === 'output' ? fileType.regular : fileType.characterDevice
}
