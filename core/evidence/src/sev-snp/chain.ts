import { concatBytes, type Digest, equalBytes, FormatError, uint32Bytes } from '@cella/bytes'
import { digestOf, verifySignature } from '@cella/primitives'
import { EvidenceError, reading } from '../error.ts'
import type { VerificationCache } from '../family.ts'
import { type Certificate, parseCertificate } from '../x509/certificate.ts'
import { checkIssuer, checkP384Key, checkSignedByRsa, parseVekClaims, type SnpVekClaims } from './certificates.ts'
import { amdName, intermediateName, leafName, rootName, type SnpVek } from './names.ts'
import { type SnpProduct, snpProducts } from './product.ts'

/** A chain whose names, uses and signatures were checked. Its root has not been compared, nor its validity judged. */
export interface SnpChain {
  readonly vek: SnpVek
  /** The line that the root's name says, the leaf's extensions too. */
  readonly product: SnpProduct
  readonly claims: SnpVekClaims
  /** DER SubjectPublicKeyInfo of the key that signs reports. */
  readonly spki: Uint8Array
  /** SHA-256 of the root's SubjectPublicKeyInfo. */
  readonly root: Digest
  readonly intermediate: Certificate
  readonly rootCertificate: Certificate
  /** Unix seconds in which every certificate is valid, both inclusive, and the name of the one that ends each side. */
  readonly notBefore: { readonly at: number; readonly certificate: string }
  readonly notAfter: { readonly at: number; readonly certificate: string }
}

/** Checks leaf, intermediate and root (DER, in this order) as AMD issues them. Throws EvidenceError. */
export async function verifySnpChain(
  certificates: readonly Uint8Array[],
  cache: VerificationCache | undefined,
): Promise<SnpChain> {
  const digest = cache && digestOf(concatBytes(...certificates.flatMap((der) => [uint32Bytes(der.length), der])))
  const known = digest && cache.find('snp-chain', digest)
  if (known) return known as SnpChain
  const chain = await verifyUnknownChain(certificates)
  if (digest) cache.add('snp-chain', digest, chain)
  return chain
}

async function verifyUnknownChain(certificates: readonly Uint8Array[]): Promise<SnpChain> {
  const [leafDer, intermediateDer, rootDer] = certificates
  if (certificates.length !== 3 || !leafDer || !intermediateDer || !rootDer) {
    throw new EvidenceError(
      'ERR_EVIDENCE_CHAIN',
      `certificates: there are ${certificates.length}, expected three: VCEK or VLEK, ASK or ASVK, ARK`,
    )
  }
  const leaf = reading(() => parseCertificate(leafDer, 'VEK'))
  const intermediate = reading(() => parseCertificate(intermediateDer, 'ASK'))
  const root = reading(() => parseCertificate(rootDer, 'ARK'))
  const { vek, product } = checkNames(leaf, intermediate, root)
  inChain(() => {
    for (const certificate of [leaf, intermediate, root]) checkSignedByRsa(certificate, 'certificate')
    checkP384Key(leaf.spki, 'VEK')
    checkIssuer(intermediate, 'ASK')
    checkIssuer(root, 'ARK')
  })
  await Promise.all([
    checkSignature(root, root, 'ARK is not signed by itself'),
    checkSignature(intermediate, root, 'ASK or ASVK is not signed by the ARK'),
    checkSignature(leaf, intermediate, 'VCEK or VLEK is not signed by the ASK or ASVK'),
  ])
  const claims = reading(() => parseVekClaims(leaf, vek))
  if (claims.product !== product) {
    throw new EvidenceError(
      'ERR_EVIDENCE_PRODUCT_MISMATCH',
      `VEK certificate is for ${claims.product} and its chain for ${product}`,
    )
  }
  const named: readonly (readonly [string, Certificate])[] = [
    [leafName(vek), leaf],
    [intermediateName(vek, product), intermediate],
    [rootName(product), root],
  ]
  const starts = named.map(([certificate, { notBefore }]) => ({ at: notBefore, certificate }))
  const ends = named.map(([certificate, { notAfter }]) => ({ at: notAfter, certificate }))
  return {
    vek,
    product,
    claims,
    spki: leaf.spki,
    root: digestOf(root.spki),
    intermediate,
    rootCertificate: root,
    notBefore: starts.reduce((latest, start) => (start.at > latest.at ? start : latest)),
    notAfter: ends.reduce((first, end) => (end.at < first.at ? end : first)),
  }
}

/** The names say which kind of chain it is; each must be AMD's, byte for byte, and each issuer the next one's subject. */
function checkNames(
  leaf: Certificate,
  intermediate: Certificate,
  root: Certificate,
): { vek: SnpVek; product: SnpProduct } {
  const vek = (['vcek', 'vlek'] as const).find((kind) => equalBytes(leaf.subject, amdName(leafName(kind))))
  if (vek === undefined) throw new EvidenceError('ERR_EVIDENCE_CHAIN', 'leaf certificate is of no VCEK and no VLEK')
  const product = snpProducts.find((name) => equalBytes(root.subject, amdName(rootName(name))))
  if (product === undefined) {
    throw new EvidenceError('ERR_EVIDENCE_CHAIN', 'last certificate is not named ARK of an AMD product')
  }
  // A VLEK under an ASK, or a VCEK under an ASVK, stops here: each kind has its own intermediate.
  const expected = amdName(intermediateName(vek, product))
  const sound =
    equalBytes(root.issuer, root.subject) &&
    equalBytes(intermediate.issuer, root.subject) &&
    equalBytes(intermediate.subject, expected) &&
    equalBytes(leaf.issuer, expected)
  if (!sound) {
    throw new EvidenceError(
      'ERR_EVIDENCE_CHAIN',
      `names don't lead from ${leafName(vek)} over ${intermediateName(vek, product)} to ${rootName(product)}`,
    )
  }
  return { vek, product }
}

async function checkSignature(certificate: Certificate, issuer: Certificate, problem: string): Promise<void> {
  let genuine = false
  try {
    genuine = await verifySignature('rsa-pss-sha384', issuer.spki, certificate.tbs, certificate.signature)
  } catch {
    // A key that the platform can't read has signed nothing.
  }
  if (!genuine) throw new EvidenceError('ERR_EVIDENCE_CHAIN', problem)
}

function inChain(check: () => void): void {
  try {
    check()
  } catch (cause) {
    if (cause instanceof FormatError) throw new EvidenceError('ERR_EVIDENCE_CHAIN', cause.message, { cause })
    throw cause
  }
}
