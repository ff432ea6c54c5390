import { sha256 } from '@cella/primitives'
import { malformed } from './parsing.ts'

/** The root of a tree without leaves: SHA-256 of nothing. RFC 9162 §2.1.1. */
export function emptyRoot(): Uint8Array {
  return sha256(new Uint8Array(0))
}

/** SHA-256(0x00 ‖ entry), 32 bytes. RFC 9162 §2.1.1. */
export function leafHash(entry: Uint8Array): Uint8Array {
  if (entry.length === 64) {
    leafScratch.set(entry, 1)
    return sha256(leafScratch)
  }
  const bytes = new Uint8Array(entry.length + 1)
  bytes.set(entry, 1)
  return sha256(bytes)
}

/** SHA-256(0x01 ‖ left ‖ right), 32 bytes. RFC 9162 §2.1.1. */
export function nodeHash(left: Uint8Array, right: Uint8Array): Uint8Array {
  nodeScratch.set(left, 1)
  nodeScratch.set(right, 33)
  return sha256(nodeScratch)
}

// Hashing is synchronous, so one buffer each is enough; a tree of a million leaves would otherwise make two million.
const leafScratch = new Uint8Array(65)
const nodeScratch = new Uint8Array(65).fill(1, 0, 1)

/** The number of one-bits of `size`: how many perfect subtrees, largest first, a tree of that size consists of. */
export function edgeLength(size: number): number {
  let count = 0
  for (let rest = size; rest > 0; rest = Math.floor(rest / 2)) count += rest % 2
  return count
}

/**
 * A tree that only grows. It keeps its right edge alone: the roots of the perfect subtrees it consists of, largest
 * first, one for each one-bit of its size.
 */
export class TreeBuilder {
  #size: number
  readonly #edge: Uint8Array[]

  /** An empty tree, or one that goes on from a right edge. Throws ERR_LOG_MALFORMED for an edge that size can't have. */
  constructor(from: { size: number; edge: readonly Uint8Array[] } = { size: 0, edge: [] }) {
    if (!Number.isSafeInteger(from.size) || from.size < 0) throw new RangeError(`TreeBuilder: size ${from.size}`)
    if (from.edge.length !== edgeLength(from.size) || from.edge.some((hash) => hash.length !== 32)) {
      throw malformed('right edge', `a tree of ${from.size} leaves has an edge of ${edgeLength(from.size)} hashes`)
    }
    this.#size = from.size
    this.#edge = from.edge.map((hash) => new Uint8Array(hash))
  }

  /** Leaves so far. */
  get size(): number {
    return this.#size
  }

  /** Adds the leaf with this leaf hash. `node` hears of every perfect subtree that is now complete, lowest first. */
  append(hash: Uint8Array, node?: (level: number, index: number, hash: Uint8Array) => void): void {
    let index = this.#size
    let root = hash
    node?.(0, index, root)
    for (let level = 1; index % 2 === 1; level++) {
      index = (index - 1) / 2
      root = nodeHash(this.#edge.pop()!, root)
      node?.(level, index, root)
    }
    this.#edge.push(root)
    this.#size += 1
  }

  /** RFC 9162 §2.1.1. */
  root(): Uint8Array {
    return new Uint8Array(foldEdge(this.#edge))
  }

  /** The right edge, from which another builder can go on. */
  edge(): Uint8Array[] {
    return this.#edge.map((hash) => new Uint8Array(hash))
  }
}

/** The root over perfect subtrees that lie side by side, largest first. */
export function foldEdge(edge: readonly Uint8Array[]): Uint8Array {
  let root = edge.at(-1)
  if (root === undefined) return emptyRoot()
  for (let index = edge.length - 2; index >= 0; index--) root = nodeHash(edge[index]!, root)
  return root
}
