import { concatBytes, encodeUtf8 } from '@cella/bytes'
import { der, derInteger, derOid, derTag } from '../x509/der.ts'
import { encodeTime } from '../x509/time.ts'
import { rsaPssSha384, rsaPssSha384WithTrailer } from './algorithms.ts'
import { amdArc, fmcOid, type SnpVekClaims, spareOids, tcbOids } from './certificates.ts'
import { amdName, intermediateName, leafName, rootName, type SnpVek } from './names.ts'
import { hasTurinLayout, type SnpProduct } from './product.ts'

// The inverse of the certificate readers: what a simulated platform and tests issue. No verifier needs it, so it has an
// entry of its own and stays out of their bundles. It holds no key: `sign` does.

export type { SnpVekClaims } from './certificates.ts'
export type { SnpVek } from './names.ts'
export { productOfCpuid, type SnpProduct } from './product.ts'
export { encodeSnpReport, type SnpReport, snpSignedLength } from './report.ts'
export { encodeTcb, type SnpTcb } from './tcb.ts'

/** RSASSA-PSS with SHA-384, salt 48 bytes, of an RSA-4096 key over `tbs`: 512 bytes. */
export type CertificateSigner = (tbs: Uint8Array) => Uint8Array | Promise<Uint8Array>

export interface CertificateTimes {
  /** Unix seconds, both inclusive. */
  readonly notBefore: number
  readonly notAfter: number
}

/** An ARK's own certificate, DER, in the form that AMD publishes. `spki` of an RSA-4096 key. */
export function issueArk(
  options: { product: SnpProduct; spki: Uint8Array; sign: CertificateSigner } & CertificateTimes,
): Promise<Uint8Array> {
  const name = rootName(options.product)
  return issue({
    ...options,
    serial: 0x40000,
    issuer: name,
    subject: name,
    extensions: caExtensions(undefined, keyUsage.certificatesAndLists),
    ca: true,
  })
}

/** An ASK (for VCEKs) or ASVK (for VLEKs), signed by the ARK. */
export function issueAsk(
  options: { product: SnpProduct; vek: SnpVek; spki: Uint8Array; sign: CertificateSigner } & CertificateTimes,
): Promise<Uint8Array> {
  return issue({
    ...options,
    serial: intermediateSerials[options.vek],
    issuer: rootName(options.product),
    subject: intermediateName(options.vek, options.product),
    extensions: caExtensions(0, keyUsage.certificates),
    ca: true,
  })
}

/** A VCEK (`claims.hwId`) or VLEK (`claims.provider`) certificate, signed by the ASK or ASVK. `spki` of a P-384 key. */
export function issueVek(
  options: { vek: SnpVek; claims: SnpVekClaims; spki: Uint8Array; sign: CertificateSigner } & CertificateTimes,
): Promise<Uint8Array> {
  const { vek, claims } = options
  return issue({
    ...options,
    serial: 0,
    issuer: intermediateName(vek, claims.product),
    subject: leafName(vek),
    extensions: vekExtensions(claims),
    ca: false,
  })
}

/** Serial numbers that `issueAsk` gives. */
export const intermediateSerials: { readonly [Vek in SnpVek]: number } = { vcek: 0x40001, vlek: 0x40002 }

/** The revocation list of a product, signed by its ARK, DER. `revoked` are serial numbers of ASKs and ASVKs. */
export async function issueArkCrl(options: {
  product: SnpProduct
  /** Unix seconds. */
  thisUpdate: number
  nextUpdate: number
  revoked: readonly number[]
  sign: CertificateSigner
}): Promise<Uint8Array> {
  const { thisUpdate, nextUpdate } = options
  const revoked = options.revoked.map((serial) => der(derTag.sequence, derInteger(serial), encodeTime(thisUpdate)))
  const tbs = der(
    derTag.sequence,
    derInteger(1),
    rsaPssSha384WithTrailer,
    amdName(rootName(options.product)),
    encodeTime(thisUpdate),
    encodeTime(nextUpdate),
    ...(revoked.length === 0 ? [] : [der(derTag.sequence, ...revoked)]),
  )
  return signed(tbs, rsaPssSha384WithTrailer, options.sign)
}

interface Issue extends CertificateTimes {
  readonly serial: number
  readonly issuer: string
  readonly subject: string
  readonly spki: Uint8Array
  readonly extensions: readonly Uint8Array[]
  readonly ca: boolean
  readonly sign: CertificateSigner
}

async function issue(options: Issue): Promise<Uint8Array> {
  const algorithm = options.ca ? rsaPssSha384WithTrailer : rsaPssSha384
  const tbs = der(
    derTag.sequence,
    der(derTag.context0, derInteger(2)),
    derInteger(options.serial),
    algorithm,
    amdName(options.issuer),
    der(derTag.sequence, encodeTime(options.notBefore), encodeTime(options.notAfter)),
    amdName(options.subject),
    options.spki,
    der(derTag.context3, der(derTag.sequence, ...options.extensions)),
  )
  return signed(tbs, algorithm, options.sign)
}

async function signed(tbs: Uint8Array, algorithm: Uint8Array, sign: CertificateSigner): Promise<Uint8Array> {
  return der(derTag.sequence, tbs, algorithm, der(derTag.bitString, concatBytes(Uint8Array.of(0), await sign(tbs))))
}

// DER of the BIT STRING: keyCertSign, for the ARK with cRLSign, and the count of unused bits. RFC 5280 §4.2.1.3.
const keyUsage = { certificates: [2, 0x04], certificatesAndLists: [1, 0x06] } as const

function caExtensions(pathLength: number | undefined, usage: readonly number[]): Uint8Array[] {
  const limits = [
    der(derTag.boolean, Uint8Array.of(0xff)),
    ...(pathLength === undefined ? [] : [derInteger(pathLength)]),
  ]
  return [
    extension('2.5.29.19', der(derTag.sequence, ...limits), true),
    extension('2.5.29.15', der(derTag.bitString, Uint8Array.from(usage)), true),
  ]
}

function vekExtensions({ product, productName, tcb, hwId, provider }: SnpVekClaims): Uint8Array[] {
  const turin = hasTurinLayout(product)
  return [
    extension(`${amdArc}.1`, derInteger(turin ? 1 : 0)),
    extension(`${amdArc}.2`, der(derTag.ia5String, encodeUtf8(productName))),
    ...(turin ? [extension(fmcOid, derInteger(tcb.fmc ?? 0))] : []),
    ...tcbOids.map(([component, oid]) => extension(oid, derInteger(tcb[component] ?? 0))),
    ...(turin ? spareOids.slice(1) : spareOids).map((oid) => extension(oid, derInteger(0))),
    ...(hwId ? [extension(`${amdArc}.4`, hwId)] : []),
    ...(provider === undefined ? [] : [extension(`${amdArc}.5`, der(derTag.ia5String, encodeUtf8(provider)))]),
  ]
}

function extension(oid: string, value: Uint8Array, critical = false): Uint8Array {
  const flag = critical ? [der(derTag.boolean, Uint8Array.of(0xff))] : []
  return der(derTag.sequence, derOid(oid), ...flag, der(derTag.octetString, value))
}
