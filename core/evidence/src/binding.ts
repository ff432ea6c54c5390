import { canonicalJson, concatBytes, encodeHex, encodeUtf8, type Json } from '@cella/bytes'
import { sha256, sha384, sha512 } from '@cella/primitives'
import { type Evidence, entryJson } from './evidence.ts'

const label = encodeUtf8('cella/v1/evidence')

type Binding = { readonly [name: string]: Json }

/**
 * What goes into a report's 64 bytes of report data: SHA-512("cella/v1/evidence" ‖ RFC 8785 JSON of `binding`). The
 * label ends where the JSON's first byte begins: JSON never starts with a letter of a longer label that is in use.
 */
export function bindingDigest(binding: Binding): Uint8Array {
  return bindingDigestOf(binding, 64)!
}

/** The same for a field of `length` bytes: SHA-512 for 64, SHA-384 for 48, SHA-256 for 32; no other field carries one. */
export function bindingDigestOf(binding: Binding, length: number): Uint8Array | undefined {
  const hash = { 64: sha512, 48: sha384, 32: sha256 }[length]
  return hash?.(concatBytes(label, encodeUtf8(canonicalJson(binding))))
}

/**
 * What entry `at` of `evidence` has to carry in its field of `length` bytes. The first entry, which runs the code, binds
 * the others: to its JSON comes `entries`, the SHA-256 of the wire form of each of them. They carry `binding` as it is.
 */
export function entryBindingDigest(
  binding: Binding,
  evidence: Evidence,
  at: number,
  length: number,
): Uint8Array | undefined {
  const others = evidence.entries.slice(1)
  if (at > 0 || others.length === 0) return bindingDigestOf(binding, length)
  const entries = others.map((entry) => encodeHex(sha256(encodeUtf8(canonicalJson(entryJson(entry))))))
  return bindingDigestOf({ ...binding, entries }, length)
}
