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
import { oneOf, type ReasonCode } from '../reasons.ts'
import { trustValue } from '../trust-vector.ts'
import { timeText } from '../x509/path.ts'
import type { VerifiedQuote } from './dcap.ts'
import type { IntelTcbPolicy, SgxPolicy, TdxPolicy } from './policy.ts'
import { setBits } from './sgx-report.ts'
import type { VerifiedSgx, VerifiedTdx } from './verify.ts'

const daySeconds = 86_400

/** Every requirement of `policy`, met or not. */
export function appraiseSgx(verified: VerifiedSgx, policy: SgxPolicy): Demand[] {
  return inOrder([
    ...harming('hardware', hardwareHarm(verified), tcbDemands(verified.verified, policy.tcb, verified.verifiedAt)),
    ...harming('executables', trustValue.unrecognisedCode, sgxIdentityDemands(verified, policy)),
    ...harming('configuration', trustValue.unsafe, sgxAttributeDemands(verified, policy)),
  ])
}

/** Every requirement of `policy`, met or not. */
export function appraiseTdx(verified: VerifiedTdx, policy: TdxPolicy): Demand[] {
  return inOrder([
    ...harming('hardware', hardwareHarm(verified), [
      ...tcbDemands(verified.verified, policy.tcb, verified.verifiedAt),
      onList('tdx-module', policy.modules, encodeHex(verified.report.mrSeam)),
      relaunchDemand(verified, policy),
    ]),
    ...harming('configuration', trustValue.unsafe, tdxConfigurationDemands(verified, policy)),
  ])
}

/** A revoked TCB gave its keys away: nothing that it says can be believed. */
function hardwareHarm({ verified }: VerifiedSgx | VerifiedTdx): number {
  return verified.evaluation?.status === 'Revoked' ? trustValue.contraindicated : trustValue.unsafe
}

function relaunchDemand({ verified }: VerifiedTdx, { relaunchAdvised }: TdxPolicy): Judged {
  const isAdvised = verified.evaluation?.relaunchAdvised === true
  const current = 'a TD launched by the module that runs now'
  const found = isAdvised ? 'a TD that a new launch would rate better' : current
  return judged('tdx-relaunch', relaunchAdvised, found, () => [!isAdvised, current])
}

const notRated = 'not known: TCB info or QE identity was not given'

function tcbDemands(verified: VerifiedQuote, policy: IntelTcbPolicy, now: number): Judged[] {
  const { evaluation, revocation, pck } = verified
  const { advisories } = policy
  const all = evaluation?.advisories ?? []
  const others = advisories === 'any' ? [] : all.filter((id) => !advisories.includes(id))
  const advisoryText = (others.length === 0 ? all : others).join(', ') || 'no advisory'
  const unsaid = 'not known: the certificate does not say'
  return [
    statusDemand(verified, policy, now),
    judged('intel-advisory', advisories, evaluation ? advisoryText : notRated, (accepted) => [
      evaluation !== undefined && others.length === 0,
      accepted.length === 0 ? 'no advisory' : `none but ${accepted.join(', ')}`,
    ]),
    judged('intel-tcb-date', policy.minimumTcbDate, evaluation ? timeText(evaluation.date) : notRated, (least) => [
      evaluation !== undefined && evaluation.date >= least,
      `a TCB of ${timeText(least)} or later`,
    ]),
    judged(
      'intel-evaluation',
      policy.minimumEvaluation,
      evaluation ? String(evaluation.evaluation) : notRated,
      (least) => [evaluation !== undefined && evaluation.evaluation >= least, `at least ${least}`],
    ),
    judged(
      'intel-revocation',
      policy.revocation,
      revocation === 'checked' ? allLists : 'at least one was not given',
      () => [revocation === 'checked', allLists],
    ),
    minimumDemand(verified, policy),
    flagged('intel-dynamic-platform', policy.dynamicPlatform, pck.dynamicPlatform, unsaid),
    flagged('intel-cached-keys', policy.cachedKeys, pck.cachedKeys, unsaid),
    flagged('intel-smt', policy.smt, pck.smtEnabled, unsaid),
  ]
}

const allLists = 'a revocation list of every issuer'

function statusDemand({ evaluation }: VerifiedQuote, policy: IntelTcbPolicy, now: number): Judged {
  const { statuses, outOfDateGraceDays } = policy
  if (evaluation === undefined) return judged('intel-tcb-status', statuses, notRated, (list) => [false, oneOf(list)])
  const { platform, qe, module } = evaluation
  const parts = (
    [
      ['platform', platform],
      ['quoting enclave', qe],
      ['TDX module', module],
    ] as const
  ).flatMap(([name, rating]) => (rating === undefined ? [] : [{ name, rating }]))
  // Each part for itself: the worst of them hides that another one is not accepted either.
  const refused = parts.filter(({ rating: { status, date } }) => {
    if (status === 'Revoked') return true
    if (statuses === 'any' || (statuses as readonly string[]).includes(status)) return false
    return !(status.startsWith('OutOfDate') && now <= date + outOfDateGraceDays * daySeconds && outOfDateGraceDays > 0)
  })
  const found = (refused.length === 0 ? parts : refused)
    .map(({ name, rating }) => `${name} ${rating.status} (TCB of ${timeText(rating.date)})`)
    .join(', ')
  // A revoked one is refused whatever the list says.
  return judged('intel-tcb-status', 'demanded', found, () => [
    refused.length === 0,
    statuses === 'any' ? 'any but Revoked' : oneOf(statuses),
  ])
}

