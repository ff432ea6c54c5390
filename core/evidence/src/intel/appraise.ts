import { encodeHex } from '@cella/bytes'
import { type Finding, oneOf, outside, type ReasonCode, reasonCodes } from '../reasons.ts'
import { type TrustClaim, trustValue } from '../trust-vector.ts'
import { timeText } from '../x509/path.ts'
import type { VerifiedQuote } from './dcap.ts'
import type { IntelTcbPolicy, SgxPolicy, TdxPolicy } from './policy.ts'
import { setBits } from './sgx-report.ts'
import type { TcbRating } from './tcb-info.ts'
import type { VerifiedSgx, VerifiedTdx } from './verify.ts'

type Found = Omit<Finding, 'harm'> | undefined

const daySeconds = 86_400

/** Every requirement of `policy` that this quote does not meet. */
export function appraiseSgx(verified: VerifiedSgx, policy: SgxPolicy): Finding[] {
  return inOrder([
    ...withHarm('hardware', hardwareHarm(verified), tcbFindings(verified.verified, policy.tcb, verified.verifiedAt)),
    ...withHarm('executables', trustValue.unrecognisedCode, sgxIdentityFindings(verified, policy)),
    ...withHarm('configuration', trustValue.unsafe, sgxAttributeFindings(verified, policy)),
  ])
}

/** Every requirement of `policy` that this quote does not meet. */
export function appraiseTdx(verified: VerifiedTdx, policy: TdxPolicy): Finding[] {
  return inOrder([
    ...withHarm('hardware', hardwareHarm(verified), [
      ...tcbFindings(verified.verified, policy.tcb, verified.verifiedAt),
      onList('tdx-module', policy.modules, encodeHex(verified.report.mrSeam)),
      unless(
        policy.relaunchAdvised === 'any' || !verified.verified.evaluation?.relaunchAdvised,
        'tdx-relaunch',
        'a TD launched by the module that runs now',
        'a TD that a new launch would rate better',
      ),
    ]),
    ...withHarm('configuration', trustValue.unsafe, tdxConfigurationFindings(verified, policy)),
  ])
}

/** A revoked TCB gave its keys away: nothing that it says can be believed. */
function hardwareHarm({ verified }: VerifiedSgx | VerifiedTdx): number {
  return verified.evaluation?.status === 'Revoked' ? trustValue.contraindicated : trustValue.unsafe
}

function tcbFindings(verified: VerifiedQuote, policy: IntelTcbPolicy, now: number): Found[] {
  const { evaluation, revocation, pck } = verified
  const none = 'not known: TCB info or QE identity was not given'
  const accepted = policy.advisories
  const advisories = accepted === 'any' ? [] : (evaluation?.advisories ?? []).filter((id) => !accepted.includes(id))
  const { minimumTcbDate, minimumEvaluation } = policy
  return [
    statusFinding(verified, policy, now),
    unless(
      accepted === 'any' || (evaluation !== undefined && advisories.length === 0),
      'intel-advisory',
      accepted === 'any' ? accepted : accepted.length === 0 ? 'no advisory' : `none but ${accepted.join(', ')}`,
      evaluation ? advisories.join(', ') : none,
    ),
    unless(
      minimumTcbDate === 'any' || (evaluation !== undefined && evaluation.date >= minimumTcbDate),
      'intel-tcb-date',
      minimumTcbDate === 'any' ? minimumTcbDate : `a TCB of ${timeText(minimumTcbDate)} or later`,
      evaluation ? timeText(evaluation.date) : none,
    ),
    unless(
      minimumEvaluation === 'any' || (evaluation !== undefined && evaluation.evaluation >= minimumEvaluation),
      'intel-evaluation',
      `at least ${minimumEvaluation}`,
      evaluation ? String(evaluation.evaluation) : none,
    ),
    unless(
      policy.revocation === 'any' || revocation === 'checked',
      'intel-revocation',
      'a revocation list of every issuer',
      'at least one was not given',
    ),
    minimumFinding(verified, policy),
    flagFinding('intel-dynamic-platform', policy.dynamicPlatform, pck.dynamicPlatform),
    flagFinding('intel-cached-keys', policy.cachedKeys, pck.cachedKeys),
    flagFinding('intel-smt', policy.smt, pck.smtEnabled),
  ]
}

