import type { Digest } from '@cella/bytes'
import { bytesField, digestField, documentBytesMax, keyIdField, labelField } from '@cella/documents'
import type { KeyId } from '@cella/primitives'
import { z } from 'zod'
import { holdingSchema } from '../holding.ts'
import type { Place } from '../state.ts'

// What two vaults say to each other, over attested TLS: docs/formats/attested-tls.md.

/** Organisations of one message. */
export const batchMax = 32
/** Of offers with all documents of 32 organisations, and of what is held for them. */
export const messageBytesMax = 256 * 2 ** 20

const count = z.int().min(0).max(Number.MAX_SAFE_INTEGER)
const place = { organisation: digestField, vault: keyIdField }
const readingSchema = z.strictObject({ origin: labelField, size: count, root: digestField })

export const takerHello = z.strictObject({
  log: readingSchema,
  /** What the taker has already, and of which epoch. */
  have: z.array(z.strictObject({ ...place, epoch: z.int().min(1) })).max(20_000),
})
export const giverHello = z.strictObject({ log: readingSchema })

const codes = z.array(z.string().regex(/^ERR_[A-Z0-9_]{1,60}$/)).max(64)
const refusedSchema = z.strictObject({ ...place, reasons: codes })
export type Refused = z.infer<typeof refusedSchema>

/** No offers: there is nothing more. */
export const offersMessage = z.strictObject({
  offers: z
    .array(
      z.strictObject({
        documents: z.array(z.string().max(documentBytesMax)).max(2048),
        draft: z.string().max(documentBytesMax),
      }),
    )
    .max(batchMax),
  refused: z.array(refusedSchema).max(20_000),
})

/** For each offer the draft with the taker's signature, or why not. */
export const answersMessage = z.strictObject({
  answers: z
    .array(z.union([z.strictObject({ draft: z.string().max(documentBytesMax) }), z.strictObject({ reasons: codes })]))
    .max(batchMax),
})

export const givenMessage = z.strictObject({
  given: z
    .array(
      z
        .strictObject({
          document: z.string().max(documentBytesMax),
          salt: bytesField({ exactly: 32 }),
          index: count,
          holding: holdingSchema,
        })
        .nullable(),
    )
    .max(batchMax),
})
export const takenMessage = z.strictObject({ taken: count })

export function nameOf({ organisation, vault }: Place | { organisation: Digest; vault: KeyId }): string {
  return `${organisation}.${vault}`
}
