import { encodeLeaf, LeafStore, leafHash } from '@cella/log'

/** Finds the first index of a leaf that is in the log already, so that an append sent twice is one entry. */
export class LeafIndex {
  // A store that finds tags, given leaves whose tag is the beginning of the true leaf's hash: 128 bits of SHA-256.
  readonly #store = new LeafStore()

  add(leaf: Uint8Array): void {
    this.#store.append(hashed(leaf))
  }

  find(leaf: Uint8Array): number | undefined {
    return this.#store.firstIndexOf(leafHash(leaf).subarray(0, 16))
  }
}

function hashed(leaf: Uint8Array): Uint8Array {
  const hash = leafHash(leaf)
  return encodeLeaf({ kind: 'document', commitment: hash, tag: hash.subarray(0, 16) })
}
