import { isValueType, op, readValueType, skipImmediates, valueType } from './instructions.ts'
import { type FunctionType, meterBody } from './meter.ts'
import { ModuleReader, ModuleWriter } from './module-bytes.ts'
import { SandboxError } from './sandbox-error.ts'
import { wasiFunctions, wasiModule } from './wasi-functions.ts'

/** Changes whenever the same module would be metered otherwise; receipts name it. */
export const injectorVersion = 1

/** Exports that admission adds: mutable globals, and the module's start function if it has one. */
export const reserved = {
  prefix: 'cella:',
  fuel: 'cella:fuel',
  depth: 'cella:depth',
  memoryRefused: 'cella:memory-refused',
  start: 'cella:start',
} as const

export interface AdmissionLimits {
  readonly moduleBytesMax: number
  /** 64 KiB pages; what the module declares as its maximum is replaced by this. */
  readonly memoryPages: number
}

export interface AdmittedModule {
  /** The metered module. Its identity stays the digest of the original bytes. */
  readonly module: Uint8Array
  readonly injectorVersion: number
}

const tablesMax = 16
const tableElementsMax = 1_000_000
const section = { type: 1, import: 2, function: 3, table: 4, memory: 5, global: 6, export: 7, start: 8, code: 10 }
/** Their order in a module (WebAssembly core 2.0, §5.5.2): data count (12) stands before code. */
const sectionOrder = [1, 2, 3, 4, 5, 6, 7, 9, 12, 10, 11]

/**
 * Judges an untrusted WASI command and gives its metered form: bounded fuel, call depth and memory, no start section,
 * no custom sections. Throws SandboxError with an `ERR_MODULE_…` code for whatever is not admitted. The original is
 * validated before anything is appended, so that it can't refer to what is.
 */
export function admitModule(bytes: Uint8Array, limits: AdmissionLimits): AdmittedModule {
  if (bytes.length > limits.moduleBytesMax) {
    throw new SandboxError(
      'ERR_MODULE_TOO_LARGE',
      `the module has ${bytes.length} bytes, at most ${limits.moduleBytesMax} are admitted`,
    )
  }
  const original = new Uint8Array(bytes)
  if (!WebAssembly.validate(original)) {
    throw new SandboxError('ERR_MODULE_MALFORMED', 'the bytes are not a valid WebAssembly module')
  }
  const module = assemble(splitSections(original), limits)
  if (!WebAssembly.validate(module as Uint8Array<ArrayBuffer>)) {
    throw new SandboxError('ERR_MODULE_TOO_LARGE', 'the metered module exceeds a limit of the engine')
  }
  return { module, injectorVersion }
}

function splitSections(bytes: Uint8Array): Map<number, Uint8Array> {
  const sections = new Map<number, Uint8Array>()
  const reader = new ModuleReader(bytes, 8)
  while (reader.offset < reader.end) {
    const id = reader.byte()
    const content = reader.take(reader.u32())
    if (id === 0) continue
    if (id > 12) throw new SandboxError('ERR_MODULE_FEATURE', `section ${id} is not admitted`)
    sections.set(id, content)
  }
  return sections
}

