import { equalBytes } from '@cella/bytes'
import { mutate } from './mutate.ts'
import { systematicCount, systematicMutation } from './mutate-bytes.ts'
import { numberOf, Random } from './random.ts'

/** A function that takes hostile bytes. A package lists its own in `test/fuzz-targets.ts`. */
export interface FuzzTarget {
  /** The function's name; behind a space, what of its input is changed. */
  readonly name: string
  /** Valid inputs. */
  readonly seeds: readonly Uint8Array[]
  /** Gives the bytes to the function. */
  readonly run: (bytes: Uint8Array) => unknown
  /** The errors with which it refuses. */
  readonly errors: readonly (abstract new (
    ...parameters: never[]
  ) => Error)[]
  /** For a format with one encoding: what was read, written again. */
  readonly encode?: (value: never) => Uint8Array
  /** For a verification: what the verified thing says. Nothing may be verified that says something else than a seed. */
  readonly meaning?: (value: never) => string
  /** The same without the part that is changed, where what is broken counts as not given: may be refused. */
  readonly without?: () => unknown
}

/** What a target did that none may do. */
export interface Find {
  readonly target: string
  readonly problem: 'foreign-error' | 'another-encoding' | 'acceptance' | 'too-slow' | 'hang'
  readonly seed: number
  /** With target and seed, this makes the input again. */
  readonly index: number
  readonly detail: string
  readonly input: Uint8Array
}

export interface FuzzOptions {
  readonly seed: number
  /** Cases `from` to `to` - 1 of this target. */
  readonly from: number
  readonly to: number
  /** The first cases are all those of `systematicCount`, instead of every second one being drawn from them. */
  readonly exhaustive?: boolean
  /** Is told each case before it runs. */
  readonly onCase?: (index: number) => void
}

const slowMs = 200
const slowFactor = 20
// Below this the collector, the compiler and the machine's other work are what one measures.
const slowFloorMs = 25
const findsMax = 20

/** How many cases are all truncations, flips and extreme numbers of a target's seeds. */
export function exhaustiveCount({ seeds }: FuzzTarget): number {
  return seeds.reduce((sum, { length }) => sum + systematicCount(length), 0)
}

/** The input of one case. */
export function fuzzInput(
  target: FuzzTarget,
  index: number,
  { seed, exhaustive = false }: Pick<FuzzOptions, 'seed' | 'exhaustive'>,
): Uint8Array {
  const random = new Random(seed, numberOf(target.name), index)
  if (exhaustive) {
    let at = index
    for (const bytes of target.seeds) {
      if (at < systematicCount(bytes.length)) return systematicMutation(bytes, at)
      at -= systematicCount(bytes.length)
    }
  }
  const bytes = random.pick(target.seeds)
  if (!exhaustive && index % 2 === 0 && bytes.length > 0) {
    return systematicMutation(bytes, random.below(systematicCount(bytes.length)))
  }
  return mutate(bytes, random, target.seeds)
}

/** A target whose seeds were shown to be valid and timed. */
export class Fuzzer {
  readonly target: FuzzTarget
  readonly #meanings: ReadonlySet<string>
  readonly #limitMs: number

  private constructor(target: FuzzTarget, meanings: ReadonlySet<string>, limitMs: number) {
    this.target = target
    this.#meanings = meanings
    this.#limitMs = limitMs
  }

  /** Throws what the target throws for a seed that is not valid. */
  static async of(target: FuzzTarget): Promise<Fuzzer> {
    const meanings = new Set<string>()
    let validMs = 0
    for (const bytes of target.seeds) {
      const value = await target.run(bytes.slice())
      if (target.meaning) meanings.add(target.meaning(value as never))
      validMs = Math.max(validMs, Math.min(await cpuMs(target, bytes), await cpuMs(target, bytes)))
    }
    try {
      if (target.without) meanings.add(target.meaning!((await target.without()) as never))
    } catch (error) {
      if (!isOurs(target, error)) throw error
    }
    return new Fuzzer(target, meanings, Math.min(slowMs, Math.max(slowFloorMs, slowFactor * validMs)))
  }

  /** Runs cases; returns how many were accepted, and what was found. */
  async run(options: FuzzOptions): Promise<{ accepted: number; finds: Find[] }> {
    const { seed, from, to, onCase } = options
    const finds: Find[] = []
    let accepted = 0
    for (let index = from; index < to && finds.length < findsMax; index++) {
      onCase?.(index)
      const input = fuzzInput(this.target, index, options)
      const found = (problem: Find['problem'], detail: string): void => {
        finds.push({ target: this.target.name, problem, seed, index, detail, input })
      }
      const started = performance.now()
      let value: unknown
      let error: unknown
      try {
        value = this.target.run(input.slice())
        if (value instanceof Promise) value = await value
        accepted++
      } catch (thrown) {
        error = thrown ?? new Error('threw nothing')
      }
      const ms = performance.now() - started
      if (error === undefined) this.#judge(value, input, found)
      else if (!isOurs(this.target, error)) {
        found('foreign-error', error instanceof Error ? (error.stack ?? error.message) : String(error))
      }
      if (ms > this.#limitMs) {
        const again = Math.min(await cpuMs(this.target, input), await cpuMs(this.target, input))
        if (again > this.#limitMs)
          found('too-slow', `${again.toFixed(1)} ms of CPU, at most ${this.#limitMs.toFixed(1)}`)
      }
    }
    return { accepted, finds }
  }

  #judge(value: unknown, input: Uint8Array, found: (problem: Find['problem'], detail: string) => void): void {
    const { encode, meaning } = this.target
    if (encode && !equalBytes(encode(value as never), input))
      found('another-encoding', 'is read, and written otherwise')
    if (meaning && !this.#meanings.has(meaning(value as never))) found('acceptance', meaning(value as never))
  }
}

function isOurs({ errors }: FuzzTarget, error: unknown): boolean {
  return errors.some((kind) => error instanceof kind)
}

/** CPU time of this thread for one run. */
async function cpuMs({ run }: FuzzTarget, input: Uint8Array): Promise<number> {
  const before = process.threadCpuUsage()
  try {
    await run(input.slice())
  } catch {
    // Only the time counts.
  }
  const { user, system } = process.threadCpuUsage(before)
  return (user + system) / 1000
}
