import { type TcbStatus, tcbStatuses } from '../claims.ts'
import {
  type Check,
  checkFields,
  fields,
  isInteger,
  listOf,
  number,
  object,
  orAny,
  refused,
  required,
  setting,
  texts,
  wrong,
} from '../policy-fields.ts'

type Refused = 'refused' | 'any'
type Required = 'required' | 'any'

/** A status that a policy can accept. A revoked TCB has keys that are no longer secret: no policy accepts it. */
export type AcceptableTcbStatus = Exclude<TcbStatus, 'Revoked'>

/** The least security versions of one kind of platform. */
export interface IntelMinimumTcb {
  /** Sixteen each, in Intel's order. */
  readonly components: readonly number[]
  readonly pceSvn: number
  /** Of TEE_TCB_SVN; `any` for SGX. */
  readonly tdx: readonly number[] | 'any'
}

/** What is demanded of a platform of Intel's, whichever TEE. Every field is required; to accept anything it says `any`. */
export interface IntelTcbPolicy {
  /** Of the platform, the quoting enclave and the TDX module, each. A list refuses evidence without collateral. */
  readonly statuses: readonly AcceptableTcbStatus[] | 'any'
  /**
   * Days after its level's TCB date in which a status that is out of date is taken although `statuses` does not name it;
   * 0 for none. They start when Intel defined the level, not when it replaced it.
   */
  readonly outOfDateGraceDays: number
  /** Advisories that may apply to the level; others refuse it. */
  readonly advisories: readonly string[] | 'any'
  /** Unix seconds: the TCB date of every part must not be before. */
  readonly minimumTcbDate: number | 'any'
  /** tcbEvaluationDataNumber of TCB info and QE identity, so that a host can't choose an older set that is still in force. */
  readonly minimumEvaluation: number | 'any'
  /** `required`: a revocation list was given for every issuer. */
  readonly revocation: Required
  /** By FMSPC in lower-case hexadecimal; a platform without a minimum is refused. */
  readonly minimumTcb: { readonly [fmspc: string]: IntelMinimumTcb } | 'any'
  /** Several processor packages that may be exchanged. A certificate that does not say is refused too, here and below. */
  readonly dynamicPlatform: Refused
  /** Intel keeps the platform's root keys, and could certify it again. */
  readonly cachedKeys: Refused
  readonly smt: Refused
}

export interface SgxPolicy {
  readonly tcb: IntelTcbPolicy
  /** MRSIGNER, 32 bytes in lower-case hexadecimal. */
  readonly signers: readonly string[] | 'any'
  /** ISVPRODID: what a signer calls one product. Means nothing without `signers`. */
  readonly productIds: readonly number[] | 'any'
  readonly minimumSvn: number | 'any'
  /** These four say something with KSS alone; without it they are refused unless `any`. 64, -, 16 and 16 bytes. */
  readonly configIds: readonly string[] | 'any'
  readonly minimumConfigSvn: number | 'any'
  readonly familyIds: readonly string[] | 'any'
  readonly extendedProductIds: readonly string[] | 'any'
  readonly provisionKey: Refused
  readonly einitTokenKey: Refused
  /** ATTRIBUTES bits that the SDM reserves. */
  readonly unknownAttributes: Refused
  /** Bits that may be set: of MISCSELECT, and of XCR0 in XFRM. */
  readonly miscSelect: readonly number[] | 'any'
  readonly xfrm: readonly number[] | 'any'
}

