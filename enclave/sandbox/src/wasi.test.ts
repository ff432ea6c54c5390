import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { OutputFile } from './files.ts'
import { assemble } from './fixtures.test-support.ts'
import { InputStream } from './input-stream.ts'
import { ProgramEnd } from './program-end.ts'
import { SeededRandom } from './seeded-random.ts'
import { Wasi } from './wasi.ts'
import { wasiFunctions } from './wasi-functions.ts'

const errno = { access: 2, badFile: 8, fault: 21, invalid: 28, io: 29, noEntry: 44, notSupported: 52, readOnly: 69 }
const rightsToRead = 1n << 1n
const rightsToWrite = 1n << 6n
const create = 1

interface Host {
  readonly memory: WebAssembly.Memory
  readonly output: OutputFile
  readonly call: (name: string, ...values: (number | bigint)[]) => number
  readonly open: (directory: number, name: string, flags: number, rights: bigint) => number
  readonly put: (at: number, text: string) => void
  readonly u32: (at: number) => number
}

function host(options: { inputs?: Record<string, string>; keptBytesMax?: number; bytesMax?: number } = {}): Host {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 2 })
  const output = new OutputFile('result', options.bytesMax ?? 100)
  const entries = Object.entries(options.inputs ?? { table: 'hello, table' })
  const all = new TextEncoder().encode(entries.map(([, content]) => content).join(''))
  let sent = 0
  const inputs = new InputStream({
    inputs: entries.map(([name, content]) => ({ name, length: content.length })),
    keptBytesMax: options.keptBytesMax ?? 1000,
    next: () => {
      sent += 3
      return all.slice(sent - 3, sent)
    },
  })
  let fuel = 1_000_000_000n
  const wasi = new Wasi({
    args: ['program', 'one'],
    random: new SeededRandom(new Uint8Array(32)),
    inputs: inputs.files,
    outputs: [output],
    diagnosticsBytesMax: 10,
    charge: (amount) => {
      assert.ok(Number.isSafeInteger(amount) && amount >= 0, `charge ${amount}`)
      fuel -= BigInt(amount)
      if (fuel < 0n) throw new ProgramEnd('out-of-fuel')
    },
    fuelUsed: () => 1_000_000_000n - fuel,
    memory: () => memory,
  })
  const functions = wasi.functions() as Record<string, (...values: (number | bigint)[]) => number>
  const call = (name: string, ...values: (number | bigint)[]): number => functions[name]!(...values)
  const put = (at: number, text: string): void => {
    new Uint8Array(memory.buffer).set(new TextEncoder().encode(text), at)
  }
  const u32 = (at: number): number => new DataView(memory.buffer).getUint32(at, true)
  const open = (directory: number, name: string, flags: number, rights: bigint): number => {
    put(1000, name)
    const error = call(
      'path_open',
      directory,
      0,
      1000,
      new TextEncoder().encode(name).length,
      flags,
      rights,
      0n,
      0,
      2000,
    )
    return error === 0 ? u32(2000) : -error
  }
  return { memory, output, call, open, put, u32 }
}

/** One vector at 3000 that points to `length` bytes at `at`; the count of bytes done goes to 3100. */
function transfer(it: Host, name: 'fd_read' | 'fd_write', fd: number, at: number, length: number): number {
  const view = new DataView(it.memory.buffer)
  view.setUint32(3000, at, true)
  view.setUint32(3004, length, true)
  return it.call(name, fd, 3000, 1, 3100)
}

const read = (it: Host, fd: number, length: number): string => {
  assert.equal(transfer(it, 'fd_read', fd, 4000, length), 0)
  return new TextDecoder().decode(new Uint8Array(it.memory.buffer).slice(4000, 4000 + it.u32(3100)))
}

