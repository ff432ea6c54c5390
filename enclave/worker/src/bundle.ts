import { decodeUtf8, encodeBase64url, type Json } from '@cella/bytes'
import { encodeSignerStatement } from '@cella/evidence'
import { encodeLeaf, inclusionProof, makeProofFile, type WitnessedCheckpoint } from '@cella/log'
import { type DocumentSet, logSignersShownMax, ReleaseError } from '@cella/release'
import type { Draft, LoggedDecision } from './messages.ts'
import type { WorkerLog } from './worker-log.ts'

/** The receipt bundle of docs/protocol.md: all proofs stand on one checkpoint, made of the leaves that were read. */
export async function makeBundle(
  draft: Draft,
  {
    index,
    documents,
    log,
    checkpoint,
  }: {
    index: number
    documents: DocumentSet
    log: WorkerLog
    checkpoint: WitnessedCheckpoint
  },
): Promise<Json> {
  const hashes = log.view.hashes()
  const prove = async (at: number): Promise<string> =>
    decodeUtf8(await makeProofFile({ hashes, checkpoint, index: at }), 'proof')
  const decision = async ({ document, salt, leaf, index: at }: LoggedDecision): Promise<Json> => ({
    document,
    salt,
    leaf,
    proof: await prove(at),
  })
  return {
    format: 'cella-receipt/1',
    receipt: { ...draft.receipt, proof: await prove(index) },
    decisions: await Promise.all(draft.decisions.map(decision)),
    documents: await Promise.all(
      draft.documents.map(async (document) => {
        const at = indexOf(document, documents)
        const { kind, commitment, tag } = log.view.leafAt(at)
        const leaf = encodeLeaf({ kind: kind ?? 'document', commitment, tag })
        return { document, leaf: encodeBase64url(leaf), proof: await prove(at) }
      }),
    ),
    evidence: draft.evidence,
    ...(await proveSigners(log, checkpoint)),
  }
}

/**
 * Which code holds the log's key, by its own entries. Left out where the host shows less than the log has: what is shown of
 * others would be an older truth.
 */
async function proveSigners(log: WorkerLog, { size }: WitnessedCheckpoint): Promise<{ logSigners?: Json }> {
  const { statements, count } = log.signers
  if (statements.length < count) return {}
  const hashes = log.view.hashes()
  const shown = statements.filter(({ index }) => index < size).slice(-logSignersShownMax)
  const logSigners = await Promise.all(
    shown.map(async ({ index, statement }) => ({
      index,
      path: (await inclusionProof({ index, size, hashes })).map(encodeBase64url),
      statement: decodeUtf8(encodeSignerStatement(statement), 'statement'),
    })),
  )
  return logSigners.length === 0 ? {} : { logSigners }
}

function indexOf(envelope: string, documents: DocumentSet): number {
  const digest = documents.digestOf(envelope)
  const index = digest && documents.indexOf(digest)
  if (index === undefined) throw new ReleaseError('ERR_DOCUMENT_MISSING', 'a document of the draft is not in the log')
  return index
}
