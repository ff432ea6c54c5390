import {
  canonicalJson,
  concatBytes,
  decodeBase64url,
  encodeBase64url,
  encodeHex,
  encodeUtf8,
  type Json,
  parseCanonicalJson,
  uint32Bytes,
} from '@cella/bytes'
import { bytesField } from '@cella/documents'
import {
  type HashReader,
  inclusionProof,
  LogError,
  type LogPolicy,
  leafHash,
  type ProvenEntry,
  TreeBuilder,
  verifyInclusion,
} from '@cella/log'
import { hmacSha256, randomBytes } from '@cella/primitives'
import { z } from 'zod'
import { valuesOf } from './body.ts'
import {
  type Disclosure,
  disclosureBytesMax,
  encodeDisclosure,
  parseDisclosure,
  verifyDisclosure,
} from './disclosure.ts'
import { EventError, malformed, parsing } from './error.ts'

// Many small records become one event: a RFC 6962 tree over salt ‖ record, whose root and size are fields of the event.
// A record is proven in two stages: record → batch root, batch event → checkpoint.

export const batchRecordsMax = 65_536
export const recordBytesMax = 16_384
const saltLength = 16

/** Records in the clear with the seed of their salts: without it nobody can test a guess of a record. */
export interface AuditBatch {
  /** 32 random bytes. */
  readonly seed: Uint8Array
  readonly records: readonly Uint8Array[]
  /** Root over the salted records, 32 bytes. */
  readonly root: Uint8Array
}

/** What the event of a batch says. */
export function batchFields({ root, records }: AuditBatch): { readonly [name: string]: Json } {
  return { root: encodeHex(root), records: records.length }
}

/** Throws RangeError for no records, too many, or one that is too long. */
export function makeAuditBatch(records: readonly Uint8Array[], seed: Uint8Array = randomBytes(32)): AuditBatch {
  if (records.length < 1 || records.length > batchRecordsMax) throw new RangeError(`1 to ${batchRecordsMax} records`)
  if (records.some(({ length }) => length > recordBytesMax)) {
    throw new RangeError(`a record has at most ${recordBytesMax} bytes`)
  }
  const tree = new TreeBuilder()
  for (const [index, record] of records.entries()) tree.append(recordHash(record, saltOf(seed, index)))
  return { seed, records, root: tree.root() }
}

/** One record with its way to the batch's root, and the batch's event with its way to a checkpoint. */
export interface RecordProof {
  readonly record: Uint8Array
  /** 16 bytes. */
  readonly salt: Uint8Array
  /** Place in the batch. */
  readonly index: number
  readonly path: readonly Uint8Array[]
  /** Of the batch's event, with the fields `type`, `root` and `records`. */
  readonly event: Disclosure
}

/** What the disclosure of a batch's event has to show. */
export const batchDisclosed: readonly string[] = ['type', 'root', 'records']

/** Proofs of any records of a batch; the tree is built once. */
export function batchProver(batch: AuditBatch, event: Disclosure): (index: number) => Promise<RecordProof> {
  const nodes = new Map<string, Uint8Array>()
  const tree = new TreeBuilder()
  for (const [index, record] of batch.records.entries()) {
    tree.append(recordHash(record, saltOf(batch.seed, index)), (level, at, hash) => {
      nodes.set(`${level}/${at}`, new Uint8Array(hash))
    })
  }
  const hashes: HashReader = async (places) => places.map(({ level, index }) => nodes.get(`${level}/${index}`)!)
  return async (index) => {
    const record = batch.records[index]
    if (record === undefined) throw new RangeError(`the batch has ${batch.records.length} records, none is ${index}`)
    const path = await inclusionProof({ index, size: batch.records.length, hashes })
    return { record, salt: saltOf(batch.seed, index), index, path, event }
  }
}

/** Of the whole file: a disclosure in base64url, and a record. */
const recordProofBytesMax = Math.ceil((disclosureBytesMax * 4) / 3) + 2 * recordBytesMax

const schema = z.strictObject({
  event: z.string().max(recordProofBytesMax),
  format: z.literal('cella-record/1'),
  index: z.int().min(0).max(batchRecordsMax),
  path: z.array(bytesField({ exactly: 32 })).max(20),
  record: bytesField({ atMost: recordBytesMax }),
  salt: bytesField({ exactly: saltLength }),
})

/** Canonical JSON. */
export function encodeRecordProof(proof: RecordProof): Uint8Array {
  return encodeUtf8(
    canonicalJson({
      event: encodeBase64url(encodeDisclosure(proof.event)),
      format: 'cella-record/1',
      index: proof.index,
      path: proof.path.map(encodeBase64url),
      record: encodeBase64url(proof.record),
      salt: encodeBase64url(proof.salt),
    }),
  )
}

/** The inverse of `encodeRecordProof`; nothing is verified. Throws ERR_EVENT_MALFORMED. */
export function parseRecordProof(bytes: Uint8Array): RecordProof {
  const parsed = schema.safeParse(parsing(() => parseCanonicalJson(bytes, 'record proof', recordProofBytesMax)))
  if (!parsed.success) {
    const issue = parsed.error.issues[0]
    throw malformed('record proof', `${issue?.path.join('.')}: ${issue?.message}`)
  }
  const { event, index, path, record, salt } = parsed.data
  return {
    event: parseDisclosure(parsing(() => decodeBase64url(event, 'event'))),
    index,
    path: path.map((hash) => decodeBase64url(hash, 'path')),
    record: decodeBase64url(record, 'record'),
    salt: decodeBase64url(salt, 'salt'),
  }
}

export interface VerifiedRecord {
  readonly record: Uint8Array
  readonly index: number
  /** Records of the batch. */
  readonly count: number
  /** The batch's event in the log. */
  readonly entry: ProvenEntry
}

/**
 * That a record is in a batch whose event is in the log, by the verifier's own policy. Throws ERR_EVENT_MALFORMED,
 * ERR_BATCH_PROOF, and what `verifyDisclosure` throws.
 */
export function verifyRecordProof(bytes: Uint8Array, policy: LogPolicy): VerifiedRecord {
  const { record, salt, index, path, event } = parseRecordProof(bytes)
  const { entry, fields } = verifyDisclosure(encodeDisclosure(event), policy)
  const { type, root, records } = valuesOf(fields)
  const refuse = (problem: string, cause?: unknown): EventError =>
    new EventError('ERR_BATCH_PROOF', `the record ${problem}`, { cause })
  if (type !== 'audit-batch') throw refuse('is said to be in an event that is no batch')
  if (typeof root !== 'string' || !/^[0-9a-f]{64}$/.test(root) || !Number.isSafeInteger(records)) {
    throw refuse('is in a batch that does not show its root and size')
  }
  const size = records as number
  if (index >= size) throw refuse(`is said to be number ${index} of ${size}`)
  try {
    verifyInclusion({ index, size, leaf: recordHash(record, salt), path, root: Uint8Array.fromHex(root) })
  } catch (cause) {
    if (!(cause instanceof LogError)) throw cause
    throw refuse('does not lead to the batch’s root', cause)
  }
  return { record, index, count: size, entry }
}

function recordHash(record: Uint8Array, salt: Uint8Array): Uint8Array {
  return leafHash(concatBytes(salt, record))
}

function saltOf(seed: Uint8Array, index: number): Uint8Array {
  const named = concatBytes(encodeUtf8('cella/v1/record\u0000'), uint32Bytes(index))
  return hmacSha256(seed, named).slice(0, saltLength)
}
