import { columnNamesSchema, declaredOutputSchema, outputRulesSchema } from '@cella/table'
import { z } from 'zod'
import {
  boundaryField,
  bytesField,
  countField,
  digestField,
  keyIdField,
  labelField,
  nameField,
  timeField,
} from './fields.ts'

export const budgetsSchema = z.strictObject({
  /** Instructions, in the unit of docs/formats/program.md. */
  fuel: z.int().min(1).max(Number.MAX_SAFE_INTEGER),
  /** WebAssembly pages of 64 KiB. */
  memoryPages: z.int().min(1).max(65_536),
  wallSeconds: z.int().min(1).max(86_400),
  /** All outputs together. */
  outputBytes: z.int().min(1).max(4_294_967_296),
})
export type Budgets = z.infer<typeof budgetsSchema>

const receiverRole = z.enum(['receiver', 'auditor', 'regulator'])

/** A workflow names assets by organisation and series; a contract has them resolved to digests. */
export const workflowSchema = z.strictObject({
  type: z.literal('cella/workflow'),
  version: z.literal(1),
  organisation: digestField,
  signer: keyIdField,
  name: nameField,
  purpose: labelField,
  steps: z
    .array(
      z.strictObject({
        id: nameField,
        program: z.strictObject({ organisation: digestField, series: nameField }),
        arguments: z.array(z.string().max(4096)).max(64),
        inputs: z
          .array(
            z.strictObject({
              name: nameField,
              organisation: digestField,
              series: nameField,
              columns: columnNamesSchema.exactOptional(),
            }),
          )
          .min(1)
          .max(64),
        boundary: boundaryField,
        attempts: z.int().min(1).max(10),
        budgets: budgetsSchema,
      }),
    )
    .min(1)
    .max(16),
  outputs: z
    .array(
      z.strictObject({
        name: nameField,
        step: nameField,
        receivers: z
          .array(z.strictObject({ organisation: digestField, role: receiverRole }))
          .min(1)
          .max(16),
        /** The columns it will have, and which of them count people. */
        declared: declaredOutputSchema,
        rules: outputRulesSchema,
      }),
    )
    .min(1)
    .max(16),
})
export type Workflow = z.infer<typeof workflowSchema>

/** A receiver's membership, resolved by the contract's author: its HPKE key is the only one an output is sealed to. */
const receiverSchema = z.strictObject({ organisation: digestField, role: receiverRole, membership: digestField })

export const contractSchema = z.strictObject({
  type: z.literal('cella/contract'),
  version: z.literal(1),
  organisation: digestField,
  signer: keyIdField,
  /** 16 random bytes: two contracts never have one digest. */
  id: bytesField({ exactly: 16 }),
  kind: z.literal('job'),
  name: nameField,
  purpose: labelField,
  steps: z
    .array(
      z.strictObject({
        id: nameField,
        /** Manifest of a program. */
        program: digestField,
        arguments: z.array(z.string().max(4096)).max(64),
        /** The program reads each as /in/<name>, a table with columns under the names given here. */
        inputs: z
          .array(
            z.strictObject({
              name: nameField,
              manifest: digestField,
              columns: columnNamesSchema.exactOptional(),
            }),
          )
          .min(1)
          .max(64),
        boundary: boundaryField,
        attempts: z.int().min(1).max(10),
        budgets: budgetsSchema,
      }),
    )
    .min(1)
    .max(16),
  outputs: z
    .array(
      z.strictObject({
        /** The program writes it as /out/<name>. */
        name: nameField,
        step: nameField,
        receivers: z.array(receiverSchema).min(1).max(16),
        /** The columns it will have, and which of them count people. */
        declared: declaredOutputSchema,
        rules: outputRulesSchema,
      }),
    )
    .min(1)
    .max(16),
  /** Who may read the program's own words (stdout, stderr, exit code, trap, exact metering): nobody when empty. */
  diagnostics: z.array(receiverSchema).max(16),
  /** Signing keys of the vaults that hold the inputs' keys, and the evidence each grant was made on. */
  vaults: z.array(keyIdField).min(1).max(8),
  /** Origin of the log. */
  log: labelField,
  /** What the author demands beyond the owners' terms. */
  simulated: z.boolean(),
  isolation: z.int().min(1).max(3),
  runs: z.int().min(1).max(1_000_000),
  notBefore: timeField,
  notAfter: timeField,
})
export type Contract = z.infer<typeof contractSchema>

