import { encodeHex } from '@cella/bytes'
import type { FuzzTarget } from '@cella/testing/fuzz'
import { encodeHeader } from '../src/header.ts'
import { asDek, openBytes, parseHeader, SealError, sealBytes } from '../src/index.ts'

// Every function of this package that takes hostile bytes. A new one needs a line here: test/fuzz.test.ts looks for it.

const dek = asDek(new Uint8Array(32).fill(1))
const { sealed, ...expected } = sealBytes({
  dek,
  chunkSizeLog2: 16,
  dangerouslyDeterministicSalt: new Uint8Array(32).fill(2),
  plaintext: new Uint8Array(500).fill(3),
})
const ours = { errors: [SealError] }

export const fuzzTargets: readonly FuzzTarget[] = [
  { name: 'parseHeader', seeds: [sealed.slice(0, 80)], run: parseHeader, encode: encodeHeader, ...ours },
  {
    name: 'openBytes',
    seeds: [sealed],
    run: (bytes) => openBytes({ dek, expected, sealed: bytes }),
    meaning: (plaintext: Uint8Array) => encodeHex(plaintext),
    ...ours,
  },
]
