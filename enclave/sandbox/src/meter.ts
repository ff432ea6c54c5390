import { emptyBlockType, type OperandCost, op, skipBlockType, skipImmediates, valueType } from './instructions.ts'
import type { ModuleReader, ModuleWriter } from './module-bytes.ts'
import { SandboxError } from './sandbox-error.ts'

/*
 * Fuel is exact: 1 for every instruction executed (block, loop, else and end are free), more for those whose work
 * depends on an operand. It is charged a *region* at a time: instructions that run together whenever the first of
 * them runs. A region starts at the function's start, at a loop head, at an arm of an `if`, after a `br_if` and at an
 * `end` where control flow meets. Code after a block out of which nothing branches belongs to the region before the
 * block, since whoever enters the block gets there: that saves most charges and changes no sum. A trap inside a region
 * has paid the whole region: not exact, yet the same everywhere.
 *
 * Whether fuel is left is asked only where unbounded work could hide: at loop heads, at the start of functions that
 * call others or are long, and after operand-dependent charges. Functions with a loop keep the fuel in a local, since
 * V8 writes a global to memory each time; they store it before anything that could see it, and load it after calls.
 * Functions that call others take their weight from the depth counter and give it back at their single exit.
 */

/** What `meterBody` must know of the module around. */
export interface MeterContext {
  readonly fuelGlobal: number
  readonly depthGlobal: number
  /** Set to 1 when memory.grow was refused. */
  readonly memoryRefusedGlobal: number
  readonly importedFunctions: number
  /** The block type, encoded, of a block that takes nothing and leaves these results. */
  blockType(results: readonly number[]): readonly number[]
}

export interface FunctionType {
  readonly params: readonly number[]
  readonly results: readonly number[]
}

/** A frame of the native stack holds the locals: functions with many of them weigh more, so that the counter ends first. */
const localsPerDepthUnit = 64
const localsMax = 16_384
/** A function without calls and loops that costs at most this much leaves the question to its callers. */
const uncheckedCostMax = 256
const fuelPerPage = 8192
const nestingMax = 10_000

const dead = -1
const frameKind = { block: 0, loop: 1, if: 2 } as const
const mark = {
  region: 0,
  loop: 1,
  beforeCall: 2,
  afterCall: 3,
  bytes: 4,
  elements: 5,
  beforeGrow: 6,
  afterGrow: 7,
  return: 8,
}

interface Scan {
  /** Cost of each region; the first is the function's start. */
  readonly costs: readonly number[]
  /** Triples, by offset: where in the module, which mark, and its value (region, or labels up to the function). */
  readonly marks: readonly number[]
  readonly hasLoop: boolean
  /** Calls something that is itself metered, so that frames can pile up. */
  readonly callsDeep: boolean
  readonly hasOperandCosts: boolean
}

/** Writes the metered form of one function body (locals and code, without its size) that `reader` is limited to. */
export function meterBody(reader: ModuleReader, type: FunctionType, context: MeterContext, writer: ModuleWriter): void {
  const localsStart = reader.offset
  const groups = reader.u32()
  let locals = 0
  const groupsStart = reader.offset
  for (let group = 0; group < groups; group++) {
    locals += reader.u32()
    reader.byte()
    if (locals > localsMax) throw tooMany(`${locals} locals at offset ${localsStart}, at most ${localsMax}`)
  }
  const codeStart = reader.offset
  const scan = scanCode(reader, context.importedFunctions)
  const slots = type.params.length + locals
  const code = new CodeWriter({ scan, slots, context, writer, weight: 1 + Math.floor(slots / localsPerDepthUnit) })

  const added = [...(code.wrapped ? [2, valueType.i64] : []), ...(scan.hasOperandCosts ? [2, valueType.i32] : [])]
  writer
    .u32(groups + added.length / 2)
    .bytes(reader.bytes.subarray(groupsStart, codeStart))
    .bytes(added)
  code.write(reader.bytes, codeStart, reader.end, type.results)
}

