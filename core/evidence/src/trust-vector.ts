/** AR4SI claims (draft-ietf-rats-ar4si §2.3) by their names in an EAR. Values −128..127; 0 makes no claim. */
export type TrustClaim =
  | 'instance-identity'
  | 'configuration'
  | 'executables'
  | 'file-system'
  | 'hardware'
  | 'runtime-opaque'
  | 'storage-opaque'
  | 'sourced-data'

export type TrustVector = { readonly [Claim in TrustClaim]: number }

export type TrustStatus = 'none' | 'affirming' | 'warning' | 'contraindicated'

/** What a refusal does to the vector: the claim it harms, and to which value. */
export type Harm = readonly [TrustClaim, number]

/** The values that several places use. AR4SI §2.3.4. */
export const trustValue = {
  affirming: 2,
  unsafe: 32,
  /** executables: not known as approved. */
  unrecognisedCode: 33,
  contraindicated: 96,
  /** hardware: not known; instance: not recognised. */
  unrecognised: 97,
} as const

/** `base` with each harm applied; the worse value stays. */
export function harmed(base: TrustVector, harms: readonly Harm[]): TrustVector {
  const vector: Record<TrustClaim, number> = { ...base }
  for (const [claim, value] of harms) vector[claim] = Math.max(vector[claim], value)
  return vector
}

/** The tier of the worst claim: no status may be better (draft-ietf-rats-ear §3.2). */
export function statusOf(vector: TrustVector): TrustStatus {
  const worst = Math.max(...Object.values(vector))
  if (worst >= 96) return 'contraindicated'
  if (worst >= 32) return 'warning'
  return worst >= 2 ? 'affirming' : 'none'
}

/** Claim by claim the worse of two vectors. */
export function worse(a: TrustVector, b: TrustVector): TrustVector {
  return harmed(a, Object.entries(b) as [TrustClaim, number][])
}
