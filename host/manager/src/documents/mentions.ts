import type { Digest } from '@cella/bytes'

const mentioning = new Set(['contract', 'manifest', 'subject', 'previous', 'program', 'membership', 'request', 'to'])

/** Digests that a payload names in the members that `about=` searches. */
export function mentionsOf(payload: unknown, found: Set<Digest> = new Set()): Set<Digest> {
  if (Array.isArray(payload)) for (const item of payload) mentionsOf(item, found)
  else if (typeof payload === 'object' && payload !== null) {
    for (const [name, value] of Object.entries(payload)) {
      if (mentioning.has(name) && typeof value === 'string' && /^[0-9a-f]{64}$/.test(value)) found.add(value as Digest)
      else mentionsOf(value, found)
    }
  }
  return found
}
