import type { ModuleReader } from './module-bytes.ts'
import { SandboxError } from './sandbox-error.ts'

/** Opcodes (WebAssembly core 2.0, §5.4) that admission or metering treats on its own, and those it emits. */
export const op = {
  unreachable: 0x00,
  block: 0x02,
  loop: 0x03,
  if: 0x04,
  else: 0x05,
  end: 0x0b,
  br: 0x0c,
  brIf: 0x0d,
  brTable: 0x0e,
  return: 0x0f,
  call: 0x10,
  callIndirect: 0x11,
  selectTyped: 0x1c,
  localGet: 0x20,
  localSet: 0x21,
  localTee: 0x22,
  globalGet: 0x23,
  globalSet: 0x24,
  memoryGrow: 0x40,
  i32Const: 0x41,
  i64Const: 0x42,
  f32Const: 0x43,
  f64Const: 0x44,
  i32Eq: 0x46,
  i64LtS: 0x53,
  i64Add: 0x7c,
  i64Sub: 0x7d,
  i64Mul: 0x7e,
  i64Or: 0x84,
  i64ShrU: 0x88,
  i64ExtendI32U: 0xad,
  refNull: 0xd0,
  refFunc: 0xd2,
  prefixMisc: 0xfc,
  prefixVector: 0xfd,
} as const

export const valueType = { i32: 0x7f, i64: 0x7e } as const
export const emptyBlockType = 0x40

/** i32, i64, f32, f64, v128, funcref, externref; typed references and everything of GC are not admitted. */
export function isValueType(byte: number): boolean {
  return (byte >= 0x7b && byte <= 0x7f) || byte === 0x70 || byte === 0x6f
}

export function readValueType(reader: ModuleReader): number {
  const byte = reader.byte()
  if (!isValueType(byte)) throw feature(`value type 0x${byte.toString(16)} at offset ${reader.offset - 1}`)
  return byte
}

/** A block type: empty, one value type, or the index of a function type. */
export function skipBlockType(reader: ModuleReader): void {
  const first = reader.byte()
  if (first === emptyBlockType || isValueType(first)) return
  if ((first & 0xc0) === 0x40) throw feature(`block type 0x${first.toString(16)} at offset ${reader.offset - 1}`)
  if (first >= 0x80) reader.skipLeb(4)
}

/**
 * How an instruction's cost depends on its operands: `bytes` and `elements` by the length on top of the stack,
 * `grow` by the pages that memory.grow was asked for and got.
 */
export type OperandCost = 'none' | 'bytes' | 'elements' | 'grow'

/**
 * Passes over the immediates of a non-control instruction whose opcode was just read. Whatever is not listed here is
 * not admitted: threads (0xFE), GC (0xFB), exceptions, tail calls, memory64, several memories and relaxed SIMD, which
 * is the one vector feature whose results differ between machines.
 */
export function skipImmediates(reader: ModuleReader, opcode: number): OperandCost {
  // The comparisons, arithmetic and conversions, including sign extension: no immediates.
  if (opcode >= 0x45 && opcode <= 0xc4) return 'none'
  if (opcode >= 0x28 && opcode <= 0x3e) return skipMemoryArgument(reader)
  switch (opcode) {
    case op.unreachable:
    case 0x01: // nop
    case op.return:
    case 0x1a: // drop
    case 0x1b: // select
    case 0xd1: // ref.is_null
      return 'none'
    case op.localGet:
    case op.localSet:
    case op.localTee:
    case op.globalGet:
    case op.globalSet:
    case 0x25: // table.get
    case 0x26: // table.set
    case op.refFunc:
      reader.u32()
      return 'none'
    case op.selectTyped:
      for (let count = reader.u32(); count > 0; count--) readValueType(reader)
      return 'none'
    case 0x3f: // memory.size
      expectMemoryZero(reader)
      return 'none'
    case op.memoryGrow:
      expectMemoryZero(reader)
      return 'grow'
    case op.i32Const:
      reader.skipLeb(5)
      return 'none'
    case op.i64Const:
      reader.skipLeb(10)
      return 'none'
    case op.f32Const:
      reader.skip(4)
      return 'none'
    case op.f64Const:
      reader.skip(8)
      return 'none'
    case op.refNull:
      readValueType(reader)
      return 'none'
    case op.prefixMisc:
      return skipMisc(reader)
    case op.prefixVector:
      return skipVector(reader)
    default:
      throw feature(`instruction 0x${opcode.toString(16)} at offset ${reader.offset - 1}`)
  }
}

function skipMisc(reader: ModuleReader): OperandCost {
  const sub = reader.u32()
  if (sub <= 7) return 'none' // saturating truncation
  switch (sub) {
    case 8: // memory.init
      reader.u32()
      expectMemoryZero(reader)
      return 'bytes'
    case 9: // data.drop
    case 13: // elem.drop
    case 16: // table.size
      reader.u32()
      return 'none'
    case 10: // memory.copy
      expectMemoryZero(reader)
      expectMemoryZero(reader)
      return 'bytes'
    case 11: // memory.fill
      expectMemoryZero(reader)
      return 'bytes'
    case 12: // table.init
    case 14: // table.copy
      reader.u32()
      reader.u32()
      return 'elements'
    case 15: // table.grow
    case 17: // table.fill
      reader.u32()
      return 'elements'
    default:
      throw feature(`instruction 0xfc ${sub} at offset ${reader.offset}`)
  }
}

function skipVector(reader: ModuleReader): OperandCost {
  const sub = reader.u32()
  if (sub > 0xff) throw feature(`relaxed SIMD instruction 0xfd ${sub} at offset ${reader.offset}`)
  if (sub <= 11 || sub === 92 || sub === 93) return skipMemoryArgument(reader)
  if (sub <= 13) {
    reader.skip(16) // v128.const, i8x16.shuffle
  } else if (sub >= 21 && sub <= 34) {
    reader.skip(1) // a lane
  } else if (sub >= 84 && sub <= 91) {
    skipMemoryArgument(reader)
    reader.skip(1)
  }
  return 'none'
}

function skipMemoryArgument(reader: ModuleReader): OperandCost {
  // Bit 6 of the alignment announces a memory index: the multi-memory encoding.
  if (reader.u32() >= 0x40) throw feature(`several memories at offset ${reader.offset}`)
  reader.u32()
  return 'none'
}

function expectMemoryZero(reader: ModuleReader): void {
  if (reader.u32() !== 0) throw feature(`several memories at offset ${reader.offset}`)
}

function feature(what: string): SandboxError {
  return new SandboxError(
    'ERR_MODULE_FEATURE',
    `${what} is not admitted: build for WebAssembly 2.0 without threads, GC, exceptions, tail calls or relaxed SIMD`,
  )
}
