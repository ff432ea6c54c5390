import { equalBytes, FormatError } from '@cella/bytes'
import { checkInteger, DerReader, derTag, smallInteger } from './der.ts'
import { parseTime } from './time.ts'

/** Real certificates of TEE chains have 1 to 2 KiB; one of an enclave that carries two quotes has 11. */
const certificateBytesMax = 16_384
const extensionCountMax = 32

export interface Extension {
  readonly critical: boolean
  /** What is inside the OCTET STRING. */
  readonly value: Uint8Array
}

/** The parts of an X.509 v3 certificate (RFC 5280 §4.1). Nothing about them has been verified. */
export interface Certificate {
  /** The whole certificate, DER. */
  readonly der: Uint8Array
  /** The signed bytes. */
  readonly tbs: Uint8Array
  /** Contents of the INTEGER. Zero is read too: AMD gives its VCEKs no other, against RFC 5280 §4.1.2.2. */
  readonly serial: Uint8Array
  /** DER of the AlgorithmIdentifier, the same inside and outside of the signed part. */
  readonly signatureAlgorithm: Uint8Array
  /** DER of the Name. */
  readonly issuer: Uint8Array
  readonly subject: Uint8Array
  /** Unix seconds, both inclusive. */
  readonly notBefore: number
  readonly notAfter: number
  /** DER of the SubjectPublicKeyInfo. */
  readonly spki: Uint8Array
  /** By dotted object identifier. */
  readonly extensions: ReadonlyMap<string, Extension>
  readonly signature: Uint8Array
}

/**
 * Reads a DER certificate, whole and nothing after it; at most 16 KiB. Keeps a copy. Refused: other versions than v3,
 * unique identifiers, duplicate extensions, any encoding that isn't DER. Throws FormatError. Checks no signature.
 * `generalized: 'any'` also takes a GeneralizedTime before 2050, as NVIDIA's manifest signers have it.
 */
export function parseCertificate(
  bytes: Uint8Array,
  field: string,
  generalized: 'from-2050' | 'any' = 'from-2050',
): Certificate {
  if (bytes.length > certificateBytesMax) {
    throw new FormatError(field, `has ${bytes.length} bytes, at most ${certificateBytesMax} are read`)
  }
  const der = Uint8Array.from(bytes)
  const outer = new DerReader(der)
  const certificate = outer.enter(derTag.sequence, field)
  outer.end(field)

  const tbs = certificate.element(derTag.sequence, `${field}.tbsCertificate`)
  const signatureAlgorithm = certificate.element(derTag.sequence, `${field}.signatureAlgorithm`)
  const signature = bitString(certificate.contents(derTag.bitString, `${field}.signature`), `${field}.signature`)
  certificate.end(field)

  const body = new DerReader(tbs).enter(derTag.sequence, field)
  const version = body.enter(derTag.context0, `${field}.version`)
  const number = smallInteger(version.contents(derTag.integer, `${field}.version`), `${field}.version`)
  version.end(`${field}.version`)
  if (number !== 2) throw new FormatError(`${field}.version`, `is v${number + 1}, expected v3`)
  const serial = body.contents(derTag.integer, `${field}.serialNumber`)
  checkInteger(serial, `${field}.serialNumber`)
  // Twenty bytes of value, RFC 5280 §4.1.2.2: a set top bit costs one more for the sign, as in AWS Nitro's zonal CAs.
  if (serial.length > 20 && !(serial.length === 21 && serial[0] === 0)) {
    throw new FormatError(`${field}.serialNumber`, `has ${serial.length} bytes, at most 20`)
  }
  const innerAlgorithm = body.element(derTag.sequence, `${field}.tbsCertificate.signature`)
  if (!equalBytes(innerAlgorithm, signatureAlgorithm)) {
    throw new FormatError(field, 'names two signature algorithms') // RFC 5280 §4.1.1.2
  }
  const issuer = body.element(derTag.sequence, `${field}.issuer`)
  const validity = body.enter(derTag.sequence, `${field}.validity`)
  const notBefore = parseTime(validity, `${field}.notBefore`, generalized)
  const notAfter = parseTime(validity, `${field}.notAfter`, generalized)
  validity.end(`${field}.validity`)
  const subject = body.element(derTag.sequence, `${field}.subject`)
  const spki = body.element(derTag.sequence, `${field}.subjectPublicKeyInfo`)
  const wrapper = body.enter(derTag.context3, `${field}.extensions`)
  body.end(`${field}.tbsCertificate`)
  const list = wrapper.enter(derTag.sequence, `${field}.extensions`)
  wrapper.end(`${field}.extensions`)
  const extensions = parseExtensions(list, `${field}.extensions`)
  return { der, tbs, serial, signatureAlgorithm, issuer, subject, notBefore, notAfter, spki, extensions, signature }
}

