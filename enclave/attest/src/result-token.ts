import { randomUUID } from 'node:crypto'
import { encodeBase64url, encodeUtf8 } from '@cella/bytes'
import type { EvidenceRole, Judgement, TrustVector } from '@cella/evidence'
import type { NamedPolicy } from './policies.ts'
import type { Build } from './service.ts'
import type { SigningKeys } from './signing-keys.ts'

type Profile = 'ietf' | 'veraison'

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
  const isIetf = profile === 'ietf'
  // The draft's names have underscores; deployed readers take dots, and hyphens within.
  const name = (...parts: string[]): string =>
    isIetf ? ['ear', ...parts].join('_').replaceAll('-', '_') : ['ear', ...parts].join('.')
  const policyIds = isIetf ? { ear_appraisal_policy_ids: [policy.id] } : { 'ear.appraisal-policy-id': policy.id }
  const submods = appraisalsOf(judgement).map(({ submod, status, vector, claims, reasons }) => [
    submod,
    {
      [name('status')]: status,
      [name('trustworthiness-vector')]: vector,
      ...policyIds,
      ...(claims !== undefined && { [name('veraison', 'annotated-evidence')]: claims }),
      [name('veraison', 'policy-claims')]: { reasons },
    },
  ])
  return {
    eat_profile: profiles[profile],
    ...(nonce !== undefined && { eat_nonce: nonce }),
    [name('verifier-id')]: { developer: 'Cella', build: `cella-attest ${build.release}` },
    submods: Object.fromEntries(submods),
  }
}

interface Appraisal {
  readonly submod: string
  readonly status: string
  readonly vector: Partial<TrustVector>
  readonly claims: object | undefined
  readonly reasons: readonly { readonly code: string; readonly expected: string; readonly found: string }[]
}

/** One for each entry, by its role and number; one alone for evidence that isn't genuine. */
function appraisalsOf({ result, error }: Judgement): Appraisal[] {
  if (result === undefined) {
    const reason = { code: error!.code, expected: 'genuine evidence', found: error!.message }
    return [
      { submod: 'evidence0', status: 'contraindicated', vector: notGenuine, claims: undefined, reasons: [reason] },
    ]
  }
  const counts = new Map<EvidenceRole, number>()
  return result.entries.map(({ claims, status, trustVector, reasons }) => {
    const count = counts.get(claims.role) ?? 0
    counts.set(claims.role, count + 1)
    return { submod: `${claims.role}${count}`, status, vector: trustVector, claims, reasons }
  })
}

// AR4SI §2.3.2 and §2.3.4: 97, not recognised; 99, the evidence did not verify cryptographically.
const notGenuine: Partial<TrustVector> = { 'instance-identity': 97, hardware: 99 }
