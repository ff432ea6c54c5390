import { z } from 'zod'
import {
  boundaryField,
  digestField,
  hpkeKeyField,
  keyIdField,
  labelField,
  roleField,
  signingKeyField,
  timeField,
} from './fields.ts'
import { measurementField, rootField, snpProductField, teePartsField } from './tee.ts'

/** Members of every document that an organisation's root keys sign: `signer` first, then `cosigners` up to the threshold. */
const rootSigned = { signer: keyIdField, cosigners: z.array(keyIdField).max(15) }

/** Its id is the digest of revision 1, which therefore has `organisation: null`. */
export const organisationSchema = z.strictObject({
  type: z.literal('cella/organisation'),
  version: z.literal(1),
  organisation: digestField.nullable(),
  ...rootSigned,
  revision: z.int().min(1).max(1_000_000),
  /** Digest of revision n − 1; null for the first. */
  previous: digestField.nullable(),
  name: labelField,
  rootKeys: z.array(signingKeyField).min(1).max(16),
  /** How many of `rootKeys` sign for the organisation, the next revision included. */
  threshold: z.int().min(1).max(16),
  recoveryKeys: z.array(signingKeyField).max(16),
  recoveryThreshold: z.int().min(0).max(16),
})
export type Organisation = z.infer<typeof organisationSchema>

export const membershipSchema = z.strictObject({
  type: z.literal('cella/membership'),
  version: z.literal(1),
  organisation: digestField,
  ...rootSigned,
  name: labelField,
  /** Ed25519 public key, 32 bytes: its thumbprint is the account's id. */
  signingKey: signingKeyField,
  /** X-Wing public key, 1216 bytes: what is encrypted to the account. */
  hpkeKey: hpkeKeyField,
  roles: z.array(roleField).min(1).max(6),
  notBefore: timeField,
  notAfter: timeField,
})
export type Membership = z.infer<typeof membershipSchema>

const component = z.int().min(0).max(255)
/** Lowest acceptable value of each TCB component of SEV-SNP. `fmc` counts from Turin on. */
export const snpTcbSchema = z.strictObject({
  fmc: component.exactOptional(),
  bootLoader: component,
  tee: component,
  snp: component,
  microcode: component,
})

const acceptedBuildsSchema = z.strictObject({
  /** Digests of Build documents. */
  builds: z.array(digestField).max(64),
  /** Keys whose Build documents are accepted unseen. */
  signers: z.array(keyIdField).max(16),
})

/**
 * How far witnesses stand behind a release. `witnessed`: the quorum stands on the very checkpoint that it relies on.
 * `witnessed-within S`: on one at most S seconds before it. `logged`: the log alone has signed it. Only the first holds
 * against an operator who sets the log back; under the others the host tells the time.
 */
const levelField = z.union([
  z.literal('witnessed'),
  z.literal('logged'),
  z.templateLiteral(['witnessed-within ', z.string().regex(/^[1-9][0-9]{0,6}$/)]),
])

/**
 * Members who together, `threshold` of them, may sign the next revision of these terms where it differs in `log` alone, so that a
 * successor of a lost log is accepted without root keys; and who hold shares of the copies of data keys, so that as many
 * of them grant an asset to another vault without its publisher.
 */
const recoveryField = z
  .strictObject({ accounts: z.array(keyIdField).min(1).max(8), threshold: z.int().min(1).max(8) })
  .refine(({ accounts, threshold }) => threshold <= accounts.length && new Set(accounts).size === accounts.length, {
    path: ['threshold'],
    error: 'is above the number of accounts, or one of them is named twice',
  })

const termsMembers = z.strictObject({
  type: z.literal('cella/terms'),
  version: z.literal(1),
  organisation: digestField,
  ...rootSigned,
  revision: z.int().min(1).max(1_000_000),
  previous: digestField.nullable(),
  vault: acceptedBuildsSchema,
  worker: acceptedBuildsSchema,
  /** Attestation services that its people believe about themselves. Nothing is released to them. Absent: none. */
  attestationService: acceptedBuildsSchema.exactOptional(),
  roots: z.array(rootField).min(1).max(32),
  /** Whether a simulated TEE is acceptable at all, for rehearsal. */
  simulated: z.boolean(),
  /** Of SEV-SNP by product; one that is not listed is refused. */
  minimumTcb: z.union([
    z.literal('any'),
    z.strictObject({ 'sev-snp': z.partialRecord(snpProductField, snpTcbSchema) }),
  ]),
  /**
   * The TEEs that are accepted, each with what is demanded of it; one that is not listed is refused. Where the member is
   * absent that is SEV-SNP alone, by `minimumTcb`.
   */
  tees: teePartsField.exactOptional(),
  boundaries: z.array(boundaryField).min(1).max(4),
  /** Lowest isolation level of the sandbox, 1 to 3. */
  isolation: z.int().min(1).max(3),
  /** Chips or machines by the ids in their evidence: hexadecimal, an EC2 instance of Nitro. */
  chips: z.union([
    z.literal('any'),
    z
      .array(z.string().regex(/^(?:[0-9a-f]{16,128}|i-[0-9a-f]{17})$/))
      .min(1)
      .max(1024),
  ]),
  /** A C2SP tlog-policy: the log's key, the witnesses, and their quorum. */
  log: z.string().min(1).max(16_384),
  level: levelField,
  /** Which code may hold the log's key, in a TEE that these terms accept; where absent, whoever operates the log. */
  logSigner: acceptedBuildsSchema.exactOptional(),
  /** Oldest collateral (revocation lists) that is taken, in days. */
  collateralDaysMax: z.union([z.literal('any'), z.int().min(1).max(3650)]),
  /** Who acts after a loss. Absent: root keys alone, and each asset's own publisher. */
  recovery: recoveryField.exactOptional(),
})
/** What an organisation accepts. Nothing is implied: what is not listed is refused, and "any" is written out. */
export const termsSchema = termsMembers.refine(({ tees, minimumTcb }) => tees === undefined || minimumTcb === 'any', {
  path: ['minimumTcb'],
  error: 'is not any: with tees, each part has its own minimum',
})
export type Terms = z.infer<typeof termsSchema>

export const buildSchema = z.strictObject({
  type: z.literal('cella/build'),
  version: z.literal(1),
  organisation: digestField,
  ...rootSigned,
  role: z.enum(['vault', 'worker', 'attestation-service', 'log-signer']),
  release: labelField,
  /** What is measured: each file of the enclave by name and SHA-256, the entry bundle first. */
  files: z
    .array(z.strictObject({ name: z.string().regex(/^[a-z0-9][a-z0-9._-]{0,99}$/), digest: digestField }))
    .min(1)
    .max(32),
  node: z.strictObject({ release: labelField, platform: labelField, digest: digestField }),
  /** The fixed command line after the Node binary. */
  arguments: z.array(z.string().max(200)).max(32),
  measurements: z.array(measurementField).min(1).max(32),
  sbom: digestField,
  reproduce: z.string().min(1).max(2000),
})
export type Build = z.infer<typeof buildSchema>

/** Withdraws any document. Its effect is its tag in the log; this says by whom and why. */
export const revocationSchema = z.strictObject({
  type: z.literal('cella/revocation'),
  version: z.literal(1),
  organisation: digestField,
  signer: keyIdField,
  cosigners: z.array(keyIdField).max(15),
  subject: digestField,
  /** The next revision, when this makes room for one. */
  replacement: digestField.nullable(),
  reason: z.string().max(500),
  issuedAt: timeField,
})
export type Revocation = z.infer<typeof revocationSchema>