/** The entries of an Extensions sequence (RFC 5280 §4.1.2.9), each at most once. */
export function parseExtensions(list: DerReader, field: string): Map<string, Extension> {
  const extensions = new Map<string, Extension>()
  while (!list.done) {
    if (extensions.size === extensionCountMax) throw new FormatError(field, `are more than ${extensionCountMax}`)
    const entry = list.enter(derTag.sequence, field)
    const id = dottedOid(entry.contents(derTag.oid, field), field)
    const critical = entry.nextTag === derTag.boolean
    // DER leaves out the default, so a BOOLEAN that is there can only be TRUE. X.690 §11.1, §11.5.
    if (critical && !equalBytes(entry.contents(derTag.boolean, id), Uint8Array.of(0xff))) {
      throw new FormatError(`${field} ${id}`, 'has a critical flag that is not DER')
    }
    const value = entry.contents(derTag.octetString, `${field} ${id}`)
    entry.end(`${field} ${id}`)
    if (extensions.has(id)) throw new FormatError(`${field} ${id}`, 'occurs twice')
    extensions.set(id, { critical, value })
  }
  return extensions
}

/** The bytes of a BIT STRING's contents that is a whole number of bytes. */
export function bitString(contents: Uint8Array, field: string): Uint8Array {
  if (contents[0] !== 0) throw new FormatError(field, 'is not a whole number of bytes')
  return contents.subarray(1)
}

/** `2.5.4.3` of an OBJECT IDENTIFIER's contents. X.690 §8.19. */
export function dottedOid(contents: Uint8Array, field: string): string {
  const arcs: number[] = []
  let arc = 0
  let open = false
  for (const byte of contents) {
    if (!open && byte === 0x80)
      throw new FormatError(field, 'has an object identifier that is not in its shortest form')
    arc = arc * 128 + (byte & 0x7f)
    if (arc > 0xffffffff) throw new FormatError(field, 'has an object identifier with too large an arc')
    open = (byte & 0x80) !== 0
    if (!open) {
      arcs.push(arc)
      arc = 0
    }
  }
  const [first, ...rest] = arcs
  if (open || first === undefined) throw new FormatError(field, 'has an object identifier that is cut off')
  const top = Math.min(2, Math.floor(first / 40))
  return [top, first - top * 40, ...rest].join('.')
}

/** basicConstraints (RFC 5280 §4.2.1.9), `undefined` when the certificate has none. */
export function basicConstraints(
  certificate: Certificate,
): { ca: boolean; pathLength: number | undefined } | undefined {
  const extension = certificate.extensions.get('2.5.29.19')
  if (extension === undefined) return undefined
  const outer = new DerReader(extension.value)
  const body = outer.enter(derTag.sequence, 'basicConstraints')
  outer.end('basicConstraints')
  const ca = !body.done && body.nextTag === derTag.boolean
  if (ca && !equalBytes(body.contents(derTag.boolean, 'basicConstraints.cA'), Uint8Array.of(0xff))) {
    throw new FormatError('basicConstraints.cA', 'is not DER')
  }
  const pathLength = body.done
    ? undefined
    : smallInteger(body.contents(derTag.integer, 'basicConstraints.pathLen'), 'basicConstraints.pathLen')
  body.end('basicConstraints')
  return { ca, pathLength }
}

// Counted from the top of the first byte. RFC 5280 §4.2.1.3.
const keyUsages = { digitalSignature: 0x80, keyCertSign: 0x04, cRLSign: 0x02 } as const

/** Whether keyUsage (RFC 5280 §4.2.1.3) is there and names `usage`. One that is malformed names none: this never throws. */
export function mayUseKeyFor(certificate: Certificate, usage: keyof typeof keyUsages): boolean {
  const extension = certificate.extensions.get('2.5.29.15')
  if (extension === undefined) return false
  // The byte before the bits counts unused ones.
  const [tag, length, , bits = 0] = extension.value
  if (tag !== derTag.bitString || length !== extension.value.length - 2) return false
  return (bits & keyUsages[usage]) !== 0
}

/** Whether keyUsage is there and lets the key sign certificates. */
export function maySignCertificates(certificate: Certificate): boolean {
  return mayUseKeyFor(certificate, 'keyCertSign')
}
