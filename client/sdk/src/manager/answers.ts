import type { Digest } from '@cella/bytes'
import { bytesField, digestField, keyIdField, timeField } from '@cella/documents'
import { streamKeyStatementSchema } from '@cella/events'
import { z } from 'zod'

// Shapes of the manager's answers, docs/protocol.md. Unknown members are ignored, so that a newer manager can say more;
// nothing that is read here decides anything before a signature or a proof was checked.

const index = z.int().min(0).max(Number.MAX_SAFE_INTEGER)
const text = z.string().max(1_048_576)
const proofSchema = z.object({ index, leaf: text, proof: text })

export const errorAnswerSchema = z.object({
  error: z.object({
    code: z.string().regex(/^ERR_[A-Z0-9_]{1,60}$/),
    message: z.string().max(10_000),
    hint: z.string().max(10_000).optional(),
  }),
})

export const infoSchema = z.object({
  name: z.string().max(200),
  release: z.string().max(200),
  log: z.object({ policyLine: text, origin: z.string().max(255), vkey: z.string().max(4096) }),
  vaults: z
    .array(
      z.object({
        id: keyIdField,
        url: z.string().max(2048),
        /** Until when its operator serves it, Unix seconds. */
        until: z.int().min(0).max(253_402_300_799).optional(),
        /** At its owner's home: for that organisation's keys alone. */
        home: z.literal(true).optional(),
      }),
    )
    .max(64),
})
export type Info = z.infer<typeof infoSchema>

const locationsSchema = z.object({ sealed: digestField, outboard: digestField })
export type Locations = z.infer<typeof locationsSchema>

export const submittedSchema = z.object({
  digest: digestField,
  index,
  leaf: text,
  proof: text,
  revoked: proofSchema.optional(),
})
export type Submitted = z.infer<typeof submittedSchema>

const saltField = bytesField({ exactly: 32 })

export const storedDocumentSchema = z.object({
  document: text,
  salt: saltField,
  index,
  leaf: text,
  proof: text,
  locations: locationsSchema.optional(),
})
export type StoredDocument = z.infer<typeof storedDocumentSchema>

export const documentPageSchema = z.object({
  documents: z
    .array(
      z.object({
        digest: digestField,
        document: text,
        salt: saltField,
        index,
        locations: locationsSchema.optional(),
      }),
    )
    .max(10_000),
  next: index.optional(),
})
export type ListedDocument = z.infer<typeof documentPageSchema>['documents'][number]

export const uploadSchema = z.object({
  upload: z.string().max(200).optional(),
  offset: index.optional(),
  done: z.boolean().optional(),
})

const runStatusSchema = z.enum(['queued', 'running', 'finished', 'refused', 'failed', 'cancelled'])
export type RunStatus = z.infer<typeof runStatusSchema>

export const runSchema = z.object({
  contract: digestField,
  run: z.int().min(1),
  attempt: z.int().min(0).nullish(),
  status: runStatusSchema,
  phase: z.string().max(100).nullish(),
  createdAt: timeField.nullish(),
  updatedAt: timeField.nullish(),
  error: z.object({ code: z.string().max(100), reasons: z.array(z.unknown()).max(1000).optional() }).nullish(),
  receipt: digestField.nullish(),
  /** Envelopes of a refusal's decisions. */
  decisions: z.array(text).max(128).nullish(),
  /** Of a run that is queued: its place, and who could take it, as the manager says. */
  waiting: z
    .object({
      position: z.int().min(1),
      of: z.int().min(0),
      boundary: z.string().max(40),
      isolation: z.int().min(1).max(3),
      tees: z.array(z.string().max(40)).max(32).nullish(),
      workers: z.int().min(0),
      busy: z.int().min(0),
      refused: z.int().min(0).nullish(),
    })
    .nullish(),
})
export type Run = z.infer<typeof runSchema>

export const runsSchema = z.object({
  runs: z.array(runSchema).max(10_000),
  next: index.optional(),
})

export const eventSchema = z.object({
  /** Seconds, with a fraction where the manager gives one. */
  at: z.number().min(0),
  attempt: z.int().min(0).nullish(),
  phase: z.string().max(100),
  detail: z.unknown().optional(),
  /** With the last one: how the run ended. A manager of before has to be asked. */
  run: runSchema.optional(),
})
export type RunEvent = z.infer<typeof eventSchema> & { readonly id: string }

export const outputsSchema = z.object({
  outputs: z
    .array(
      z.object({
        name: z.string().max(100),
        blob: digestField,
        outboard: digestField,
        keys: z.array(z.object({ membership: digestField, wrapped: bytesField({ atMost: 2048 }) })).max(64),
      }),
    )
    .max(64),
})
export type StoredOutput = z.infer<typeof outputsSchema>['outputs'][number]

export const evidenceAnswerSchema = z.object({ binding: z.record(z.string(), z.unknown()), evidence: z.unknown() })
export type EvidenceAnswer = z.infer<typeof evidenceAnswerSchema>

export const nonceSchema = z.object({ nonce: z.string().max(100) })
export const streamKeySchema = z.object({ statement: streamKeyStatementSchema, wrapped: z.string().max(4096) })
export type StreamKeyAnswer = z.infer<typeof streamKeySchema>
export const erasedSchema = z.object({ erased: z.array(z.int().min(0)).max(256), index: z.int().min(0) })
export type Erased = z.infer<typeof erasedSchema>

export const rotatedSchema = z.object({
  epoch: z.int().min(1),
  rewrapped: z.int().min(0),
  kek: digestField.nullable(),
  index: z.int().min(0).nullable(),
})
export type Rotated = z.infer<typeof rotatedSchema>

export const brokerCallSchema = z.object({
  id: z.int().min(1),
  call: z.enum(['challenge', 'kek', 'reading', 'nonce', 'decide', 'release', 'stream-key', 'erase', 'rotate']),
  body: z.string().max(6 * 2 ** 20),
})
export type BrokerCall = z.infer<typeof brokerCallSchema>

/** What a member asks of a vault, signed. */
export interface VaultMemberRequest {
  readonly organisation: Digest
  readonly membership: Digest
  readonly documents: readonly string[]
  readonly nonce: string
  readonly signature: string
}

const digests = z.array(digestField).max(10_000)
export const inboxSchema = z.object({
  approvals: digests,
  asked: digests,
  asking: digests,
  last: index,
  next: index.nullable(),
  moreRuns: z.boolean(),
  runs: z
    .array(z.object({ contract: digestField, run: z.int().min(1), status: runStatusSchema, at: z.number().min(0) }))
    .max(10_000),
})

/** What happened that concerns an organisation of the account. */
export const noticeSchema = z.object({
  at: z.number().min(0),
  organisation: digestField,
  kind: z.string().max(100),
  about: digestField,
  detail: z.record(z.string(), z.unknown()),
})
export type Notice = z.infer<typeof noticeSchema> & { readonly id: string }

export const webhookSchema = z.object({
  id: index,
  organisation: digestField,
  url: z.string().max(2048),
  delivered: index,
  failures: z.int().min(0),
  resting: z.boolean(),
  problem: z.string().max(1000).nullable(),
})
export type Webhook = z.infer<typeof webhookSchema>