function minimumDemand({ pck, quote }: VerifiedQuote, { minimumTcb }: IntelTcbPolicy): Judged {
  const code = 'intel-minimum-tcb'
  const tdx = quote.body.kind === 'tdx' ? [...quote.body.teeTcbSvn] : undefined
  const found = levelText(pck.components, pck.pceSvn, tdx)
  if (minimumTcb === 'any') return judged(code, minimumTcb, found, () => [true, found])
  const minimum = Object.hasOwn(minimumTcb, pck.fmspc) ? minimumTcb[pck.fmspc] : undefined
  if (minimum === undefined) {
    return judged(code, minimumTcb, pck.fmspc, (known) => [
      false,
      `a platform with a minimum: ${oneOf(Object.keys(known))}`,
    ])
  }
  const below =
    minimum.components.some((svn, at) => pck.components[at]! < svn) ||
    pck.pceSvn < minimum.pceSvn ||
    (tdx !== undefined && minimum.tdx !== 'any' && minimum.tdx.some((svn, at) => tdx[at]! < svn))
  return judged(code, minimumTcb, found, () => [
    !below,
    `at least ${levelText(minimum.components, minimum.pceSvn, minimum.tdx)}`,
  ])
}

function levelText(components: readonly number[], pce: number, tdx: readonly number[] | 'any' | undefined): string {
  const more = tdx && tdx !== 'any' ? [`TDX ${tdx.join('.')}`] : []
  return [`components ${components.join('.')}`, `PCE ${pce}`, ...more].join(', ')
}

function sgxIdentityDemands({ report }: VerifiedSgx, policy: SgxPolicy): Judged[] {
  // Without KSS the fields are zero, whatever the list says.
  const { kss } = report.attributes
  return [
    onList('sgx-signer', policy.signers, encodeHex(report.mrSigner)),
    numberOnList('sgx-product', policy.productIds, report.productId),
    atLeast('sgx-svn', policy.minimumSvn, report.svn),
    onList('sgx-config', policy.configIds, kss ? encodeHex(report.configId) : null),
    judged('sgx-config-svn', policy.minimumConfigSvn, kss ? String(report.configSvn) : 'none', (least) => [
      kss && report.configSvn >= least,
      `at least ${least}`,
    ]),
    onList('sgx-family', policy.familyIds, kss ? encodeHex(report.familyId) : null),
    onList('sgx-extended-product', policy.extendedProductIds, kss ? encodeHex(report.extendedProductId) : null),
  ]
}

function sgxAttributeDemands({ report }: VerifiedSgx, policy: SgxPolicy): Judged[] {
  const { attributes } = report
  return [
    flagged('sgx-provision-key', policy.provisionKey, attributes.provisionKey),
    flagged('sgx-einit-token-key', policy.einitTokenKey, attributes.einitTokenKey),
    flagged('sgx-unknown-attribute', policy.unknownAttributes, attributes.unknown),
    bitsWithin('sgx-misc-select', policy.miscSelect, setBits(report.miscSelect)),
    bitsWithin('sgx-xfrm', policy.xfrm, attributes.xfrm),
  ]
}

function tdxConfigurationDemands({ report, replayed }: VerifiedTdx, policy: TdxPolicy): Judged[] {
  const { tdAttributes } = report
  const serviceTd =
    report.mrServiceTd && !report.mrServiceTd.every((byte) => byte === 0) ? encodeHex(report.mrServiceTd) : null
  const { serviceTds } = policy
  return [
    judged('tdx-sept-ve-disable', policy.septVeDisable, tdAttributes.septVeDisable ? 'set' : 'clear', () => [
      tdAttributes.septVeDisable,
      'SEPT_VE_DISABLE set',
    ]),
    flagged('tdx-migratable', policy.migratable, tdAttributes.migratable),
    flagged('tdx-pks', policy.pks, tdAttributes.pks),
    flagged('tdx-key-locker', policy.keyLocker, tdAttributes.keyLocker),
    flagged('tdx-perfmon', policy.perfmon, tdAttributes.perfmon),
    flagged('tdx-lass', policy.lass, tdAttributes.lass),
    flagged('tdx-unknown-attribute', policy.unknownAttributes, tdAttributes.unknown),
    bitsWithin('tdx-xfam', policy.xfam, report.xfam),
    judged('tdx-service-td', serviceTds, serviceTd ?? 'none', (accepted) =>
      accepted === 'none'
        ? [serviceTd === null, 'none']
        : [serviceTd !== null && accepted.includes(serviceTd), oneOf(accepted)],
    ),
    onList('tdx-config', policy.configIds, encodeHex(report.mrConfigId)),
    onList('tdx-owner', policy.owners, encodeHex(report.mrOwner)),
    onList('tdx-owner-config', policy.ownerConfigs, encodeHex(report.mrOwnerConfig)),
    judged('tdx-event-log', policy.eventLog, replayed ? leadingLog : 'none was given', () => [
      replayed !== undefined,
      leadingLog,
    ]),
  ]
}

const leadingLog = 'an event log that leads to the RTMRs'

function bitsWithin(code: ReasonCode, allowed: readonly number[] | 'any', found: readonly number[]): Judged {
  const others = allowed === 'any' ? [] : found.filter((bit) => !allowed.includes(bit))
  const text = others.length === 0 ? `bits ${found.join(', ') || 'none'}` : `bits ${others.join(', ')} too`
  return judged(code, allowed, text, (list) => [others.length === 0, `no bits but ${list.join(', ')}`])
}
