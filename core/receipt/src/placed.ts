import { type Digest, decodeHex, encodeHex, encodeUtf8, equalBytes } from '@cella/bytes'
import {
  commitmentOf,
  type LeafKind,
  LogError,
  type LogPolicy,
  type ProvenEntry,
  publishedTag,
  revokedTag,
  verifyOfflineProof,
} from '@cella/log'
import type { LogIndex } from '@cella/release'
import { bytesOf, type CommittedDocument, type PublishedDocument } from './bundle.ts'

/** A leaf's place in the log, or why its proof shows none. */
export type Placed = { readonly entry: ProvenEntry } | { readonly problem: string }

/** That a statement of an enclave stands in the log: its leaf is of `kind` and commits to the digest with the salt. */
export function placeOfStatement(
  kind: LeafKind,
  digest: Digest,
  statement: CommittedDocument,
  policy: LogPolicy,
): Placed {
  const placed = placeOf(kind, statement, policy)
  if ('problem' in placed) return placed
  const commitment = commitmentOf(kind, bytesOf(statement.salt), decodeHex(digest, 'digest'))
  if (!equalBytes(placed.entry.leaf.commitment, commitment)) return { problem: 'its leaf commits to something else.' }
  return placed
}

/** That a document stands in the log: its leaf has the tag under which a document of this digest is published. */
export function placeOfDocument(digest: Digest, document: PublishedDocument, policy: LogPolicy): Placed {
  const placed = placeOf('document', document, policy)
  if ('problem' in placed) return placed
  if (!equalBytes(placed.entry.leaf.tag, publishedTag(digest))) {
    return { problem: 'its leaf has the tag of another document.' }
  }
  return placed
}

function placeOf(kind: LeafKind, place: { leaf: string; proof: string }, policy: LogPolicy): Placed {
  try {
    const entry = verifyOfflineProof({ proofFile: encodeUtf8(place.proof), leaf: bytesOf(place.leaf), policy })
    if (entry.leaf.kind !== kind) return { problem: `its leaf is of kind ${entry.leaf.kind}, not ${kind}.` }
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

  /** A new revision of an organisation or of terms withdraws the one before, from its own entry on. */
  addSuccessor(previous: Digest, index: number): void {
    this.#indices.set(encodeHex(revokedTag(previous)), index)
  }

  firstIndexOf(tag: Uint8Array): number | undefined {
    return this.#indices.get(encodeHex(tag))
  }
}
