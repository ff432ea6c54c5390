import { readFileSync } from 'node:fs'
import type { FuzzTarget } from '@cella/testing/fuzz'
import { encodeReceiptBundle, parseReceiptBundle, ReceiptError } from '../src/index.ts'

// Every function of this package that takes hostile bytes. A new one needs a line here: test/fuzz.test.ts looks for it.

const bundle = new Uint8Array(readFileSync(new URL('../testdata/run.cella-receipt', import.meta.url)))

export const fuzzTargets: readonly FuzzTarget[] = [
  {
    name: 'parseReceiptBundle',
    seeds: [bundle],
    run: parseReceiptBundle,
    encode: encodeReceiptBundle,
    errors: [ReceiptError],
  },
]