export const approvalSchema = z.strictObject({
  type: z.literal('cella/approval'),
  version: z.literal(1),
  organisation: digestField,
  signer: keyIdField,
  contract: digestField,
  runs: z.int().min(1).max(1_000_000),
  notBefore: timeField,
  notAfter: timeField,
})
export type Approval = z.infer<typeof approvalSchema>

const execution = { contract: digestField, run: z.int().min(1).max(1_000_000), attempt: z.int().min(1).max(10) }

const decided = {
  /** Codes of every reason; empty when allowed. */
  reasons: z.array(z.string().regex(/^ERR_[A-Z0-9_]{1,60}$/)).max(64),
  /** The reasons in full, as an HPKE envelope to the manifest's signer; null when allowed. */
  sealedReasons: bytesField({ atMost: 65_536 }).nullable(),
  /** Bounds of the present by the witnesses' timestamps, and the tree size they stood on. */
  time: z.strictObject({ earliest: timeField, latest: timeField, size: z.int().min(0).max(Number.MAX_SAFE_INTEGER) }),
}

/** What a vault decided about one asset. Its place in the log is in its proof. */
export const decisionSchema = z.strictObject({
  type: z.literal('cella/decision'),
  version: z.literal(1),
  /** Digest of the vault's evidence. */
  organisation: digestField,
  signer: keyIdField,
  ...execution,
  manifest: digestField,
  workerEvidence: digestField,
  allowed: z.boolean(),
  /** The n-th use of the asset at this vault, counted from 1; null when denied. */
  use: countField.nullable(),
  ...decided,
})
export type Decision = z.infer<typeof decisionSchema>

/** What a vault decided about handing a secret to a guest. Its place in the log is in its proof. */
export const secretDecisionSchema = z.strictObject({
  type: z.literal('cella/secret-decision'),
  version: z.literal(1),
  /** Digest of the vault's evidence. */
  organisation: digestField,
  signer: keyIdField,
  manifest: digestField,
  guestEvidence: digestField,
  /** SHA-256 over the canonical JSON of the JWK that the secret would be encrypted to. */
  guestKey: digestField,
  /** The attestation policy that the guest was appraised by; null where none was in force. */
  attestation: digestField.nullable(),
  allowed: z.boolean(),
  /** The n-th use of the secret at this vault, counted from 1; null when denied. */
  use: countField.nullable(),
  ...decided,
})

export const runStatuses = [
  'ok',
  'exit-nonzero',
  'trap',
  'out-of-fuel',
  'out-of-memory',
  'call-depth',
  'deadline',
  'output-too-large',
  'output-refused',
  'not-admitted',
  'runner-lost',
] as const

export const receiptSchema = z.strictObject({
  type: z.literal('cella/receipt'),
  version: z.literal(1),
  /** Digest of the worker's evidence. */
  organisation: digestField,
  signer: keyIdField,
  ...execution,
  status: z.enum(runStatuses),
  inputs: z.array(z.strictObject({ name: nameField, manifest: digestField, rootDigest: digestField })).max(64),
  program: z.strictObject({ manifest: digestField, digest: digestField }),
  /** Digests of the decisions that released the keys, one for each asset. */
  decisions: z.array(digestField).min(1).max(128),
  outputs: z
    .array(
      z.strictObject({
        name: nameField,
        sealed: z.strictObject({
          format: z.literal('cella-sealed/1'),
          rootDigest: digestField,
          size: z.int().min(1).max(Number.MAX_SAFE_INTEGER),
          keyCommitment: digestField,
        }),
        receivers: z.array(digestField).min(1).max(16),
        /** Rows that the owners' group size emptied. */
        suppressed: countField,
      }),
    )
    .max(32),
  isolation: z.int().min(1).max(3),
  simulated: z.boolean(),
  /** Rounded up to powers of two: exact figures are for the diagnostics' receivers. */
  resources: z.strictObject({ fuel: countFieldWide(), memoryPages: countField, wallSeconds: countField }),
  /** SHA-256 of "cella/v1/seed-commitment" ‖ seed. */
  seedCommitment: digestField,
  /** Version of the program instrumentation. */
  injector: labelField,
  time: z.strictObject({ earliest: timeField, latest: timeField }),
})
export type Receipt = z.infer<typeof receiptSchema>

function countFieldWide(): z.ZodType<number> {
  return z.int().min(0).max(Number.MAX_SAFE_INTEGER)
}
