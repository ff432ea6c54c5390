import { encodeHex, equalBytes } from '@cella/bytes'
import type { Endorsements } from '../endorsements.ts'
import { EvidenceError } from '../error.ts'
import { type Certificate, parseCertificate } from '../x509/certificate.ts'
import { parseVekClaims } from './certificates.ts'
import { amdName, leafName } from './names.ts'
import type { SnpReport } from './report.ts'
import { encodeTcb } from './tcb.ts'

/**
 * Leaf, intermediate and root for `report`, in this order: the entry's own where it brings all three, else from those
 * and the endorsements, by names, and the leaf by the report's chip and TCB. Nothing is verified. Throws EvidenceError.
 */
export function completeChain(
  own: readonly Uint8Array[],
  report: SnpReport,
  endorsements: Endorsements,
): readonly Uint8Array[] {
  if (own.length >= 3) return own
  const pool = [...own, ...endorsements.all('certificate').map(({ content }) => content)].flatMap(readable)
  const leaf = pool.find((certificate) => isLeafOf(certificate, report))
  const intermediate = leaf && issuerOf(leaf, pool)
  const root = intermediate && issuerOf(intermediate, pool)
  if (leaf === undefined || intermediate === undefined || root === undefined) {
    const missing = leaf === undefined ? report.signingKey : intermediate === undefined ? 'ASK or ASVK' : 'ARK'
    throw new EvidenceError(
      'ERR_EVIDENCE_CHAIN',
      `certificates: the ${missing} for this report is not among the ${pool.length} given; add it, or fetch it into the collateral store`,
    )
  }
  return [leaf.der, intermediate.der, root.der]
}

/** Certificates of other vendors stand in the same store; what isn't one at all is passed over. */
function readable(der: Uint8Array): Certificate[] {
  try {
    return [parseCertificate(der, 'certificate')]
  } catch {
    return []
  }
}

function isLeafOf(certificate: Certificate, report: SnpReport): boolean {
  if (report.signingKey === 'none' || !equalBytes(certificate.subject, amdName(leafName(report.signingKey))))
    return false
  try {
    const { hwId, tcb, product } = parseVekClaims(certificate, report.signingKey)
    const sameTcb = encodeHex(encodeTcb(tcb, product)) === encodeHex(report.reportedTcb)
    const masked = report.chipId.every((byte) => byte === 0)
    return sameTcb && (hwId === undefined || masked || equalBytes(hwId, report.chipId.subarray(0, hwId.length)))
  } catch {
    return false
  }
}

function issuerOf(certificate: Certificate, pool: readonly Certificate[]): Certificate | undefined {
  return pool.find((other) => other !== certificate && equalBytes(other.subject, certificate.issuer))
}
