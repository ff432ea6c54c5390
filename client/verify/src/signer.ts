import { encodeHex, FormatError, type Json } from '@cella/bytes'
import { DocumentError, parseDocumentOf } from '@cella/documents'
import {
  bindingDigestOf,
  EvidenceError,
  parseSignerStatement,
  type VerifiedEvidence,
  verifyEvidence,
} from '@cella/evidence'
import { encodeVkey, LogError, leafHash, type ProvenEntry, parseVkey, signerLeaf, verifyInclusion } from '@cella/log'
import type { Judging } from './judge.ts'
import type { ProofExtra } from './proof-extra.ts'

/**
 * Which code holds the key that signed a proof's checkpoint, as far as the file shows it: that its statement is an entry under
 * that checkpoint, on the log's key, with genuine evidence bound to it. For programs: the measurement, or null.
 */
export async function judgeSigner(
  { findings, anchors }: Judging,
  held: ProofExtra | undefined,
  { origin, checkpoint }: ProvenEntry,
): Promise<Json> {
  if (held === undefined) return null
  if (held.signer === undefined) {
    findings.notProved('SIGNER_UNSHOWN', {})
    return null
  }
  const { index, path, statement } = held.signer
  const wrong = (code: string, problem: string): null => {
    findings.wrong('SIGNER', { code, problem })
    return null
  }
  let verified: VerifiedEvidence
  let parsed: ReturnType<typeof parseSignerStatement>
  try {
    parsed = parseSignerStatement(statement)
    const key = parseVkey(parsed.binding.vkey)
    const known = anchors.logs.flatMap(({ policy }) => policy.logs).filter((log) => log.key.name === origin)
    if (!known.some((log) => encodeVkey(log.key) === encodeVkey(key))) {
      return wrong('ERR_LOG_SIGNER', 'the statement is on another key than the log’s')
    }
    const leaf = leafHash(signerLeaf(key, parsed.binding.number, statement))
    verifyInclusion({ index, size: checkpoint.size, leaf, path, root: checkpoint.root })
    verified = await verifyEvidence(parsed.evidence, { roots: anchors.roots, now: anchors.now })
  } catch (error) {
    if (error instanceof EvidenceError && error.code === 'ERR_EVIDENCE_ROOT_UNKNOWN') {
      findings.notProved('SIGNER_UNJUDGED', { problem: error.message })
      return null
    }
    if (error instanceof EvidenceError || error instanceof LogError) return wrong(error.code, error.message)
    if (error instanceof FormatError) return wrong('ERR_LOG_MALFORMED', error.message)
    throw error
  }
  const { claims, simulated } = verified
  const bound = bindingDigestOf({ ...parsed.binding }, (claims.reportData ?? '').length / 2)
  if (bound === undefined || encodeHex(bound) !== claims.reportData) {
    return wrong('ERR_LOG_SIGNER', 'the evidence is of another statement')
  }
  const build = buildOf(parsed.build)
  if (build === undefined || !build.payload.measurements.some((known) => known.measurement === claims.measurement)) {
    return wrong('ERR_LOG_SIGNER', 'its Build document does not name the code that was measured')
  }
  const { measurement, tee } = claims
  const said = { measurement, tee, index, build: build.digest, release: build.payload.release }
  findings.proved(simulated ? 'SIGNER_SIMULATED' : 'SIGNER', said)
  findings.notProved('SIGNER_LATER', { index })
  return { ...said, simulated }
}

function buildOf(envelope: string): ReturnType<typeof parseDocumentOf<'cella/build'>> | undefined {
  try {
    return parseDocumentOf('cella/build', envelope)
  } catch (error) {
    if (error instanceof DocumentError) return undefined
    throw error
  }
}
