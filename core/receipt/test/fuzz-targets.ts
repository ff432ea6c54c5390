import { readFileSync } from 'node:fs'
import { encodeUtf8 } from '@cella/bytes'
import { parseLogPolicy } from '@cella/log'
import { initPolicyEngine, policyEngineUrl } from '@cella/policy'
import type { FuzzTarget } from '@cella/testing/fuzz'
import {
  type Anchors,
  encodeReceiptBundle,
  parseReceiptBundle,
  ReceiptError,
  type Verdict,
  verifyReceipt,
} from '../src/index.ts'

// Every function of this package that takes hostile bytes. A new one needs a line here: test/fuzz.test.ts looks for it.

const bundle = new Uint8Array(readFileSync(new URL('../testdata/run.cella-receipt', import.meta.url)))

const withSigners = new Uint8Array(readFileSync(new URL('../testdata/log-signers.cella-receipt', import.meta.url)))
const stored = JSON.parse(readFileSync(new URL('../testdata/anchors.json', import.meta.url), 'utf8'))
const anchors: Anchors = {
  organisations: stored.organisations,
  logs: stored.logs.map(({ policy }: { policy: string }) => ({
    policy: parseLogPolicy(encodeUtf8(policy)),
    independentWitnesses: [],
  })),
  roots: stored.roots,
  now: 4_102_444_800,
}
await initPolicyEngine(new Uint8Array(readFileSync(policyEngineUrl())))

export const fuzzTargets: readonly FuzzTarget[] = [
  {
    name: 'parseReceiptBundle',
    seeds: [bundle, withSigners],
    run: parseReceiptBundle,
    encode: encodeReceiptBundle,
    errors: [ReceiptError],
  },
  {
    name: 'verifyReceipt',
    seeds: [bundle],
    run: async (bytes) => {
      const verdict = await verifyReceipt(parseReceiptBundle(bytes), anchors)
      if (verdict.outcome !== 'proved') throw new ReceiptError('ERR_RECEIPT_MALFORMED', verdict.outcome)
      return verdict
    },
    meaning: ({ statements }: Verdict) => JSON.stringify(statements),
    errors: [ReceiptError],
  },
]
