import {
  type Checkpoint,
  cosignSubtree,
  encodeCosignatures,
  LogError,
  type NoteKey,
  type NoteSigner,
  parseCheckpointText,
  parseNote,
  parseSignSubtree,
  type SignSubtree,
  verifyNote,
  verifySubtreeConsistency,
} from '@cella/log'
import { refusal, text, type WitnessAnswer } from './answer.ts'
import type { Bucket } from './bucket.ts'

/**
 * One `sign-subtree` exchange of c2sp.org/tlog-witness: who shows a checkpoint that these keys cosigned gets a cosignature,
 * without a time, on a part of it. Nothing is remembered: it says no more than that checkpoint did.
 */
export function signSubtree(
  body: Uint8Array,
  context: {
    readonly logs: readonly NoteKey[]
    readonly keys: readonly NoteSigner[]
    readonly buckets: ReadonlyMap<string, Bucket>
  },
): WitnessAnswer {
  const signers = context.keys.filter(({ key }) => key.algorithm === 'ml-dsa-44')
  if (signers.length === 0) return text(404, 'no key here signs subtrees')
  let request: SignSubtree
  let reference: ReturnType<typeof parseNote>
  let checkpoint: Checkpoint
  try {
    request = parseSignSubtree(body)
    reference = parseNote(request.checkpoint)
    checkpoint = parseCheckpointText(reference.text)
    if (request.end > checkpoint.size) throw new LogError('ERR_LOG_MALFORMED', 'the subtree ends beyond the checkpoint')
  } catch (error) {
    return refusal(400, error)
  }
  const { origin, size, root } = checkpoint
  if (!context.logs.some(({ name }) => name === origin)) return text(404, 'unknown log')
  try {
    const own = context.keys.map(({ key }) => key)
    if (verifyNote(reference, own).length === 0) return text(403, 'no cosignature of these keys')
  } catch (error) {
    return refusal(403, error)
  }
  // Only now, as with add-checkpoint: strangers take nothing away from the log.
  if (context.buckets.get(origin)?.take() === false) return text(429, 'too many requests on this log')
  try {
    verifySubtreeConsistency({ ...request, size, subtreeRoot: request.root, root })
  } catch (error) {
    return refusal(422, error)
  }
  const { start, end } = request
  const lines = signers.map((signer) => cosignSubtree({ origin, start, end, root: request.root }, signer))
  return { status: 200, type: 'text/plain; charset=utf-8', body: encodeCosignatures(lines) }
}
