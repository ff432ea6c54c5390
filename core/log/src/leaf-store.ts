import { randomBytes } from '@cella/primitives'
import { type Leaf, leafKindByte, leafKindOf, leafLength } from './leaf.ts'

// Every leaf of a log, as little of it as later questions need: 48 bytes (commitment ‖ tag) and the kind. An open hash
// table, at most half full, finds the first index of a tag. The host chooses the tags, so the hash has a secret start.

const chunkLeaves = 65_536
const keptBytes = 48
const keptWords = keptBytes / 4
const tagWord = 8
/** Version 1, a known kind, padding zero. What is none of this is kept with kind 0, and its tag still counts. */
const ownVersion = 1

interface Chunk {
  readonly bytes: Uint8Array
  readonly words: Uint32Array
  readonly kinds: Uint8Array
}

/** All leaves of a log, in order. */
export class LeafStore {
  readonly #chunks: Chunk[] = []
  readonly #seed: Uint32Array
  /** Index + 1 of the first leaf with a tag, 0 for a free slot. */
  #slots = new Uint32Array(1024)
  #tags = 0
  #size = 0
  readonly #wanted = new Uint32Array(4)
  /** Whole leaves of what this version does not know: there is more to them than is kept of the others. */
  readonly #foreign = new Map<number, Uint8Array>()

  constructor() {
    this.#seed = new Uint32Array(randomBytes(16).buffer)
  }

  /** Leaves held. */
  get size(): number {
    return this.#size
  }

