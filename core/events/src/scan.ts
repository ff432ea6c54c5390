import { equalBytes } from '@cella/bytes'
import { streamTag, tagLength } from '@cella/log'

// Where the leaves of a stream are, found in one pass over all leaves: 53 bits of a tag pick the candidate, the whole
// tag decides.

/** How many numbers may be missing in a row before what follows is not found any more. */
const lookAhead = 1024

/** Leaves from index `from` up to and without `end`. */
export interface LeafRange {
  readonly from: number
  readonly end: number
  /** How many entries of the stream lie before `from`, at most: numbers beyond these and a few are not looked for. */
  readonly before: number
  leafAt(index: number): {
    readonly commitment: Uint8Array
    readonly tag: Uint8Array
    readonly kind: string | undefined
  }
}

export interface FoundLeaf {
  readonly n: number
  readonly index: number
}

export interface Scan {
  /** The first leaf with each tag, in order of n. */
  readonly first: readonly FoundLeaf[]
  /** Leaves whose tag was there before: they don't count. A replica that lost a race leaves such. */
  readonly extra: readonly FoundLeaf[]
}

/** Finds every leaf of the stream of `key` (32 bytes) in a range of leaves. */
export function scanStream(key: Uint8Array, leaves: LeafRange): Scan {
  const wanted = new Map<number, { n: number; tag: Uint8Array }>()
  let expected = 0
  const expect = (upTo: number): void => {
    for (; expected < upTo; expected++) {
      const tag = streamTag(key, expected)
      wanted.set(shortOf(tag), { n: expected, tag })
    }
  }
  expect(leaves.before + lookAhead)
  const first = new Map<number, FoundLeaf>()
  const extra: FoundLeaf[] = []
  for (let index = leaves.from; index < leaves.end; index++) {
    const { tag } = leaves.leafAt(index)
    const candidate = wanted.get(shortOf(tag))
    if (candidate === undefined || !equalBytes(candidate.tag, tag)) continue
    const { n } = candidate
    if (first.has(n)) extra.push({ n, index })
    else first.set(n, { n, index })
    expect(n + 1 + lookAhead)
  }
  return { first: [...first.values()].sort((a, b) => a.n - b.n), extra }
}

function shortOf(tag: Uint8Array): number {
  if (tag.length !== tagLength) throw new RangeError(`a tag has ${tagLength} bytes`)
  const high = (tag[0]! << 24) | (tag[1]! << 16) | (tag[2]! << 8) | tag[3]!
  return high * 0x20_0000 + (((tag[4]! << 16) | (tag[5]! << 8) | tag[6]!) >> 3)
}
