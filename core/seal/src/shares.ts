import { combine, split } from 'shamir-secret-sharing'
import { asDek, type Dek, dekLength } from './dek.ts'
import { SealError } from './error.ts'

// Shamir's scheme over GF(2^8), byte by byte, as the package `shamir-secret-sharing` has it: a share is 32 bytes, its x
// coordinate beside it. It hides the key from fewer than `threshold` holders and proves nothing: a wrong share gives another
// key, which the key commitment of the sealed file refuses.

/** One holder's part of a DEK. */
export interface DekShare {
  /** The x coordinate, 1 to 255. */
  readonly index: number
  /** 32 bytes; as secret as a key. */
  readonly share: Dek
}

/** Splits a DEK so that any `threshold` of `count` shares give it back, 2 ≤ threshold ≤ count ≤ 8. */
export async function splitDek(
  dek: Dek,
  { count, threshold }: { count: number; threshold: number },
): Promise<DekShare[]> {
  if (!Number.isInteger(count) || !Number.isInteger(threshold) || threshold < 2 || threshold > count || count > 8) {
    throw new RangeError(`splitDek: ${threshold} of ${count} shares`)
  }
  const shares = await split(dek, count, threshold)
  return shares.map((bytes) => ({ index: bytes[dekLength]!, share: asDek(bytes.slice(0, dekLength)) }))
}

/** The DEK of its shares. Throws ERR_SEAL_WRONG_KEY for fewer than two, or two of one index. */
export async function combineDek(shares: readonly DekShare[]): Promise<Dek> {
  const indices = new Set(shares.map(({ index }) => index))
  if (shares.length < 2 || indices.size !== shares.length) {
    throw new SealError('ERR_SEAL_WRONG_KEY', 'these shares don’t make a key')
  }
  const parts = shares.map(({ index, share }) => {
    const part = new Uint8Array(dekLength + 1)
    part.set(share)
    part[dekLength] = index
    return part
  })
  try {
    return asDek(await combine(parts))
  } finally {
    for (const part of parts) part.fill(0)
  }
}
