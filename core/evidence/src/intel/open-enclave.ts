import { ByteReader, encodeHex, equalBytes, FormatError } from '@cella/bytes'
import { sha256 } from '@cella/primitives'
import { EvidenceError } from '../error.ts'
import { intelQuoteLength, parseIntelQuote, quoteBytesMax } from './quote.ts'

// What Open Enclave's SDK writes before a quote: include/openenclave/internal/report.h, common/attest_plugin.h.

/** oe_report_header_t: version 1 and type 2 (remote), u32 each, then the report's size, u64, all little-endian. */
const reportHeaderLength = 16
/** oe_attestation_header_t: version 3, u32; format, 16; four bytes of padding; the data's size, u64. */
const evidenceHeaderLength = 32
const evidenceVersion = 3

// OE_FORMAT_UUID_…: what follows the header.
const formats: Readonly<Record<string, 'quote-and-claims' | 'report' | 'quote'>> = {
  a3a21e871b4d4014b70aa125d2fbcd8c: 'quote-and-claims', // SGX_ECDSA
  c8303454d9234c2ca691df7def460a76: 'report', // LEGACY_REPORT_REMOTE
  '1923d91e12d24c72b22025cd8dace871': 'quote', // RAW_SGX_QUOTE_ECDSA
  '8ba70286c1cf11edafa10242ac120002': 'quote', // TDX_QUOTE_ECDSA
}

/** A quote, and what the enclave had it carry the SHA-256 of, as far as that came along. */
export interface OpenEnclaveQuote {
  /** May be followed by bytes that are no part of it. */
  readonly quote: Uint8Array
  /** `undefined` where the form has none. */
  readonly customClaims: Uint8Array | undefined
}

/** Whether the bytes begin like one of Open Enclave's two headers, and the length of it. */
export function openEnclaveHeaderLength(bytes: Uint8Array): number | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (bytes.length >= reportHeaderLength && view.getUint32(0, true) === 1 && view.getUint32(4, true) === 2) {
    return reportHeaderLength
  }
  const isEvidence =
    bytes.length >= evidenceHeaderLength &&
    view.getUint32(0, true) === evidenceVersion &&
    Object.hasOwn(formats, encodeHex(bytes.subarray(4, 20)))
  return isEvidence ? evidenceHeaderLength : undefined
}

/**
 * The quote behind Open Enclave's header, of a report or of evidence; bytes without one are returned as they came. Claims
 * of the enclave's own come after the quote: ERR_EVIDENCE_BINDING where the report data is not their SHA-256, since then
 * somebody else wrote them. Throws FormatError.
 */
export function openEnclaveQuote(bytes: Uint8Array): OpenEnclaveQuote {
  const header = openEnclaveHeaderLength(bytes)
  if (header === undefined) return { quote: bytes, customClaims: undefined }
  const reader = new ByteReader(bytes)
  if (header === reportHeaderLength) {
    reader.take(8, 'Open Enclave header')
    return { quote: sized(reader, 'Open Enclave report'), customClaims: undefined }
  }
  reader.take(4, 'Open Enclave header')
  const format = formats[encodeHex(reader.take(16, 'Open Enclave format'))]!
  if (reader.take(4, 'Open Enclave header').some((byte) => byte !== 0)) {
    throw new FormatError('Open Enclave header', 'has padding that is not zero')
  }
  const data = sized(reader, 'Open Enclave evidence')
  reader.end('Open Enclave evidence')
  if (format === 'report') return openEnclaveQuote(data)
  if (format === 'quote') return { quote: data, customClaims: undefined }
  const length = intelQuoteLength(data)
  const quote = data.subarray(0, length)
  const customClaims = data.subarray(length)
  // Nobody signed claims, and so there are none, where the enclave gave none.
  if (customClaims.length > 0) carries(quote, customClaims, 'Open Enclave custom claims')
  return { quote, customClaims: customClaims.length > 0 ? customClaims : undefined }
}

/** The first 32 bytes of the quote's report data are SHA-256 of `data`. Throws ERR_EVIDENCE_BINDING, FormatError. */
export function carries(quote: Uint8Array, data: Uint8Array, name: string): void {
  const found = parseIntelQuote(quote).body.reportData.subarray(0, 32)
  const wanted = sha256(data)
  if (equalBytes(found, wanted)) return
  throw new EvidenceError(
    'ERR_EVIDENCE_BINDING',
    `${name}: SHA-256 is ${encodeHex(wanted)}, the quote carries ${encodeHex(found)}`,
  )
}

function sized(reader: ByteReader, field: string): Uint8Array {
  const length = reader.uint64le(`${field} size`)
  if (length > BigInt(quoteBytesMax)) throw new FormatError(`${field} size`, `is ${length}, at most ${quoteBytesMax}`)
  return reader.take(Number(length), field)
}
