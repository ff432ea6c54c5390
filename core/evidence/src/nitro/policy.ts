import { encodeHex } from '@cella/bytes'
import { type Demand, harming, type Judged, judged, onList } from '../demands.ts'
import { type Check, checkFields, number, object, orAny, texts, wrong } from '../policy-fields.ts'
import { oneOf, outside } from '../reasons.ts'
import { trustValue } from '../trust-vector.ts'
import type { VerifiedNitro } from './verify.ts'

/**
 * What is required of AWS Nitro beyond what every TEE is judged by: PCR0 is `measurement` there, a tuple of registers a
 * reference value, `user_data` the report data, the partition (`aws`) the provider, and the EC2 instance the platform id.
 */
export interface NitroPolicy {
  /**
   * Values for registers by name, each on its own: `pcr3` the instance's IAM role, `pcr4` the instance, `pcr8` the
   * certificate that signed the image. A register that the document lacks is refused.
   */
  readonly pcrs: { readonly [register: string]: readonly string[] } | 'any'
  /** The bytes of `nonce` that the relying party drew: what makes a document fresh. */
  readonly nonce: Uint8Array | 'any'
  /** The bytes of `public_key`, or that there is one. */
  readonly publicKey: Uint8Array | 'required' | 'any'
  /** How far the document's timestamp may be from `now`, either way, in seconds. */
  readonly ageSecondsMax: number | 'any'
  /** Regions of AWS (`eu-west-1`); a document whose certificate names none is refused. */
  readonly regions: readonly string[] | 'any'
}

/**
 * A start for `tees.nitro`. Nonce and age are left for the caller to name: without one of them (or report data of its
 * own) a document of the last three hours is as good as a fresh one.
 */
export const nitroBaseline: Omit<NitroPolicy, 'nonce' | 'ageSecondsMax'> = Object.freeze({
  pcrs: 'any',
  publicKey: 'any',
  regions: 'any',
})

const bytes: Check = (value, field) => {
  if (!(value instanceof Uint8Array) || value.length === 0 || value.length > 1024) throw wrong(field, '1 to 1024 bytes')
}

const checks: { readonly [Field in keyof NitroPolicy]: Check } = {
  pcrs: orAny((value, field) => {
    for (const [name, values] of Object.entries(object(value, field))) {
      if (!/^pcr([0-9]|[12][0-9]|3[01])$/.test(name)) throw wrong(`${field}.${name}`, 'a register pcr0 to pcr31')
      if (values === 'any') throw wrong(`${field}.${name}`, 'a list; leave out a register that may be anything')
      texts(values, `${field}.${name}`)
    }
  }),
  nonce: orAny(bytes),
  publicKey: (value, field) => {
    if (value !== 'required' && value !== 'any') bytes(value, field)
  },
  ageSecondsMax: orAny(number(31_536_000)),
  regions: texts,
}

/** Throws TypeError naming the field that is missing, unknown or not of its kind. */
export function checkNitroPolicy(policy: unknown, field: string): void {
  checkFields(policy, checks, field)
}

const { contraindicated, unrecognised, unrecognisedCode } = trustValue

/** Every requirement of `policy`, met or not. Step 6 of docs/formats/evidence-nitro.md. */
export function appraiseNitro({ claims, verifiedAt }: VerifiedNitro, policy: NitroPolicy): Demand[] {
  const { nonce, publicKey, region, timestamp } = claims.hardware
  const age = verifiedAt - timestamp / 1000
  return [
    ...harming('executables', unrecognisedCode, registers(claims.measurements, policy.pcrs)),
    ...harming('instance-identity', contraindicated, [
      judged('nitro-nonce', policy.nonce, nonce ?? 'none', (wanted) => [
        encodeHex(wanted) === nonce,
        encodeHex(wanted),
      ]),
      judged('nitro-public-key', policy.publicKey, publicKey ?? 'none', (wanted) =>
        wanted === 'required'
          ? [publicKey !== null, 'a public key']
          : [encodeHex(wanted) === publicKey, encodeHex(wanted)],
      ),
      judged(
        'nitro-age',
        policy.ageSecondsMax,
        age < 0 ? `${Math.ceil(-age)} seconds in the future` : `${Math.ceil(age)} seconds ago`,
        (max) => [Math.abs(age) <= max, `made within ${max} seconds of now`],
      ),
    ]),
    ...harming('instance-identity', unrecognised, [onList('nitro-region', policy.regions, region)]),
  ]
}

function registers(measured: { readonly [name: string]: string }, pcrs: NitroPolicy['pcrs']): Judged[] {
  if (pcrs === 'any') return [onList('nitro-pcr', 'any', Object.keys(measured).join(', '))]
  return Object.entries(pcrs).map(([register, accepted]) => {
    const value = Object.hasOwn(measured, register) ? measured[register]! : null
    return judged('nitro-pcr', accepted, `${register} ${value ?? 'none'}`, (list) => [
      !outside(list, value),
      `${register} ${oneOf(list)}`,
    ])
  })
}
