import type { Json } from '@cella/bytes'
import { bytesField, digestField, documentBytesMax } from '@cella/documents'
import { z } from 'zod'

const json: z.ZodType<Json> = z.json() as z.ZodType<Json>
const execution = { contract: digestField, run: z.int().min(1).max(1_000_000), attempt: z.int().min(1).max(10) }

export const challengeRequest = z.strictObject({ nonce: bytesField({ exactly: 32 }) })
export const kekRequest = z.strictObject({ organisation: digestField, nonce: bytesField({ exactly: 32 }) })
export const readingRequest = z.strictObject({ nonce: bytesField({ exactly: 32 }) })
export const nonceRequest = z.strictObject({})

/** What a worker's evidence is bound to. */
const workerBindingSchema = z.strictObject({
  role: z.literal('worker'),
  signingKey: bytesField({ exactly: 32 }),
  hpkeKey: bytesField({ exactly: 1216 }),
  nonces: z.record(z.string().regex(/^[A-Za-z0-9_-]{43}$/), bytesField({ exactly: 32 })),
  ...execution,
  isolation: z.int().min(1).max(3),
  /** Contracts that this launch of the worker served before. */
  served: z.int().min(0),
  configuration: digestField,
})

export const decideRequest = z.strictObject({
  ...execution,
  documents: z.array(z.string().max(documentBytesMax)).max(2048),
  binding: workerBindingSchema,
  evidence: json,
})
export type DecideRequest = z.infer<typeof decideRequest>

const memberRequest = {
  organisation: digestField,
  membership: digestField,
  /** Envelopes that show the membership in the log, and the organisation's terms. */
  documents: z.array(z.string().max(documentBytesMax)).max(2048),
  nonce: bytesField({ exactly: 32 }),
  signature: bytesField({ exactly: 64 }),
}
export const streamKeyRequest = z.strictObject(memberRequest)
export type StreamKeyRequest = z.infer<typeof streamKeyRequest>

export const eraseRequest = z.strictObject({
  ...memberRequest,
  entries: z.array(z.int().min(0).max(Number.MAX_SAFE_INTEGER)).min(1).max(256),
})
export type EraseRequest = z.infer<typeof eraseRequest>

/** `last` begins the new epoch; until then requests add to what it will open. */
export const rotateRequest = z.strictObject({
  ...memberRequest,
  grants: z.array(digestField).max(1024),
  last: z.boolean(),
})
export type RotateRequest = z.infer<typeof rotateRequest>

const loggedDecision = z.strictObject({
  document: z.string().max(documentBytesMax),
  salt: bytesField({ exactly: 32 }),
  leaf: bytesField({ exactly: 64 }),
  index: z.int().min(0).max(Number.MAX_SAFE_INTEGER),
})

/** The decisions of all vaults of the contract, and the signing keys of the others, by their ids. */
export const releaseRequest = z.strictObject({
  ...execution,
  decisions: z.array(loggedDecision).min(1).max(128),
  signingKeys: z
    .record(z.string().regex(/^[A-Za-z0-9_-]{43}$/), bytesField({ exactly: 32 }))
    .refine((keys) => Object.keys(keys).length <= 8, 'has more keys than a contract has vaults')
    .exactOptional(),
})
export type ReleaseRequest = z.infer<typeof releaseRequest>
