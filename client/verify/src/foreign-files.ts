import { type Digest, encodeHex } from '@cella/bytes'
import {
  LogError,
  leafHash,
  type ReceiptKey,
  receiptKeyOf,
  receiptsOf,
  verifyCcfReceipt,
  verifyInclusionReceipt,
  verifyRekorEntry,
  verifySigsumProof,
} from '@cella/log'
import { digestOf, sha256 } from '@cella/primitives'
import { type About, describeWitnesses, type Judging, underPolicy } from './judge.ts'

// Files that others wrote, or that others' tools read: COSE receipts, Rekor v2, Sigsum, CCF.

/** An RFC 9942 receipt: by the keys of the logs that the verifier names, or by the key given. */
export async function judgeCoseReceipt(judging: Judging): Promise<About> {
  const { findings, bytes, entry } = judging
  if (entry === undefined) {
    findings.missing('ENTRY_NEEDED', { what: 'the bytes of the entry, as the log holds them' })
    return {}
  }
  const keys = receiptKeys(judging)
  if (keys.length === 0) findings.missing('KEY_NEEDED', { whom: 'the log' })
  let unknown: LogError | undefined
  for (const key of keys) {
    try {
      const { index, size } = await verifyInclusionReceipt({ receipt: bytes, leaf: leafHash(entry), key })
      const log = key.issuer ?? digestOf(key.spki)
      findings.proved('COSE_INCLUSION', { log })
      findings.notProved('COSE_NUMBERS', { index, size })
      findings.notProved('COSE_WATCHED', {})
      findings.notProved('TIME_IS_THE_HOSTS', {})
      return { log, index, size }
    } catch (error) {
      if (!(error instanceof LogError) || error.code !== 'ERR_LOG_ORIGIN') throw error
      unknown = error
    }
  }
  if (unknown !== undefined) throw unknown
  return {}
}

function receiptKeys({ anchors, key }: Judging): ReceiptKey[] {
  if (key !== undefined) return [{ spki: key, issuer: undefined }]
  return anchors.logs
    .flatMap(({ policy }) => policy.logs)
    .filter((log) => log.key.algorithm === 'ed25519')
    .map((log) => receiptKeyOf(log.key))
}

/** A transparent statement with receipts of a CCF ledger. One that verifies is enough. */
export async function judgeCcfStatement({ findings, bytes, key }: Judging): Promise<About> {
  if (key === undefined) {
    findings.missing('KEY_NEEDED', { whom: 'the ledger' })
    return {}
  }
  let refused: unknown
  for (const receipt of receiptsOf(bytes)) {
    try {
      const proven = await verifyCcfReceipt({ receipt, statement: bytes, key: { spki: key, issuer: undefined } })
      findings.proved('CCF', { evidence: proven.evidence })
      findings.notProved('STATEMENT_SIGNATURE', {})
      findings.notProved('COSE_WATCHED', {})
      findings.notProved('TIME_IS_THE_HOSTS', {})
      return { evidence: proven.evidence, root: encodeHex(proven.root) }
    } catch (error) {
      refused = error
    }
  }
  throw refused
}

export function judgeRekorEntry(judging: Judging): About {
  const { findings, bytes, anchors, entry } = judging
  const { found, independent } = underPolicy(anchors, (policy) => verifyRekorEntry(bytes, policy))
  const { checkpoint, index, body } = found
  if (entry !== undefined && digestOf(entry) !== digestOf(body)) {
    findings.wrong('EXTRA', { problem: 'its body is another than you gave' })
  }
  const witnesses = checkpoint.witnesses.map(({ name }) => name)
  describeWitnesses(judging, { witnesses, times: checkpoint.times, independent })
  findings.proved('REKOR', { bytes: body.length, index, log: checkpoint.origin, size: checkpoint.size })
  findings.notProved('CERTIFICATE', {})
  return { log: checkpoint.origin, index, size: checkpoint.size, body: digestOf(body) satisfies Digest }
}

/** `entry` is the file that was signed for; Sigsum logs its SHA-256. */
export function judgeSigsumProof(judging: Judging): About {
  const { findings, bytes, anchors, entry, key } = judging
  if (entry === undefined) findings.missing('ENTRY_NEEDED', { what: 'the file that was signed for' })
  if (key === undefined) findings.missing('KEY_NEEDED', { whom: 'the submitter' })
  if (entry === undefined || key === undefined) return {}
  const submitter = key.subarray(-32)
  const { found, independent } = underPolicy(anchors, (policy) =>
    verifySigsumProof({ proof: bytes, message: sha256(entry), submitter, policy }),
  )
  const { index, size, witnesses, times } = found
  const seen = describeWitnesses(judging, { witnesses, times, independent })
  if (seen === undefined) findings.proved('SIGSUM_UNWITNESSED', { index, size })
  else findings.proved('SIGSUM', { index, size, ...seen })
  return { index, size }
}
