import { ByteReader, encodeHex, FormatError } from '@cella/bytes'
import { parseSgxReport, type SgxReport, sgxReportLength } from './sgx-report.ts'
import { parseTdReport, type TdReport, tdReport15Length, tdReportLength } from './td-report.ts'

/** Real quotes with their certificates have about 5 KiB. */
export const quoteBytesMax = 32_768
/** Bytes of the header. */
export const quoteHeaderLength = 48
/** 939a7233-f79c-4ca9-940a-0db3957f0607: Intel's quoting enclaves. */
export const intelVendorId = '939a7233f79c4ca9940a0db3957f0607'

/** How the quote names the certificate of its quoting enclave's key. Intel SGX ECDSA Quote Library Reference, A.4. */
export type Certification =
  /** The chain itself, PEM, order unknown. Type 5; also type 4, the leaf alone. */
  | { readonly kind: 'pem'; readonly pem: Uint8Array }
  /** What it was issued for; the certificate comes from elsewhere. Types 1, 2 and 3. */
  | {
      readonly kind: 'platform'
      /** 16 bytes; `undefined` where it is encrypted for Intel. */
      readonly ppid: Uint8Array | undefined
      readonly cpuSvn: Uint8Array
      readonly pceSvn: number
      /** 2 bytes; `undefined` in the older, shorter form. */
      readonly pceId: Uint8Array | undefined
    }

/** A DCAP quote. Nothing about it has been verified. */
export interface IntelQuote {
  readonly version: 3 | 4 | 5
  readonly body: SgxReport | TdReport
  /** What the attestation key signed: header and body, in version 5 with the body's type and size between. */
  readonly signed: Uint8Array
  /** r ‖ s, 64 bytes. */
  readonly signature: Uint8Array
  /** x ‖ y of a P-256 key, 64 bytes. */
  readonly attestationKey: Uint8Array
  /** The quoting enclave's own report, and its 384 bytes. */
  readonly qeReport: SgxReport
  readonly qeReportBytes: Uint8Array
  /** r ‖ s by the key of the PCK certificate over `qeReportBytes`, 64 bytes. */
  readonly qeReportSignature: Uint8Array
  /** Together with the attestation key it is what the quoting enclave's report data is the digest of. */
  readonly qeAuthData: Uint8Array
  readonly certification: Certification
  /** The bytes of `certification`, for caches. */
  readonly certificationBytes: Uint8Array
}

/**
 * Reads a quote of version 3 (SGX), 4 (TDX, TD 1.0) or 5 (SGX, TD 1.0, TD 1.5) with an ECDSA P-256 attestation key; at
 * most 32 KiB, nothing after its signature data: what follows is signed by nobody. Keeps a copy. Throws FormatError.
 */
export function parseIntelQuote(bytes: Uint8Array): IntelQuote {
  const quote = readQuote(bytes)
  if (quote.length !== bytes.length) {
    throw new FormatError(
      'quote',
      `has ${bytes.length - quote.length} bytes after its end; they are signed by nobody, cut them off`,
    )
  }
  return quote.parsed
}

/** Bytes up to the end of the signature data, for readers of padded buffers. Throws FormatError as parseIntelQuote. */
export function intelQuoteLength(bytes: Uint8Array): number {
  return readQuote(bytes).length
}

const versions = [3, 4, 5] as const

function readQuote(input: Uint8Array): { parsed: IntelQuote; length: number } {
  if (input.length > quoteBytesMax) {
    throw new FormatError('quote', `has ${input.length} bytes, at most ${quoteBytesMax} are read`)
  }
  const bytes = new Uint8Array(input)
  const reader = new ByteReader(bytes)
  const number = reader.uint16le('version')
  const version = versions.find((known) => known === number)
  if (version === undefined) throw new FormatError('version', `is ${number}, versions 3 to 5 are read`)
  const keyType = reader.uint16le('attestation key type')
  if (keyType !== 2) throw new FormatError('attestation key type', `is ${keyType}, expected 2 (ECDSA P-256)`)
  const tee = reader.uint32le('TEE type')
  if (tee !== (version === 3 ? 0 : 0x81) && !(version === 5 && tee === 0)) {
    throw new FormatError('TEE type', `is 0x${tee.toString(16)} in a quote of version ${version}`)
  }
  // SVNs of QE and PCE in version 3, reserved later. Nothing rests on them: the certificate says the PCE's.
  reader.take(4, 'header')
  const vendor = encodeHex(reader.take(16, 'QE vendor id'))
  if (vendor !== intelVendorId) throw new FormatError('QE vendor id', `is ${vendor}, expected ${intelVendorId} (Intel)`)
  reader.take(20, 'user data')
  const body = parseBody(reader, version, tee)
  const signed = bytes.subarray(0, reader.offset)
  const signatureData = reader.take(reader.uint32le('signature data length'), 'signature data')
  const parsed = { version, body, signed, ...parseSignatureData(signatureData, version) }
  return { parsed, length: reader.offset }
}

