import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { reserved } from './admit.ts'
import { assemble, command, exampleProgram } from './fixtures.test-support.ts'
import { admitModule, SandboxError, type SandboxErrorCode } from './index.ts'

const limits = { moduleBytesMax: 100_000, memoryPages: 16 }

function refuses(module: Uint8Array, code: SandboxErrorCode): void {
  assert.throws(
    () => admitModule(module, limits),
    (error) => error instanceof SandboxError && error.code === code,
  )
}

const wasi = (name: string, type: string): string => `(import "wasi_snapshot_preview1" "${name}" (func ${type}))`

/** Modules that wabt's text form can't say, as sections by hand: a type, a function, a memory, exports, code. */
function handMade(options: { types?: number[]; memory?: number[]; code?: number[]; more?: number[] }): Uint8Array {
  const section = (id: number, bytes: number[]): number[] => [id, bytes.length, ...bytes]
  const name = (word: string): number[] => [word.length, ...new TextEncoder().encode(word)]
  const body = [0, ...(options.code ?? []), 0x0b]
  return new Uint8Array([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, options.types ?? [1, 0x60, 0, 0]),
    ...section(3, [1, 0]),
    ...section(5, options.memory ?? [1, 0, 1]),
    ...section(7, [2, ...name('_start'), 0, 0, ...name('memory'), 2, 0]),
    ...section(10, [1, body.length, ...body]),
    ...(options.more ?? []),
  ])
}

describe('admission', () => {
  const cases: { name: string; module: () => Uint8Array; code: SandboxErrorCode }[] = [
    { name: 'no module at all', module: () => new Uint8Array([1, 2, 3]), code: 'ERR_MODULE_MALFORMED' },
    { name: 'an invalid body', module: () => handMade({ code: [0x6a] }), code: 'ERR_MODULE_MALFORMED' },
    {
      name: 'a reference to the globals that metering appends',
      module: () => handMade({ code: [0x42, 1, 0x24, 0] }),
      code: 'ERR_MODULE_MALFORMED',
    },
    { name: 'a giant', module: () => new Uint8Array(100_001), code: 'ERR_MODULE_TOO_LARGE' },
    {
      name: 'an import of another module',
      module: () => command('', '(import "env" "now" (func))'),
      code: 'ERR_MODULE_IMPORT',
    },
    { name: 'an unknown function of WASI', module: () => command('', wasi('fd_magic', '')), code: 'ERR_MODULE_IMPORT' },
    {
      name: 'the name of a method of objects',
      module: () => command('', wasi('__proto__', '')),
      code: 'ERR_MODULE_IMPORT',
    },
    {
      name: 'a function of WASI with another type',
      module: () => command('', wasi('fd_close', '(param i64) (result i32)')),
      code: 'ERR_MODULE_IMPORT',
    },
    {
      name: 'an imported memory',
      module: () => assemble('(module (import "wasi_snapshot_preview1" "memory" (memory 1)) (func (export "_start")))'),
      code: 'ERR_MODULE_IMPORT',
    },
    {
      name: 'an imported global',
      module: () => command('', '(import "wasi_snapshot_preview1" "g" (global i32))'),
      code: 'ERR_MODULE_IMPORT',
    },
    {
      name: 'a reserved export',
      module: () => command('', '(global (export "cella:fuel") (mut i64) (i64.const 0))'),
      code: 'ERR_MODULE_EXPORT',
    },
    { name: 'no _start', module: () => assemble('(module (memory (export "memory") 1))'), code: 'ERR_MODULE_EXPORT' },
    {
      name: 'a _start with a parameter',
      module: () => assemble('(module (memory (export "memory") 1) (func (export "_start") (param i32)))'),
      code: 'ERR_MODULE_EXPORT',
    },
    {
      name: 'no exported memory',
      module: () => assemble('(module (memory 1) (func (export "_start")))'),
      code: 'ERR_MODULE_EXPORT',
    },
    {
      name: 'a memory above the budget',
      module: () => command('', '', '(memory (export "memory") 17)'),
      code: 'ERR_MODULE_MEMORY',
    },
    { name: 'a shared memory', module: () => handMade({ memory: [1, 3, 1, 1] }), code: 'ERR_MODULE_FEATURE' },
    { name: 'a 64-bit memory', module: () => handMade({ memory: [1, 4, 1] }), code: 'ERR_MODULE_FEATURE' },
    { name: 'two memories', module: () => handMade({ memory: [2, 0, 1, 0, 1] }), code: 'ERR_MODULE_FEATURE' },
    { name: 'an atomic instruction', module: () => handMade({ code: [0xfe, 3, 0] }), code: 'ERR_MODULE_FEATURE' },
    { name: 'a tail call', module: () => handMade({ code: [0x12, 0] }), code: 'ERR_MODULE_FEATURE' },
    { name: 'a type of GC', module: () => handMade({ types: [2, 0x60, 0, 0, 0x5f, 0] }), code: 'ERR_MODULE_FEATURE' },
    {
      name: 'relaxed SIMD',
      module: () => {
        const zero = [0xfd, 12, ...new Array<number>(16).fill(0)]
        return handMade({ code: [...zero, ...zero, 0xfd, 0x80, 2, 0x1a] })
      },
      code: 'ERR_MODULE_FEATURE',
    },
    { name: 'a try block', module: () => handMade({ code: [0x1f, 0x40, 0, 0x0b] }), code: 'ERR_MODULE_FEATURE' },
    {
      name: 'a table of ten million elements',
      module: () => command('', '(table 9999999 funcref)'),
      code: 'ERR_MODULE_TOO_LARGE',
    },
  ]
  for (const { name, module, code } of cases) test(`refuses ${name}`, () => refuses(module(), code))

  test('takes the hand-made module that the refused ones vary', () => {
    assert.ok(WebAssembly.validate(admitModule(handMade({}), limits).module as Uint8Array<ArrayBuffer>))
  })

  test('leaves no start section, no custom section and no memory above the budget', () => {
    const original = command('', '(func $first) (start $first)', '(memory (export "memory") 1 30)')
    const module = new WebAssembly.Module(admitModule(original, limits).module as Uint8Array<ArrayBuffer>)
    const names = WebAssembly.Module.exports(module).map(({ name }) => name)
    assert.ok(names.includes(reserved.start))
    const { memory } = new WebAssembly.Instance(module).exports as { memory: WebAssembly.Memory }
    assert.equal(memory.grow(15), 1)
    assert.throws(() => memory.grow(1), RangeError)
  })

  test('every truncation and every changed byte of a program is refused or gives a valid module', () => {
    const original = exampleProgram('empty')
    const tried = (bytes: Uint8Array): void => {
      try {
        assert.ok(WebAssembly.validate(admitModule(bytes, limits).module as Uint8Array<ArrayBuffer>))
      } catch (error) {
        assert.ok(error instanceof SandboxError, String(error))
      }
    }
    for (let length = 0; length < original.length; length += 7) tried(original.subarray(0, length))
    for (let at = 0; at < original.length; at += 11) {
      const changed = original.slice()
      changed[at]! ^= 1 << (at % 8)
      tried(changed)
    }
  })

  test('random bytes only ever throw a SandboxError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (bytes, headed) => {
        const head = headed ? [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0] : []
        assert.throws(() => admitModule(new Uint8Array([...head, ...bytes]), limits), SandboxError)
      }),
    )
  })
})
