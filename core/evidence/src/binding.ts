import { canonicalJson, concatBytes, encodeUtf8, type Json } from '@cella/bytes'
import { sha512 } from '@cella/primitives'

const label = encodeUtf8('cella/v1/evidence')

/**
 * What goes into a report's 64 bytes of report data: SHA-512("cella/v1/evidence" ‖ RFC 8785 JSON of `binding`). The
 * label ends where the JSON's first byte begins: JSON never starts with a letter of a longer label that is in use.
 */
export function bindingDigest(binding: { readonly [name: string]: Json }): Uint8Array {
  return sha512(concatBytes(label, encodeUtf8(canonicalJson(binding))))
}
