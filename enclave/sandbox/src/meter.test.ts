import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { reserved } from './admit.ts'
import { assemble } from './fixtures.test-support.ts'
import { admitModule } from './index.ts'

/*
 * Random structured programs over three numbers, run three ways: by the interpreter below, which counts every
 * instruction one by one, by V8 as they are, and by V8 metered. All must agree on the numbers, and the metered one on
 * the count.
 */
type Statement =
  | { readonly kind: 'add'; readonly to: number; readonly from: number; readonly value: number }
  | { readonly kind: 'block' | 'loop'; readonly times: number; readonly body: readonly Statement[] }
  | { readonly kind: 'if'; readonly on: number; readonly yes: readonly Statement[]; readonly no: readonly Statement[] }
  | { readonly kind: 'br' | 'brIf' | 'table'; readonly on: number; readonly label: number }
  | { readonly kind: 'return'; readonly on: number }
  | { readonly kind: 'call' }

const small = fc.nat({ max: 2 })
const { body: bodies } = fc.letrec<{ body: Statement[]; statement: Statement }>((tie) => ({
  body: fc.array(tie('statement'), { maxLength: 4 }),
  statement: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.record({ kind: fc.constant('add' as const), to: small, from: small, value: fc.integer({ min: -3, max: 99 }) }),
    fc.record({
      kind: fc.constantFrom('br' as const, 'brIf' as const, 'brIf' as const, 'table' as const),
      on: small,
      label: fc.nat({ max: 9 }),
    }),
    fc.record({ kind: fc.constant('return' as const), on: small }),
    fc.record({ kind: fc.constant('call' as const) }),
    fc.record({ kind: fc.constantFrom('block' as const, 'loop' as const), times: small, body: tie('body') }),
    fc.record({ kind: fc.constant('if' as const), on: small, yes: tie('body'), no: tie('body') }),
  ),
}))
const functions = fc.array(bodies, { minLength: 1, maxLength: 3 })

/** WAT of function `index`; it may call the one before it. `open` lists the labels around, innermost last. */
function write(body: readonly Statement[], index: number, open: readonly string[]): string {
  return body.map((it) => writeStatement(it, index, open)).join(' ')
}

function writeStatement(it: Statement, index: number, open: readonly string[]): string {
  switch (it.kind) {
    case 'add':
      return `global.get ${it.from} i32.const ${it.value} i32.add global.set ${it.to}`
    case 'block':
      return `block ${write(it.body, index, [...open, 'block'])} end`
    case 'loop': {
      // The count is taken at the head, so that a branch to the head from anywhere keeps the loop finite.
      const counter = open.length
      const head = `local.get ${counter} i32.eqz br_if 1 local.get ${counter} i32.const 1 i32.sub local.set ${counter}`
      const inside = write(it.body, index, [...open, 'block', 'loop'])
      return `i32.const ${it.times} local.set ${counter} block loop ${head} ${inside} br 0 end end`
    }
    case 'if': {
      const arms = [it.yes, it.no].map((arm) => write(arm, index, [...open, 'if']))
      return `global.get ${it.on} i32.const 1 i32.and if ${arms[0]} ${it.no.length > 0 ? `else ${arms[1]}` : ''} end`
    }
    case 'br':
      return `br ${it.label % (open.length + 1)}`
    case 'brIf':
      return `global.get ${it.on} i32.const 1 i32.and br_if ${it.label % (open.length + 1)}`
    case 'table':
      return `global.get ${it.on} i32.const 1 i32.and br_table 0 ${it.label % (open.length + 1)}`
    case 'return':
      return `global.get ${it.on} i32.const 1 i32.and if return end`
    case 'call':
      return index === 0 ? 'memory.size drop' : `call ${index - 1}`
  }
}

class Oracle {
  readonly globals: number[] = [1, 2, 3]
  count = 0
  readonly #bodies: readonly (readonly Statement[])[]

  constructor(bodies: readonly (readonly Statement[])[]) {
    this.#bodies = bodies
  }

  call(index: number): void {
    this.#run(this.#bodies[index]!, index, 0)
  }

  /** The number of labels to leave, -1 to go on. `depth` counts the blocks open. */
  #run(body: readonly Statement[], index: number, depth: number): number {
    for (const it of body) {
      const leave = this.#step(it, index, depth)
      if (leave >= 0) return leave
    }
    return -1
  }

  #step(it: Statement, index: number, depth: number): number {
    switch (it.kind) {
      case 'add':
        this.count += 4
        this.globals[it.to] = (this.globals[it.from]! + it.value) | 0
        return -1
      case 'block':
        return this.#outward(this.#run(it.body, index, depth + 1))
      case 'loop':
        return this.#loop(it, index, depth)
      case 'if': {
        this.count += 4
        return this.#outward(this.#run(this.globals[it.on]! & 1 ? it.yes : it.no, index, depth + 1))
      }
      case 'br':
        this.count += 1
        return it.label % (depth + 1)
      case 'brIf':
        this.count += 4
        return this.globals[it.on]! & 1 ? it.label % (depth + 1) : -1
      case 'table':
        this.count += 4
        return this.globals[it.on]! & 1 ? it.label % (depth + 1) : 0
      case 'return':
        this.count += 4
        if ((this.globals[it.on]! & 1) === 0) return -1
        this.count += 1
        return depth
      case 'call':
        this.count += index === 0 ? 2 : 1
        if (index > 0) this.call(index - 1)
        return -1
    }
  }

  #loop(it: { times: number; body: readonly Statement[] }, index: number, depth: number): number {
    this.count += 2
    let left = it.times
    for (;;) {
      this.count += 3
      if (left-- === 0) return -1
      this.count += 4
      const leave = this.#run(it.body, index, depth + 2)
      if (leave === -1) this.count += 1
      if (leave > 0) return leave === 1 ? -1 : leave - 2
    }
  }

  /** What is left to leave once one block ended. */
  #outward(leave: number): number {
    return leave <= 0 ? -1 : leave - 1
  }
}

