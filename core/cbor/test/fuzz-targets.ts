import { FormatError } from '@cella/bytes'
import type { FuzzTarget } from '@cella/testing/fuzz'
import { CborTag, decodeCbor, encodeCbor } from '../src/index.ts'

// Every function of this package that takes hostile bytes. A new one needs a line here: test/fuzz.test.ts looks for it.

const inner = encodeCbor(
  new Map<number | string, number | Uint8Array>([
    [1, -35],
    ['kid', new Uint8Array(4).fill(7)],
  ]),
)
const message = encodeCbor(
  new CborTag(18, [inner, new Map([[33, [inner, 'text', true, null]]]), inner, new Uint8Array(96)]),
)
const indefinite = Uint8Array.of(0x9f, 0x5f, 0x41, 1, 0xff, 0xbf, 1, 2, 0xff, 0x7f, 0x61, 0x61, 0xff, 0xff)
const bytesMax = 100_000

export const fuzzTargets: readonly FuzzTarget[] = [
  {
    name: 'decodeCbor',
    seeds: [message, inner],
    run: (bytes) => decodeCbor(bytes, 'CBOR', { bytesMax }),
    errors: [FormatError],
  },
  {
    name: 'decodeCbor indefinite',
    seeds: [message, indefinite],
    run: (bytes) => decodeCbor(bytes, 'CBOR', { bytesMax, indefinite: 'allowed' }),
    errors: [FormatError],
  },
]
