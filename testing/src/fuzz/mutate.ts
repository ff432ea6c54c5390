import { mutateBytes } from './mutate-bytes.ts'
import { mutateCbor } from './mutate-cbor.ts'
import { mutateDer } from './mutate-der.ts'
import { mutateText } from './mutate-text.ts'
import type { Random } from './random.ts'

const nestingMax = 4

/** One to four changes, half of them to the structure where there is one: text, CBOR, DER, also within each other. */
export function mutate(bytes: Uint8Array, random: Random, others: readonly Uint8Array[]): Uint8Array {
  const bytesMax = 65_536 + 2 * bytes.length
  let changed = bytes
  for (let count = random.oneIn(3) ? 1 + random.below(4) : 1; count > 0; count--) {
    changed = mutateOnce(changed, random, others, 0).subarray(0, bytesMax)
  }
  return changed
}

function mutateOnce(bytes: Uint8Array, random: Random, others: readonly Uint8Array[], depth: number): Uint8Array {
  const inner = (part: Uint8Array): Uint8Array => mutateOnce(part, random, others, depth + 1)
  const structured =
    depth > nestingMax || random.oneIn(2)
      ? undefined
      : (mutateText(bytes, random, inner) ?? mutateCbor(bytes, random, inner) ?? mutateDer(bytes, random, inner))
  return structured ?? mutateBytes(bytes, random, others)
}
