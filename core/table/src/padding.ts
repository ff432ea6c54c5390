import { ByteReader, concatBytes, FormatError, uint64Bytes } from '@cella/bytes'
import { TableError } from './error.ts'

const prefixLength = 8
/** The smallest padded size: below it every output looks alike. */
const stepMin = 1024

/**
 * The size of the padding of `length` bytes: 8 bytes of length prefix included, rounded up to an eighth of the power of
 * two below, at least 1024. So at most an eighth is wasted, and a size tells about 3 + log2(log2(size)) bits
 * (the idea of Padmé: Nikitin et al., "Reducing Metadata Leakage from Encrypted Files", PETS 2019).
 */
export function paddedLength(length: number): number {
  if (!Number.isSafeInteger(length) || length < 0) throw new RangeError(`paddedLength: ${length}`)
  const total = length + prefixLength
  if (total <= stepMin) return stepMin
  // Exact for all sizes here, unlike log2; and no shift, which would cut to 32 bits.
  let power = stepMin
  while (power * 2 <= total) power *= 2
  const step = power / 8
  return Math.ceil(total / step) * step
}

/** Length of `bytes` (8 bytes, big-endian) ‖ `bytes` ‖ zeros up to `paddedLength`. */
export function padToStep(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const zeros = new Uint8Array(paddedLength(bytes.length) - prefixLength - bytes.length)
  return concatBytes(uint64Bytes(bytes.length), bytes, zeros)
}

/**
 * What `padToStep` was given, in memory of its own. Throws TableError ERR_PADDING_MALFORMED for anything that it would
 * not have made: another size, a byte of the padding that is not zero.
 */
export function unpad(padded: Uint8Array): Uint8Array<ArrayBuffer> {
  try {
    const reader = new ByteReader(padded)
    const length = reader.uint64('length of the content')
    if (length > BigInt(padded.length) || paddedLength(Number(length)) !== padded.length) {
      throw new FormatError('padding', `${padded.length} bytes are not the step of the length that they state`)
    }
    const content = reader.take(Number(length), 'content')
    if (reader.take(padded.length - prefixLength - content.length, 'zeros').some((byte) => byte !== 0)) {
      throw new FormatError('padding', 'has a byte that is not zero')
    }
    return content.slice() as Uint8Array<ArrayBuffer>
  } catch (cause) {
    if (!(cause instanceof FormatError)) throw cause
    throw new TableError('ERR_PADDING_MALFORMED', cause.message, { cause })
  }
}
