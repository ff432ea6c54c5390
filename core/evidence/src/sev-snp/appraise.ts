import { encodeHex } from '@cella/bytes'
import type { SnpMinimumTcb, SnpPolicy } from '../policy.ts'
import { type Finding, oneOf, outside, type ReasonCode, reasonCodes } from '../reasons.ts'
import { type TrustClaim, trustValue } from '../trust-vector.ts'
import type { SnpFirmwareVersion, SnpGuestPolicy, SnpPlatformInfo } from './report.ts'
import { type SnpTcb, snpTcbComponents, tcbBelow, tcbText } from './tcb.ts'
import type { VerifiedSnp } from './verify.ts'

type Found = Omit<Finding, 'harm'> | undefined

/** Every requirement of `policy` that this report does not meet. Steps 7 to 9 of the checklist. */
export function appraiseSnp(verified: VerifiedSnp, policy: SnpPolicy): Finding[] {
  return [
    ...withHarm('hardware', trustValue.unsafe, platformFindings(verified, policy)),
    ...withHarm('configuration', trustValue.unsafe, guestFindings(verified, policy)),
    ...withHarm('executables', trustValue.unrecognisedCode, identityFindings(verified, policy)),
  ].sort((a, b) => reasonCodes.indexOf(a.code) - reasonCodes.indexOf(b.code))
}

function platformFindings(verified: VerifiedSnp, policy: SnpPolicy): Found[] {
  const { report, tcb, product, signer } = verified
  const { current, committed, platformInfo } = report
  const provisional = tcbBelow(tcb.committed, tcb.current).length > 0 || firmwareBelow(committed, current)
  return [
    onList('snp-product', policy.products, product),
    onList('snp-signer', policy.signers, signer),
    tcbMinimum('snp-tcb', policy.minimumTcb, verified, tcb.reported),
    tcbMinimum('snp-committed-tcb', policy.minimumCommittedTcb, verified, tcb.committed),
    tcbMinimum('snp-launch-tcb', policy.minimumLaunchTcb, verified, tcb.launch),
    policy.provisionalFirmware !== 'any' && provisional
      ? reason(
          'snp-provisional-firmware',
          'committed firmware and TCB equal to the current ones',
          `${firmwareText(committed)} (${tcbText(tcb.committed)}) committed, ${firmwareText(current)} (${tcbText(tcb.current)}) current`,
        )
      : undefined,
    policy.minimumFirmware !== 'any' && firmwareBelow(current, policy.minimumFirmware)
      ? reason('snp-firmware', `at least ${firmwareText(policy.minimumFirmware)}`, firmwareText(current))
      : undefined,
    policy.maskedChipId !== 'any' && verified.chipIdMasked
      ? reason('snp-masked-chip-id', 'the chip’s id in the report', 'zeros')
      : undefined,
    mitigations('snp-launch-mitigation', policy.launchMitigations, report.launchMitigation),
    mitigations('snp-current-mitigation', policy.currentMitigations, report.currentMitigation),
    ...platformBits.map(([code, field, wanted]) => bit(code, policy.platform[field], platformInfo[field], wanted)),
  ]
}

function guestFindings({ report }: VerifiedSnp, policy: SnpPolicy): Found[] {
  const { abiMajor, abiMinor } = report.policy
  const abi = policy.minimumAbi
  const abiLow = abi !== 'any' && (abiMajor < abi.major || (abiMajor === abi.major && abiMinor < abi.minor))
  return [
    abiLow ? reason('snp-abi', `at least ${abi.major}.${abi.minor}`, `${abiMajor}.${abiMinor}`) : undefined,
    policy.vmpls !== 'any' && !policy.vmpls.includes(report.vmpl)
      ? reason('snp-vmpl', oneOf(policy.vmpls), String(report.vmpl))
      : undefined,
    ...guestBits.map(([code, field, wanted]) => bit(code, policy.guest[field], report.policy[field], wanted)),
  ]
}

