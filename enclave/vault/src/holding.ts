import {
  canonicalJson,
  type Digest,
  decodeBase64url,
  encodeBase64url,
  encodeUtf8,
  parseCanonicalJson,
} from '@cella/bytes'
import { bytesField, digestField } from '@cella/documents'
import { wrappedDekLength } from '@cella/seal'
import { z } from 'zod'

/** A grant of an earlier epoch, wrapped anew. */
export interface Rewrapped {
  readonly manifest: Digest
  readonly wrapped: Uint8Array
}

/** A KEK with the grants that were wrapped for it when it took another one's place. */
export interface Epoch {
  /** What the KEK pair is derived from, 32 random bytes: nothing else leads to it, so that it can be erased. */
  readonly kek: Uint8Array
  /** By the grant's digest. */
  readonly rewrapped: ReadonlyMap<Digest, Rewrapped>
}

/** What a vault holds for one organisation. */
export interface Holding extends Epoch {
  /** 32 bytes, for ever: counts of uses, streams of events, and the organisation's epochs in the log hang on it. */
  readonly secret: Uint8Array
  /** Counted from 1. */
  readonly epoch: number
  /** The next epoch, from the moment a rotation begins until the log says which one it is. */
  readonly next: Epoch | null
}

const rewrappedMax = 16_384
/** Bytes of an encoded holding. */
const holdingBytesMax = 64 * 2 ** 20

const seed = bytesField({ exactly: 32 })
const epochMembers = {
  kek: seed,
  rewrapped: z.array(z.tuple([digestField, digestField, bytesField({ exactly: wrappedDekLength })])).max(rewrappedMax),
}
/** As it is sealed, and as one vault gives it to another. */
export const holdingSchema = z.strictObject({
  version: z.literal(1),
  secret: seed,
  epoch: z.int().min(1).max(1_000_000),
  ...epochMembers,
  next: z.strictObject(epochMembers).nullable(),
})
type HoldingJson = z.infer<typeof holdingSchema>

export function holdingJson({ secret, epoch, next, ...current }: Holding): HoldingJson {
  return {
    version: 1,
    secret: encodeBase64url(secret),
    epoch,
    ...epochJson(current),
    next: next && epochJson(next),
  }
}

export function holdingOf({ secret, epoch, next, ...current }: HoldingJson): Holding {
  return { secret: decodeBase64url(secret, 'secret'), epoch, ...epochOf(current), next: next && epochOf(next) }
}

export function encodeHolding(holding: Holding): Uint8Array {
  return encodeUtf8(canonicalJson(holdingJson(holding)))
}

/** The inverse of `encodeHolding`. Throws FormatError or ZodError. */
export function parseHolding(bytes: Uint8Array): Holding {
  return holdingOf(holdingSchema.parse(parseCanonicalJson(bytes, 'holding', holdingBytesMax)))
}

function epochJson({ kek, rewrapped }: Epoch): Pick<HoldingJson, 'kek' | 'rewrapped'> {
  return {
    kek: encodeBase64url(kek),
    rewrapped: [...rewrapped].map(([grant, { manifest, wrapped }]) => [grant, manifest, encodeBase64url(wrapped)]),
  }
}

function epochOf({ kek, rewrapped }: Pick<HoldingJson, 'kek' | 'rewrapped'>): Epoch {
  return {
    kek: decodeBase64url(kek, 'kek'),
    rewrapped: new Map(
      rewrapped.map(([grant, manifest, wrapped]) => [
        grant,
        { manifest, wrapped: decodeBase64url(wrapped, 'wrapped') },
      ]),
    ),
  }
}