function parseBody(reader: ByteReader, version: 3 | 4 | 5, tee: number): SgxReport | TdReport {
  if (version === 3) return parseSgxReport(reader.take(sgxReportLength, 'enclave report'), 'enclave report')
  if (version === 4) return parseTdReport(reader.take(tdReportLength, 'TD report'))
  const type = reader.uint16le('body type')
  const length = { 1: sgxReportLength, 2: tdReportLength, 3: tdReport15Length }[type]
  if (length === undefined) throw new FormatError('body type', `is ${type}, expected 1 (SGX), 2 (TD 1.0) or 3 (TD 1.5)`)
  if ((type === 1) !== (tee === 0))
    throw new FormatError('body type', `is ${type}, of another TEE than the header says`)
  const size = reader.uint32le('body size')
  if (size !== length) throw new FormatError('body size', `is ${size}, expected ${length} for type ${type}`)
  const bytes = reader.take(length, 'body')
  return type === 1 ? parseSgxReport(bytes, 'enclave report') : parseTdReport(bytes)
}

function parseSignatureData(bytes: Uint8Array, version: 3 | 4 | 5): Omit<IntelQuote, 'version' | 'body' | 'signed'> {
  const reader = new ByteReader(bytes)
  const signature = reader.take(64, 'signature')
  const attestationKey = reader.take(64, 'attestation key')
  if (version !== 3) {
    const type = reader.uint16le('certification data type')
    if (type !== 6) throw new FormatError('certification data type', `is ${type}, expected 6 (QE report)`)
    const size = reader.uint32le('certification data size')
    if (size !== reader.remaining) {
      throw new FormatError('certification data size', `is ${size}, ${reader.remaining} bytes follow`)
    }
  }
  const qeReportBytes = reader.take(sgxReportLength, 'QE report')
  const qeReport = parseSgxReport(qeReportBytes, 'QE report')
  const qeReportSignature = reader.take(64, 'QE report signature')
  const qeAuthData = reader.take(reader.uint16le('QE authentication data length'), 'QE authentication data')
  const certificationBytes = bytes.subarray(reader.offset)
  const type = reader.uint16le('PCK certification data type')
  const data = reader.take(reader.uint32le('PCK certification data size'), 'PCK certification data')
  reader.end('signature data')
  const certification = parseCertification(type, data)
  return {
    signature,
    attestationKey,
    qeReport,
    qeReportBytes,
    qeReportSignature,
    qeAuthData,
    certification,
    certificationBytes,
  }
}

function parseCertification(type: number, data: Uint8Array): Certification {
  if (type === 4 || type === 5) return { kind: 'pem', pem: data }
  const ppidLength = { 1: 16, 2: 256, 3: 384 }[type]
  if (ppidLength === undefined) {
    throw new FormatError('PCK certification data type', `is ${type}, types 1 to 5 are read`)
  }
  const reader = new ByteReader(data)
  const ppid = reader.take(ppidLength, 'PPID')
  const cpuSvn = reader.take(16, 'CPUSVN')
  const pceSvn = reader.uint16le('PCESVN')
  const pceId = reader.remaining === 0 ? undefined : reader.take(2, 'PCEID')
  reader.end('PCK certification data')
  return { kind: 'platform', ppid: type === 1 ? ppid : undefined, cpuSvn, pceSvn, pceId }
}
