import type { TrustClaim, TrustStatus } from '../trust-vector.ts'

/** Profiles (`eat_profile`) whose tokens are read. */
export const earProfiles = {
  /** draft-ietf-rats-ear, names with underscores. */
  ietf: 'tag:ietf.org,2026:rats/ear#03',
  /** Veraison, names with dots. */
  veraison: 'tag:github.com,2023:veraison/ear',
  /** Confidential Containers’ Trustee, names with dots. */
  trustee: 'tag:github.com,2024:confidential-containers/Trustee',
} as const
export type EarProfile = keyof typeof earProfiles

/** How the claims of an EAR are named in one serialization. */
export interface EarSpelling {
  readonly name: 'underscore' | 'dotted' | 'cbor'
  readonly status: string
  readonly vector: string
  readonly rawEvidence: string
  readonly verifierId: string
  /** A list of texts, or one text in the older form. */
  readonly policyIds: string
  readonly onePolicyId: boolean
  readonly keyAttestation: string
  readonly annotatedEvidence: string
  readonly policyClaims: string
}

const underscore: EarSpelling = {
  name: 'underscore',
  status: 'ear_status',
  vector: 'ear_trustworthiness_vector',
  rawEvidence: 'ear_raw_evidence',
  verifierId: 'ear_verifier_id',
  policyIds: 'ear_appraisal_policy_ids',
  onePolicyId: false,
  keyAttestation: 'ear_veraison_key_attestation',
  annotatedEvidence: 'ear_veraison_annotated_evidence',
  policyClaims: 'ear_veraison_policy_claims',
}
const dotted: EarSpelling = {
  name: 'dotted',
  status: 'ear.status',
  vector: 'ear.trustworthiness-vector',
  rawEvidence: 'ear.raw-evidence',
  verifierId: 'ear.verifier-id',
  policyIds: 'ear.appraisal-policy-id',
  onePolicyId: true,
  keyAttestation: 'ear.veraison.key-attestation',
  annotatedEvidence: 'ear.veraison.annotated-evidence',
  policyClaims: 'ear.veraison.policy-claims',
}

/** The spelling that a profile's JSON has. */
export const spellings: { readonly [Profile in EarProfile]: EarSpelling } = {
  ietf: underscore,
  veraison: dotted,
  trustee: dotted,
}

export function profileNamed(text: string): EarProfile | undefined {
  return (Object.keys(earProfiles) as EarProfile[]).find((name) => earProfiles[name] === text)
}

/** Keys of CBOR: RFC 9711 §10, RFC 8392 §3.1, draft-ietf-rats-ear §3. */
export const earKey = {
  issuer: 1,
  expiry: 4,
  notBefore: 5,
  issuedAt: 6,
  nonce: 10,
  profile: 265,
  submods: 266,
  status: 1000,
  vector: 1001,
  rawEvidence: 1002,
  policyIds: 1003,
  verifierId: 1004,
  keyAttestation: -70_002,
} as const

/** In the order of their CBOR keys, 0 to 7. draft-ietf-rats-ar4si §2.3. */
export const trustClaims: readonly TrustClaim[] = [
  'instance-identity',
  'configuration',
  'executables',
  'file-system',
  'hardware',
  'runtime-opaque',
  'storage-opaque',
  'sourced-data',
]

/** Tiers by their CBOR number. */
export const tiers: ReadonlyMap<number, TrustStatus> = new Map([
  [0, 'none'],
  [2, 'affirming'],
  [32, 'warning'],
  [96, 'contraindicated'],
])
export const tierNumber: { readonly [Status in TrustStatus]: number } = {
  none: 0,
  affirming: 2,
  warning: 32,
  contraindicated: 96,
}
