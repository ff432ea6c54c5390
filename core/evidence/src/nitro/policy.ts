import { encodeHex } from '@cella/bytes'
import { type Check, checkFields, number, object, orAny, texts, wrong } from '../policy-fields.ts'
import { type Finding, oneOf, outside } from '../reasons.ts'
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

/** Every requirement of `policy` that this document does not meet. Step 6 of docs/formats/evidence-nitro.md. */
export function appraiseNitro({ claims, verifiedAt }: VerifiedNitro, policy: NitroPolicy): Finding[] {
  const { nonce, publicKey, region, timestamp } = claims.hardware
  const findings: Finding[] = []
  for (const [register, accepted] of policy.pcrs === 'any' ? [] : Object.entries(policy.pcrs)) {
    const found = Object.hasOwn(claims.measurements, register) ? claims.measurements[register]! : null
    if (outside(accepted, found)) {
      findings.push({
        code: 'nitro-pcr',
        expected: `${register} ${oneOf(accepted)}`,
        found: `${register} ${found ?? 'none'}`,
        harm: ['executables', unrecognisedCode],
      })
    }
  }
  if (policy.nonce !== 'any' && encodeHex(policy.nonce) !== nonce) {
    findings.push({
      code: 'nitro-nonce',
      expected: encodeHex(policy.nonce),
      found: nonce ?? 'none',
      harm: ['instance-identity', contraindicated],
    })
  }
  const wantedKey = policy.publicKey instanceof Uint8Array ? encodeHex(policy.publicKey) : policy.publicKey
  if (wantedKey === 'required' ? publicKey === null : wantedKey !== 'any' && wantedKey !== publicKey) {
    findings.push({
      code: 'nitro-public-key',
      expected: wantedKey === 'required' ? 'a public key' : wantedKey,
      found: publicKey ?? 'none',
      harm: ['instance-identity', contraindicated],
    })
  }
  const age = verifiedAt - timestamp / 1000
  if (policy.ageSecondsMax !== 'any' && Math.abs(age) > policy.ageSecondsMax) {
    findings.push({
      code: 'nitro-age',
      expected: `made within ${policy.ageSecondsMax} seconds of now`,
      found: age < 0 ? `${Math.ceil(-age)} seconds in the future` : `${Math.ceil(age)} seconds ago`,
      harm: ['instance-identity', contraindicated],
    })
  }
  if (outside(policy.regions, region)) {
    findings.push({
      code: 'nitro-region',
      expected: oneOf(policy.regions),
      found: region ?? 'none',
      harm: ['instance-identity', unrecognised],
    })
  }
  return findings
}