test('metering changes no result and counts every instruction exactly once', () => {
  fc.assert(
    fc.property(functions, (bodies) => {
      const text = bodies.map((body, index) => {
        const name = index === bodies.length - 1 ? '(export "_start")' : ''
        return `(func ${name} ${'(local i32)'.repeat(40)} ${write(body, index, [])})`
      })
      const globals = [0, 1, 2].map((at) => `(global (export "g${at}") (mut i32) (i32.const ${at + 1}))`)
      const original = assemble(`(module (memory (export "memory") 1) ${globals.join(' ')} ${text.join('\n')})`)
      const oracle = new Oracle(bodies)
      oracle.call(bodies.length - 1)
      const run = (bytes: Uint8Array, fuel: bigint): { numbers: number[]; fuel: bigint } => {
        const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes as Uint8Array<ArrayBuffer>))
        const counter = exports[reserved.fuel] as WebAssembly.Global<'i64'> | undefined
        const depth = exports[reserved.depth] as WebAssembly.Global<'i64'> | undefined
        if (counter !== undefined) counter.value = fuel
        if (depth !== undefined) depth.value = 10n
        ;(exports._start as () => void)()
        assert.equal(depth?.value ?? 10n, 10n, 'every call gives its depth back')
        const numbers = [0, 1, 2].map((at) => (exports[`g${at}`] as WebAssembly.Global<'i32'>).value)
        return { numbers, fuel: counter?.value ?? 0n }
      }
      const { module } = admitModule(original, { moduleBytesMax: 1 << 20, memoryPages: 1 })
      assert.deepEqual(run(original, 0n).numbers, oracle.globals)
      assert.deepEqual(run(module, 10n ** 12n), { numbers: oracle.globals, fuel: 10n ** 12n - BigInt(oracle.count) })
    }),
    { numRuns: 1500 },
  )
})

/** One turn of a loop, so that the function keeps its fuel in a local: 2 instructions. */
const turn = '(loop i32.const 0 br_if 0) '
const operandCases: { name: string; body: string; extra?: string; fuel: number }[] = [
  { name: 'nothing', body: '', fuel: 0 },
  { name: 'nop and drop', body: 'nop i32.const 1 drop', fuel: 3 },
  { name: 'memory.fill', body: 'i32.const 0 i32.const 7 i32.const 803 memory.fill', fuel: 4 + 100 },
  { name: 'memory.copy', body: 'i32.const 0 i32.const 9 i32.const 64 memory.copy', fuel: 4 + 8 },
  {
    name: 'memory.init',
    body: 'i32.const 0 i32.const 0 i32.const 16 memory.init 0 data.drop 0',
    extra: '(data "0123456789abcdef")',
    fuel: 5 + 2,
  },
  { name: 'memory.grow that succeeds', body: 'i32.const 2 memory.grow drop', fuel: 3 + 2 * 8192 },
  { name: 'memory.grow that fails', body: 'i32.const 99 memory.grow drop', fuel: 3 },
  {
    name: 'table.grow',
    body: 'ref.null func i32.const 30 table.grow 0 drop',
    extra: '(table 1 funcref)',
    fuel: 4 + 30,
  },
  {
    name: 'table.fill',
    body: 'i32.const 0 ref.null func i32.const 5 table.fill 0',
    extra: '(table 9 funcref)',
    fuel: 4 + 5,
  },
  { name: 'SIMD', body: 'v128.const i64x2 1 2 i8x16.popcnt i8x16.extract_lane_s 3 drop', fuel: 4 },
  {
    name: 'several results through an early return',
    body: 'call $pair drop drop',
    extra: '(func $pair (result i32 i64) (local i32) (loop i32.const 0 br_if 0) i32.const 1 i64.const 2 return)',
    fuel: 3 + 5,
  },
  {
    name: 'a call through a table',
    body: 'i32.const 4 i32.const 0 call_indirect (type $t) drop',
    extra:
      '(type $t (func (param i32) (result i32))) (table 1 funcref) (elem (i32.const 0) $f) (func $f (type $t) local.get 0)',
    fuel: 4 + 1,
  },
]
for (const { name, body, extra, fuel } of operandCases) {
  for (const [where, before, more] of [
    ['straight', '', 0],
    ['after a loop', turn, 2],
  ] as const) {
    test(`the fuel of ${name}, ${where}`, () => {
      const original = assemble(
        `(module ${extra ?? ''} (memory (export "memory") 1) (func (export "_start") ${before}${body}))`,
      )
      const { module } = admitModule(original, { moduleBytesMax: 10_000, memoryPages: 8 })
      const { exports } = new WebAssembly.Instance(new WebAssembly.Module(module as Uint8Array<ArrayBuffer>))
      const counter = exports[reserved.fuel] as WebAssembly.Global<'i64'>
      const refused = exports[reserved.memoryRefused] as WebAssembly.Global<'i32'>
      ;(exports[reserved.depth] as WebAssembly.Global<'i64'>).value = 10n
      counter.value = 1_000_000n
      ;(exports._start as () => void)()
      assert.equal(1_000_000n - counter.value, BigInt(fuel + more))
      assert.equal(refused.value, name.includes('fails') ? 1 : 0)
    })
  }
}
