import { once } from 'node:events'
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { Worker } from 'node:worker_threads'
import { exhaustiveCount, type Find, fuzzInput } from '@cella/testing/fuzz'
import { allFuzzTargets, casesOf } from './fuzz-targets.ts'
import type { FuzzChunk, FuzzChunkResult } from './fuzz-worker.ts'

// npm run fuzz: gives every parser and every verification mutated bytes. See CONTRIBUTING.md.

const help = `npm run fuzz -- [--cases N] [--seed N] [--target NAME] [--exhaustive] [--workers N] [--index N] [--json]

  --cases N       how many in all; 10000000 when left out. With --exhaustive as many as it takes
  --seed N        makes the same cases again; a new one when left out
  --target NAME   only targets with NAME in theirs: evidence/parseJwt
  --exhaustive    every truncation, every byte flipped, every number 0, 1 and the largest
  --workers N     as many as there are cores when left out
  --index N       runs one case of one target and prints its input, in hexadecimal
  --json          finds and sum as one JSON object a line

Exit code 0 when nothing was found, 1 when something was, 2 for a wrong call.
Example: npm run fuzz -- --target evidence/parseCertificate --seed 7 --cases 100000`

const stuckMs = 30_000
const pollMs = 500

function options() {
  try {
    const { values } = parseArgs({
      options: {
        cases: { type: 'string', default: '10000000' },
        seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
        target: { type: 'string', default: '' },
        exhaustive: { type: 'boolean', default: false },
        workers: { type: 'string', default: String(availableParallelism()) },
        index: { type: 'string' },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    })
    for (const name of ['cases', 'seed', 'workers', 'index'] as const) {
      if (!/^[0-9]{1,12}$/.test(values[name] ?? '0')) throw new TypeError(`--${name} is a number`)
    }
    return values
  } catch (error) {
    console.error(`error: ${(error as Error).message}\nhint: npm run fuzz -- --help`)
    process.exit(2)
  }
}

const given = options()
if (given.help) {
  console.log(help)
  process.exit(0)
}
const seed = Number(given.seed)
const { exhaustive, json } = given
const targets = (await allFuzzTargets()).filter(({ name }) => name.includes(given.target))
if (targets.length === 0) {
  console.error(`error: no target has ${given.target} in its name\nhint: leave out --target to run all`)
  process.exit(2)
}
if (given.index !== undefined) {
  const target = targets[0]!
  const input = fuzzInput(target, Number(given.index), { seed, exhaustive })
  console.log(Buffer.from(input).toString('hex'))
  console.log(await target.run(input))
  process.exit(0)
}

const counts = exhaustive ? targets.map(exhaustiveCount) : casesOf(targets, Number(given.cases))
const total = counts.reduce((sum, count) => sum + count, 0)
if (!json) console.log(`${targets.length} targets, ${total} cases, seed ${seed}`)

const queue: FuzzChunk[] = targets.flatMap(({ name, meaning }, at) => {
  const size = meaning ? 1000 : 10_000
  return Array.from({ length: Math.ceil(counts[at]! / size) }, (_, chunk) => {
    return { target: name, seed, exhaustive, from: chunk * size, to: Math.min(counts[at]!, (chunk + 1) * size) }
  })
})
let done = 0
let accepted = 0
let finds = 0
const started = performance.now()

function tell(find: Omit<Find, 'input'> & { input: string }): void {
  finds++
  if (json) {
    console.log(JSON.stringify(find))
    return
  }
  console.log(
    `\n${find.problem} in ${find.target}, case ${find.index} of seed ${find.seed}${exhaustive ? ', exhaustive' : ''}`,
  )
  console.log(`  ${find.detail.slice(0, 2000).replaceAll('\n', '\n  ')}`)
  console.log(`  input: ${find.input.slice(0, 400)}${find.input.length > 400 ? '…' : ''}`)
}

/** Runs chunks in a thread of its own until there are none; a thread that is stuck is ended, its case told, and replaced. */
async function work(): Promise<void> {
  const shared = new Int32Array(new SharedArrayBuffer(4))
  const worker = new Worker(new URL('./fuzz-worker.ts', import.meta.url), { workerData: shared })
  for (let chunk = queue.shift(); chunk !== undefined; chunk = queue.shift()) {
    worker.postMessage(chunk)
    const result = await answerOf(worker, shared)
    if (result === 'stuck') {
      const index = shared[0]!
      const target = targets.find(({ name }) => name === chunk!.target)!
      const input = Buffer.from(fuzzInput(target, index, chunk)).toString('base64')
      tell({ target: chunk.target, problem: 'hang', seed, index, detail: `no end after ${stuckMs} ms`, input })
      await worker.terminate()
      return work()
    }
    done += chunk.to - chunk.from
    accepted += result.accepted
    for (const find of result.finds) tell(find)
  }
  await worker.terminate()
}

async function answerOf(worker: Worker, shared: Int32Array): Promise<FuzzChunkResult | 'stuck'> {
  const answer = once(worker, 'message').then(([message]) => message as FuzzChunkResult)
  let last = -1
  let since = performance.now()
  for (;;) {
    const result = await Promise.race([answer, new Promise<undefined>((wake) => void setTimeout(wake, pollMs))])
    if (result !== undefined) return result
    const now = shared[0]!
    if (now !== last) since = performance.now()
    else if (performance.now() - since > stuckMs) return 'stuck'
    last = now
  }
}

const progress: NodeJS.Timeout = setInterval(() => {
  if (json || !process.stderr.isTTY) return
  const rate = done / ((performance.now() - started) / 1000)
  process.stderr.write(`\r${done} of ${total} cases, ${rate.toFixed(0)} a second, ${finds} finds `)
}, 1000).unref()
await Promise.all(Array.from({ length: Math.min(Number(given.workers), queue.length) }, work))
clearInterval(progress)
const seconds = Math.round((performance.now() - started) / 1000)
if (json) console.log(JSON.stringify({ targets: targets.length, cases: done, seed, accepted, finds, seconds }))
else console.log(`\n${done} cases in ${seconds} s: ${accepted} accepted, the rest refused, ${finds} finds`)
process.exitCode = finds > 0 ? 1 : 0
