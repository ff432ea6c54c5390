import { ByteReader, concatBytes, encodeUtf8, equalBytes, uint32Bytes } from '@cella/bytes'
import { aesGcmOpen, aesGcmSeal, hkdfSha256 } from '@cella/primitives'
import { type AuditBatch, batchRecordsMax, makeAuditBatch, recordBytesMax } from './batch.ts'
import { EventError, malformed, parsing } from './error.ts'

// The records of a batch as they are kept: AES-256-GCM of seed 32 ‖ count u32 ‖ (length u32 ‖ record) …, under
// HKDF-SHA-256(stream key, salt = root, "cella/v1/batch" ‖ 0x00). The root has a random seed in it, so no key seals twice.

const nonce = new Uint8Array(12)
const aad = encodeUtf8('cella/v1/batch\u0000')

/** The batch, for who has the stream key. */
export function sealAuditBatch(batch: AuditBatch, streamKey: Uint8Array): Uint8Array {
  const records = batch.records.flatMap((record) => [uint32Bytes(record.length), record])
  const plain = concatBytes(batch.seed, uint32Bytes(batch.records.length), ...records)
  return aesGcmSeal(keyOf(streamKey, batch.root), nonce, aad, plain)
}

/**
 * The batch with this root, 32 bytes, as its event says it. Throws ERR_EVENT_NOT_OPENED, ERR_EVENT_MALFORMED, or
 * ERR_EVENT_MISMATCH where the records have another root.
 */
export function openAuditBatch(sealed: Uint8Array, root: Uint8Array, streamKey: Uint8Array): AuditBatch {
  const plain = aesGcmOpen(keyOf(streamKey, root), nonce, aad, sealed)
  if (plain === undefined) throw new EventError('ERR_EVENT_NOT_OPENED', 'the batch can’t be opened with this key')
  const { seed, records } = parsing(() => {
    const reader = new ByteReader(plain)
    const seed = new Uint8Array(reader.take(32, 'seed'))
    const count = reader.uint32('count')
    if (count < 1 || count > batchRecordsMax) throw malformed('batch', `has ${count} records`)
    const records = Array.from({ length: count }, () => {
      const length = reader.uint32('length')
      if (length > recordBytesMax) throw malformed('record', `has ${length} bytes, at most ${recordBytesMax}`)
      return new Uint8Array(reader.take(length, 'record'))
    })
    reader.end('batch')
    return { seed, records }
  })
  const batch = makeAuditBatch(records, seed)
  if (!equalBytes(batch.root, root)) throw new EventError('ERR_EVENT_MISMATCH', 'the records have another root')
  return batch
}

function keyOf(streamKey: Uint8Array, root: Uint8Array): Uint8Array {
  return hkdfSha256({ ikm: streamKey, salt: root, info: aad, length: 32 })
}
