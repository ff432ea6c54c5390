import { randomUUID } from 'node:crypto'
import { encodeBase64url, encodeUtf8 } from '@cella/bytes'
import type { EvidenceRole, Judgement, TrustVector } from '@cella/evidence'
import type { NamedPolicy } from './policies.ts'
import type { Build } from './service.ts'
import type { SigningKeys } from './signing-keys.ts'

export type Profile = 'ietf' | 'veraison'

export interface TokenOptions {
  readonly issuer: string
  readonly build: Build
  readonly policy: NamedPolicy
  /** The service's own nonce that the evidence was bound to, if any. */
  readonly nonce: string | undefined
  readonly audience: readonly string[] | undefined
  readonly profile: Profile
  /** Unix seconds. */
  readonly issuedAt: number
  readonly seconds: number
  readonly keys: SigningKeys
}

const profiles: { readonly [Name in Profile]: string } = {
  // draft-ietf-rats-ear of 2026-03
  ietf: 'tag:ietf.org,2026:rats/ear#03',
  veraison: 'tag:github.com,2023:veraison/ear',
}

/**
 * The attestation result (EAR) as a JWT, ES384. One that refuses says so by `contraindicated` or `warning` and has no
 * `aud` and no `sub`: many who take tokens look at these alone, and must not take it for a pass.
 */
export async function resultToken(judgement: Judgement, options: TokenOptions): Promise<string> {
  const { keys, issuedAt } = options
  const header = { alg: 'ES384', kid: keys.current.kid, typ: 'JWT' }
  const { policy } = options
  const claims = {
    iss: options.issuer,
    iat: issuedAt,
    nbf: issuedAt,
    exp: issuedAt + options.seconds,
    jti: randomUUID(),
    ...(judgement.allowed && {
      sub: `${policy.organisation}/${policy.document.payload.name}`,
      ...(options.audience && { aud: options.audience.length === 1 ? options.audience[0] : options.audience }),
    }),
    ...earClaims(judgement, options),
  }
  const signed = [header, claims].map((part) => encodeBase64url(encodeUtf8(JSON.stringify(part)))).join('.')
  return `${signed}.${encodeBase64url(keys.sign(encodeUtf8(signed)))}`
}

function earClaims(judgement: Judgement, { profile, nonce, build, policy }: TokenOptions): object {
  const name = (plain: string): string => (profile === 'ietf' ? `ear_${plain.replaceAll('-', '_')}` : `ear.${plain}`)
  const { result, error } = judgement
  const counts = new Map<EvidenceRole, number>()
  const submods = (result?.entries ?? [undefined]).map((entry) => {
    const role = entry?.claims.role ?? 'cpu'
    const count = counts.get(role) ?? 0
    counts.set(role, count + 1)
    const appraisal = {
      [name('status')]: entry?.status ?? 'contraindicated',
      [name('trustworthiness-vector')]: entry?.trustVector ?? notGenuine,
      ...(profile === 'ietf' ? { ear_appraisal_policy_ids: [policy.id] } : { 'ear.appraisal-policy-id': policy.id }),
      cella_reasons: entry?.reasons ?? [],
      ...(error !== undefined && { cella_error: { code: error.code, message: error.message } }),
      ...(entry !== undefined && { cella_claims: entry.claims }),
    }
    return [`${role}${count}`, appraisal]
  })
  return {
    eat_profile: profiles[profile],
    ...(nonce !== undefined && { eat_nonce: nonce }),
    [name('verifier-id')]: { developer: 'https://cella.example', build: `cella-attest ${build.release}` },
    submods: Object.fromEntries(submods),
  }
}

// AR4SI §2.3.2: 99, the evidence could not be validated cryptographically.
const notGenuine: TrustVector = {
  'instance-identity': 99,
  configuration: 99,
  executables: 99,
  'file-system': 99,
  hardware: 99,
  'runtime-opaque': 99,
  'storage-opaque': 99,
  'sourced-data': 99,
}
