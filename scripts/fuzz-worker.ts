import { parentPort, workerData } from 'node:worker_threads'
import { type Find, Fuzzer } from '@cella/testing/fuzz'
import { allFuzzTargets } from './fuzz-targets.ts'

// A thread of scripts/fuzz.ts: runs the chunks that it is sent, and leaves the case under way in shared memory.

export interface FuzzChunk {
  readonly target: string
  readonly seed: number
  readonly exhaustive: boolean
  readonly from: number
  readonly to: number
}

export interface FuzzChunkResult {
  readonly accepted: number
  /** Inputs in base64. */
  readonly finds: readonly (Omit<Find, 'input'> & { readonly input: string })[]
}

const current = workerData as Int32Array
const targets = new Map((await allFuzzTargets()).map((target) => [target.name, target]))
const fuzzers = new Map<string, Promise<Fuzzer>>()

parentPort!.on('message', (chunk: FuzzChunk) => void run(chunk).then((result) => parentPort!.postMessage(result)))

async function run(chunk: FuzzChunk): Promise<FuzzChunkResult> {
  const fuzzer = fuzzers.get(chunk.target) ?? Fuzzer.of(targets.get(chunk.target)!)
  fuzzers.set(chunk.target, fuzzer)
  const { accepted, finds } = await (await fuzzer).run({
    ...chunk,
    onCase: (index) => {
      current[0] = index
    },
  })
  return { accepted, finds: finds.map((find) => ({ ...find, input: Buffer.from(find.input).toString('base64') })) }
}
