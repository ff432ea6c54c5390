import {
  type Check,
  checkFields,
  isInteger,
  listOf,
  number,
  orAny,
  refused,
  required,
  wrong,
} from '../policy-fields.ts'
import { type Finding, oneOf, type ReasonCode } from '../reasons.ts'
import { type TrustClaim, trustValue } from '../trust-vector.ts'
import { type QuoteAlgorithm, quoteAlgorithms, type TpmHash } from './algorithms.ts'
import { firmwareText } from './claims.ts'
import type { VerifiedQuote } from './quote.ts'

/** What is demanded of a quote. PCR values themselves are reference values: `measurements` with `pcr4` and so on. */
export interface TpmPolicy {
  readonly signatureAlgorithms: readonly QuoteAlgorithm[] | 'any'
  /** Banks that may be quoted; each that is has to be on the list. */
  readonly pcrBanks: readonly TpmHash[] | 'any'
  /** PCRs whose values have to be in each bank that is quoted. */
  readonly requiredPcrs: readonly number[] | 'any'
  /** 16 hexadecimal digits, the vendor's number. */
  readonly minimumFirmware: string | 'any'
  /** The TPM's clock has not gone back since it was last written down. */
  readonly safeClock: 'required' | 'any'
  /** Resets and restarts since manufacture: to notice a reboot between two quotes. */
  readonly resetCount: number | 'any'
  readonly restartCount: number | 'any'
  readonly eventLog: 'required' | 'any'
  /** PCRs that were extended though the log has no event of them. Needs a log. */
  readonly unloggedPcrs: 'refused' | 'any'
  /** Each quoted PCR from 0 to 7 is closed against the firmware, without an error. Needs a log. */
  readonly separators: 'required' | 'any'
}

/** What no use should go below. SHA-1 is refused: neither its signatures nor its banks prove anything today. */
export const tpmBaseline: Omit<TpmPolicy, 'requiredPcrs'> = Object.freeze({
  signatureAlgorithms: Object.freeze(quoteAlgorithms.filter((name) => name !== 'rsa-pkcs1-sha1')),
  pcrBanks: Object.freeze(['sha256', 'sha384', 'sha512'] as const),
  minimumFirmware: 'any',
  safeClock: 'any',
  resetCount: 'any',
  restartCount: 'any',
  eventLog: 'any',
  unloggedPcrs: 'any',
  separators: 'any',
})

const hashes: readonly string[] = ['sha1', 'sha256', 'sha384', 'sha512']

const tpmPolicyChecks: { readonly [Field in keyof TpmPolicy]: Check } = {
  signatureAlgorithms: orAny(listOf((item) => quoteAlgorithms.some((name) => name === item), 'signature algorithms')),
  pcrBanks: orAny(listOf((item) => hashes.includes(String(item)), 'sha1, sha256, sha384, sha512')),
  requiredPcrs: orAny(listOf((item) => isInteger(item, 23), 'PCRs 0 to 23')),
  minimumFirmware: orAny((value, field) => {
    if (typeof value !== 'string' || !/^[0-9a-f]{16}$/.test(value)) throw wrong(field, '16 hexadecimal digits')
  }),
  safeClock: required,
  resetCount: orAny(number(0xffffffff)),
  restartCount: orAny(number(0xffffffff)),
  eventLog: required,
  unloggedPcrs: refused,
  separators: required,
}

/** Throws TypeError naming the field that is missing, unknown or not of its kind. */
export function checkTpmPolicy(policy: unknown, field: string): void {
  checkFields(policy, tpmPolicyChecks, field)
}

/** Every requirement of `policy` that the quote does not meet. */
export function appraiseQuote(verified: VerifiedQuote, policy: TpmPolicy): Finding[] {
  const { quote, banks, logs, algorithm } = verified
  const { signatureAlgorithms, pcrBanks, requiredPcrs, minimumFirmware } = policy
  const findings: Finding[] = []
  const refuse = (code: ReasonCode, claim: TrustClaim, expected: string, found: string): void => {
    findings.push({ code, expected, found, harm: [claim, trustValue.unsafe] })
  }
  if (signatureAlgorithms !== 'any' && !signatureAlgorithms.includes(algorithm)) {
    refuse('tpm-signature-algorithm', 'hardware', oneOf(signatureAlgorithms), algorithm)
  }
  const other = quote.banks.find(({ hash }) => pcrBanks !== 'any' && !pcrBanks.includes(hash))
  if (other !== undefined) refuse('tpm-pcr-bank', 'executables', oneOf(pcrBanks), other.hash)
  if (requiredPcrs !== 'any') {
    const missing = requiredPcrs.filter((pcr) => banks.length === 0 || banks.some(({ values }) => !values.has(pcr)))
    if (missing.length > 0) {
      refuse('tpm-pcr', 'executables', `values of PCR ${requiredPcrs.join(', ')}`, `none of PCR ${missing.join(', ')}`)
    }
  }
  const firmware = firmwareText(quote.firmwareVersion)
  if (minimumFirmware !== 'any' && firmware < minimumFirmware) {
    refuse('tpm-firmware', 'hardware', `at least ${minimumFirmware}`, firmware)
  }
  if (policy.safeClock !== 'any' && !quote.safe)
    refuse('tpm-clock', 'hardware', 'a safe clock', 'one that may have gone back')
  for (const [code, name] of [
    ['tpm-reset-count', 'resetCount'] as const,
    ['tpm-restart-count', 'restartCount'] as const,
  ]) {
    const wanted = policy[name]
    if (wanted !== 'any' && quote[name] !== wanted)
      refuse(code, 'instance-identity', String(wanted), String(quote[name]))
  }
  const noLog = 'no event log'
  const without = logs.length === 0
  if (policy.eventLog !== 'any' && without) refuse('tpm-event-log', 'executables', 'an event log', noLog)
  const list = (name: 'unlogged' | 'open'): string =>
    logs.flatMap((log) => log[name].map((pcr) => `${log.hash} PCR ${pcr}`)).join(', ')
  const unlogged = list('unlogged')
  if (policy.unloggedPcrs !== 'any' && (without || unlogged !== '')) {
    refuse(
      'tpm-unlogged-pcr',
      'executables',
      'an event for every extended PCR',
      without ? noLog : `none for ${unlogged}`,
    )
  }
  const open = list('open')
  if (policy.separators !== 'any' && (without || open !== '')) {
    refuse('tpm-separator', 'executables', 'firmware PCRs closed without an error', without ? noLog : `not so ${open}`)
  }
  return findings
}
