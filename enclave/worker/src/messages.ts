import type { Json } from '@cella/bytes'
import { bytesField, digestField, documentBytesMax, keyIdField } from '@cella/documents'
import { challengeNonceLength } from '@cella/evidence'
import { z } from 'zod'

// What the manager and the vaults answer. Unknown members of the manager's answers are ignored: it may be newer.

const json: z.ZodType<Json> = z.json() as z.ZodType<Json>
const envelope = z.string().max(documentBytesMax)

export const offerSchema = z.object({
  contract: digestField,
  run: z.int().min(1).max(1_000_000),
  attempt: z.int().min(1).max(10),
  lease: z.union([z.int().min(0), z.string().max(64)]),
  leaseSeconds: z.int().min(1).max(3600),
  documents: z.array(envelope).max(2048),
  locations: z.record(z.string(), z.object({ sealed: digestField, outboard: digestField })),
  vaults: z.array(keyIdField).max(8),
})
export type Offer = z.infer<typeof offerSchema>

export const nonceAnswer = z.object({ nonce: bytesField({ exactly: 32 }) })

const loggedDecisionSchema = z.object({
  document: envelope,
  salt: bytesField({ exactly: 32 }),
  leaf: bytesField({ exactly: 64 }),
  index: z.int().min(0).max(Number.MAX_SAFE_INTEGER),
})
export type LoggedDecision = z.infer<typeof loggedDecisionSchema>

export const decideAnswer = z.object({
  decisions: z.array(loggedDecisionSchema).min(1).max(128),
  binding: z.record(z.string(), json),
  evidence: json,
})
export type DecideAnswer = z.infer<typeof decideAnswer>

export const releaseAnswer = z.object({
  keys: z.array(z.object({ manifest: digestField, wrapped: bytesField({ exactly: 1168 }) })).max(128),
  released: z.object({ leaf: bytesField({ exactly: 64 }), index: z.int().min(0) }),
})

const outputSchema = z.object({
  name: z.string().max(100),
  blob: digestField,
  outboard: digestField,
  keys: z.array(z.object({ membership: digestField, wrapped: bytesField({ exactly: 1168 }) })).max(16),
})

/** What an attempt leaves with the manager before its receipt is logged, for an attempt after it. */
export const draftSchema = z.object({
  receipt: z.object({ document: envelope, salt: bytesField({ exactly: 32 }), leaf: bytesField({ exactly: 64 }) }),
  decisions: z.array(loggedDecisionSchema).min(1).max(128),
  documents: z.array(envelope).max(2048),
  evidence: z.object({ worker: json, vaults: z.array(json).max(8) }),
  /** Where the sealed outputs lie; the wrapped keys are not among it. */
  outputs: z.array(outputSchema.omit({ keys: true })).max(32),
})
export type Draft = z.infer<typeof draftSchema>
export const draftsAnswer = z.object({ drafts: z.array(json).max(10) })

/** Somebody's challenge, by way of the manager. */
export const challengeOffer = z.object({
  id: z.int().min(1).max(Number.MAX_SAFE_INTEGER),
  nonce: bytesField({ exactly: challengeNonceLength }),
})
