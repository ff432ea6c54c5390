import { type Digest, encodeHex, encodeUtf8 } from '@cella/bytes'
import { generateHpkeKeyPair } from '@cella/primitives'
import type { FuzzTarget } from '@cella/testing/fuzz'
import {
  batchDisclosed,
  batchFields,
  batchProver,
  commitmentOfBody,
  type EventBody,
  EventError,
  encodeDisclosure,
  encodeEventBody,
  encodeRecordProof,
  encodeSealedBodies,
  encodeStreamExport,
  makeAuditBatch,
  makeDisclosure,
  openEventBody,
  parseDisclosure,
  parseEventBody,
  parseRecordProof,
  parseSealedBodies,
  parseStreamExport,
  sealEventBody,
  signStreamKey,
} from '../src/index.ts'

// Every function of this package that takes hostile bytes. A new one needs a line here: test/fuzz.test.ts looks for it.

const filled = (length: number, value: number): Uint8Array => new Uint8Array(length).fill(value)
const streamKey = filled(32, 1)
const batch = makeAuditBatch([filled(20, 2), filled(30, 3), filled(5, 4)], filled(32, 5))
const values = { ...batchFields(batch), n: 0, previous: null, type: 'batch' }
const fields = Object.entries(values)
  .sort(([a], [b]) => (a < b ? -1 : 1))
  .map(([name, value], at) => ({ salt: filled(16, at), name, value }))
const body: EventBody = { salt: filled(32, 6), fields }
const proof = encodeUtf8(`c2sp.org/tlog-proof@v1\nindex 0\n\nlog.example/one\n1\n${'A'.repeat(43)}=\n\n`)
const disclosure = makeDisclosure(body, { names: batchDisclosed, streamKey, proof })
const record = await batchProver(batch, disclosure)(1)
const organisation = 'ab'.repeat(32) as Digest
const about = { key: streamKey, organisation, log: 'log.example/one', size: 1, count: 1 }
const exported = encodeStreamExport({
  organisation,
  key: streamKey,
  statement: signStreamKey(about, filled(32, 7)),
  from: { checkpoint: proof, edge: [filled(32, 8)] },
  to: proof,
  bodies: new Map([[0, body]]),
  leaves: filled(128, 9),
})
const sealedBodies = [organisation, 'cd'.repeat(32) as Digest].map((commitment) => ({
  commitment,
  sealed: filled(40, 9),
}))
const commitment = commitmentOfBody(body)
const reader = await generateHpkeKeyPair()
const sealed = await sealEventBody(body, { readers: [reader], streamKey })
const ours = { errors: [EventError] }

export const fuzzTargets: readonly FuzzTarget[] = [
  { name: 'parseEventBody', seeds: [encodeEventBody(body)], run: parseEventBody, encode: encodeEventBody, ...ours },
  {
    name: 'parseDisclosure',
    seeds: [encodeDisclosure(disclosure)],
    run: parseDisclosure,
    encode: encodeDisclosure,
    ...ours,
  },
  {
    name: 'parseRecordProof',
    seeds: [encodeRecordProof(record)],
    run: parseRecordProof,
    encode: encodeRecordProof,
    ...ours,
  },
  { name: 'parseStreamExport', seeds: [exported], run: parseStreamExport, encode: encodeStreamExport, ...ours },
  {
    name: 'parseSealedBodies',
    seeds: [encodeSealedBodies(sealedBodies)],
    run: parseSealedBodies,
    encode: encodeSealedBodies,
    ...ours,
  },
  {
    name: 'openEventBody',
    seeds: [sealed],
    run: (bytes) => openEventBody(bytes, { commitment, streamKey, reader }),
    meaning: (opened: EventBody) => encodeHex(encodeEventBody(opened)),
    ...ours,
  },
]
