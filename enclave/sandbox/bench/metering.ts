import { readFileSync } from 'node:fs'
import { admitModule, reserved } from '../src/admit.ts'
import { OutputFile } from '../src/files.ts'
import { SeededRandom } from '../src/seeded-random.ts'
import { Wasi } from '../src/wasi.ts'
import { wasiModule } from '../src/wasi-functions.ts'

// Run by sandbox.bench.ts in a process of its own: prints the times of each round as JSON.

const [program, rounds] = [process.argv[2]!, Number(process.argv[3])]
const original = readFileSync(program)
const { module } = admitModule(original, { moduleBytesMax: 1 << 20, memoryPages: 4096 })
const table = makeTable(32 * 1024 * 1024)

const plainModule = new WebAssembly.Module(original)
const meteredModule = new WebAssembly.Module(module as Uint8Array<ArrayBuffer>)
run(plainModule)
run(meteredModule)
const times = Array.from({ length: rounds }, () => ({ metered: run(meteredModule), plain: run(plainModule) }))
process.stdout.write(JSON.stringify(times))

function run(compiled: WebAssembly.Module): number {
  const wasi = new Wasi({
    args: ['pay-gap', '--input', 't', '--value', 'wage', '--group', 'sector,sex', '--compare', 'sex=male:female'],
    random: new SeededRandom(new Uint8Array(32)),
    inputs: [
      {
        name: 't',
        length: table.length,
        read: (offset, target) => {
          target.set(table.subarray(offset, offset + target.length))
          return true
        },
      },
    ],
    outputs: [new OutputFile('result', 10_000), new OutputFile('gap', 10_000)],
    diagnosticsBytesMax: 1000,
    charge: (amount) => {
      if (fuel !== undefined) fuel.value -= BigInt(amount)
    },
    fuelUsed: () => 0n,
    memory: () => exports.memory as WebAssembly.Memory,
  })
  const { exports } = new WebAssembly.Instance(compiled, { [wasiModule]: wasi.functions() })
  const fuel = exports[reserved.fuel] as WebAssembly.Global<'i64'> | undefined
  const depth = exports[reserved.depth] as WebAssembly.Global<'i64'> | undefined
  if (fuel !== undefined) fuel.value = 2n ** 60n
  if (depth !== undefined) depth.value = 1000n
  const start = performance.now()
  ;(exports._start as () => void)()
  return performance.now() - start
}

function makeTable(length: number): Uint8Array {
  const sectors = ['manufacturing', 'construction', 'other', 'services']
  const rows: string[] = ['education,wage,age,sex,sector,union']
  for (let size = 0, row = 0; size < length; row++) {
    const wage = `${(row * 7919) % 40}.${(row * 31) % 100}`
    const text = `${6 + (row % 13)},${wage},${18 + (row % 50)},${row % 3 ? 'male' : 'female'},${sectors[row % 4]},${row % 2}`
    rows.push(text)
    size += text.length + 1
  }
  return new TextEncoder().encode(`${rows.join('\n')}\n`)
}
