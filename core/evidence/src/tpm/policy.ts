import { type Demand, harming, inOrder, judged, onList } from '../demands.ts'
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
import { oneOf } from '../reasons.ts'
import { trustValue } from '../trust-vector.ts'
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

/** Every requirement of `policy`, met or not. */
export function appraiseQuote({ quote, banks, logs, algorithm }: VerifiedQuote, policy: TpmPolicy): Demand[] {
  const { requiredPcrs, pcrBanks } = policy
  const firmware = firmwareText(quote.firmwareVersion)
  const missing = (requiredPcrs === 'any' ? [] : requiredPcrs).filter(
    (pcr) => banks.length === 0 || banks.some(({ values }) => !values.has(pcr)),
  )
  const hashes = quote.banks.map(({ hash }) => hash)
  const others = pcrBanks === 'any' ? [] : hashes.filter((hash) => !pcrBanks.includes(hash))
  const list = (name: 'unlogged' | 'open'): string =>
    logs.flatMap((log) => log[name].map((pcr) => `${log.hash} PCR ${pcr}`)).join(', ')
  const unlogged = list('unlogged')
  const open = list('open')
  const hasLog = logs.length > 0
  const unlessMissing = (text: string): string => (hasLog ? text : 'no event log')
  const count = (code: 'tpm-reset-count' | 'tpm-restart-count', wanted: number | 'any', found: number) =>
    judged(code, wanted, String(found), (one) => [found === one, String(one)])
  return inOrder([
    ...harming('hardware', trustValue.unsafe, [
      onList('tpm-signature-algorithm', policy.signatureAlgorithms, algorithm),
      judged('tpm-firmware', policy.minimumFirmware, firmware, (least) => [firmware >= least, `at least ${least}`]),
      judged('tpm-clock', policy.safeClock, quote.safe ? 'a safe clock' : 'one that may have gone back', () => [
        quote.safe,
        'a safe clock',
      ]),
    ]),
    ...harming('instance-identity', trustValue.unsafe, [
      count('tpm-reset-count', policy.resetCount, quote.resetCount),
      count('tpm-restart-count', policy.restartCount, quote.restartCount),
    ]),
    ...harming('executables', trustValue.unsafe, [
      judged('tpm-pcr-bank', pcrBanks, (others.length === 0 ? hashes : others).join(', '), (accepted) => [
        others.length === 0,
        oneOf(accepted),
      ]),
      judged(
        'tpm-pcr',
        requiredPcrs,
        missing.length === 0 ? pcrsText(banks) : `none of PCR ${missing.join(', ')}`,
        (pcrs) => [missing.length === 0, `values of PCR ${pcrs.join(', ')}`],
      ),
      judged('tpm-event-log', policy.eventLog, unlessMissing('an event log'), () => [hasLog, 'an event log']),
      judged(
        'tpm-unlogged-pcr',
        policy.unloggedPcrs,
        unlessMissing(unlogged === '' ? 'an event for every extended PCR' : `none for ${unlogged}`),
        () => [hasLog && unlogged === '', 'an event for every extended PCR'],
      ),
      judged(
        'tpm-separator',
        policy.separators,
        unlessMissing(open === '' ? 'firmware PCRs closed without an error' : `not so ${open}`),
        () => [hasLog && open === '', 'firmware PCRs closed without an error'],
      ),
    ]),
  ])
}

function pcrsText(banks: VerifiedQuote['banks']): string {
  return banks.map(({ hash, values }) => `${hash} PCR ${[...values.keys()].join(', ')}`).join('; ') || 'none'
}
