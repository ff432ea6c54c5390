import { decodeUtf8, encodeHex } from '@cella/bytes'
import { DerReader, derTag } from '../x509/der.ts'

const commonNameOid = '550403' // 2.5.4.3

/** The commonName of a DER Name with exactly one (RFC 5280 §4.1.2.4), else `undefined`. Throws FormatError if not DER. */
export function commonName(name: Uint8Array): string | undefined {
  const found: string[] = []
  const outer = new DerReader(name)
  const names = outer.enter(derTag.sequence, 'Name')
  outer.end('Name')
  while (!names.done) {
    const set = names.enter(derTag.set, 'Name')
    while (!set.done) {
      const attribute = set.enter(derTag.sequence, 'Name')
      const oid = encodeHex(attribute.contents(derTag.oid, 'Name'))
      const tag = attribute.nextTag
      if (oid !== commonNameOid || (tag !== derTag.utf8String && tag !== derTag.printableString)) continue
      found.push(decodeUtf8(attribute.contents(tag, 'Name'), 'Name'))
    }
  }
  return found.length === 1 ? found[0] : undefined
}
