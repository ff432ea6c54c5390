import { z } from 'zod'

/** A member of an organisation, as its Membership in force says. */
export interface MemberFacts {
  /** Key id of the account (RFC 7638 thumbprint, 43 characters). */
  readonly account: string
  /** Organisation id: digest of version 1 of its document. */
  readonly organisation: string
  /** Roles of the Membership. An account may be a member of several organisations, with other roles in each. */
  readonly roles: readonly string[]
}

/** A receiver of an output, as the contract names it. */
export interface ReceiverFacts extends MemberFacts {
  /** The role in which the contract names it: one of its `roles`. */
  readonly role: string
}

export type AssetKind = 'data' | 'program' | 'model' | 'secret'
export type BoundaryClass = 'process' | 'container-group' | 'vm' | 'world'

/**
 * Who says where the machine is. `evidence`: the attestation itself. `terms`: the owner's own document maps this chip to
 * a region. `operator`: only the operator says so, who may lie. `unknown`: nobody says, and `region` is empty.
 */
export type PlaceSource = 'evidence' | 'terms' | 'operator' | 'unknown'

/** What appraisal of evidence established of a machine. */
interface TeeFacts {
  /** Such as `sev-snp`; the kind that the simulated TEE imitates. */
  readonly kind: string
  readonly boundary: BoundaryClass
  /** Whether the chain ended at a simulated root. */
  readonly simulated: boolean
  readonly debug: boolean
  /** Platform id that evidence carries (SEV-SNP: chip id, lower-case hexadecimal); empty where it is masked. */
  readonly platformId: string
  /** Who runs the machine according to evidence or the owner's terms; empty if neither says. */
  readonly provider: string
  /** Product line, such as `Genoa`. */
  readonly product: string
}

interface AssetFacts {
  /** Digest of the asset manifest. */
  readonly manifest: string
  /** Organisation id of the owner. */
  readonly owner: string
  /** Name of the series of versions. */
  readonly series: string
  /** Revision within the series, from 1. */
  readonly revision: number
  readonly kind: AssetKind
  /** Purposes that the manifest lists. */
  readonly purposes: readonly string[]
  /** SHA-256 of the keys of deliverers whose statements about where it came from the vault has verified. */
  readonly sources: readonly string[]
}

/**
 * Everything that the policy of a secret may look at when a guest asks for it. Computed by the vault as `PolicyFacts` are;
 * every member is required.
 */
export interface SecretFacts {
  readonly asset: AssetFacts
  readonly guest: {
    /** Digest of its evidence. */
    readonly evidence: string
    /** Name of the owner's attestation policy that accepted it. */
    readonly attestation: string
    /** Launch measurement, lower-case hexadecimal. */
    readonly measurement: string
    /** What the launcher set (SEV-SNP: HOST_DATA, TDX: MRCONFIGID), lower-case hexadecimal; empty where there is no such field. */
    readonly hostData: string
  }
  readonly tee: TeeFacts
  /** As in `PolicyFacts`. */
  readonly time: PolicyFacts['time']
  /** The n-th time that a guest gets it, this one included; null where nobody counts. */
  readonly uses: number | null
}

/**
 * Everything that a policy may look at, for one asset and one run of one contract. The vault computes it from documents
 * and evidence that it verified itself; nothing here is taken from the host. Plain JSON; every member is required.
 */
export interface PolicyFacts {
  /** The asset whose policy is asked. */
  readonly asset: AssetFacts
  /** The account that starts the contract: its signer. */
  readonly author: MemberFacts
  readonly contract: {
    /** Digest of the contract. */
    readonly digest: string
    /** The author's signed word: no machine can check what a result is used for. */
    readonly purpose: string
    /** Runs that the contract asks for in all. */
    readonly runs: number
  }
  /** Every program that this asset, or anything computed from it, reaches through the graph. */
  readonly programs: readonly { readonly digest: string; readonly publisher: string }[]
  /** Every receiver of an output that this asset reaches through the graph, of diagnostics too. */
  readonly receivers: readonly ReceiverFacts[]
  /** Accounts whose approvals of the contract on behalf of this asset are counted; may be empty. */
  readonly approvers: readonly MemberFacts[]
  /** Whether an output that this asset reaches is kept as a derived asset. */
  readonly derives: boolean
  /** The signer of the Mandate and the scope it asks for, where this is a disclosure to a regulator; else null. */
  readonly disclosure: { readonly regulator: MemberFacts; readonly scope: string } | null
  /** Witnessed time, Unix seconds: `earliest` judges beginnings, `latest` judges ends. */
  readonly time: { readonly earliest: number; readonly latest: number }
  /**
   * Uses of this asset under its limit, as counted in the log, with this run included: the first run says 1. Null where
   * nobody counts, because the manifest has no limit: a policy that limits uses then refuses.
   */
  readonly uses: number | null
  /** What appraisal of the worker's evidence established. */
  readonly tee: TeeFacts
  /** Isolation level of the sandbox, 1 to 3; higher is stronger. */
  readonly isolation: number
  readonly place: { readonly region: string; readonly source: PlaceSource }
}

const text = z.string().max(256)
const digest = z.string().regex(/^[0-9a-f]{64}$/)
const count = z.int().min(0)
const unixSeconds = z.int().min(0)
const memberSchema = z.strictObject({
  account: z.string().regex(/^[A-Za-z0-9_-]{43}$/),
  organisation: digest,
  roles: z.array(text).max(32),
})

const assetSchema = z.strictObject({
  manifest: digest,
  owner: digest,
  series: text,
  revision: z.int().min(1),
  kind: z.enum(['data', 'program', 'model', 'secret']),
  purposes: z.array(text).max(64),
  sources: z.array(digest).max(32),
})
const timeSchema = z
  .strictObject({ earliest: unixSeconds, latest: unixSeconds })
  .refine((time) => time.earliest <= time.latest, 'latest is before earliest')
const teeSchema = z.strictObject({
  kind: text,
  boundary: z.enum(['process', 'container-group', 'vm', 'world']),
  simulated: z.boolean(),
  debug: z.boolean(),
  platformId: text,
  provider: text,
  product: text,
})
const usesSchema = z.int().min(1).nullable()

/** Shape and bounds of `SecretFacts`; unknown members are refused. */
export const secretFactsSchema: z.ZodType<SecretFacts> = z.strictObject({
  asset: assetSchema,
  guest: z.strictObject({ evidence: digest, attestation: text, measurement: text, hostData: text }),
  tee: teeSchema,
  time: timeSchema,
  uses: usesSchema,
})

/** Shape and bounds of `PolicyFacts`; unknown members are refused. */
export const policyFactsSchema: z.ZodType<PolicyFacts> = z.strictObject({
  asset: assetSchema,
  author: memberSchema,
  contract: z.strictObject({ digest, purpose: text, runs: z.int().min(1) }),
  programs: z.array(z.strictObject({ digest, publisher: digest })).max(64),
  receivers: z.array(memberSchema.extend({ role: text })).max(64),
  approvers: z.array(memberSchema).max(64),
  derives: z.boolean(),
  disclosure: z.strictObject({ regulator: memberSchema, scope: text }).nullable(),
  time: timeSchema,
  uses: usesSchema,
  tee: teeSchema,
  isolation: count,
  place: z.strictObject({ region: text, source: z.enum(['evidence', 'terms', 'operator', 'unknown']) }),
})