export interface TdxPolicy {
  readonly tcb: IntelTcbPolicy
  readonly septVeDisable: Required
  readonly migratable: Refused
  readonly pks: Refused
  readonly keyLocker: Refused
  readonly perfmon: Refused
  readonly lass: Refused
  /** TDATTRIBUTES bits that none of these names. */
  readonly unknownAttributes: Refused
  /** Extended features that the TD may use, bit numbers of XFAM. */
  readonly xfam: readonly number[] | 'any'
  /** MRSERVICETD, 48 bytes in lower-case hexadecimal. `none`: no service TD is bound, or the quote is of TD 1.0. */
  readonly serviceTds: 'none' | readonly string[] | 'any'
  /** 48 bytes each. */
  readonly configIds: readonly string[] | 'any'
  readonly owners: readonly string[] | 'any'
  readonly ownerConfigs: readonly string[] | 'any'
  /** MRSEAM of TDX modules. */
  readonly modules: readonly string[] | 'any'
  /** `required`: an event log was given that leads to the RTMRs. */
  readonly eventLog: Required
  /** A TD 1.5 that a newer TDX module runs and that a launch under it would rate better. */
  readonly relaunchAdvised: Refused
}

/**
 * A start for `tcb`: what no use should go below. Out-of-date levels, and statuses with collateral left out, are refused;
 * revocation lists are required.
 */
export const intelTcbBaseline: IntelTcbPolicy = Object.freeze({
  statuses: Object.freeze([
    'UpToDate',
    'SWHardeningNeeded',
    'ConfigurationNeeded',
    'ConfigurationAndSWHardeningNeeded',
  ] as const),
  outOfDateGraceDays: 0,
  advisories: 'any',
  minimumTcbDate: 'any',
  minimumEvaluation: 'any',
  revocation: 'required',
  minimumTcb: 'any',
  dynamicPlatform: 'any',
  cachedKeys: 'any',
  smt: 'any',
})

/** A start for `sgx`: `signers` and `productIds` are left for the caller to name. */
export const sgxBaseline: Omit<SgxPolicy, 'signers' | 'productIds'> = Object.freeze({
  tcb: intelTcbBaseline,
  minimumSvn: 'any',
  configIds: 'any',
  minimumConfigSvn: 'any',
  familyIds: 'any',
  extendedProductIds: 'any',
  provisionKey: 'refused',
  einitTokenKey: 'refused',
  unknownAttributes: 'refused',
  miscSelect: 'any',
  xfrm: 'any',
})

/** A start for `tdx`: what no use should go below, `any` where uses and clouds differ. */
export const tdxBaseline: TdxPolicy = Object.freeze({
  tcb: intelTcbBaseline,
  septVeDisable: 'required',
  migratable: 'refused',
  pks: 'any',
  keyLocker: 'any',
  perfmon: 'refused',
  lass: 'any',
  unknownAttributes: 'refused',
  xfam: 'any',
  serviceTds: 'none',
  configIds: 'any',
  owners: 'any',
  ownerConfigs: 'any',
  modules: 'any',
  eventLog: 'any',
  relaunchAdvised: 'any',
})

const zeros48 = '0'.repeat(96)

/**
 * What the TDs of two clouds look like, tested on evidence from there. They say nothing of measurements and report data,
 * and their TCB part is the baseline.
 */
export const tdxPresets: { readonly azure: TdxPolicy; readonly gcp: TdxPolicy } = Object.freeze({
  /**
   * Azure confidential VMs (DCesv5, ECesv5): TDATTRIBUTES are all zero, SEPT_VE_DISABLE too, since Azure's paravisor
   * below the guest handles #VE itself. So nothing here says that it is set.
   */
  azure: Object.freeze({
    ...tdxBaseline,
    septVeDisable: 'any',
    pks: 'refused',
    keyLocker: 'refused',
    lass: 'refused',
    // x87, SSE, AVX, AVX-512, CET, AMX.
    xfam: Object.freeze([0, 1, 2, 5, 6, 7, 11, 12, 17, 18]),
    configIds: Object.freeze([zeros48]),
    owners: Object.freeze([zeros48]),
    ownerConfigs: Object.freeze([zeros48]),
  } as const),
  /** Google Cloud confidential VMs (C3): SEPT_VE_DISABLE set, no other attribute. */
  gcp: Object.freeze({
    ...tdxBaseline,
    pks: 'refused',
    keyLocker: 'refused',
    lass: 'refused',
    // x87, SSE, AVX, AVX-512, AMX.
    xfam: Object.freeze([0, 1, 2, 5, 6, 7, 17, 18]),
    configIds: Object.freeze([zeros48]),
    owners: Object.freeze([zeros48]),
    ownerConfigs: Object.freeze([zeros48]),
  } as const),
})

