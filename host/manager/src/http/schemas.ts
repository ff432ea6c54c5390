import { bytesField, digestField, documentBytesMax } from '@cella/documents'
import { z } from 'zod'

// Shapes that several routes share. Answers are plain: what we send we made.

const errorAnswer = z.object({
  error: z.object({ code: z.string(), message: z.string(), hint: z.string().optional() }),
})

/** An answer that is no JSON of ours: bytes, a stream, or what another wrote. */
export const passedOn: z.ZodType<unknown> = z.unknown()

/** Every refusal a route can answer with. */
export const refusals = {
  '4xx': errorAnswer,
  '5xx': errorAnswer,
}

export const digestParam = digestField
/** One digest, or several by giving the parameter several times. */
export const digestsQuery = z
  .union([digestField, z.array(digestField).min(1).max(64)])
  .transform((given) => (typeof given === 'string' ? [given] : given))
  .optional()
/** `true` or `false`. */
export const flagQuery = z
  .enum(['true', 'false'])
  .transform((text) => text === 'true')
  .optional()
export const saltField = bytesField({ exactly: 32 })

/** A document that an enclave signed and logged itself, with what shows its leaf. */
export const loggedDocument = z.strictObject({
  document: z.string().max(documentBytesMax),
  salt: saltField,
  /** 64 bytes. */
  leaf: z.string().regex(/^[A-Za-z0-9_-]{86}$/),
  index: z.int().min(0).max(Number.MAX_SAFE_INTEGER),
})
export const loggedDocumentBytesMax: number = 2 * documentBytesMax + 4096
export const runParam = z.coerce.number().int().min(1).max(1_000_000)
/** A position in a list, from an earlier answer's `next`. */
export const positionQuery = z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER).optional()
export const limitQuery = z.coerce.number().int().min(1).max(200).default(50)

export const locations = z.strictObject({
  sealed: z.string().regex(/^[0-9a-f]{64}$/),
  outboard: z.string().regex(/^[0-9a-f]{64}$/),
})

export const leafProof = z.object({ index: z.int(), leaf: z.string(), proof: z.string() })

export const runAnswer = z.object({
  contract: z.string(),
  run: z.int(),
  attempt: z.int(),
  status: z.enum(['queued', 'running', 'finished', 'refused', 'failed', 'cancelled']),
  phase: z.string(),
  createdAt: z.int(),
  updatedAt: z.int(),
  error: z.object({ code: z.string(), reasons: z.array(z.unknown()).optional() }).optional(),
  receipt: z.string().optional(),
  decisions: z.array(z.string()).optional(),
  /** Of a run that is queued, where one run is asked for. */
  waiting: z
    .object({
      /** 1: the next one, as things are now. */
      position: z.int(),
      /** How many runs wait for this boundary. */
      of: z.int(),
      boundary: z.string(),
      isolation: z.int(),
      /** Kinds of TEE that every owner's terms accept; null: any. */
      tees: z.array(z.string()).nullable(),
      /** Workers that were here lately and could take it, and how many of them are at work. */
      workers: z.int(),
      busy: z.int(),
      /** Workers that were here lately and are offered nothing: GET /v1/workers says why. */
      refused: z.int(),
    })
    .optional(),
})
