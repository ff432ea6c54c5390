import {
  canonicalJson,
  concatBytes,
  type Digest,
  decodeBase64url,
  decodeHex,
  encodeBase64url,
  encodeHex,
  encodeUtf8,
  type Json,
  parseCanonicalJson,
} from '@cella/bytes'
import { bytesField, digestField } from '@cella/documents'
import { commitmentOf } from '@cella/log'
import { randomBytes, sha256 } from '@cella/primitives'
import { z } from 'zod'
import { malformed, parsing } from './error.ts'

// An event's body is a list of fields, each with a salt of its own. The leaf commits to the list of their digests, so
// that any of them can be shown without the others (the construction of RFC 9901, SD-JWT, with one level).

const fieldSaltLength = 16
export const fieldsMax = 64
/** Of the body's canonical JSON. */
export const bodyBytesMax = 32_768

const fieldName: z.ZodType<string> = z.string().regex(/^[a-z][a-zA-Z0-9]{0,39}$/, 'is not a field’s name')
/** Salt, name, value. */
export const fieldSchema = z.tuple([bytesField({ exactly: fieldSaltLength }), fieldName, z.json()])

export interface EventField {
  /** 16 random bytes, so that a digest tells nothing of a value that can be guessed. */
  readonly salt: Uint8Array
  readonly name: string
  readonly value: Json
}

/** What an entry of a stream says, in the clear. */
export interface EventBody {
  /** 32 random bytes. */
  readonly salt: Uint8Array
  /** Sorted by name, each name once. */
  readonly fields: readonly EventField[]
}

/** What every event says, beside what its type has. */
export interface EventPlace {
  /** The entry's number in its stream, from 0. */
  readonly n: number
  /**
   * The newest entry that its writer had read, with its commitment; null where it had read none. Entries that are logged
   * together name the same one.
   */
  readonly previous: { readonly commitment: Digest; readonly n: number } | null
  /** Such as `decision`, `released`, `denials`, `erasure`. */
  readonly type: string
}

const reserved = ['n', 'previous', 'type']

/** A body with fresh salts. Throws ERR_EVENT_MALFORMED for what no reader would accept. */
export function makeEventBody(place: EventPlace, about: { readonly [name: string]: Json }): EventBody {
  for (const name of reserved) {
    if (name in about) throw new TypeError(`makeEventBody: ${name} is of the entry, not of what it is about`)
  }
  const values: [string, Json][] = Object.entries({
    ...about,
    n: place.n,
    previous: place.previous && { ...place.previous },
    type: place.type,
  })
  const fields = values
    .map(([name, value]) => ({ salt: randomBytes(fieldSaltLength), name, value }))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
  // Read back through the strict reader, so that nothing is logged that nobody could read.
  return parseEventBody(encodeEventBody({ salt: randomBytes(32), fields }))
}

/** SHA-256("cella/v1/field" ‖ 0x00 ‖ salt ‖ RFC 8785 JSON of [name, value]), 32 bytes. */
export function fieldDigest({ salt, name, value }: EventField): Uint8Array {
  return sha256(concatBytes(encodeUtf8('cella/v1/field\u0000'), salt, encodeUtf8(canonicalJson([name, value]))))
}

/** The digests of a body's fields, sorted: a digest's place tells nothing of its field. */
export function fieldDigests(fields: readonly EventField[]): Uint8Array[] {
  return fields
    .map((field) => encodeHex(fieldDigest(field)))
    .sort()
    .map((digest) => decodeHex(digest, 'digest'))
}

/** What the leaf of an event commits to: the salt and the list of digests, one after the other. */
export function eventCommitment(salt: Uint8Array, digests: readonly Uint8Array[]): Uint8Array {
  return commitmentOf('event', salt, concatBytes(...digests))
}

/** The commitment in the leaf of an event with this body, 32 bytes. */
export function commitmentOfBody({ salt, fields }: EventBody): Uint8Array {
  return eventCommitment(salt, fieldDigests(fields))
}

/** The fields' values by name. */
export function valuesOf(fields: readonly EventField[]): { readonly [name: string]: Json } {
  return Object.fromEntries(fields.map(({ name, value }) => [name, value]))
}

const numberField = z.int().min(0).max(Number.MAX_SAFE_INTEGER)
const placeSchema = z.object({
  n: numberField,
  previous: z.strictObject({ commitment: digestField, n: numberField }).nullable(),
  type: z.string().regex(/^[a-z][a-z0-9-]{0,39}$/),
})

/** Where in its stream an event says that it stands. Throws ERR_EVENT_MALFORMED. */
export function placeOf(fields: readonly EventField[]): EventPlace {
  const parsed = placeSchema.safeParse(valuesOf(fields))
  if (!parsed.success)
    throw malformed('event', `${parsed.error.issues[0]?.path.join('.')} is missing or of another form`)
  return parsed.data
}

export function fieldJson({ salt, name, value }: EventField): Json {
  return [encodeBase64url(salt), name, value]
}

export function fieldOf([salt, name, value]: z.infer<typeof fieldSchema>): EventField {
  return { salt: decodeBase64url(salt, 'salt'), name, value: value as Json }
}

/** Throws ERR_EVENT_MALFORMED unless the names ascend, which also means that none is there twice. */
export function requireSorted(fields: readonly EventField[]): void {
  for (const [at, { name }] of fields.entries()) {
    if (at > 0 && name <= fields[at - 1]!.name) throw malformed('event', 'its fields are not sorted by name')
  }
}

const bodySchema = z.strictObject({
  fields: z.array(fieldSchema).min(3).max(fieldsMax),
  salt: bytesField({ exactly: 32 }),
  version: z.literal(1),
})

/** Canonical JSON. */
export function encodeEventBody({ salt, fields }: EventBody): Uint8Array {
  return encodeUtf8(canonicalJson({ fields: fields.map(fieldJson), salt: encodeBase64url(salt), version: 1 }))
}

/** The inverse of `encodeEventBody`. Throws ERR_EVENT_MALFORMED. Whether any leaf commits to it is not known yet. */
export function parseEventBody(bytes: Uint8Array): EventBody {
  const parsed = bodySchema.safeParse(parsing(() => parseCanonicalJson(bytes, 'event', bodyBytesMax)))
  if (!parsed.success) throw malformed('event', parsed.error.issues[0]?.message ?? 'is not valid')
  const fields = parsed.data.fields.map(fieldOf)
  requireSorted(fields)
  placeOf(fields)
  return { salt: decodeBase64url(parsed.data.salt, 'salt'), fields }
}
