import { decodeUtf8, encodeHex, equalBytes } from '@cella/bytes'
import { digestOf, verifySignature } from '@cella/primitives'
import { EvidenceError, reading } from '../error.ts'
import type { VerifyContext } from '../family.ts'
import { type Certificate, mayUseKeyFor, parseCertificate } from '../x509/certificate.ts'
import { buildPath, type CertificatePath } from '../x509/path.ts'
import { parsePemCertificates } from '../x509/pem.ts'
import type { IntelCollateral } from './collateral.ts'
import { intelNames, isIntelName, isPck, latestFirst, type PckClaims, parsePckClaims } from './pck.ts'
import type { Certification, IntelQuote } from './quote.ts'

/** A PCK certificate whose chain ends at a trusted root. No time has been looked at, nor revocation. */
export interface PckChain {
  readonly path: CertificatePath
  readonly claims: PckClaims
  readonly ca: 'platform' | 'processor'
}

/** Checks the chain of the quote's PCK certificate as Intel issues it. Throws EvidenceError. */
export async function verifyPckChain(
  tee: 'sgx' | 'tdx',
  quote: IntelQuote,
  { roots, cache }: Pick<VerifyContext, 'roots' | 'cache'>,
  collateral: IntelCollateral,
): Promise<PckChain> {
  const { certification } = quote
  // Roots are part of the name: with others the same certificates may lead elsewhere.
  const trusted = roots.filter((root) => root.tee === tee).map(({ spki, simulated }) => `${spki}${simulated}`)
  const named = certification.kind === 'pem' ? quote.certificationBytes : quote.qeReportBytes
  const key = cache && [tee, digestOf(named), collateral.certificatesDigest, ...trusted].join(' ')
  const known = key === undefined ? undefined : (cache?.find('intel-pck', key) as PckChain | undefined)
  if (known) return known
  const { leaf, pool } =
    certification.kind === 'pem'
      ? fromQuote(certification.pem, collateral)
      : await fromCollateral(certification, quote, collateral)
  const path = await buildPath(leaf, { tee, roots, pool: latestFirst(pool), name: intelNames.pck })
  const chain = { path, claims: reading(() => parsePckClaims(leaf)), ca: checkNames(path.certificates) }
  if (key !== undefined) cache?.add('intel-pck', key, chain)
  return chain
}

interface Found {
  readonly leaf: Certificate
  readonly pool: readonly Certificate[]
}

/** The chain in the quote, in any order: the PCK certificate is the one with Intel's extension. */
function fromQuote(pem: Uint8Array, collateral: IntelCollateral): Found {
  const certificates = reading(() => {
    // Intel's library counts the terminating zero of a C string in.
    const text = decodeUtf8(pem.at(-1) === 0 ? pem.subarray(0, -1) : pem, 'PCK certificate chain')
    return parsePemCertificates(text, 'PCK certificate chain').map((certificate) =>
      parseCertificate(certificate, 'PCK certificate chain'),
    )
  })
  const leaves = certificates.filter(isPck)
  const [leaf] = leaves
  if (leaf === undefined || leaves.length !== 1) {
    const problem = `certificates of the quote: ${leaves.length} have Intel's SGX extension, expected one (${intelNames.pck})`
    throw new EvidenceError('ERR_EVIDENCE_CHAIN', problem)
  }
  const pool = [...certificates.filter((certificate) => certificate !== leaf), ...collateral.certificates]
  return { leaf, pool }
}

/** Of the PCK certificates that were given, the one for what the quote names, whose key signed the quoting enclave's report. */
async function fromCollateral(
  platform: Extract<Certification, { kind: 'platform' }>,
  quote: IntelQuote,
  collateral: IntelCollateral,
): Promise<Found> {
  const fitting = collateral.certificates.filter((certificate) => {
    if (!isPck(certificate)) return false
    const claims = reading(() => parsePckClaims(certificate))
    return (
      claims.pceSvn === platform.pceSvn &&
      equalBytes(claims.cpuSvn, platform.cpuSvn) &&
      (platform.pceId === undefined || claims.pceId === encodeHex(platform.pceId)) &&
      (platform.ppid === undefined || claims.ppid === encodeHex(platform.ppid))
    )
  })
  for (const leaf of fitting) {
    if (await isQeReportSignedBy(leaf, quote)) return { leaf, pool: collateral.certificates }
  }
  throw new EvidenceError(
    'ERR_EVIDENCE_COLLATERAL_MISSING',
    `quote brings no certificate, and none was given for CPUSVN ${encodeHex(platform.cpuSvn)}, PCE ${platform.pceSvn} that signed it; fetch the PCK certificate of this platform`,
  )
}

/** The names say which kind of chain it is: PCK certificate, Platform or Processor CA, root. */
function checkNames(certificates: readonly Certificate[]): 'platform' | 'processor' {
  const [leaf, issuer, root] = certificates
  const ca = (['platform', 'processor'] as const).find(
    (kind) => issuer !== undefined && isIntelName(issuer.subject, intelNames[kind]),
  )
  if (
    certificates.length !== 3 ||
    ca === undefined ||
    !isIntelName(leaf!.subject, intelNames.pck) ||
    !isIntelName(root!.subject, intelNames.root)
  ) {
    throw new EvidenceError(
      'ERR_EVIDENCE_CHAIN',
      `names don't lead from ${intelNames.pck} over ${intelNames.platform} or ${intelNames.processor} to ${intelNames.root}`,
    )
  }
  if (!mayUseKeyFor(leaf!, 'digitalSignature')) {
    throw new EvidenceError('ERR_EVIDENCE_CHAIN', `${intelNames.pck}: its key may not sign`)
  }
  return ca
}

/** Whether the key of the PCK certificate signed the quoting enclave's report. */
export async function isQeReportSignedBy(pck: Certificate, quote: IntelQuote): Promise<boolean> {
  return isSigned(pck.spki, quote.qeReportBytes, quote.qeReportSignature)
}

/** ECDSA P-256 with SHA-256; a key that the platform can't read has signed nothing. */
export async function isSigned(spki: Uint8Array, message: Uint8Array, signature: Uint8Array): Promise<boolean> {
  try {
    return await verifySignature('ecdsa-p256-sha256', spki, message, signature)
  } catch {
    return false
  }
}
