import { decodeBase64url, decodeUtf8, encodeBase64url, encodeHex, encodeUtf8, FormatError } from '@cella/bytes'
import { bytesField, DocumentError, parseDocumentOf } from '@cella/documents'
import {
  bindingDigestOf,
  type ChainCache,
  EvidenceError,
  parseSignerStatement,
  type SignerStatement,
  type TrustedRoot,
  type VerifiedEvidence,
  verifyEvidence,
} from '@cella/evidence'
import {
  encodeVkey,
  LogError,
  type LogPolicy,
  leafHash,
  parseVkey,
  signerLeaf,
  verifyInclusion,
  type WitnessedCheckpoint,
} from '@cella/log'
import { z } from 'zod'

/** A statement on the code that holds a log's key, with its place under a checkpoint that the file shows. */
export interface SignerProof {
  readonly index: number
  readonly path: readonly Uint8Array[]
  /** As `encodeSignerStatement` makes it. */
  readonly statement: Uint8Array
}

/** The form of a `SignerProof` in files: {"index": N, "path": [BASE64URL, …], "statement": TEXT}. */
export const signerProofSchema = z.strictObject({
  index: z.int().min(0),
  path: z.array(bytesField({ exactly: 32 })).max(63),
  statement: z.string().max(1_048_576),
})
type SignerProofText = z.infer<typeof signerProofSchema>

export function encodeSignerProof({ index, path, statement }: SignerProof): SignerProofText {
  return { index, path: path.map(encodeBase64url), statement: decodeUtf8(statement, 'statement') }
}

/** The inverse of `encodeSignerProof`, of what the schema accepted. */
export function parseSignerProof({ index, path, statement }: SignerProofText): SignerProof {
  return { index, path: path.map((hash) => decodeBase64url(hash, 'path')), statement: encodeUtf8(statement) }
}

/** What one statement shows. */
export type JudgedSigner =
  | {
      readonly outcome: 'shown'
      readonly statement: SignerStatement
      readonly simulated: boolean
      /** For a sentence, and for programs. */
      readonly said: { measurement: string; tee: string; index: number; build: string; release: string }
    }
  /** It is an entry of the log; its evidence stands under a root that the verifier does not name. */
  | { readonly outcome: 'unjudged'; readonly problem: string }
  | { readonly outcome: 'wrong'; readonly code: string; readonly problem: string }

/**
 * Whether a statement is an entry under `checkpoint`, on the key of the log that signed it, with genuine evidence bound to
 * it, of the code that its Build document names. Whether that build is a good one is not judged here.
 */
export async function judgeSignerProof(
  { index, path, statement }: SignerProof,
  options: {
    readonly checkpoint: WitnessedCheckpoint
    /** Those that the verifier holds for the log's. */
    readonly logs: LogPolicy['logs']
    readonly roots: readonly TrustedRoot[]
    readonly now: number
    readonly cache?: ChainCache
  },
): Promise<JudgedSigner> {
  const { checkpoint, logs, roots, now, cache } = options
  const wrong = (problem: string, code = 'ERR_LOG_SIGNER'): JudgedSigner => ({ outcome: 'wrong', code, problem })
  let parsed: SignerStatement
  let verified: VerifiedEvidence
  try {
    parsed = parseSignerStatement(statement)
    const key = parseVkey(parsed.binding.vkey)
    const own = logs.filter((log) => log.key.name === checkpoint.origin).map((log) => encodeVkey(log.key))
    if (!own.includes(parsed.binding.vkey)) return wrong('the statement is on another key than the log’s')
    const leaf = leafHash(signerLeaf(key, parsed.binding.number, statement))
    verifyInclusion({ index, size: checkpoint.size, leaf, path, root: checkpoint.root })
    verified = await verifyEvidence(parsed.evidence, { roots, now, ...(cache && { cache }) })
  } catch (error) {
    if (error instanceof EvidenceError && error.code === 'ERR_EVIDENCE_ROOT_UNKNOWN') {
      return { outcome: 'unjudged', problem: error.message }
    }
    if (error instanceof EvidenceError || error instanceof LogError) return wrong(error.message, error.code)
    if (error instanceof FormatError) return wrong(error.message, 'ERR_LOG_MALFORMED')
    throw error
  }
  const { claims, simulated } = verified
  const bound = bindingDigestOf({ ...parsed.binding }, (claims.reportData ?? '').length / 2)
  if (bound === undefined || encodeHex(bound) !== claims.reportData) {
    return wrong('the evidence is of another statement')
  }
  const build = buildOf(parsed.build)
  if (build === undefined || !build.payload.measurements.some((known) => known.measurement === claims.measurement)) {
    return wrong('its Build document does not name the code that was measured')
  }
  const { measurement, tee } = claims
  const said = { measurement, tee, index, build: build.digest, release: build.payload.release }
  return { outcome: 'shown', statement: parsed, simulated, said }
}

function buildOf(envelope: string): ReturnType<typeof parseDocumentOf<'cella/build'>> | undefined {
  try {
    return parseDocumentOf('cella/build', envelope)
  } catch (error) {
    if (error instanceof DocumentError) return undefined
    throw error
  }
}
