import { encodeHex } from '@cella/bytes'
import {
  atLeast,
  type Demand,
  flagged,
  harming,
  inOrder,
  type Judged,
  judged,
  numberOnList,
  onList,
} from '../demands.ts'
import type { SnpMinimumTcb, SnpPolicy } from '../policy.ts'
import { oneOf, type ReasonCode } from '../reasons.ts'
import { trustValue } from '../trust-vector.ts'
import type { SnpFirmwareVersion, SnpGuestPolicy, SnpPlatformInfo } from './report.ts'
import { type SnpTcb, snpTcbComponents, tcbBelow, tcbText } from './tcb.ts'
import type { VerifiedSnp } from './verify.ts'

/** Every requirement of `policy`, met or not. Steps 7 to 9 of the checklist. */
export function appraiseSnp(verified: VerifiedSnp, policy: SnpPolicy): Demand[] {
  return inOrder([
    ...harming('hardware', trustValue.unsafe, platformDemands(verified, policy)),
    ...harming('configuration', trustValue.unsafe, guestDemands(verified, policy)),
    ...harming('executables', trustValue.unrecognisedCode, identityDemands(verified, policy)),
  ])
}

const chipId = 'the chip’s id in the report'

function platformDemands(verified: VerifiedSnp, policy: SnpPolicy): Judged[] {
  const { report, tcb, product, signer } = verified
  const { current, committed, platformInfo } = report
  const provisional = tcbBelow(tcb.committed, tcb.current).length > 0 || firmwareBelow(committed, current)
  return [
    onList('snp-product', policy.products, product),
    onList('snp-signer', policy.signers, signer),
    tcbMinimum('snp-tcb', policy.minimumTcb, verified, tcb.reported),
    tcbMinimum('snp-committed-tcb', policy.minimumCommittedTcb, verified, tcb.committed),
    tcbMinimum('snp-launch-tcb', policy.minimumLaunchTcb, verified, tcb.launch),
    judged(
      'snp-provisional-firmware',
      policy.provisionalFirmware,
      `${firmwareText(committed)} (${tcbText(tcb.committed)}) committed, ${firmwareText(current)} (${tcbText(tcb.current)}) current`,
      () => [!provisional, 'committed firmware and TCB equal to the current ones'],
    ),
    judged('snp-firmware', policy.minimumFirmware, firmwareText(current), (minimum) => [
      !firmwareBelow(current, minimum),
      `at least ${firmwareText(minimum)}`,
    ]),
    judged('snp-masked-chip-id', policy.maskedChipId, verified.chipIdMasked ? 'zeros' : chipId, () => [
      !verified.chipIdMasked,
      chipId,
    ]),
    mitigations('snp-launch-mitigation', policy.launchMitigations, report.launchMitigation),
    mitigations('snp-current-mitigation', policy.currentMitigations, report.currentMitigation),
    ...platformBits.map(([code, field]) => flagged(code, policy.platform[field], platformInfo[field])),
  ]
}

function guestDemands({ report }: VerifiedSnp, policy: SnpPolicy): Judged[] {
  const { abiMajor, abiMinor } = report.policy
  return [
    judged('snp-abi', policy.minimumAbi, `${abiMajor}.${abiMinor}`, ({ major, minor }) => [
      abiMajor > major || (abiMajor === major && abiMinor >= minor),
      `at least ${major}.${minor}`,
    ]),
    numberOnList('snp-vmpl', policy.vmpls, report.vmpl),
    ...guestBits.map(([code, field]) => flagged(code, policy.guest[field], report.policy[field])),
  ]
}

function identityDemands({ report }: VerifiedSnp, policy: SnpPolicy): Judged[] {
  return [
    atLeast('snp-guest-svn', policy.minimumGuestSvn, report.guestSvn),
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

const guestBits: readonly (readonly [ReasonCode, keyof SnpPolicy['guest'] & keyof SnpGuestPolicy])[] = [
  ['snp-guest-migration-agent', 'migrationAgent'],
  ['snp-guest-smt', 'smt'],
  ['snp-guest-cxl', 'cxlAllowed'],
  ['snp-guest-single-socket', 'singleSocket'],
  ['snp-guest-aes-256-xts', 'memoryAes256Xts'],
  ['snp-guest-rapl', 'raplDisabled'],
  ['snp-guest-ciphertext-hiding', 'ciphertextHiding'],
  ['snp-guest-page-swap', 'pageSwapDisabled'],
]
const platformBits: readonly (readonly [ReasonCode, keyof SnpPolicy['platform'] & keyof SnpPlatformInfo])[] = [
  ['snp-platform-smt', 'smt'],
  ['snp-platform-tio', 'tio'],
  ['snp-platform-tsme', 'tsme'],
  ['snp-platform-ecc', 'ecc'],
  ['snp-platform-rapl', 'raplDisabled'],
  ['snp-platform-ciphertext-hiding', 'ciphertextHiding'],
  ['snp-platform-alias-check', 'aliasCheckComplete'],
  ['snp-platform-iommu-write-safe', 'iommuWriteSafe'],
]

function tcbMinimum(
  code: ReasonCode,
  minimums: SnpMinimumTcb | 'any',
  { product }: VerifiedSnp,
  found: SnpTcb,
): Judged {
  const minimum = minimums === 'any' ? found : minimums[product]
  if (minimum === undefined) {
    return judged(code, minimums, product, (known) => [false, `a product with a minimum: ${oneOf(Object.keys(known))}`])
  }
  // A component left out of a minimum would demand nothing of it.
  if (snpTcbComponents.some((component) => (found[component] === undefined) !== (minimum[component] === undefined))) {
    return judged(code, minimums, tcbText(minimum), () => [false, `a minimum with each component of ${product}`])
  }
  return judged(code, minimums, tcbText(found), () => [
    tcbBelow(found, minimum).length === 0,
    `at least ${tcbText(minimum)}`,
  ])
}

function mitigations(code: ReasonCode, bits: readonly number[] | 'any', vector: bigint): Judged {
  const missing = bits === 'any' ? [] : bits.filter((number) => (vector & (1n << BigInt(number))) === 0n)
  const found = missing.length === 0 ? `vector ${vector.toString(16)}` : `bits ${missing.join(', ')} clear`
  return judged(code, bits, found, (all) => [missing.length === 0, `bits ${all.join(', ')} set`])
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