function assemble(sections: Map<number, Uint8Array>, limits: AdmissionLimits): Uint8Array {
  const read = (id: number): ModuleReader => new ModuleReader(sections.get(id) ?? new Uint8Array([0]))
  const types = readTypes(read(section.type))
  const imported = readImports(read(section.import), types)
  const defined = readFunctions(read(section.function))
  const globals = countGlobals(read(section.global))
  checkExports(
    read(section.export),
    [...imported, ...defined].map((index) => types[index]!),
  )

  const addedTypes = new ModuleWriter()
  let addedTypeCount = 0
  const addedTypeIndex = new Map<string, number>()
  const blockType = (results: readonly number[]): readonly number[] => {
    if (results.length === 0) return [0x40]
    if (results.length === 1) return [results[0]!]
    const key = results.join()
    let index = addedTypeIndex.get(key)
    if (index === undefined) {
      index = types.length + addedTypeCount++
      addedTypeIndex.set(key, index)
      addedTypes.bytes([0x60, 0]).vector(results)
    }
    return [...new ModuleWriter().s64(index).written()]
  }

  const context = {
    fuelGlobal: globals,
    depthGlobal: globals + 1,
    memoryRefusedGlobal: globals + 2,
    importedFunctions: imported.length,
    blockType,
  }
  if (defined.length > 0) {
    const code = sections.get(section.code)!
    const reader = new ModuleReader(code)
    const writer = new ModuleWriter(code.length * 1.5).u32(reader.u32())
    const body = new ModuleWriter(4096)
    for (const index of defined) {
      const size = reader.u32()
      body.clear()
      meterBody(new ModuleReader(code, reader.offset, reader.offset + size), types[index]!, context, body)
      writer.vector(body.written())
      reader.skip(size)
    }
    sections.set(section.code, writer.written())
  }
  if (addedTypeCount > 0) sections.set(section.type, appended(read(section.type), addedTypeCount, addedTypes))
  sections.set(section.global, appended(read(section.global), 3, addedGlobals()))
  sections.set(section.export, addExports(read(section.export), globals, sections.get(section.start)))
  if (sections.has(section.table)) sections.set(section.table, boundTables(read(section.table)))
  sections.set(section.memory, boundMemory(read(section.memory), limits.memoryPages))

  const module = new ModuleWriter(sections.get(section.code)?.length ?? 256)
  module.bytes([0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0])
  for (const id of sectionOrder) {
    const content = sections.get(id)
    if (content !== undefined) module.byte(id).vector(content)
  }
  return module.written().slice()
}

function readTypes(reader: ModuleReader): FunctionType[] {
  return times(reader.u32(), () => {
    const form = reader.byte()
    if (form !== 0x60) throw new SandboxError('ERR_MODULE_FEATURE', `type form 0x${form.toString(16)} is not admitted`)
    const params = times(reader.u32(), () => readValueType(reader))
    return { params, results: times(reader.u32(), () => readValueType(reader)) }
  })
}

/** The type index of each imported function. Nothing but functions of WASI can be imported. */
function readImports(reader: ModuleReader, types: readonly FunctionType[]): number[] {
  return times(reader.u32(), () => {
    const [module, name, kind] = [reader.name(), reader.name(), reader.byte()]
    const refuse = (why: string): SandboxError =>
      new SandboxError('ERR_MODULE_IMPORT', `the import ${JSON.stringify([module, name])} ${why}`)
    if (kind !== 0) throw refuse('is not a function: memories, tables and globals can only be the module’s own')
    const expected = module === wasiModule ? wasiFunctions.get(name) : undefined
    if (expected === undefined) throw refuse(`is not admitted: only functions of ${wasiModule} are`)
    const index = reader.u32()
    const { params, results } = types[index]!
    const shape = params.map((type) => (type === valueType.i32 ? 'i' : type === valueType.i64 ? 'l' : '?')).join('')
    const wanted = name === 'proc_exit' ? '' : String(valueType.i32)
    if (shape !== expected || results.join() !== wanted) throw refuse('has another type than WASI preview 1 gives it')
    return index
  })
}

function readFunctions(reader: ModuleReader): number[] {
  return times(reader.u32(), () => reader.u32())
}

function countGlobals(reader: ModuleReader): number {
  const count = reader.u32()
  for (let index = 0; index < count; index++) {
    readValueType(reader)
    reader.byte()
    for (let opcode = reader.byte(); opcode !== op.end; opcode = reader.byte()) skipImmediates(reader, opcode)
  }
  return count
}

