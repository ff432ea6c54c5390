import { encodeUtf8, FormatError } from '@cella/bytes'
import type { FuzzTarget } from '@cella/testing/fuzz'
import { encodeTraceparent, parseTraceparent } from '../src/index.ts'

// Every function of this package that takes hostile bytes. A new one needs a line here: test/fuzz.test.ts looks for it.

const ids = { traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331' }

export const fuzzTargets: readonly FuzzTarget[] = [
  {
    name: 'parseTraceparent',
    seeds: [true, false].map((sampled) => encodeUtf8(encodeTraceparent({ ...ids, sampled }))),
    run: (bytes) => {
      const context = parseTraceparent(Buffer.from(bytes).toString('latin1'))
      if (context === undefined) throw new FormatError('traceparent', 'is none')
      return context
    },
    errors: [FormatError],
  },
]
