import { type Digest, decodeHex, encodeHex, encodeUtf8, equalBytes } from '@cella/bytes'
import {
  commitmentOf,
  type LeafKind,
  LogError,
  type LogPolicy,
  type ProvenEntry,
  publishedTag,
  verifyOfflineProof,
} from '@cella/log'
import type { LogIndex } from '@cella/release'
import { bytesOf, type LeafProof } from './bundle.ts'

/** A leaf's place in the log, or why its proof shows none. */
export type Placed = { readonly entry: ProvenEntry } | { readonly problem: string }

/**
 * Checks that `digest` stands in the log as a leaf of `kind`: the proof leads to a checkpoint that the policy accepts,
 * and the leaf's commitment opens to the digest. A document's tag must be that of its digest.
 */
export function placeOf(kind: LeafKind, digest: Digest, proof: LeafProof, policy: LogPolicy): Placed {
  const leaf = bytesOf(proof.leaf)
  try {
    const entry = verifyOfflineProof({ proofFile: encodeUtf8(proof.proof), leaf, policy })
    if (entry.leaf.kind !== kind) return { problem: `its leaf is of kind ${entry.leaf.kind}, not ${kind}.` }
    const commitment = commitmentOf(kind, bytesOf(proof.salt), decodeHex(digest, 'digest'))
    if (!equalBytes(entry.leaf.commitment, commitment)) return { problem: 'its leaf commits to something else.' }
    if (kind === 'document' && !equalBytes(entry.leaf.tag, publishedTag(digest))) {
      return { problem: 'its leaf has the tag of another document.' }
    }
    return { entry }
  } catch (error) {
    if (error instanceof LogError) return { problem: `${error.code}: ${error.message}.` }
    throw error
  }
}

/** What proofs of single leaves tell about the log: where these documents stand, and nothing about any other leaf. */
export class ProvenPlaces implements LogIndex {
  readonly #indices = new Map<string, number>()

  add(digest: Digest, index: number): void {
    this.#indices.set(encodeHex(publishedTag(digest)), index)
  }

  firstIndexOf(tag: Uint8Array): number | undefined {
    return this.#indices.get(encodeHex(tag))
  }
}
