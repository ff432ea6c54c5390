import { encodeHex, equalBytes } from '@cella/bytes'
import { verifySignature } from '@cella/primitives'
import { EvidenceError, reading } from '../error.ts'
import type { VerifiedEntry, VerifyContext } from '../family.ts'
import type { SnpRoot, TrustedRoot } from '../roots.ts'
import { type Crl, crlsOf } from '../x509/crl.ts'
import { checkNotRevoked, timeText } from '../x509/path.ts'
import { type SnpChain, verifySnpChain } from './chain.ts'
import { snpClaims } from './claims.ts'
import { completeChain } from './complete.ts'
import type { SnpEvidenceEntry } from './entry.ts'
import { intermediateName, type SnpVek } from './names.ts'
import { hasTurinLayout, productOfCpuid, type SnpProduct } from './product.ts'
import { parseSnpReport, type SnpReport, snpReportLength, snpSignedLength } from './report.ts'
import { equalTcb, parseTcb, type SnpTcb, tcbBelow, tcbText } from './tcb.ts'

export interface SnpTcbs {
  /** What the key was derived from and the certificate was issued for. */
  readonly reported: SnpTcb
  /** Below this the firmware can't be taken back. */
  readonly committed: SnpTcb
  readonly current: SnpTcb
  /** When the guest was launched. */
  readonly launch: SnpTcb
}

/** A genuine SEV-SNP report: signed by the key of a chain that ends at a trusted root. Not yet acceptable to anyone. */
export interface VerifiedSnp extends VerifiedEntry {
  readonly format: 'sev-snp/1'
  readonly root: SnpRoot
  readonly product: SnpProduct
  /** As the certificate writes it: `Milan-B0`. */
  readonly productName: string
  readonly signer: SnpVek
  /** Whose VLEK it is. */
  readonly provider: string | undefined
  /** Chip id in lower-case hexadecimal, 64 bytes, 8 from Turin on. A masked one is known from a VCEK, not from a VLEK. */
  readonly platformId: string | undefined
  /** The report has zeros in place of the chip id. */
  readonly chipIdMasked: boolean
  readonly tcb: SnpTcbs
  readonly report: SnpReport
}

/** Steps 1 to 6 of the checklist in docs/formats/evidence.md. Throws EvidenceError at the first that fails. */
export async function verifySnp(entry: SnpEvidenceEntry, context: VerifyContext): Promise<VerifiedSnp> {
  const { checks } = context
  // One copy for parsing and for the signature: what is checked later is what was read.
  const bytes = entry.report.slice(0, snpReportLength + 1)
  const report = reading(() => parseSnpReport(bytes))
  if (report.signingKey === 'none') throw new EvidenceError('ERR_EVIDENCE_UNSIGNED', 'report was made without a key')
  if (report.vmpl > 3) {
    throw new EvidenceError(
      'ERR_EVIDENCE_UNSIGNED',
      'report was asked for by the host, so the guest says nothing in it',
    )
  }
  checks.passed(
    'snp-report',
    'a report of version 2 to 5 with its reserved fields as the ABI wants',
    `version ${report.version}`,
  )
  const certificates = completeChain(entry.certificates, report, context.endorsements)
  const chain = await verifySnpChain(certificates, context.cache)
  if (chain.vek !== report.signingKey) {
    throw new EvidenceError('ERR_EVIDENCE_CHAIN', `report says its key is a ${report.signingKey}, not a ${chain.vek}`)
  }
  const root = findRoot(chain, context.roots)
  checks.passed('snp-chain', `a ${chain.vek} whose chain ends at a trusted root`, `${chain.product} root ${chain.root}`)
  checkValidity(chain, context.now)
  checks.passed('snp-validity', `certificates valid at ${timeText(context.now)}`)
  const crl = await checkRevocation(chain, context)
  await checkReportSignature(bytes, report, chain)
  checks.passed('snp-signature', 'a report signed by the key of its certificate')
  checkProduct(report, chain)
  const tcb = checkTcb(report, chain)
  checks.passed('snp-tcb-match', 'a reported TCB equal to the certificate’s', tcbText(tcb.reported))
  const chip = checkChip(report, chain)
  const verified = {
    product: chain.product,
    productName: chain.claims.productName,
    signer: chain.vek,
    provider: chain.claims.provider,
    ...chip,
    tcb,
    report,
  }
  return {
    ...verified,
    format: 'sev-snp/1',
    role: entry.role,
    claims: snpClaims({ ...verified, role: entry.role, simulated: root.simulated }),
    root,
    simulated: root.simulated,
    notBefore: Math.max(chain.notBefore.at, crl?.thisUpdate ?? 0),
    notAfter: Math.min(chain.notAfter.at, crl?.nextUpdate ?? Number.POSITIVE_INFINITY),
    collateralIssuedAt: crl?.thisUpdate,
    verifiedAt: context.now,
  }
}

/** AMD's lists are signed by the ARK and speak of what it issued: the ASK or ASVK. A VCEK has no list. */
async function checkRevocation(
  chain: SnpChain,
  { now, endorsements, checks }: VerifyContext,
): Promise<Crl | undefined> {
  const name = intermediateName(chain.vek, chain.product)
  const crls = crlsOf(endorsements)
  const crl = await checkNotRevoked(chain.intermediate, chain.rootCertificate, { now, crls, name })
  if (crl)
    checks.passed('snp-revocation', `${name} not on AMD’s revocation list`, `list of ${timeText(crl.thisUpdate)}`)
  else checks.notApplicable('snp-revocation', 'no revocation list of this product was given')
  return crl
}

