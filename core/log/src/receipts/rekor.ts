import { decodeBase64, decodeUtf8, encodeUtf8, equalBytes } from '@cella/bytes'
import { LogError } from '../log-error.ts'
import { malformed, parseDecimal, parseHash, parsing } from '../parsing.ts'
import type { LogPolicy } from '../policy.ts'
import { verifyInclusion } from '../proofs.ts'
import { leafHash } from '../tree.ts'
import { verifyCheckpoint, type WitnessedCheckpoint } from '../witnessed.ts'

// Rekor v2: a TransparencyLogEntry (sigstore protobuf-specs) as JSON, as it stands in a Sigstore bundle. The entry is the
// canonical body, hashed as a leaf; the checkpoint is that of a tlog-tiles log. Of the rest of the JSON nothing is used.

const entryBytesMax = 1_000_000

/** What the entry proves: its body is at `index` of the tree of `checkpoint`. */
export interface ProvenRekorEntry {
  readonly index: number
  /** The canonical JSON that was logged: what was signed, by which certificate. */
  readonly body: Uint8Array
  readonly checkpoint: WitnessedCheckpoint
}

/**
 * Throws ERR_LOG_MALFORMED, ERR_LOG_PROOF and what `verifyCheckpoint` throws, unless the entry's body is in a log that
 * the policy names, at a checkpoint that satisfies it. What the body says is for the caller to compare.
 */
export function verifyRekorEntry(entry: Uint8Array, policy: LogPolicy): ProvenRekorEntry {
  const json = parseJson(entry)
  const proof = member(json, 'inclusionProof')
  const index = parseDecimal(textMember(proof, 'logIndex'), 'rekor logIndex')
  // v2 has one log a shard: both are the index in it. In v1 they differ, and its checkpoints are another log's.
  if (textMember(json, 'logIndex') !== textMember(proof, 'logIndex')) {
    throw malformed('rekor entry', 'has another index in its proof: it is of Rekor v1')
  }
  const hashes = member(proof, 'hashes')
  if (!Array.isArray(hashes) || hashes.length > 63) throw malformed('rekor hashes', 'are no list of at most 63')
  const path = hashes.map((hash) => {
    if (typeof hash !== 'string') throw malformed('rekor hash', 'is no text')
    return parseHash(hash, 'rekor hash')
  })
  const body = parsing(() => decodeBase64(textMember(json, 'canonicalizedBody'), 'rekor body'))
  const root = parseHash(textMember(proof, 'rootHash'), 'rekor rootHash')
  const size = parseDecimal(textMember(proof, 'treeSize'), 'rekor treeSize')
  const checkpoint = verifyCheckpoint(encodeUtf8(textMember(member(proof, 'checkpoint'), 'envelope')), policy)
  if (checkpoint.size !== size || !equalBytes(checkpoint.root, root)) {
    throw new LogError('ERR_LOG_PROOF', 'the inclusion proof is for another tree than that of the checkpoint')
  }
  verifyInclusion({ index, size, leaf: leafHash(body), path, root })
  return { index, body, checkpoint }
}

function parseJson(bytes: Uint8Array): unknown {
  if (bytes.length > entryBytesMax) throw malformed('rekor entry', `has more than ${entryBytesMax} bytes`)
  const text = parsing(() => decodeUtf8(bytes, 'rekor entry'))
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw malformed('rekor entry', 'is no JSON', { cause })
  }
}

function member(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) {
    throw malformed('rekor entry', `has no ${name}`)
  }
  return (value as Record<string, unknown>)[name]
}

function textMember(value: unknown, name: string): string {
  const text = member(value, name)
  if (typeof text !== 'string') throw malformed(`rekor ${name}`, 'is no text')
  return text
}