function statusFinding({ evaluation }: VerifiedQuote, policy: IntelTcbPolicy, now: number): Found {
  const { statuses, outOfDateGraceDays } = policy
  const expected = oneOf(statuses)
  if (evaluation === undefined) {
    const why = 'not known: TCB info or QE identity was not given'
    return unless(statuses === 'any', 'intel-tcb-status', expected, why)
  }
  const { platform, qe, module } = evaluation
  const parts: readonly (readonly [string, TcbRating | undefined])[] = [
    ['platform', platform],
    ['quoting enclave', qe],
    ['TDX module', module],
  ]
  // Each part for itself: the worst of them hides that another one is not accepted either.
  const refused = parts.filter(([, part]) => {
    if (part === undefined) return false
    if (part.status === 'Revoked') return true
    if (statuses === 'any' || (statuses as readonly string[]).includes(part.status)) return false
    return !(
      part.status.startsWith('OutOfDate') &&
      now <= part.date + outOfDateGraceDays * daySeconds &&
      outOfDateGraceDays > 0
    )
  })
  if (refused.length === 0) return undefined
  const found = refused.map(([name, part]) => `${name} ${part!.status} (TCB of ${timeText(part!.date)})`).join(', ')
  return reason('intel-tcb-status', statuses === 'any' ? 'any but Revoked' : expected, found)
}

function minimumFinding({ pck, quote }: VerifiedQuote, { minimumTcb }: IntelTcbPolicy): Found {
  if (minimumTcb === 'any') return undefined
  const minimum = Object.hasOwn(minimumTcb, pck.fmspc) ? minimumTcb[pck.fmspc] : undefined
  if (minimum === undefined) {
    return reason('intel-minimum-tcb', `a platform with a minimum: ${oneOf(Object.keys(minimumTcb))}`, pck.fmspc)
  }
  const tdx = quote.body.kind === 'tdx' ? [...quote.body.teeTcbSvn] : undefined
  const below =
    minimum.components.some((svn, at) => pck.components[at]! < svn) ||
    pck.pceSvn < minimum.pceSvn ||
    (tdx !== undefined && minimum.tdx !== 'any' && minimum.tdx.some((svn, at) => tdx[at]! < svn))
  const text = (components: readonly number[], pce: number, more: readonly number[] | 'any' | undefined): string =>
    [
      `components ${components.join('.')}`,
      `PCE ${pce}`,
      ...(more && more !== 'any' ? [`TDX ${more.join('.')}`] : []),
    ].join(', ')
  return unless(
    !below,
    'intel-minimum-tcb',
    `at least ${text(minimum.components, minimum.pceSvn, minimum.tdx)}`,
    text(pck.components, pck.pceSvn, tdx),
  )
}

function flagFinding(code: ReasonCode, setting: 'refused' | 'any', found: boolean | undefined): Found {
  const shown = found === undefined ? 'not known: the certificate does not say' : 'on'
  return unless(setting === 'any' || found === false, code, 'off', shown)
}

function sgxIdentityFindings({ report }: VerifiedSgx, policy: SgxPolicy): Found[] {
  // Without KSS the fields are zero, whatever the list says.
  const { kss } = report.attributes
  const { minimumConfigSvn } = policy
  return [
    onList('sgx-signer', policy.signers, encodeHex(report.mrSigner)),
    unless(
      policy.productIds === 'any' || policy.productIds.includes(report.productId),
      'sgx-product',
      oneOf(policy.productIds),
      String(report.productId),
    ),
    atLeast('sgx-svn', policy.minimumSvn, report.svn),
    onList('sgx-config', policy.configIds, kss ? encodeHex(report.configId) : null),
    kss
      ? atLeast('sgx-config-svn', minimumConfigSvn, report.configSvn)
      : unless(minimumConfigSvn === 'any', 'sgx-config-svn', `at least ${minimumConfigSvn}`, 'none'),
    onList('sgx-family', policy.familyIds, kss ? encodeHex(report.familyId) : null),
    onList('sgx-extended-product', policy.extendedProductIds, kss ? encodeHex(report.extendedProductId) : null),
  ]
}