function findRoot(chain: SnpChain, roots: readonly TrustedRoot[]): SnpRoot {
  const found = roots.filter(
    (root) => root.tee === 'sev-snp' && root.product === chain.product && root.spki === chain.root,
  ) as SnpRoot[]
  const [root] = found
  if (root === undefined) {
    throw new EvidenceError(
      'ERR_EVIDENCE_ROOT_UNKNOWN',
      `chain of ${chain.product} ends at the key ${chain.root}, which is no trusted root; add it to the terms if you trust it`,
    )
  }
  // One key listed as real and as simulated: doubt goes against it.
  return found.find(({ simulated }) => simulated) ?? root
}

function checkValidity(chain: SnpChain, now: number): void {
  if (!Number.isFinite(now)) throw new RangeError(`now: ${now}`)
  const { notBefore, notAfter } = chain
  const shown = (seconds: number): string => new Date(seconds * 1000).toISOString()
  if (now > notAfter.at) {
    throw new EvidenceError(
      'ERR_EVIDENCE_EXPIRED',
      `certificate ${notAfter.certificate} expired at ${shown(notAfter.at)}, now is ${shown(now)}; fetch a fresh one`,
    )
  }
  if (now < notBefore.at) {
    throw new EvidenceError(
      'ERR_EVIDENCE_NOT_YET_VALID',
      `certificate ${notBefore.certificate} is valid from ${shown(notBefore.at)}, now is ${shown(now)}; check the clock`,
    )
  }
}

async function checkReportSignature(bytes: Uint8Array, report: SnpReport, chain: SnpChain): Promise<void> {
  let genuine = false
  try {
    const signed = bytes.subarray(0, snpSignedLength)
    genuine = await verifySignature('ecdsa-p384-sha384', chain.spki, signed, report.signature)
  } catch {
    // A point that is not on the curve has signed nothing.
  }
  if (!genuine) {
    throw new EvidenceError('ERR_EVIDENCE_SIGNATURE', `report is not signed by the key of its ${chain.vek} certificate`)
  }
}

function checkProduct(report: SnpReport, chain: SnpChain): void {
  // Version 2 does not say; then the certificate, whose key signed the report, is the only source.
  if (report.cpuid === undefined) return
  const product = productOfCpuid(report.cpuid)
  if (product !== chain.product) {
    const { family, model } = report.cpuid
    throw new EvidenceError(
      'ERR_EVIDENCE_PRODUCT_MISMATCH',
      `report is of ${product ?? 'an unknown processor'} (family ${family}, model ${model}), certificate of ${chain.product}`,
    )
  }
}

function checkTcb(report: SnpReport, chain: SnpChain): SnpTcbs {
  const { product, claims } = chain
  const tcb = reading(() => ({
    reported: parseTcb(report.reportedTcb, product, 'REPORTED_TCB'),
    committed: parseTcb(report.committedTcb, product, 'COMMITTED_TCB'),
    current: parseTcb(report.currentTcb, product, 'CURRENT_TCB'),
    launch: parseTcb(report.launchTcb, product, 'LAUNCH_TCB'),
  }))
  // Equality: a key of a lower TCB than reported would be one that broken firmware could have derived.
  if (!equalTcb(tcb.reported, claims.tcb)) {
    throw new EvidenceError(
      'ERR_EVIDENCE_TCB_MISMATCH',
      `report's TCB (${tcbText(tcb.reported)}) is not the certificate's (${tcbText(claims.tcb)})`,
    )
  }
  for (const [name, lower] of [['reported', tcb.reported] as const, ['committed', tcb.committed] as const]) {
    if (tcbBelow(tcb.current, lower).length > 0) {
      throw new EvidenceError(
        'ERR_EVIDENCE_TCB_MISMATCH',
        `current TCB (${tcbText(tcb.current)}) is below the ${name} one`,
      )
    }
  }
  return tcb
}

function checkChip(report: SnpReport, chain: SnpChain): Pick<VerifiedSnp, 'platformId' | 'chipIdMasked'> {
  const { hwId } = chain.claims
  const length = hasTurinLayout(chain.product) ? 8 : 64
  const chipIdMasked = report.chipId.every((byte) => byte === 0)
  const chipId = report.chipId.subarray(0, length)
  if (!report.chipId.subarray(length).every((byte) => byte === 0)) {
    throw new EvidenceError('ERR_EVIDENCE_MALFORMED', `CHIP_ID of ${chain.product} is longer than ${length} bytes`)
  }
  if (hwId === undefined) return { platformId: chipIdMasked ? undefined : encodeHex(chipId), chipIdMasked }
  if (!chipIdMasked && !equalBytes(chipId, hwId)) {
    throw new EvidenceError('ERR_EVIDENCE_CHIP_MISMATCH', 'report is of another chip than its VCEK certificate')
  }
  return { platformId: encodeHex(hwId), chipIdMasked }
}