function scanCode(reader: ModuleReader, importedFunctions: number): Scan {
  const costs = [0]
  const marks: number[] = []
  // One entry per open block: what it is, the region before it, whether something branches to its label, and the
  // outermost block that something inside branches to.
  const kinds: number[] = [frameKind.block]
  const before: number[] = [0]
  const targeted: boolean[] = [false]
  const escapes: number[] = [0]
  let region = 0
  let hasLoop = false
  let callsDeep = false
  let hasOperandCosts = false

  const open = (kind: number): void => {
    if (kinds.length > nestingMax) throw tooMany(`blocks nested deeper than ${nestingMax} at offset ${reader.offset}`)
    skipBlockType(reader)
    kinds.push(kind)
    before.push(region)
    targeted.push(false)
    escapes.push(kinds.length - 1)
  }
  const startRegion = (kind: number): void => {
    region = costs.push(0) - 1
    marks.push(reader.offset, kind, region)
  }
  const branch = (label: number): void => {
    if (region === dead) return
    const top = kinds.length - 1
    const target = top - label
    targeted[target] = true
    if (target < escapes[top]!) escapes[top] = target
  }

  while (kinds.length > 0) {
    const start = reader.offset
    const opcode = reader.byte()
    const live = region !== dead
    switch (opcode) {
      case op.block:
        open(frameKind.block)
        continue
      case op.loop:
        open(frameKind.loop)
        if (live) startRegion(mark.loop)
        continue
      case op.else:
        if (before.at(-1) !== dead) startRegion(mark.region)
        continue
      case op.end: {
        const depth = kinds.length - 1
        const kind = kinds.pop()!
        const outer = before.pop()!
        const met = targeted.pop()!
        const outermost = escapes.pop()!
        if (depth === 0) continue
        if (outermost < escapes[depth - 1]!) escapes[depth - 1] = outermost
        if (kind === frameKind.loop && met) hasLoop = true
        if (outer === dead) region = dead
        else if (outermost >= depth) region = outer
        else if (kind === frameKind.if || (kind === frameKind.block && met)) startRegion(mark.region)
        continue
      }
      default:
    }
    if (live) costs[region]! += 1
    switch (opcode) {
      case op.if:
        open(frameKind.if)
        if (live) startRegion(mark.region)
        break
      case op.br:
        branch(reader.u32())
        region = dead
        break
      case op.brIf:
        branch(reader.u32())
        if (live) startRegion(mark.region)
        break
      case op.brTable:
        for (let count = reader.u32(); count >= 0; count--) branch(reader.u32())
        region = dead
        break
      case op.return:
        if (live) marks.push(start, mark.return, kinds.length - 1)
        branch(kinds.length - 1)
        region = dead
        break
      case op.unreachable:
        region = dead
        break
      case op.call:
      case op.callIndirect: {
        const callee = reader.u32()
        if (opcode === op.callIndirect) reader.u32()
        if (opcode === op.callIndirect || callee >= importedFunctions) callsDeep = true
        if (live) marks.push(start, mark.beforeCall, 0, reader.offset, mark.afterCall, 0)
        break
      }
      default: {
        const cost = skipImmediates(reader, opcode)
        if (cost !== 'none' && live) {
          hasOperandCosts = true
          markOperandCost(marks, cost, start, reader.offset)
        }
      }
    }
  }
  if (reader.offset !== reader.end) {
    throw new SandboxError('ERR_MODULE_MALFORMED', `a function goes on after its end at offset ${reader.offset}`)
  }
  return { costs, marks, hasLoop, callsDeep, hasOperandCosts }
}

function markOperandCost(marks: number[], cost: Exclude<OperandCost, 'none'>, start: number, end: number): void {
  if (cost === 'bytes') marks.push(start, mark.bytes, 0)
  else if (cost === 'elements') marks.push(start, mark.elements, 0)
  else marks.push(start, mark.beforeGrow, 0, end, mark.afterGrow, 0)
}

class CodeWriter {
  readonly wrapped: boolean
  readonly #scan: Scan
  readonly #writer: ModuleWriter
  readonly #context: MeterContext
  readonly #weight: number
  /** Locals: the fuel, a scratch i64, the operand, the result of memory.grow. */
  readonly #fuel: number
  readonly #depth: number
  readonly #operand: number
  readonly #grown: number

  constructor(options: { scan: Scan; slots: number; context: MeterContext; writer: ModuleWriter; weight: number }) {
    this.#scan = options.scan
    this.#writer = options.writer
    this.#context = options.context
    this.#weight = options.weight
    this.wrapped = options.scan.hasLoop || options.scan.callsDeep
    this.#fuel = options.slots
    this.#depth = options.slots + 1
    this.#operand = options.slots + (this.wrapped ? 2 : 0)
    this.#grown = this.#operand + 1
  }

  write(source: Uint8Array, start: number, end: number, results: readonly number[]): void {
    const { marks } = this.#scan
    this.#enter()
    if (this.wrapped) this.#writer.byte(op.block).bytes(this.#context.blockType(results))
    let copied = start
    for (let at = 0; at < marks.length; at += 3) {
      const offset = marks[at]!
      this.#writer.bytes(source.subarray(copied, offset))
      copied = offset
      const kind = marks[at + 1]!
      if (kind !== mark.return) this.#insert(kind, marks[at + 2]!)
      else if (this.wrapped) {
        // Labels count from the inside: as many as blocks are open is the wrapping block.
        this.#writer.byte(op.br).u32(marks[at + 2]!)
        copied = offset + 1
      }
    }
    this.#writer.bytes(source.subarray(copied, end))
    if (this.wrapped) {
      this.#leave()
      this.#writer.byte(op.end)
    }
  }