function sgxAttributeFindings({ report }: VerifiedSgx, policy: SgxPolicy): Found[] {
  const { attributes } = report
  return [
    flagFinding('sgx-provision-key', policy.provisionKey, attributes.provisionKey),
    flagFinding('sgx-einit-token-key', policy.einitTokenKey, attributes.einitTokenKey),
    flagFinding('sgx-unknown-attribute', policy.unknownAttributes, attributes.unknown),
    bitsWithin('sgx-misc-select', policy.miscSelect, setBits(report.miscSelect)),
    bitsWithin('sgx-xfrm', policy.xfrm, attributes.xfrm),
  ]
}

function tdxConfigurationFindings({ report, replayed }: VerifiedTdx, policy: TdxPolicy): Found[] {
  const { tdAttributes } = report
  const serviceTd =
    report.mrServiceTd && !report.mrServiceTd.every((byte) => byte === 0) ? encodeHex(report.mrServiceTd) : null
  const { serviceTds } = policy
  return [
    unless(
      policy.septVeDisable === 'any' || tdAttributes.septVeDisable,
      'tdx-sept-ve-disable',
      'SEPT_VE_DISABLE set',
      'clear',
    ),
    flagFinding('tdx-migratable', policy.migratable, tdAttributes.migratable),
    flagFinding('tdx-pks', policy.pks, tdAttributes.pks),
    flagFinding('tdx-key-locker', policy.keyLocker, tdAttributes.keyLocker),
    flagFinding('tdx-perfmon', policy.perfmon, tdAttributes.perfmon),
    flagFinding('tdx-lass', policy.lass, tdAttributes.lass),
    flagFinding('tdx-unknown-attribute', policy.unknownAttributes, tdAttributes.unknown),
    bitsWithin('tdx-xfam', policy.xfam, report.xfam),
    serviceTds === 'none'
      ? unless(serviceTd === null, 'tdx-service-td', 'none', serviceTd ?? 'none')
      : onList('tdx-service-td', serviceTds, serviceTd),
    onList('tdx-config', policy.configIds, encodeHex(report.mrConfigId)),
    onList('tdx-owner', policy.owners, encodeHex(report.mrOwner)),
    onList('tdx-owner-config', policy.ownerConfigs, encodeHex(report.mrOwnerConfig)),
    unless(
      policy.eventLog === 'any' || replayed !== undefined,
      'tdx-event-log',
      'an event log that leads to the RTMRs',
      'none was given',
    ),
  ]
}

function onList(code: ReasonCode, accepted: readonly string[] | 'any', found: string | null): Found {
  return unless(!outside(accepted, found), code, oneOf(accepted), found ?? 'none')
}

function atLeast(code: ReasonCode, minimum: number | 'any', found: number): Found {
  return unless(minimum === 'any' || found >= minimum, code, `at least ${minimum}`, String(found))
}

function bitsWithin(code: ReasonCode, allowed: readonly number[] | 'any', found: readonly number[]): Found {
  if (allowed === 'any') return undefined
  const others = found.filter((bit) => !allowed.includes(bit))
  return unless(others.length === 0, code, `no bits but ${allowed.join(', ')}`, `bits ${others.join(', ')} too`)
}

function unless(met: boolean, code: ReasonCode, expected: string, found: string): Found {
  return met ? undefined : reason(code, expected, found)
}

function reason(code: ReasonCode, expected: string, found: string): Found {
  return { code, expected, found }
}

function withHarm(claim: TrustClaim, value: number, found: readonly Found[]): Finding[] {
  return found.flatMap((finding) => (finding ? [{ ...finding, harm: [claim, value] as const }] : []))
}

function inOrder(findings: readonly Finding[]): Finding[] {
  return [...findings].sort((a, b) => reasonCodes.indexOf(a.code) - reasonCodes.indexOf(b.code))
}