describe('files', () => {
  test('a read is full however the bytes came', () => {
    const it = host()
    const fd = it.open(3, 'table', 0, rightsToRead)
    assert.equal(read(it, fd, 7), 'hello, ')
    assert.equal(read(it, fd, 100), 'table')
    assert.equal(read(it, fd, 100), '')
    assert.equal(it.call('fd_seek', fd, 1n, 0, 3200), 0)
    assert.equal(read(it, fd, 4), 'ello')
  })

  test('an input too long to keep is read forward only', () => {
    const it = host({ inputs: { small: 'abc', large: '0123456789', last: 'xyz' }, keptBytesMax: 5 })
    const large = it.open(3, 'large', 0, rightsToRead)
    assert.equal(read(it, large, 4), '0123')
    it.call('fd_seek', large, 6n, 0, 3200)
    assert.equal(read(it, large, 2), '67')
    it.call('fd_seek', large, 7n, 0, 3200)
    assert.equal(transfer(it, 'fd_read', large, 4000, 1), errno.io)
    it.call('fd_seek', large, 8n, 0, 3200)
    assert.equal(read(it, it.open(3, 'last', 0, rightsToRead), 9), 'xyz')
    assert.equal(transfer(it, 'fd_read', large, 4000, 1), errno.io, 'reading a later input gave it up')
    assert.equal(read(it, it.open(3, 'small', 0, rightsToRead), 9), 'abc')
  })

  test('an output is written, sought in, appended to and never read', () => {
    const it = host()
    const fd = it.open(4, 'result', create, rightsToWrite)
    it.put(4000, 'abcdef')
    assert.equal(transfer(it, 'fd_write', fd, 4000, 6), 0)
    it.call('fd_seek', fd, -2n, 2, 3200)
    assert.equal(transfer(it, 'fd_write', fd, 4000, 3), 0)
    assert.equal(new TextDecoder().decode(it.output.written()), 'abcdabc')
    assert.equal(transfer(it, 'fd_read', fd, 4000, 3), errno.badFile)
  })

  test('an output ends the program at its cap with nothing written beyond', () => {
    const it = host({ bytesMax: 5 })
    const fd = it.open(4, 'result', create, rightsToWrite)
    assert.throws(() => transfer(it, 'fd_write', fd, 0, 6), { status: 'output-too-large' })
    assert.equal(it.output.length, 0)
  })

  const refused: [string, number, string, number, bigint, number][] = [
    ['a file that was not declared', 3, 'other', 0, rightsToRead, errno.noEntry],
    ['an output that was not declared', 4, 'other', create, rightsToWrite, errno.noEntry],
    ['a path that climbs out', 3, '../etc/passwd', 0, rightsToRead, errno.noEntry],
    ['a path that climbs and comes back', 3, '../in/table', 0, rightsToRead, errno.noEntry],
    ['an absolute path', 3, '/in/table', 0, rightsToRead, errno.noEntry],
    ['an input in the folder of outputs', 4, 'table', create, rightsToWrite, errno.noEntry],
    ['an output in the folder of inputs', 3, 'result', 0, rightsToRead, errno.noEntry],
    ['a name with a zero byte', 3, 'table\0', 0, rightsToRead, errno.noEntry],
    ['an input to write', 3, 'table', 0, rightsToRead | rightsToWrite, errno.readOnly],
    ['an output to read', 4, 'result', create, rightsToRead, errno.access],
    ['an output not yet made, without asking to make it', 4, 'result', 0, rightsToWrite, errno.noEntry],
    ['a file that is no folder', 1, 'table', 0, rightsToRead, 54],
    ['a descriptor that is not open', 77, 'table', 0, rightsToRead, errno.badFile],
  ]
  for (const [name, directory, path, flags, rights, expected] of refused) {
    test(`refuses to open ${name}`, () => assert.equal(host().open(directory, path, flags, rights), -expected))
  }

  test('descriptors run out without harm', () => {
    const it = host()
    let last = 0
    for (let count = 0; count < 300 && last >= 0; count++) last = it.open(3, 'table', 0, rightsToRead)
    assert.equal(last, -33)
  })
})

describe('time and chance', () => {
  test('two clock readings differ by the fuel between them', () => {
    const it = host()
    assert.equal(it.call('clock_time_get', 0, 0n, 0), 0)
    assert.equal(it.call('clock_time_get', 1, 0n, 8), 0)
    const view = new DataView(it.memory.buffer)
    assert.equal(view.getBigUint64(0, true), 946_684_800_000_000_000n + 1000n)
    assert.equal(view.getBigUint64(8, true), 2000n)
    assert.equal(it.call('clock_time_get', 2, 0n, 0), errno.invalid)
  })

  test('randomness is a function of the seed, whatever pieces it is drawn in', () => {
    const draw = (seed: number, lengths: readonly number[]): string => {
      const random = new SeededRandom(new Uint8Array(32).fill(seed))
      return lengths
        .map((length) => {
          const bytes = new Uint8Array(length)
          random.fill(bytes)
          return Buffer.from(bytes).toString('hex')
        })
        .join('')
    }
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 70 }), { maxLength: 6 }), (lengths) => {
        assert.equal(draw(1, lengths), draw(1, [lengths.reduce((sum, length) => sum + length, 0)]))
      }),
    )
    assert.notEqual(draw(1, [32]), draw(2, [32]))
    // The vector of docs/formats/program.md.
    assert.equal(draw(0, [16]), 'de895994afab3f7aafac58e97559a1ef')
  })
})