  /** Adds the next leaf. Only its length has been checked: a leaf of a later version keeps its tag. */
  append(leaf: Uint8Array): void {
    if (leaf.length !== leafLength) throw new RangeError(`a leaf has ${leafLength} bytes, not ${leaf.length}`)
    const index = this.#size
    // Slots hold index + 1 in 32 bits; memory ends far earlier.
    if (index >= 0xffff_fffe) throw new RangeError('a leaf store holds at most 2^32 − 2 leaves')
    const at = index % chunkLeaves
    if (at === 0 && index / chunkLeaves === this.#chunks.length) this.#chunks.push(newChunk())
    const chunk = this.#chunks[Math.floor(index / chunkLeaves)]!
    chunk.bytes.set(leaf.subarray(16), at * keptBytes)
    chunk.kinds[at] = isOwn(leaf) ? leaf[1]! : 0
    if (chunk.kinds[at] === 0) this.#foreign.set(index, new Uint8Array(leaf))
    this.#size = index + 1
    if (this.#tags * 2 >= this.#slots.length) this.#grow()
    this.#insert(index)
  }

  /** Forgets the leaves from `size` on. */
  truncate(size: number): void {
    // The newest go first: no older leaf's slot was ever chosen because of theirs, so theirs are simply freed.
    for (let index = this.#size - 1; index >= size; index--) {
      const slot = this.#find(index)
      if (this.#slots[slot] === index + 1) {
        this.#slots[slot] = 0
        this.#tags -= 1
      }
      this.#foreign.delete(index)
    }
    this.#size = Math.min(size, this.#size)
  }

  /** The index of the first leaf with this tag, or `undefined`. */
  firstIndexOf(tag: Uint8Array): number | undefined {
    if (tag.length !== 16) throw new RangeError(`a tag has 16 bytes, not ${tag.length}`)
    new Uint8Array(this.#wanted.buffer).set(tag)
    const found = this.#slots[this.#probe(this.#wanted, 0)]!
    return found === 0 ? undefined : found - 1
  }

  /** Whether the leaf at `index`, which is below `size`, is this one. */
  holds(index: number, leaf: Leaf): boolean {
    const { bytes, kinds } = this.#chunks[Math.floor(index / chunkLeaves)]!
    const at = index % chunkLeaves
    if (kinds[at] !== leafKindByte(leaf.kind)) return false
    for (let byte = 0; byte < 32; byte++) if (bytes[at * keptBytes + byte] !== leaf.commitment[byte]) return false
    for (let byte = 0; byte < 16; byte++) if (bytes[at * keptBytes + 32 + byte] !== leaf.tag[byte]) return false
    return true
  }

  /** Kind (0: none that this version knows), commitment and tag of a leaf below `size`, copied. */
  at(index: number): { kind: number; commitment: Uint8Array; tag: Uint8Array } {
    const { bytes, kinds } = this.#chunks[Math.floor(index / chunkLeaves)]!
    const at = (index % chunkLeaves) * keptBytes
    return {
      kind: kinds[index % chunkLeaves]!,
      commitment: bytes.slice(at, at + 32),
      tag: bytes.slice(at + 32, at + keptBytes),
    }
  }

  /** The 64 bytes of a leaf below `size`. */
  bytesAt(index: number): Uint8Array {
    const foreign = this.#foreign.get(index)
    if (foreign !== undefined) return new Uint8Array(foreign)
    const { bytes, kinds } = this.#chunks[Math.floor(index / chunkLeaves)]!
    const at = (index % chunkLeaves) * keptBytes
    const leaf = new Uint8Array(leafLength)
    leaf[0] = ownVersion
    leaf[1] = kinds[index % chunkLeaves]!
    leaf.set(bytes.subarray(at, at + keptBytes), leafLength - keptBytes)
    return leaf
  }

  #insert(index: number): void {
    const slot = this.#find(index)
    if (this.#slots[slot] !== 0) return
    this.#slots[slot] = index + 1
    this.#tags += 1
  }

  #find(index: number): number {
    const { words } = this.#chunks[Math.floor(index / chunkLeaves)]!
    return this.#probe(words, (index % chunkLeaves) * keptWords + tagWord)
  }

  /** The slot of the tag whose four words begin at `words[at]`, or the free one where it would go. */
  #probe(words: Uint32Array, at: number): number {
    const a = words[at]!
    const b = words[at + 1]!
    const c = words[at + 2]!
    const d = words[at + 3]!
    const mask = this.#slots.length - 1
    let slot = this.#hash(a, b, c, d) & mask
    for (;;) {
      const found = this.#slots[slot]!
      if (found === 0) return slot
      const held = this.#chunks[Math.floor((found - 1) / chunkLeaves)]!.words
      const tag = ((found - 1) % chunkLeaves) * keptWords + tagWord
      if (held[tag] === a && held[tag + 1] === b && held[tag + 2] === c && held[tag + 3] === d) return slot
      slot = (slot + 1) & mask
    }
  }

  #hash(a: number, b: number, c: number, d: number): number {
    let hash = this.#seed[0]!
    hash = Math.imul(hash ^ a, 0x85ebca6b) ^ this.#seed[1]!
    hash = Math.imul((hash ^ (hash >>> 15)) + b, 0xc2b2ae35) ^ this.#seed[2]!
    hash = Math.imul((hash ^ (hash >>> 13)) + c, 0x27d4eb2f) ^ this.#seed[3]!
    hash = Math.imul((hash ^ (hash >>> 16)) + d, 0x165667b1)
    return hash ^ (hash >>> 15)
  }

  #grow(): void {
    this.#slots = new Uint32Array(this.#slots.length * 2)
    this.#tags = 0
    // In order of index, so that the newest again hold the slots that were chosen last. The very newest is not yet in.
    for (let index = 0; index < this.#size - 1; index++) this.#insert(index)
  }
}

function newChunk(): Chunk {
  const bytes = new Uint8Array(chunkLeaves * keptBytes)
  return { bytes, words: new Uint32Array(bytes.buffer), kinds: new Uint8Array(chunkLeaves) }
}

function isOwn(leaf: Uint8Array): boolean {
  if (leaf[0] !== ownVersion || leafKindOf(leaf[1]!) === undefined) return false
  for (let at = 2; at < 16; at++) if (leaf[at] !== 0) return false
  return true
}
