import { columnSchema, declaredOutputSchema, outputRulesSchema } from '@cella/table'
import { z } from 'zod'
import { bytesField, countField, digestField, keyIdField, labelField, nameField, timeField } from './fields.ts'

/** The sealed file that holds the asset: see docs/formats/sealed-file.md. Where it lies is not part of the manifest. */
export const sealedSchema = z.strictObject({
  format: z.literal('cella-sealed/1'),
  rootDigest: digestField,
  /** Bytes of ciphertext, header included. */
  size: z.int().min(1).max(Number.MAX_SAFE_INTEGER),
  /** Key commitment, 32 bytes in lower-case hexadecimal. */
  keyCommitment: digestField,
})
export type Sealed = z.infer<typeof sealedSchema>

export const programSchema = z.strictObject({
  runtime: z.literal('wasi-preview1'),
  /** SHA-256 of the module before metering: what owners' policies name. */
  digest: digestField,
  source: z.enum(['open', 'sealed']),
  /** Files that the program may write below /out; the columns it promises whatever its arguments, or null. */
  outputs: z
    .array(z.strictObject({ name: nameField, declared: declaredOutputSchema.nullable() }))
    .min(1)
    .max(16),
  sbom: digestField.nullable(),
})

/** Whom an asset is shown to beside its own organisation, and what it is said to be. */
export const catalogueSchema = z.strictObject({
  /** `unlisted` is found by who names it; a list is of organisations that find it as if it were for everyone. */
  audience: z.union([z.enum(['everyone', 'unlisted', 'private']), z.array(digestField).min(1).max(64)]),
  description: z.string().max(4000),
  tags: z.array(nameField).max(16),
})
export type Catalogue = z.infer<typeof catalogueSchema>

export const manifestSchema = z.strictObject({
  type: z.literal('cella/manifest'),
  version: z.literal(1),
  organisation: digestField,
  signer: keyIdField,
  kind: z.enum(['data', 'program', 'secret']),
  /** The asset's name within its organisation; revisions share it. */
  series: nameField,
  revision: z.int().min(1).max(1_000_000),
  previous: digestField.nullable(),
  title: labelField,
  /** Where it is absent, the asset is for everyone. */
  catalogue: catalogueSchema.exactOptional(),
  sealed: sealedSchema,
  /** Columns with class and treatment, for tables; null for everything else. */
  table: z.strictObject({ columns: z.array(columnSchema).min(1).max(1024), rows: countField }).nullable(),
  program: programSchema.nullable(),
  /** Of a secret: name of the owner's attestation policy by which guests are appraised that ask for it. */
  guests: nameField.exactOptional(),
  /** Cedar policy set of this asset alone. */
  policy: z.string().min(1).max(65_536),
  /** What every output that this asset flowed into must obey. */
  outputRules: outputRulesSchema,
  /** Whether each contract needs an approval of this organisation, or the policy alone suffices. */
  approval: z.enum(['each-contract', 'policy-suffices']),
  purposes: z.array(labelField).max(32),
  notBefore: timeField,
  notAfter: timeField,
  /** Runs over all contracts; null: no limit. */
  runs: z.int().min(1).max(1_000_000).nullable(),
})
export type Manifest = z.infer<typeof manifestSchema>

/** Of a DEK that is shared (Shamir): this share's x coordinate, and how many of them give the DEK. */
const shareField = z.strictObject({ index: z.int().min(1).max(255), threshold: z.int().min(2).max(8) })

/** The asset's DEK, wrapped for one vault. */
export const grantSchema = z.strictObject({
  type: z.literal('cella/grant'),
  version: z.literal(1),
  organisation: digestField,
  signer: keyIdField,
  manifest: digestField,
  /** SHA-256 of the KEK's public key. */
  kek: digestField,
  /** The vault's signing key, and the evidence that the publisher appraised before wrapping. */
  vault: keyIdField,
  vaultEvidence: digestField,
  /** This vault's share of the manifest's `runs`; null only where the manifest has no limit. */
  runs: z.int().min(1).max(1_000_000).nullable(),
  /** Origin of the log in which the vault counts. */
  log: labelField,
  /** HPKE envelope of the DEK, or of this vault's share of it: encapsulation ‖ ciphertext. */
  wrapped: bytesField({ atMost: 2048 }),
  /** Where the DEK is shared between vaults. */
  share: shareField.exactOptional(),
})
export type Grant = z.infer<typeof grantSchema>

/**
 * The asset's DEK, wrapped for a member of the organisation that owns it: who has it can grant the asset again, to another
 * vault or under another manifest, without sealing anew. No vault reads it.
 */
export const keyCopySchema = z.strictObject({
  type: z.literal('cella/key-copy'),
  version: z.literal(1),
  organisation: digestField,
  signer: keyIdField,
  manifest: digestField,
  /** Whose HPKE key it is wrapped to. */
  membership: digestField,
  /** HPKE envelope of the DEK, or of a share of it: encapsulation ‖ ciphertext. */
  wrapped: bytesField({ atMost: 2048 }),
  /** Where the DEK is shared between the accounts that the owner's terms name for recovery. */
  share: shareField.exactOptional(),
})
export type KeyCopy = z.infer<typeof keyCopySchema>