/** A WASI command exports `_start`, taking and giving nothing, and its `memory`. */
function checkExports(reader: ModuleReader, functions: readonly FunctionType[]): void {
  let command = false
  let memory = false
  times(reader.u32(), () => {
    const [name, kind, index] = [reader.name(), reader.byte(), reader.u32()]
    if (name.startsWith(reserved.prefix)) {
      throw new SandboxError('ERR_MODULE_EXPORT', `the export ${JSON.stringify(name)} is reserved for the sandbox`)
    }
    if (name === '_start' && kind === 0) {
      const type = functions[index]!
      command = type.params.length === 0 && type.results.length === 0
    }
    if (name === 'memory' && kind === 2) memory = true
  })
  if (!command || !memory) {
    const missing = command ? 'a memory named "memory"' : 'a function named "_start" without parameters and results'
    throw new SandboxError('ERR_MODULE_EXPORT', `the module does not export ${missing}: build it as a WASI command`)
  }
}

function boundTables(reader: ModuleReader): Uint8Array {
  const count = reader.u32()
  if (count > tablesMax) throw new SandboxError('ERR_MODULE_TOO_LARGE', `${count} tables, at most ${tablesMax}`)
  const writer = new ModuleWriter().u32(count)
  times(count, () => {
    const type = reader.byte()
    if (!isValueType(type)) throw new SandboxError('ERR_MODULE_FEATURE', 'a table of typed references is not admitted')
    const { minimum, maximum } = readLimits(reader)
    if (minimum > tableElementsMax) {
      throw new SandboxError('ERR_MODULE_TOO_LARGE', `a table of ${minimum} elements, at most ${tableElementsMax}`)
    }
    writer
      .bytes([type, 1])
      .u32(minimum)
      .u32(Math.min(maximum ?? tableElementsMax, tableElementsMax))
  })
  return writer.written()
}

/** The budget replaces the maximum, so that memory.grow ends at the same page on every machine. */
function boundMemory(reader: ModuleReader, memoryPages: number): Uint8Array {
  const count = reader.u32()
  if (count !== 1) throw new SandboxError('ERR_MODULE_FEATURE', `${count} memories: exactly one is admitted`)
  const { minimum, maximum } = readLimits(reader)
  if (minimum > memoryPages) {
    throw new SandboxError('ERR_MODULE_MEMORY', `the module starts with ${minimum} pages, its budget is ${memoryPages}`)
  }
  return new ModuleWriter()
    .bytes([1, 1])
    .u32(minimum)
    .u32(Math.min(maximum ?? memoryPages, memoryPages))
    .written()
}

function readLimits(reader: ModuleReader): { minimum: number; maximum: number | undefined } {
  const flags = reader.byte()
  if (flags > 1) throw new SandboxError('ERR_MODULE_FEATURE', 'shared and 64-bit memories and tables are not admitted')
  const minimum = reader.u32()
  return { minimum, maximum: flags === 1 ? reader.u32() : undefined }
}

/** Fuel and depth (i64), memory refused (i32): mutable, zero; the runner sets them before anything runs. */
function addedGlobals(): ModuleWriter {
  const i64 = [valueType.i64, 1, op.i64Const, 0, op.end]
  return new ModuleWriter().bytes([...i64, ...i64, valueType.i32, 1, op.i32Const, 0, op.end])
}

function addExports(reader: ModuleReader, globals: number, start: Uint8Array | undefined): Uint8Array {
  const added = new ModuleWriter()
  for (const [at, name] of [reserved.fuel, reserved.depth, reserved.memoryRefused].entries()) {
    added
      .name(name)
      .byte(3)
      .u32(globals + at)
  }
  if (start !== undefined) added.name(reserved.start).byte(0).bytes(start)
  return appended(reader, start === undefined ? 3 : 4, added)
}

/** A section's vector with `count` more entries at its end. */
function appended(reader: ModuleReader, count: number, entries: ModuleWriter): Uint8Array {
  const writer = new ModuleWriter().u32(reader.u32() + count)
  return writer.bytes(reader.bytes.subarray(reader.offset)).bytes(entries.written()).written()
}

function times<T>(count: number, make: () => T): T[] {
  const made: T[] = []
  for (let index = 0; index < count; index++) made.push(make())
  return made
}
