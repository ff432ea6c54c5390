import {
  canonicalJson,
  decodeBase64url,
  decodeUtf8,
  encodeBase64url,
  encodeHex,
  encodeUtf8,
  equalBytes,
  parseCanonicalJson,
} from '@cella/bytes'
import { bytesField } from '@cella/documents'
import { encodeLeaf, type LogPolicy, leafLength, type ProvenEntry, streamTag, verifyOfflineProof } from '@cella/log'
import { z } from 'zod'
import {
  commitmentOfBody,
  type EventBody,
  type EventField,
  eventCommitment,
  fieldDigest,
  fieldDigests,
  fieldJson,
  fieldOf,
  fieldSchema,
  fieldsMax,
  placeOf,
  requireSorted,
} from './body.ts'
import { EventError, malformed, parsing } from './error.ts'

/** Of the whole file, and of the proof in it: that may hold evidence of the code that signs for the log. */
export const disclosureBytesMax = 3_145_728
const proofLengthMax = 3_000_000

/** Chosen fields of one event, with what shows that its leaf commits to them. */
export interface Disclosure {
  readonly salt: Uint8Array
  /** All fields' digests, 32 bytes each, ascending: those of hidden fields too. */
  readonly digests: readonly Uint8Array[]
  /** Sorted by name. */
  readonly fields: readonly EventField[]
  /** 64 bytes. */
  readonly leaf: Uint8Array
  /** A .tlog-proof of the leaf; its `extra` may show which code signs for the log. */
  readonly proof: Uint8Array
}

/**
 * Shows the fields of these names and hides the others: of them remains that they are there. The stream key makes the
 * leaf's tag and is not part of the result. Throws RangeError for a name that the body does not have.
 */
export function makeDisclosure(
  body: EventBody,
  options: { names: readonly string[]; streamKey: Uint8Array; proof: Uint8Array },
): Disclosure {
  const unknown = options.names.find((name) => !body.fields.some((field) => field.name === name))
  if (unknown !== undefined) throw new RangeError(`the event has no field ${unknown}`)
  return {
    salt: body.salt,
    digests: fieldDigests(body.fields),
    fields: body.fields.filter(({ name }) => options.names.includes(name)),
    leaf: leafOfBody(body, options.streamKey),
    proof: options.proof,
  }
}

/** The leaf of an event with this body, 64 bytes. */
export function leafOfBody(body: EventBody, streamKey: Uint8Array): Uint8Array {
  const tag = streamTag(streamKey, placeOf(body.fields).n)
  return encodeLeaf({ kind: 'event', commitment: commitmentOfBody(body), tag })
}

const schema = z.strictObject({
  digests: z
    .array(bytesField({ exactly: 32 }))
    .min(1)
    .max(fieldsMax),
  fields: z.array(fieldSchema).max(fieldsMax),
  format: z.literal('cella-disclosure/1'),
  leaf: bytesField({ exactly: leafLength }),
  proof: z.string().max(proofLengthMax),
  salt: bytesField({ exactly: 32 }),
})

/** Canonical JSON. */
export function encodeDisclosure(disclosure: Disclosure): Uint8Array {
  return encodeUtf8(
    canonicalJson({
      digests: disclosure.digests.map(encodeBase64url),
      fields: disclosure.fields.map(fieldJson),
      format: 'cella-disclosure/1',
      leaf: encodeBase64url(disclosure.leaf),
      proof: decodeUtf8(disclosure.proof, 'proof'),
      salt: encodeBase64url(disclosure.salt),
    }),
  )
}

/** The inverse of `encodeDisclosure`; nothing is verified. Throws ERR_EVENT_MALFORMED. */
export function parseDisclosure(bytes: Uint8Array): Disclosure {
  const parsed = schema.safeParse(parsing(() => parseCanonicalJson(bytes, 'disclosure', disclosureBytesMax)))
  if (!parsed.success) {
    const issue = parsed.error.issues[0]
    throw malformed('disclosure', `${issue?.path.join('.')}: ${issue?.message}`)
  }
  const { data } = parsed
  const fields = data.fields.map(fieldOf)
  requireSorted(fields)
  const digests = data.digests.map((digest) => decodeBase64url(digest, 'digests'))
  for (const [at, digest] of digests.entries()) {
    if (at > 0 && encodeHex(digest) <= encodeHex(digests[at - 1]!)) {
      throw malformed('disclosure', 'its digests do not ascend')
    }
  }
  return {
    digests,
    fields,
    leaf: decodeBase64url(data.leaf, 'leaf'),
    proof: encodeUtf8(data.proof),
    salt: decodeBase64url(data.salt, 'salt'),
  }
}

export interface VerifiedDisclosure {
  readonly entry: ProvenEntry
  readonly fields: readonly EventField[]
  /** How many further fields the event has. */
  readonly hidden: number
}

/**
 * That the fields shown are of an event in the log, by the verifier's own policy. Throws ERR_EVENT_MALFORMED,
 * ERR_EVENT_MISMATCH, and what `verifyOfflineProof` throws. Whose event it is, the log does not tell.
 */
export function verifyDisclosure(bytes: Uint8Array, policy: LogPolicy): VerifiedDisclosure {
  const { salt, digests, fields, leaf, proof } = parseDisclosure(bytes)
  const entry = verifyOfflineProof({ proofFile: proof, leaf, policy })
  const mismatch = (problem: string): EventError => new EventError('ERR_EVENT_MISMATCH', problem)
  if (entry.leaf.kind !== 'event') throw mismatch('the leaf is no event')
  if (!equalBytes(eventCommitment(salt, digests), entry.leaf.commitment)) {
    throw mismatch('the leaf commits to other fields')
  }
  const listed = new Set(digests.map(encodeHex))
  for (const field of fields) {
    if (!listed.has(encodeHex(fieldDigest(field)))) throw mismatch(`field ${field.name} is not one of the event`)
  }
  return { entry, fields, hidden: digests.length - fields.length }
}
