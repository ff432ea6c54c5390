import { encodeUtf8 } from '@cella/bytes'
import type { FuzzTarget } from '@cella/testing/fuzz'
import { parseJsonWithNumbers, RepeatedMember } from '../src/json-source.ts'

// Every pure function of this package that takes hostile bytes.

const json = encodeUtf8('{"id": 12345678901234567890, "name": "a:\\"b", "list": [1, 2.50, {"id": null}], "x": {}}')

export const fuzzTargets: readonly FuzzTarget[] = [
  {
    name: 'parseJsonWithNumbers',
    seeds: [json],
    run: (bytes) => parseJsonWithNumbers(new TextDecoder().decode(bytes)),
    // Whoever calls it turns a SyntaxError, which quotes the text, into a TablesError with a place.
    errors: [SyntaxError, RepeatedMember],
  },
]
