import { ByteReader, FormatError } from '@cella/bytes'

/** Bytes of an enclave report's body (REPORTBODY, Intel SDM vol. 3D §39.16). */
export const sgxReportLength = 384

/** What ATTRIBUTES and XFRM say of an enclave. SDM vol. 3D §35.7. */
export interface SgxAttributes {
  readonly initialised: boolean
  readonly debug: boolean
  readonly mode64: boolean
  /** The enclave may derive provisioning keys, and the PCE certifies its reports as those of a quoting enclave. */
  readonly provisionKey: boolean
  readonly einitTokenKey: boolean
  readonly cet: boolean
  /** Key separation and sharing: only then CONFIGID, CONFIGSVN, ISVEXTPRODID and ISVFAMILYID say something. */
  readonly kss: boolean
  readonly aexNotify: boolean
  /** A bit is set that the SDM reserves. */
  readonly unknown: boolean
  /** Feature bits of XCR0 that are enabled, ascending. */
  readonly xfrm: readonly number[]
}

/** The body of an SGX report. Nothing about it has been verified. */
export interface SgxReport {
  readonly kind: 'sgx'
  /** 16 bytes. */
  readonly cpuSvn: Uint8Array
  /** 4 bytes, as the report has them. */
  readonly miscSelect: Uint8Array
  /** 16 bytes. */
  readonly extendedProductId: Uint8Array
  /** 16 bytes: flags, then XFRM, little-endian u64 each. */
  readonly rawAttributes: Uint8Array
  readonly attributes: SgxAttributes
  /** 32 bytes each. */
  readonly mrEnclave: Uint8Array
  readonly mrSigner: Uint8Array
  /** 64 bytes. */
  readonly configId: Uint8Array
  readonly productId: number
  readonly svn: number
  readonly configSvn: number
  /** 16 bytes. */
  readonly familyId: Uint8Array
  /** 64 bytes. */
  readonly reportData: Uint8Array
}

/** Reads exactly 384 bytes; shares their memory. Throws FormatError naming `field`, also for reserved bytes that are set. */
export function parseSgxReport(bytes: Uint8Array, field: string): SgxReport {
  const reader = new ByteReader(bytes)
  const cpuSvn = reader.take(16, `${field}.CPUSVN`)
  const miscSelect = reader.take(4, `${field}.MISCSELECT`)
  zero(reader.take(12, field), `${field} reserved 20`)
  const extendedProductId = reader.take(16, `${field}.ISVEXTPRODID`)
  const rawAttributes = reader.take(16, `${field}.ATTRIBUTES`)
  const mrEnclave = reader.take(32, `${field}.MRENCLAVE`)
  zero(reader.take(32, field), `${field} reserved 96`)
  const mrSigner = reader.take(32, `${field}.MRSIGNER`)
  zero(reader.take(32, field), `${field} reserved 160`)
  const configId = reader.take(64, `${field}.CONFIGID`)
  const productId = reader.uint16le(`${field}.ISVPRODID`)
  const svn = reader.uint16le(`${field}.ISVSVN`)
  const configSvn = reader.uint16le(`${field}.CONFIGSVN`)
  zero(reader.take(42, field), `${field} reserved 262`)
  const familyId = reader.take(16, `${field}.ISVFAMILYID`)
  const reportData = reader.take(64, `${field}.REPORTDATA`)
  reader.end(field)
  return {
    kind: 'sgx',
    cpuSvn,
    miscSelect,
    extendedProductId,
    rawAttributes,
    attributes: parseSgxAttributes(rawAttributes, field),
    mrEnclave,
    mrSigner,
    configId,
    productId,
    svn,
    configSvn,
    familyId,
    reportData,
  }
}

function parseSgxAttributes(raw: Uint8Array, field: string): SgxAttributes {
  const reader = new ByteReader(raw)
  const flags = reader.uint32le(`${field}.ATTRIBUTES`)
  const high = reader.uint32le(`${field}.ATTRIBUTES`)
  const bit = (at: number): boolean => ((flags >>> at) & 1) === 1
  return {
    initialised: bit(0),
    debug: bit(1),
    mode64: bit(2),
    provisionKey: bit(4),
    einitTokenKey: bit(5),
    cet: bit(6),
    kss: bit(7),
    aexNotify: bit(10),
    unknown: (flags & ~0x4f7) !== 0 || high !== 0,
    xfrm: setBits(raw.subarray(8)),
  }
}

/** The inverse of parseSgxReport; `rawAttributes` counts, `attributes` is not looked at. Throws RangeError for a wrong length. */
export function encodeSgxReport(report: Omit<SgxReport, 'kind' | 'attributes'>): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(sgxReportLength)
  const view = new DataView(bytes.buffer)
  view.setUint16(256, report.productId, true)
  view.setUint16(258, report.svn, true)
  view.setUint16(260, report.configSvn, true)
  putFields(bytes, [
    [0, 16, report.cpuSvn],
    [16, 4, report.miscSelect],
    [32, 16, report.extendedProductId],
    [48, 16, report.rawAttributes],
    [64, 32, report.mrEnclave],
    [128, 32, report.mrSigner],
    [192, 64, report.configId],
    [304, 16, report.familyId],
    [320, 64, report.reportData],
  ])
  return bytes
}

/** Sets each `[offset, length, value]`; RangeError for a value of another length. */
export function putFields(bytes: Uint8Array, fields: readonly (readonly [number, number, Uint8Array])[]): void {
  for (const [at, length, value] of fields) {
    if (value.length !== length) throw new RangeError(`field at ${at} has ${value.length} bytes, not ${length}`)
    bytes.set(value, at)
  }
}

/** Numbers of the bits that are set, bit 0 the lowest of the first byte. */
export function setBits(bytes: Uint8Array): number[] {
  const bits: number[] = []
  for (const [at, byte] of bytes.entries()) {
    for (let rest = byte, bit = at * 8; rest !== 0; rest >>= 1, bit++) if (rest & 1) bits.push(bit)
  }
  return bits
}

function zero(bytes: Uint8Array, field: string): void {
  for (const byte of bytes) if (byte !== 0) throw new FormatError(field, 'must be zero')
}
