import { decodeUtf8, equalBytes, FormatError } from '@cella/bytes'
import { basicConstraints, type Certificate, maySignCertificates } from '../x509/certificate.ts'
import { DerReader, derTag, smallInteger } from '../x509/der.ts'
import {
  p384SpkiLength,
  p384SpkiStart,
  rsa4096SpkiEnd,
  rsa4096SpkiLength,
  rsa4096SpkiStart,
  rsaPssSha384,
  rsaPssSha384WithTrailer,
} from './algorithms.ts'
import type { SnpVek } from './names.ts'
import { hasTurinLayout, productOfName, type SnpProduct } from './product.ts'
import type { SnpTcb, SnpTcbComponent } from './tcb.ts'

/** AMD's arc for VCEK and VLEK extensions. AMD 57230 (VCEK), 58369 (VLEK). */
export const amdArc = '1.3.6.1.4.1.3704.1'

export const tcbOids: readonly (readonly [SnpTcbComponent, string])[] = [
  ['bootLoader', `${amdArc}.3.1`],
  ['tee', `${amdArc}.3.2`],
  ['snp', `${amdArc}.3.3`],
  ['microcode', `${amdArc}.3.8`],
]
export const fmcOid = `${amdArc}.3.9`
/** Levels of parts that don't exist; certificates carry them, and only zero is accepted. */
export const spareOids: readonly string[] = [4, 5, 6, 7].map((arc) => `${amdArc}.3.${arc}`)

/** What a VCEK or VLEK certificate says about the key. */
export interface SnpVekClaims {
  readonly product: SnpProduct
  /** As written: `Milan-B0`. */
  readonly productName: string
  readonly tcb: SnpTcb
  /** VCEK: 64 bytes, 8 from Turin on. */
  readonly hwId: Uint8Array | undefined
  /** VLEK: whose it is, such as `CN=cc-eu-west-1.amazonaws.com`. */
  readonly provider: string | undefined
}

/** Reads the AMD extensions of a leaf. Absent, unknown or of the other kind of key: FormatError, nothing is skipped. */
export function parseVekClaims(certificate: Certificate, vek: SnpVek): SnpVekClaims {
  const { extensions } = certificate
  const used = new Set<string>()
  const value = (oid: string): Uint8Array => {
    const extension = extensions.get(oid)
    if (extension === undefined) throw new FormatError(`extension ${oid}`, 'is missing')
    used.add(oid)
    return extension.value
  }
  const level = (oid: string): number => {
    const number = smallInteger(whole(value(oid), derTag.integer, oid), oid)
    if (number > 255) throw new FormatError(oid, `is ${number}, a level is at most 255`)
    return number
  }
  const productName = decodeUtf8(whole(value(`${amdArc}.2`), derTag.ia5String, 'productName'), 'productName')
  const product = productOfName(productName)
  if (product === undefined) throw new FormatError('productName', 'is no AMD product with SEV-SNP')
  const turin = hasTurinLayout(product)
  const structVersion = level(`${amdArc}.1`)
  if (structVersion !== (turin ? 1 : 0)) throw new FormatError('structVersion', `is ${structVersion} for ${product}`)
  const tcb = Object.fromEntries(tcbOids.map(([component, oid]) => [component, level(oid)])) as unknown as SnpTcb
  const fmc = turin ? { fmc: level(fmcOid) } : {}
  for (const oid of spareOids) {
    if (extensions.has(oid) && level(oid) !== 0) throw new FormatError(oid, 'is a level without a meaning')
  }
  // The value has no DER header of its own: 64 raw bytes could begin like one.
  const hwId = vek === 'vcek' ? value(`${amdArc}.4`) : undefined
  if (hwId && hwId.length !== (turin ? 8 : 64)) throw new FormatError('hwID', `has ${hwId.length} bytes`)
  const provider =
    vek === 'vlek' ? decodeUtf8(whole(value(`${amdArc}.5`), derTag.ia5String, 'csp_id'), 'csp_id') : undefined
  for (const [oid, { critical }] of extensions) {
    if (!used.has(oid)) throw new FormatError(`extension ${oid}`, 'is not one that AMD gives a VEK certificate')
    if (critical) throw new FormatError(`extension ${oid}`, 'is critical, which AMD never marks it')
  }
  return { product, productName, tcb: { ...fmc, ...tcb }, hwId, provider }
}

function whole(bytes: Uint8Array, tag: number, field: string): Uint8Array {
  const reader = new DerReader(bytes)
  const contents = reader.contents(tag, field)
  reader.end(field)
  return contents
}

/** Refuses a signature algorithm other than RSASSA-PSS with SHA-384, or a signature not of RSA-4096. */
export function checkSignedByRsa(certificate: Certificate, field: string): void {
  const { signatureAlgorithm: algorithm } = certificate
  if (!equalBytes(algorithm, rsaPssSha384) && !equalBytes(algorithm, rsaPssSha384WithTrailer)) {
    throw new FormatError(`${field}.signatureAlgorithm`, 'is not RSASSA-PSS with SHA-384')
  }
  if (certificate.signature.length !== 512) throw new FormatError(`${field}.signature`, 'is not of an RSA-4096 key')
}

export function checkP384Key(spki: Uint8Array, field: string): void {
  if (spki.length !== p384SpkiLength || !equalBytes(spki.subarray(0, p384SpkiStart.length), p384SpkiStart)) {
    throw new FormatError(`${field}.subjectPublicKeyInfo`, 'is not a P-384 key')
  }
}

// What AMD's CA certificates carry: key identifiers, basicConstraints, keyUsage, CRL address.
const caExtensions = new Set(['2.5.29.14', '2.5.29.35', '2.5.29.19', '2.5.29.15', '2.5.29.31'])

/** Refuses what may not issue: another key than RSA-4096, no CA flag, no right to sign, extensions that aren't read. */
export function checkIssuer(certificate: Certificate, field: string): void {
  const { spki } = certificate
  if (
    spki.length !== rsa4096SpkiLength ||
    !equalBytes(spki.subarray(0, rsa4096SpkiStart.length), rsa4096SpkiStart) ||
    !equalBytes(spki.subarray(-rsa4096SpkiEnd.length), rsa4096SpkiEnd)
  ) {
    throw new FormatError(`${field}.subjectPublicKeyInfo`, 'is not an RSA-4096 key with exponent 65537')
  }
  if (basicConstraints(certificate)?.ca !== true) throw new FormatError(field, 'is not a CA certificate')
  if (!maySignCertificates(certificate)) throw new FormatError(field, 'may not sign certificates')
  for (const oid of certificate.extensions.keys()) {
    if (!caExtensions.has(oid)) throw new FormatError(`${field} extension ${oid}`, 'is not one that AMD gives a CA')
  }
}
