import { z } from 'zod'
import { digestField, keyIdField, labelField, timeField } from './fields.ts'

/** A line that people say to each other beside a document, or nothing. */
const messageField = z.union([z.literal(''), labelField])

/** Asks an organisation to approve a contract. It decides nothing: it can't get lost, and both sides see where it stands. */
export const requestSchema = z.strictObject({
  type: z.literal('cella/request'),
  version: z.literal(1),
  organisation: digestField,
  signer: keyIdField,
  contract: digestField,
  /** The organisation that is asked. */
  to: digestField,
  /** By when an answer is of use. */
  by: timeField,
  message: messageField,
  /** The request of which this is a reminder. */
  previous: digestField.nullable(),
})
export type Request = z.infer<typeof requestSchema>

/** What a member of the asked organisation says to a request. An approval is a document of its own. */
export const responseSchema = z.strictObject({
  type: z.literal('cella/response'),
  version: z.literal(1),
  organisation: digestField,
  signer: keyIdField,
  request: digestField,
  answer: z.enum(['seen', 'delegated', 'declined']),
  /** The account of the organisation that is to answer, where it was delegated. */
  account: keyIdField.nullable(),
  message: messageField,
})
export type Response = z.infer<typeof responseSchema>
