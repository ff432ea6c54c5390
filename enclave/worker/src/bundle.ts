import { decodeUtf8, encodeBase64url, type Json } from '@cella/bytes'
import { encodeLeaf, makeProofFile, type WitnessedCheckpoint } from '@cella/log'
import { type DocumentSet, ReleaseError } from '@cella/release'
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
  }
}

function indexOf(envelope: string, documents: DocumentSet): number {
  const digest = documents.digestOf(envelope)
  const index = digest && documents.indexOf(digest)
  if (index === undefined) throw new ReleaseError('ERR_DOCUMENT_MISSING', 'a document of the draft is not in the log')
  return index
}