const acceptable: readonly string[] = tcbStatuses.filter((status) => status !== 'Revoked')
const seconds: Check = (value, field) => {
  if (!Number.isSafeInteger(value)) throw wrong(field, 'unix seconds')
}
const bits = orAny(listOf((item) => isInteger(item, 63), 'bits 0 to 63'))

function hexList(length: number): Check {
  const form = new RegExp(`^[0-9a-f]{${length * 2}}$`)
  return orAny(
    listOf((item) => typeof item === 'string' && form.test(item), `${length} bytes in lower-case hexadecimal`),
  )
}

const components: Check = (value, field) => {
  if (!Array.isArray(value) || value.length !== 16 || !value.every((svn) => isInteger(svn, 255))) {
    throw wrong(field, 'a list of 16 security versions from 0 to 255')
  }
}
const minimumChecks: { readonly [Field in keyof IntelMinimumTcb]: Check } = {
  components,
  pceSvn: number(65_535),
  tdx: orAny(components),
}

const tcbChecks: { readonly [Field in keyof IntelTcbPolicy]: Check } = {
  statuses: orAny(listOf((item) => typeof item === 'string' && acceptable.includes(item), acceptable.join(', '))),
  outOfDateGraceDays: number(36_500),
  advisories: texts,
  minimumTcbDate: orAny(seconds),
  minimumEvaluation: orAny(number(0xffffffff)),
  revocation: required,
  minimumTcb: orAny((value, field) => {
    for (const [fmspc, minimum] of Object.entries(object(value, field))) {
      if (!/^[0-9a-f]{12}$/.test(fmspc)) throw wrong(`${field}.${fmspc}`, 'an FMSPC in lower-case hexadecimal')
      checkFields(minimum, minimumChecks, `${field}.${fmspc}`)
    }
  }),
  dynamicPlatform: refused,
  cachedKeys: refused,
  smt: refused,
}

const sgxChecks: { readonly [Field in keyof SgxPolicy]: Check } = {
  tcb: fields(tcbChecks),
  signers: hexList(32),
  productIds: orAny(listOf((item) => isInteger(item, 65_535), 'numbers from 0 to 65535')),
  minimumSvn: orAny(number(65_535)),
  configIds: hexList(64),
  minimumConfigSvn: orAny(number(65_535)),
  familyIds: hexList(16),
  extendedProductIds: hexList(16),
  provisionKey: refused,
  einitTokenKey: refused,
  unknownAttributes: refused,
  miscSelect: bits,
  xfrm: bits,
}

const tdxChecks: { readonly [Field in keyof TdxPolicy]: Check } = {
  tcb: fields(tcbChecks),
  septVeDisable: required,
  migratable: refused,
  pks: refused,
  keyLocker: refused,
  perfmon: refused,
  lass: refused,
  unknownAttributes: refused,
  xfam: bits,
  serviceTds: (value, field) => {
    if (typeof value === 'string') setting('none', 'any')(value, field)
    else hexList(48)(value, field)
  },
  configIds: hexList(48),
  owners: hexList(48),
  ownerConfigs: hexList(48),
  modules: hexList(48),
  eventLog: required,
  relaunchAdvised: refused,
}

/** Throws TypeError naming the field that is missing, unknown or not of its kind. */
export function checkSgxPolicy(policy: unknown, field: string): void {
  checkFields(policy, sgxChecks, field)
}

/** Throws TypeError naming the field that is missing, unknown or not of its kind. */
export function checkTdxPolicy(policy: unknown, field: string): void {
  checkFields(policy, tdxChecks, field)
}
