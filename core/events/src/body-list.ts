import { ByteReader, concatBytes, type Digest, decodeHex, encodeHex, uint32Bytes } from '@cella/bytes'
import { malformed, parsing } from './error.ts'
import { sealedBodyBytesMax } from './sealed-body.ts'

// Sealed bodies as they travel: commitment 32 ‖ length u32 ‖ bytes, one after the other.

/** Bodies of one request or answer. */
export const bodiesMax = 256

/** What stands behind a leaf, under the leaf's commitment. */
export interface SealedBody {
  readonly commitment: Digest
  readonly sealed: Uint8Array
}

export function encodeSealedBodies(bodies: readonly SealedBody[]): Uint8Array {
  return concatBytes(
    ...bodies.flatMap(({ commitment, sealed }) => [
      decodeHex(commitment, 'commitment'),
      uint32Bytes(sealed.length),
      sealed,
    ]),
  )
}

/** The inverse of `encodeSealedBodies`; nothing is opened. Throws ERR_EVENT_MALFORMED. */
export function parseSealedBodies(bytes: Uint8Array): SealedBody[] {
  return parsing(() => {
    const reader = new ByteReader(bytes)
    const bodies: SealedBody[] = []
    while (reader.remaining > 0) {
      if (bodies.length >= bodiesMax) throw malformed('bodies', `are more than ${bodiesMax}`)
      const commitment = encodeHex(reader.take(32, 'commitment')) as Digest
      const length = reader.uint32('length')
      if (length > sealedBodyBytesMax) throw malformed('body', `has ${length} bytes, at most ${sealedBodyBytesMax}`)
      bodies.push({ commitment, sealed: new Uint8Array(reader.take(length, 'body')) })
    }
    return bodies
  })
}
