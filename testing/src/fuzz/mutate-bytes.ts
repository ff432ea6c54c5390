import { concatBytes } from '@cella/bytes'
import type { Random } from './random.ts'

/** What a length or count is tried as, by its width in bytes: 0, 1 (both ways round) and the largest. */
const extremes: readonly (readonly number[])[] = [
  [0],
  [1],
  [0x7f],
  [0x80],
  [0xff],
  [0, 0],
  [0, 1],
  [1, 0],
  [0xff, 0xff],
  [0, 0, 0, 1],
  [0x7f, 0xff, 0xff, 0xff],
  [0xff, 0xff, 0xff, 0xff],
]
const flips = [0x01, 0x80, 0xff]
const systematicPerByte = 1 + flips.length + extremes.length

/** How many `systematicMutation` knows of an input of this length. */
export function systematicCount(length: number): number {
  return length * systematicPerByte
}

/** The `index`-th of: every truncation, every byte flipped in three ways, 0, 1 and the largest number written everywhere. */
export function systematicMutation(bytes: Uint8Array, index: number): Uint8Array {
  const at = Math.floor(index / systematicPerByte)
  const kind = index % systematicPerByte
  if (kind === 0) return bytes.slice(0, at)
  const changed = bytes.slice()
  if (kind <= flips.length) changed[at]! ^= flips[kind - 1]!
  else changed.set(extremes[kind - 1 - flips.length]!.slice(0, bytes.length - at), at)
  return changed
}

/** A change that knows nothing of the format: flips, cuts, copies within, splices with another input, numbers of text. */
export function mutateBytes(bytes: Uint8Array, random: Random, others: readonly Uint8Array[]): Uint8Array {
  if (bytes.length === 0) return Uint8Array.of(random.below(256))
  const at = random.below(bytes.length)
  const span = Math.min(bytes.length - at, 1 + random.below(random.oneIn(4) ? bytes.length : 16))
  const piece = bytes.subarray(at, at + span)
  const replace = (to: number, ...parts: readonly Uint8Array[]): Uint8Array =>
    concatBytes(bytes.subarray(0, at), ...parts, bytes.subarray(to))
  switch (random.below(9)) {
    case 0:
      return systematicMutation(bytes, random.below(systematicCount(bytes.length)))
    case 1:
      return replace(
        at,
        Uint8Array.from({ length: 1 + random.below(8) }, () => random.below(256)),
      )
    case 2:
      return replace(at + span)
    case 3:
      return replace(at, ...Array.from({ length: 1 + random.below(random.oneIn(8) ? 64 : 2) }, () => piece))
    case 4: {
      const to = random.below(bytes.length)
      const changed = bytes.slice()
      changed.set(piece.subarray(0, bytes.length - to), to)
      return changed
    }
    case 5: {
      const other = random.pick(others)
      const from = random.below(other.length + 1)
      return concatBytes(bytes.subarray(0, at), other.subarray(from))
    }
    case 6:
      return concatBytes(bytes, random.oneIn(2) ? bytes : Uint8Array.of(random.below(256)))
    case 7:
      return mutateNumber(bytes, random) ?? replace(at + 1, Uint8Array.of(random.below(256)))
    default: {
      const changed = bytes.slice()
      changed.fill(random.pick([0, 0x20, 0xff]), at, at + span)
      return changed
    }
  }
}

const numbers = ['0', '00', '1', '-1', '-0', '1.0', '1e400', '9007199254740993', '18446744073709551616', '٣', '+1']

/** Digits somewhere in ASCII become a number that is awkward. */
function mutateNumber(bytes: Uint8Array, random: Random): Uint8Array | undefined {
  const isDigit = (byte: number | undefined): boolean => byte !== undefined && byte >= 0x30 && byte <= 0x39
  const from = bytes.findIndex((byte, at) => at >= random.below(bytes.length) && isDigit(byte))
  if (from < 0) return undefined
  let to = from
  while (isDigit(bytes[to])) to++
  return concatBytes(bytes.subarray(0, from), new TextEncoder().encode(random.pick(numbers)), bytes.subarray(to))
}
