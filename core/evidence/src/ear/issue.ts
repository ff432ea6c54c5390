import { canonicalJson, encodeBase64url, encodeUtf8, type Json } from '@cella/bytes'
import type { AttestationResult } from '../appraise.ts'
import { trustValue } from '../trust-vector.ts'
import type { Judgement } from '../verifier.ts'
import { type EarProfile, earProfiles, spellings } from './spelling.ts'

/** AR4SI §2.3.4: a signature or chain that did not verify. */
const cryptoFailed = 99

export interface EarOptions {
  readonly profile: EarProfile
  /** `iss` of the token. */
  readonly issuer: string
  readonly verifier: { readonly developer: string; readonly build: string }
  /** Names of the policies that were applied, one at least; the older spelling has room for the first alone. */
  readonly policyIds: readonly string[]
  /** Unix seconds. */
  readonly now: number
  /** Seconds until it expires, 1 or more. */
  readonly lifetime: number
  /** What the one who asked sent, 8 to 88 characters. */
  readonly nonce?: string
}

export type EarClaims = { readonly [name: string]: Json }

/**
 * The claims set of an EAR (draft-ietf-rats-ear) about a judgement: one submodule for each entry of the evidence, named
 * by its role and number (`cpu0`, `gpu1`), with its status, its whole trust vector, its claims as annotated evidence and
 * the reasons of a refusal as policy claims. Evidence that isn't genuine gives one submodule `evidence0` whose hardware
 * claim says so. Signing is the caller's: `signEar`. Throws RangeError for options that no token can hold.
 */
export function earOf(judgement: Pick<Judgement, 'result' | 'error'>, options: EarOptions): EarClaims {
  const { profile, issuer, verifier, now, lifetime, nonce, policyIds } = options
  if (!Number.isSafeInteger(now) || !Number.isSafeInteger(lifetime) || lifetime < 1) {
    throw new RangeError(`now ${now}, lifetime ${lifetime}: are not whole seconds`)
  }
  if (nonce !== undefined && (nonce.length < 8 || nonce.length > 88)) {
    throw new RangeError(`nonce: has ${nonce.length} characters, expected 8 to 88`)
  }
  if (policyIds.length === 0) throw new RangeError('policyIds: are none')
  const spelling = spellings[profile]
  const appraisals = judgement.result === undefined ? failedAppraisals(judgement) : appraisalsOf(judgement.result)
  const submods = appraisals.map(({ name, status, vector, annotated, reasons }): [string, Json] => [
    name,
    {
      [spelling.status]: status,
      [spelling.vector]: vector,
      [spelling.policyIds]: spelling.onePolicyId ? policyIds[0]! : [...policyIds],
      ...(annotated === undefined ? {} : { [spelling.annotatedEvidence]: annotated }),
      // The extension has to have a member (ear-veraison-policy-claims is non-empty).
      [spelling.policyClaims]: { reasons },
    },
  ])
  return {
    eat_profile: earProfiles[profile],
    iss: issuer,
    iat: now,
    nbf: now,
    exp: now + lifetime,
    ...(nonce === undefined ? {} : { eat_nonce: nonce }),
    [spelling.verifierId]: { ...verifier },
    submods: Object.fromEntries(submods),
  }
}

interface Appraisal {
  readonly name: string
  readonly status: string
  readonly vector: Json
  readonly annotated: Json | undefined
  readonly reasons: readonly Json[]
}

function appraisalsOf(result: AttestationResult): Appraisal[] {
  const counts = new Map<string, number>()
  return result.entries.map(({ claims, reasons, trustVector, status }) => {
    const number = counts.get(claims.role) ?? 0
    counts.set(claims.role, number + 1)
    return {
      name: `${claims.role}${number}`,
      status,
      vector: { ...trustVector },
      // Plain JSON, so that nothing of a later change of `claims` shows in the token.
      annotated: JSON.parse(canonicalJson(claims)) as Json,
      reasons: reasons.map(({ code, expected, found }) => ({ code, expected, found })),
    }
  })
}

function failedAppraisals({ error }: Pick<Judgement, 'error'>): Appraisal[] {
  const reason = {
    code: error?.code ?? 'ERR_EVIDENCE_MALFORMED',
    expected: 'genuine evidence',
    found: error?.message ?? '',
  }
  return [
    {
      name: 'evidence0',
      status: 'contraindicated',
      vector: { 'instance-identity': trustValue.unrecognised, hardware: cryptoFailed },
      annotated: undefined,
      reasons: [reason],
    },
  ]
}

/** Signs bytes with ECDSA P-384 and SHA-384; the signature is r ‖ s, 96 bytes. The key never comes here. */
export type Es384Signer = (bytes: Uint8Array) => Promise<Uint8Array>

/** The JWT (RFC 7519, compact) of the claims, under the key that `kid` names in the issuer's JWKS. ES384. */
export async function signEar(claims: EarClaims, { kid, sign }: { kid: string; sign: Es384Signer }): Promise<string> {
  const header = { alg: 'ES384', kid, typ: 'JWT' }
  const input = [header, claims].map((part) => encodeBase64url(encodeUtf8(canonicalJson(part)))).join('.')
  const signature = await sign(encodeUtf8(input))
  if (signature.length !== 96) throw new RangeError(`signature: has ${signature.length} bytes, ES384 has 96`)
  return `${input}.${encodeBase64url(signature)}`
}
