import { ByteReader, concatBytes, type Digest, encodeHex, encodeUtf8, equalBytes, uint32Bytes } from '@cella/bytes'
import { aesGcmOpen, aesGcmSeal, hmacSha256, sha256 } from '@cella/primitives'
import { asDek, eventInfo, generateDek, unwrapDek, wrapDek, wrappedDekLength } from '@cella/seal'
import { commitmentOfBody, type EventBody, encodeEventBody, parseEventBody } from './body.ts'
import { EventError, malformed, parsing } from './error.ts'

// version u8 = 1 | readers u8 | for each: hint 16 ‖ wrapped key 1168 | AES-256-GCM of the padded body.
// padded body: length u32 ‖ body ‖ zeros to a multiple of 1024, so that its size tells little of what happened.

const version = 1
const hintLength = 16
const paddingStep = 1024
const readersMax = 16
/** No key ever seals twice: each body has its own. */
const nonce = new Uint8Array(12)

/** Largest sealed body. */
export const sealedBodyBytesMax: number = 2 + readersMax * (hintLength + wrappedDekLength) + 36_864

/** One who may read a body: the X-Wing key of a membership. */
export interface EventReader {
  /** 1216 bytes. */
  readonly publicKey: Uint8Array
}

/** The body, encrypted under a key of its own, which is wrapped for each reader. At least one, at most 16. */
export async function sealEventBody(
  body: EventBody,
  { readers, streamKey }: { readers: readonly EventReader[]; streamKey: Uint8Array },
): Promise<Uint8Array> {
  if (readers.length < 1 || readers.length > readersMax) throw new RangeError(`1 to ${readersMax} readers`)
  const commitment = commitmentOfBody(body)
  const dek = generateDek()
  const info = eventInfo(encodeHex(commitment) as Digest)
  try {
    const keys = await Promise.all(
      readers.map(async ({ publicKey }) =>
        concatBytes(
          hintOf(streamKey, commitment, publicKey),
          await wrapDek({ dek, recipientPublicKey: publicKey, info }),
        ),
      ),
    )
    const head = concatBytes(Uint8Array.of(version, readers.length), ...keys)
    return concatBytes(head, aesGcmSeal(dek, nonce, aadOf(commitment, head), pad(encodeEventBody(body))))
  } finally {
    dek.fill(0)
  }
}

/**
 * The body in `sealed`, which is that of the leaf with this commitment. Throws ERR_EVENT_NOT_OPENED for every cause on
 * the way, ERR_EVENT_MISMATCH where what comes out is not what the leaf commits to.
 */
export async function openEventBody(
  sealed: Uint8Array,
  options: {
    commitment: Uint8Array
    streamKey: Uint8Array
    reader: EventReader & { readonly privateKey: Uint8Array }
  },
): Promise<EventBody> {
  const { commitment, streamKey, reader } = options
  const { head, keys, ciphertext } = parseSealed(sealed)
  const hint = hintOf(streamKey, commitment, reader.publicKey)
  const own = keys.find((key) => equalBytes(key.hint, hint))
  if (own === undefined) throw notOpened()
  let padded: Uint8Array | undefined
  try {
    const info = eventInfo(encodeHex(commitment) as Digest)
    const dek = await unwrapDek({ wrapped: own.wrapped, recipientPrivateKey: reader.privateKey, info })
    padded = aesGcmOpen(asDek(dek), nonce, aadOf(commitment, head), ciphertext)
    dek.fill(0)
  } catch {
    throw notOpened()
  }
  if (padded === undefined) throw notOpened()
  const body = parseEventBody(unpad(padded))
  if (!equalBytes(commitmentOfBody(body), commitment)) {
    throw new EventError('ERR_EVENT_MISMATCH', 'the body is not the one that its leaf commits to')
  }
  return body
}

interface Sealed {
  readonly head: Uint8Array
  readonly keys: readonly { readonly hint: Uint8Array; readonly wrapped: Uint8Array }[]
  readonly ciphertext: Uint8Array
}

function parseSealed(sealed: Uint8Array): Sealed {
  if (sealed.length > sealedBodyBytesMax) {
    throw malformed('sealed event', `has ${sealed.length} bytes, at most ${sealedBodyBytesMax} are read`)
  }
  return parsing(() => {
    const reader = new ByteReader(sealed)
    const found = reader.uint8('version')
    if (found !== version) throw malformed('sealed event', `has version ${found}, known is ${version}`)
    const count = reader.uint8('readers')
    if (count < 1 || count > readersMax) throw malformed('sealed event', `has ${count} readers`)
    const keys = Array.from({ length: count }, () => ({
      hint: reader.take(hintLength, 'hint'),
      wrapped: reader.take(wrappedDekLength, 'wrapped key'),
    }))
    return { head: sealed.subarray(0, reader.offset), keys, ciphertext: reader.take(reader.remaining, 'ciphertext') }
  })
}

/** By it a reader finds its own wrapped key; who has no stream key can't tell whose it is. */
function hintOf(streamKey: Uint8Array, commitment: Uint8Array, publicKey: Uint8Array): Uint8Array {
  const named = concatBytes(encodeUtf8('cella/v1/reader\u0000'), commitment, sha256(publicKey))
  return hmacSha256(streamKey, named).subarray(0, hintLength)
}

function aadOf(commitment: Uint8Array, head: Uint8Array): Uint8Array {
  return concatBytes(encodeUtf8('cella/v1/event\u0000'), commitment, sha256(head))
}

function pad(body: Uint8Array): Uint8Array {
  const padded = new Uint8Array(Math.ceil((body.length + 4) / paddingStep) * paddingStep)
  padded.set(uint32Bytes(body.length))
  padded.set(body, 4)
  return padded
}

function unpad(padded: Uint8Array): Uint8Array {
  return parsing(() => {
    const reader = new ByteReader(padded)
    const body = reader.take(reader.uint32('length'), 'event')
    const rest = reader.take(reader.remaining, 'padding')
    if (padded.length % paddingStep !== 0 || rest.length >= paddingStep || rest.some((byte) => byte !== 0)) {
      throw malformed('sealed event', 'its padding is not the one there is')
    }
    return body
  })
}

function notOpened(): EventError {
  return new EventError('ERR_EVENT_NOT_OPENED', 'the body can’t be opened with this key')
}
