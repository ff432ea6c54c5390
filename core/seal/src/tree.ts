import { concatBytes, equalBytes } from '@cella/bytes'
import { sha256, sha256Parts } from '@cella/primitives'

// RFC 6962 §2.1: the prefixes keep a leaf from passing as a node.
const leafPrefix = Uint8Array.of(0)
const nodePrefix = Uint8Array.of(1)

/** Bytes of a leaf or node hash. */
export const hashLength = 32

/** SHA-256(0x00 ‖ leaf), 32 bytes. */
export function leafHash(leaf: Uint8Array): Uint8Array {
  return sha256Parts(leafPrefix, leaf)
}

function nodeHash(left: Uint8Array, right: Uint8Array): Uint8Array {
  return sha256(concatBytes(nodePrefix, left, right))
}

/**
 * The root of an RFC 6962 tree, one leaf hash after the other. Holds only the right edge: one hash for each set bit of the
 * number of leaves.
 */
export class TreeHasher {
  /** Roots of complete subtrees, largest first. */
  readonly #edge: Uint8Array[] = []
  #size = 0

  /** Leaves so far. */
  get size(): number {
    return this.#size
  }

  /** `hash` is a leaf hash; it is copied. */
  append(hash: Uint8Array): void {
    let node: Uint8Array = hash.slice()
    // Each trailing one bit of the size is a complete subtree on the right, as large as the one just finished.
    for (let size = this.#size; size % 2 === 1; size = (size - 1) / 2) node = nodeHash(this.#edge.pop()!, node)
    this.#edge.push(node)
    this.#size++
  }

  /** The root over all leaves so far; of none, SHA-256 of nothing. */
  root(): Uint8Array {
    const last = this.#edge.at(-1)
    if (last === undefined) return sha256(new Uint8Array(0))
    return this.#edge.slice(0, -1).reduceRight((right, left) => nodeHash(left, right), last)
  }
}

/** The root over `hashes`: leaf hashes, 32 bytes each, one after the other. */
export function rootOf(hashes: Uint8Array): Uint8Array {
  const tree = new TreeHasher()
  for (let at = 0; at < hashes.length; at += hashLength) tree.append(hashes.subarray(at, at + hashLength))
  return tree.root()
}

/** The audit path of leaf `index` (RFC 9162 §2.1.3.1), lowest first, over the concatenated leaf `hashes`. */
export function inclusionProof(hashes: Uint8Array, index: number): Uint8Array[] {
  const size = hashes.length / hashLength
  if (!Number.isInteger(size) || !Number.isInteger(index) || index < 0 || index >= size) {
    throw new RangeError(`leaf ${index} of a tree with ${size} leaves`)
  }
  if (size === 1) return []
  const split = largestPowerBelow(size)
  const left = hashes.subarray(0, split * hashLength)
  const right = hashes.subarray(split * hashLength)
  return index < split
    ? [...inclusionProof(left, index), rootOf(right)]
    : [...inclusionProof(right, index - split), rootOf(left)]
}

/** Whether `proof` shows that leaf `index` of `size` has `hash` under `root`. RFC 9162 §2.1.3.2. */
export function verifyInclusion(options: {
  hash: Uint8Array
  index: number
  size: number
  proof: readonly Uint8Array[]
  root: Uint8Array
}): boolean {
  const { index, size, proof } = options
  if (!Number.isSafeInteger(index) || !Number.isSafeInteger(size) || index < 0 || index >= size) return false
  if (options.hash.length !== hashLength || proof.some((node) => node.length !== hashLength)) return false
  let fn = index
  let sn = size - 1
  let node = options.hash
  // Division instead of shifts: an index may need more than 32 bits.
  for (const sibling of proof) {
    if (sn === 0) return false
    if (fn % 2 === 1 || fn === sn) {
      node = nodeHash(sibling, node)
      while (fn % 2 === 0 && fn !== 0) {
        fn /= 2
        sn = Math.floor(sn / 2)
      }
    } else {
      node = nodeHash(node, sibling)
    }
    fn = Math.floor(fn / 2)
    sn = Math.floor(sn / 2)
  }
  return sn === 0 && equalBytes(node, options.root)
}

function largestPowerBelow(size: number): number {
  let power = 1
  while (power * 2 < size) power *= 2
  return power
}
