import { encodeHex, equalBytes } from '@cella/bytes'

/** How two lists of entries that should begin alike differ first. */
export interface Difference {
  readonly how: 'omitted' | 'inserted' | 'reordered' | 'rewritten'
  /** Of the first entry that differs. */
  readonly at: number
  readonly count: number
}

/** How many entries one could have been moved by. */
const shiftMax = 256

/**
 * What was done to `held`, entries from index `from`, to make `shown` of it; `undefined` where one begins with the other. A
 * guess at the plainest way: what differs is certain, and how it came about only its author knows.
 */
export function differenceOf(
  held: readonly Uint8Array[],
  shown: readonly Uint8Array[],
  from: number,
): Difference | undefined {
  const length = Math.min(held.length, shown.length)
  let first = 0
  while (first < length && equalBytes(held[first]!, shown[first]!)) first += 1
  if (first === length) return undefined
  const at = from + first
  const [before, after] = [held.slice(first, length), shown.slice(first, length)]
  const changed = before.filter((entry, index) => !equalBytes(entry, after[index]!)).length
  if (sameEntries(before, after)) return { how: 'reordered', at, count: changed }
  const omitted = shiftBetween(held.slice(first), shown.slice(first))
  if (omitted !== undefined) return { how: 'omitted', at, count: omitted }
  const inserted = shiftBetween(shown.slice(first), held.slice(first))
  if (inserted !== undefined) return { how: 'inserted', at, count: inserted }
  return { how: 'rewritten', at, count: changed }
}

/** By how many entries `whole` has to be moved on to go on as `lacking` does. */
function shiftBetween(whole: readonly Uint8Array[], lacking: readonly Uint8Array[]): number | undefined {
  for (let shift = 1; shift <= Math.min(shiftMax, whole.length - 1); shift++) {
    const length = Math.min(whole.length - shift, lacking.length)
    if (length > 0 && whole.slice(shift, shift + length).every((entry, index) => equalBytes(entry, lacking[index]!))) {
      return shift
    }
  }
  return undefined
}

function sameEntries(a: readonly Uint8Array[], b: readonly Uint8Array[]): boolean {
  const sorted = (entries: readonly Uint8Array[]): string => entries.map(encodeHex).sort().join(' ')
  return sorted(a) === sorted(b)
}
