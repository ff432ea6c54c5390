import { concatBytes, encodeUtf8, uint32Bytes } from '@cella/bytes'
import type { FuzzTarget } from '@cella/testing/fuzz'
import { encodeEntries, parseEntries } from '../src/entries.ts'
import { KeystoreError } from '../src/error.ts'
import { parseFile } from '../src/file-format.ts'

// Every function of this package that takes hostile bytes.

const secret = new Uint8Array(32).fill(1)
const entries = encodeEntries([
  { kind: 'signing', name: 'ada', secret },
  { kind: 'dek', name: 'ab'.repeat(32), secret },
])
const file = concatBytes(
  encodeUtf8('cella-keystore/1'),
  ...[65_536, 3, 1].map(uint32Bytes),
  new Uint8Array(28).fill(2),
  new Uint8Array(entries.length + 16).fill(3),
)

export const fuzzTargets: readonly FuzzTarget[] = [
  {
    name: 'parseFile',
    seeds: [file],
    run: (bytes) => parseFile(bytes, false),
    encode: ({ header, sealed }: ReturnType<typeof parseFile>) => concatBytes(header, sealed),
    errors: [KeystoreError],
  },
  { name: 'parseEntries', seeds: [entries], run: parseEntries, encode: encodeEntries, errors: [KeystoreError] },
]
