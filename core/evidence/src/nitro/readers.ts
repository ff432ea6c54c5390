import { ByteReader, decodeBase64, decodeUtf8, FormatError } from '@cella/bytes'
import { cborBytes, cborMap, cborOnly, decodeCbor } from '@cella/cbor'
import { EvidenceError, reading } from '../error.ts'
import { nitroDocumentBytesMax, parseNitroDocument } from './document.ts'
import type { NitroEntry } from './entry.ts'

/** The greatest answer of the Nitro security module. nsm-lib `NSM_RESPONSE_MAX_SIZE`. */
const nsmResponseBytesMax = 0x3000
const dstackBytesMax = 65_536
const dstackEventCountMax = 1024

/** Evidence of an attestation document as it is. Throws EvidenceError if the document is malformed; nothing is verified. */
export function nitroEvidenceOf(document: Uint8Array): NitroEntry {
  const copy = Uint8Array.from(document.subarray(0, nitroDocumentBytesMax + 1))
  reading(() => parseNitroDocument(copy))
  return { role: 'cpu', format: 'nitro/1', document: copy }
}

/** Evidence of a document in base64 (RFC 4648 §4, with padding); white space around it is passed over. */
export function nitroEvidenceOfBase64(text: string): NitroEntry {
  return nitroEvidenceOf(
    reading(() => {
      const charactersMax = Math.ceil(nitroDocumentBytesMax / 3) * 4 + 16
      if (text.length > charactersMax) {
        throw new FormatError('document', `has ${text.length} characters, at most ${charactersMax} are read`)
      }
      return decodeBase64(text.trim(), 'document')
    }),
  )
}

/**
 * Evidence of what `/dev/nsm` answers: CBOR `{"Attestation": {"document": bytes}}`, nothing after it. An error of the
 * module (`{"Error": …}`) and other answers are refused.
 */
export function nitroEvidenceOfNsmResponse(response: Uint8Array): NitroEntry {
  return nitroEvidenceOf(
    reading(() => {
      const field = 'NSM response'
      const answer = cborMap(decodeCbor(response, field, { bytesMax: nsmResponseBytesMax, itemsMax: 16 }), field)
      const error = answer.get('Error')
      if (error?.type === 'text')
        throw new FormatError(field, `is the error ${JSON.stringify(error.value.slice(0, 40))}`)
      cborOnly(answer, ['Attestation'], field)
      const attestation = cborMap(answer.get('Attestation'), `${field}.Attestation`)
      cborOnly(attestation, ['document'], `${field}.Attestation`)
      return cborBytes(attestation.get('document'), `${field}.Attestation.document`)
    }),
  )
}

/**
 * Evidence of what dstack gives out on Nitro: its `VersionedAttestation` of version 0 in SCALE, with the document of the
 * security module, run-time events, 64 bytes of report data and a configuration. Only the document is signed, so the
 * rest is read to its end and left out.
 */
export function nitroEvidenceOfDstack(bytes: Uint8Array): NitroEntry {
  return nitroEvidenceOf(
    reading(() => {
      const field = 'dstack attestation'
      if (bytes.length > dstackBytesMax) {
        throw new FormatError(field, `has ${bytes.length} bytes, at most ${dstackBytesMax} are read`)
      }
      const reader = new ByteReader(bytes)
      const version = reader.uint8(`${field}.version`)
      if (version !== 0) throw new FormatError(`${field}.version`, `is ${version}, expected 0`)
      const quote = reader.uint8(`${field}.quote`)
      if (quote !== 2) throw new FormatError(`${field}.quote`, `is of kind ${quote}, expected 2 (Nitro enclave)`)
      const document = scaleBytes(reader, `${field}.document`)
      const eventCount = scaleLength(reader, `${field}.events`)
      if (eventCount > dstackEventCountMax) throw new FormatError(`${field}.events`, `are ${eventCount}`)
      for (let at = 0; at < eventCount; at++) {
        decodeUtf8(scaleBytes(reader, `${field}.events[${at}].event`), `${field}.events[${at}].event`)
        scaleBytes(reader, `${field}.events[${at}].payload`)
      }
      reader.take(64, `${field}.reportData`)
      decodeUtf8(scaleBytes(reader, `${field}.config`), `${field}.config`)
      reader.end(field)
      return document
    }),
  )
}

function scaleBytes(reader: ByteReader, field: string): Uint8Array {
  return reader.take(scaleLength(reader, field), field)
}

/** A compact integer of SCALE up to 2³⁰−1: its two low bits say how many bytes it has. Shortest form only. */
function scaleLength(reader: ByteReader, field: string): number {
  const first = reader.uint8(field)
  const mode = first & 3
  if (mode === 3) throw new FormatError(field, 'has a length above 2^30')
  if (mode === 0) return first >> 2
  let value = first
  let factor = 256
  for (let more = mode === 1 ? 1 : 3; more > 0; more--, factor *= 256) value += reader.uint8(field) * factor
  const length = Math.floor(value / 4)
  if (length < (mode === 1 ? 64 : 16_384)) throw new FormatError(field, 'has a length that is not in its shortest form')
  return length
}

/** A name for people if the bytes look like what a reader here takes; nothing is verified. */
export function recogniseNitro(bytes: Uint8Array): string | undefined {
  const attempts: readonly (readonly [string, () => unknown])[] = [
    ['an AWS Nitro attestation document', () => parseNitroDocument(bytes)],
    ['an answer of the AWS Nitro security module', () => nitroEvidenceOfNsmResponse(bytes)],
    ['a dstack attestation of AWS Nitro', () => nitroEvidenceOfDstack(bytes)],
    ['an AWS Nitro attestation document in base64', () => nitroEvidenceOfBase64(decodeUtf8(bytes, 'document'))],
  ]
  for (const [name, attempt] of attempts) {
    try {
      attempt()
      return name
    } catch (error) {
      if (!(error instanceof FormatError || error instanceof EvidenceError)) throw error
    }
  }
  return undefined
}