describe('hostile arguments', () => {
  const shape = [...wasiFunctions].filter(([name]) => name !== 'proc_exit')

  test('what is not offered answers NOSYS', () => {
    const it = host()
    for (const name of [
      'sock_send',
      'path_symlink',
      'path_rename',
      'fd_readdir',
      'poll_oneoff',
      'proc_raise',
      'path_link',
    ]) {
      const types = wasiFunctions.get(name)!
      assert.equal(it.call(name, ...[...types].map((type) => (type === 'l' ? 0n : 0))), errno.notSupported, name)
    }
  })

  test('pointers out of the memory answer FAULT', () => {
    const it = host()
    const table = it.open(3, 'table', 0, rightsToRead)
    const out = it.open(4, 'result', create, rightsToWrite)
    const end = 65_536
    for (const bad of [end - 3, end, -1, -4, 0x7fffffff]) {
      const calls: [string, ...(number | bigint)[]][] = [
        ['args_sizes_get', bad, 0],
        ['args_sizes_get', 0, bad],
        ['args_get', bad, 0],
        ['args_get', 0, bad],
        ['environ_sizes_get', 0, bad],
        ['clock_time_get', 0, 0n, bad],
        ['clock_res_get', 0, bad],
        ['random_get', bad, 8],
        ['random_get', 8, bad === end - 3 ? end : bad],
        ['fd_fdstat_get', 1, bad],
        ['fd_filestat_get', table, bad],
        ['fd_prestat_get', 3, bad],
        ['fd_prestat_dir_name', 3, bad === end - 3 ? end - 2 : bad, 100],
        ['fd_read', table, bad, 1, 0],
        ['fd_read', table, 0, 1, bad],
        ['fd_write', out, bad, 1, 0],
        ['fd_write', 1, bad, 1, 0],
        ['fd_seek', table, 0n, 0, bad],
        ['fd_tell', table, bad],
        ['path_open', 3, 0, bad, 8, 0, 0n, 0n, 0, 0],
        ['path_filestat_get', 3, 0, bad, 8, 0],
      ]
      for (const [name, ...values] of calls) assert.equal(it.call(name, ...values), errno.fault, `${name} ${values}`)
    }
    assert.equal(transfer(it, 'fd_read', table, end - 1, 2), errno.fault)
    assert.equal(transfer(it, 'fd_write', out, -1, 2), errno.fault)
    assert.equal(it.call('fd_write', out, 0, 0x20000001, 0), errno.fault)
  })

  test('random arguments give an errno or end the program, and touch nothing else', () => {
    const number = fc.oneof(fc.nat({ max: 8 }), fc.nat({ max: 70_000 }), fc.integer())
    const long = fc.oneof(fc.bigInt({ min: -8n, max: 8n }), fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }))
    const anyCall = fc
      .constantFrom(...shape)
      .chain(([name, types]) =>
        fc.tuple(fc.constant(name), fc.tuple(...[...types].map((type) => (type === 'l' ? long : number)))),
      )
    fc.assert(
      fc.property(fc.array(anyCall, { maxLength: 20 }), (calls) => {
        const it = host()
        it.open(3, 'table', 0, rightsToRead)
        it.open(4, 'result', create, rightsToWrite)
        for (const [name, values] of calls) {
          try {
            const result = it.call(name, ...(values as (number | bigint)[]))
            assert.ok(Number.isInteger(result) && result >= 0 && result <= 76, `${name}: ${result}`)
          } catch (error) {
            assert.ok(error instanceof ProgramEnd, String(error))
          }
        }
      }),
      { numRuns: 1000 },
    )
  })

  test('a memory that grew between two calls is seen whole', () => {
    const it = host()
    it.memory.grow(1)
    assert.equal(it.call('random_get', 100_000, 8), 0)
    assert.equal(it.call('random_get', 131_070, 8), errno.fault)
  })

  test('every function takes the arguments that its type says', () => {
    const imports = [...wasiFunctions].map(([name, types]) => {
      const params = [...types].map((type) => (type === 'l' ? 'i64' : 'i32')).join(' ')
      return `(import "w" "${name}" (func (param ${params}) ${name === 'proc_exit' ? '' : '(result i32)'}))`
    })
    const module = new WebAssembly.Module(assemble(`(module ${imports.join('\n')})`) as Uint8Array<ArrayBuffer>)
    assert.equal(WebAssembly.Module.imports(module).length, 46)
  })
})