function identityFindings({ report }: VerifiedSnp, policy: SnpPolicy): Found[] {
  const svn = policy.minimumGuestSvn
  return [
    svn !== 'any' && report.guestSvn < svn
      ? reason('snp-guest-svn', `at least ${svn}`, String(report.guestSvn))
      : undefined,
    onList('snp-id-key', policy.idKeyDigests, encodeHex(report.idKeyDigest)),
    // The digest alone says nothing: the firmware checked an author key only where the flag is set.
    onList(
      'snp-author-key',
      policy.authorKeyDigests,
      report.authorKeyEnabled ? encodeHex(report.authorKeyDigest) : null,
    ),
    onList('snp-family-id', policy.familyIds, encodeHex(report.familyId)),
    onList('snp-image-id', policy.imageIds, encodeHex(report.imageId)),
    onList('snp-report-id', policy.reportIds, encodeHex(report.reportId)),
    onList('snp-migration-report-id', policy.migrationReportIds, encodeHex(report.reportIdMa)),
  ]
}

// Code, field, and what `required` (true) or `refused` (false) wants of it.
const guestBits: readonly (readonly [ReasonCode, keyof SnpPolicy['guest'] & keyof SnpGuestPolicy, boolean])[] = [
  ['snp-guest-migration-agent', 'migrationAgent', false],
  ['snp-guest-smt', 'smt', false],
  ['snp-guest-cxl', 'cxlAllowed', false],
  ['snp-guest-single-socket', 'singleSocket', true],
  ['snp-guest-aes-256-xts', 'memoryAes256Xts', true],
  ['snp-guest-rapl', 'raplDisabled', true],
  ['snp-guest-ciphertext-hiding', 'ciphertextHiding', true],
  ['snp-guest-page-swap', 'pageSwapDisabled', true],
]
const platformBits: readonly (readonly [ReasonCode, keyof SnpPolicy['platform'] & keyof SnpPlatformInfo, boolean])[] = [
  ['snp-platform-smt', 'smt', false],
  ['snp-platform-tio', 'tio', false],
  ['snp-platform-tsme', 'tsme', true],
  ['snp-platform-ecc', 'ecc', true],
  ['snp-platform-rapl', 'raplDisabled', true],
  ['snp-platform-ciphertext-hiding', 'ciphertextHiding', true],
  ['snp-platform-alias-check', 'aliasCheckComplete', true],
  ['snp-platform-iommu-write-safe', 'iommuWriteSafe', true],
]

function bit(code: ReasonCode, setting: string, found: boolean, wanted: boolean): Found {
  if (setting === 'any' || found === wanted) return undefined
  return reason(code, wanted ? 'on' : 'off', found ? 'on' : 'off')
}

function onList(code: ReasonCode, accepted: readonly string[] | 'any', found: string | null): Found {
  return outside(accepted, found) ? reason(code, oneOf(accepted), found ?? 'none') : undefined
}

function tcbMinimum(code: ReasonCode, minimums: SnpMinimumTcb | 'any', { product }: VerifiedSnp, found: SnpTcb): Found {
  if (minimums === 'any') return undefined
  const minimum = minimums[product]
  if (minimum === undefined) return reason(code, `a product with a minimum: ${oneOf(Object.keys(minimums))}`, product)
  // A component left out of a minimum would demand nothing of it.
  if (snpTcbComponents.some((component) => (found[component] === undefined) !== (minimum[component] === undefined))) {
    return reason(code, `a minimum with each component of ${product}`, tcbText(minimum))
  }
  if (tcbBelow(found, minimum).length === 0) return undefined
  return reason(code, `at least ${tcbText(minimum)}`, tcbText(found))
}

function mitigations(code: ReasonCode, bits: readonly number[] | 'any', found: bigint): Found {
  if (bits === 'any') return undefined
  const missing = bits.filter((number) => (found & (1n << BigInt(number))) === 0n)
  if (missing.length === 0) return undefined
  return reason(code, `bits ${bits.join(', ')} set`, `bits ${missing.join(', ')} clear`)
}

function firmwareBelow(found: SnpFirmwareVersion, minimum: SnpFirmwareVersion): boolean {
  for (const part of ['major', 'minor', 'build'] as const) {
    if (found[part] !== minimum[part]) return found[part] < minimum[part]
  }
  return false
}

function firmwareText({ major, minor, build }: SnpFirmwareVersion): string {
  return `${major}.${minor}.${build}`
}

function reason(code: ReasonCode, expected: string, found: string): Found {
  return { code, expected, found }
}

function withHarm(claim: TrustClaim, value: number, found: readonly Found[]): Finding[] {
  return found.flatMap((one) => (one === undefined ? [] : [{ ...one, harm: [claim, value] as const }]))
}