  #enter(): void {
    const { costs, hasLoop, callsDeep } = this.#scan
    const { fuelGlobal, depthGlobal } = this.#context
    const cost = costs[0]!
    if (!this.wrapped) {
      if (cost > 0) this.#charge(cost)
      if (costs.reduce((sum, each) => sum + each, 0) > uncheckedCostMax) this.#check(op.globalGet, fuelGlobal)
      return
    }
    if (callsDeep) {
      this.#index(op.globalGet, depthGlobal).#constant(this.#weight).#emit(op.i64Sub)
      this.#index(op.localTee, this.#depth).#index(op.globalSet, depthGlobal)
    }
    this.#index(op.globalGet, fuelGlobal).#constant(cost).#emit(op.i64Sub).#index(op.localTee, this.#fuel)
    if (!hasLoop) this.#index(op.globalSet, fuelGlobal).#index(op.localGet, this.#fuel)
    if (callsDeep) this.#index(op.localGet, this.#depth).#emit(op.i64Or)
    this.#trapIfNegative()
  }

  #leave(): void {
    const { fuelGlobal, depthGlobal } = this.#context
    if (this.#scan.hasLoop) this.#index(op.localGet, this.#fuel).#index(op.globalSet, fuelGlobal)
    if (this.#scan.callsDeep) {
      this.#index(op.globalGet, depthGlobal).#constant(this.#weight).#emit(op.i64Add).#index(op.globalSet, depthGlobal)
    }
  }

  #insert(kind: number, region: number): void {
    const { fuelGlobal } = this.#context
    const cost = this.#scan.costs[region]!
    switch (kind) {
      case mark.region:
        if (cost > 0) this.#charge(cost)
        break
      case mark.loop:
        if (cost > 0) this.#charge(cost)
        if (this.#scan.hasLoop) this.#check(op.localGet, this.#fuel)
        break
      case mark.beforeCall:
        if (this.#scan.hasLoop) this.#index(op.localGet, this.#fuel).#index(op.globalSet, fuelGlobal)
        break
      case mark.afterCall:
        if (this.#scan.hasLoop) this.#index(op.globalGet, fuelGlobal).#index(op.localSet, this.#fuel)
        break
      case mark.bytes:
      case mark.elements:
        this.#index(op.localTee, this.#operand)
        this.#chargeOperand(kind === mark.bytes)
        this.#scan.hasLoop ? this.#check(op.localGet, this.#fuel) : this.#check(op.globalGet, fuelGlobal)
        break
      case mark.beforeGrow:
        this.#index(op.localTee, this.#operand)
        break
      default:
        this.#afterGrow()
    }
  }

  /** Pages are paid when they were got; a refusal is noted, so that the failure that follows can be told as what it is. */
  #afterGrow(): void {
    this.#index(op.localTee, this.#grown).#emit(op.i32Const, 0x7f, op.i32Eq, op.if, emptyBlockType, op.i32Const, 1)
    this.#index(op.globalSet, this.#context.memoryRefusedGlobal).#emit(op.else)
    this.#index(this.#fuelGet, this.#fuelIndex).#index(op.localGet, this.#operand).#emit(op.i64ExtendI32U)
    this.#constant(fuelPerPage).#emit(op.i64Mul, op.i64Sub).#index(this.#fuelSet, this.#fuelIndex).#emit(op.end)
    this.#index(op.localGet, this.#grown)
  }

  #chargeOperand(bytes: boolean): void {
    this.#index(this.#fuelGet, this.#fuelIndex).#index(op.localGet, this.#operand).#emit(op.i64ExtendI32U)
    if (bytes) this.#constant(3).#emit(op.i64ShrU)
    this.#emit(op.i64Sub).#index(this.#fuelSet, this.#fuelIndex)
  }

  #charge(cost: number): void {
    this.#index(this.#fuelGet, this.#fuelIndex).#constant(cost).#emit(op.i64Sub).#index(this.#fuelSet, this.#fuelIndex)
  }

  #check(get: number, index: number): void {
    this.#index(get, index).#trapIfNegative()
  }

  /** Consumes an i64. Stores the fuel first, so that out-of-fuel and too deep can be told from the program's own traps. */
  #trapIfNegative(): void {
    this.#constant(0).#emit(op.i64LtS, op.if, emptyBlockType)
    if (this.#scan.hasLoop) {
      this.#index(op.localGet, this.#fuel).#index(op.globalSet, this.#context.fuelGlobal)
    }
    this.#emit(op.unreachable, op.end)
  }

  get #fuelGet(): number {
    return this.#scan.hasLoop ? op.localGet : op.globalGet
  }

  get #fuelSet(): number {
    return this.#scan.hasLoop ? op.localSet : op.globalSet
  }

  get #fuelIndex(): number {
    return this.#scan.hasLoop ? this.#fuel : this.#context.fuelGlobal
  }

  #index(opcode: number, index: number): this {
    this.#writer.byte(opcode).u32(index)
    return this
  }

  #constant(value: number): this {
    this.#writer.byte(op.i64Const).s64(value)
    return this
  }

  #emit(...opcodes: readonly number[]): this {
    this.#writer.bytes(opcodes)
    return this
  }
}

function tooMany(what: string): SandboxError {
  return new SandboxError('ERR_MODULE_TOO_LARGE', `${what} are admitted`)
}
