import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { type Digest, decodeBase64, encodeHex, encodeUtf8 } from '@cella/bytes'
import { parseLogPolicy } from '@cella/log'
import { deriveHpkeKeyPair, type KeyId } from '@cella/primitives'
import { verifyRecordProof } from './batch.ts'
import { commitmentOfBody, encodeEventBody, fieldDigests, parseEventBody, valuesOf } from './body.ts'
import { leafOfBody, verifyDisclosure } from './disclosure.ts'
import { verifyStreamExport } from './export.ts'
import { openEventBody } from './sealed-body.ts'

const page = readFileSync(new URL('../../../docs/formats/events.md', import.meta.url), 'utf8')
const vector = JSON.parse(/```json\n(.*?)```/s.exec(page)![1]!) as Record<string, string>
const streamKey = new Uint8Array(32).fill(0x22)
const policy = parseLogPolicy(encodeUtf8(vector.policy!))

test('the body of docs/formats/events.md has its digests, commitment and leaf, and opens', async () => {
  const body = parseEventBody(encodeUtf8(vector.body!))
  assert.deepEqual(encodeEventBody(body), encodeUtf8(vector.body!))
  assert.equal(fieldDigests(body.fields).map(encodeHex).join(' '), vector.digests)
  assert.equal(encodeHex(commitmentOfBody(body)), vector.commitment)
  assert.equal(encodeHex(leafOfBody(body, streamKey)), vector.leaf)
  const reader = await deriveHpkeKeyPair(Uint8Array.from({ length: 32 }, (_, at) => 0x40 + at))
  const sealed = decodeBase64(vector.sealed!, 'sealed')
  assert.deepEqual(await openEventBody(sealed, { commitment: commitmentOfBody(body), streamKey, reader }), body)
})

test('its disclosure, record proof and export verify', () => {
  const shown = verifyDisclosure(encodeUtf8(vector.disclosure!), policy)
  assert.deepEqual([valuesOf(shown.fields), shown.hidden], [{ allowed: true }, 4])
  const record = verifyRecordProof(encodeUtf8(vector.record!), policy)
  assert.deepEqual(
    [new TextDecoder().decode(record.record), record.index, record.count, record.entry.index],
    ['second', 1, 3, 1],
  )
  const { audit, to } = verifyStreamExport(decodeBase64(vector.export!, 'export'), {
    policy,
    organisation: vector.organisation as Digest,
    vaults: [vector.vault as KeyId],
  })
  assert.deepEqual(
    [audit.entries.map(({ type }) => type), audit.problems, to.size],
    [['decision', 'audit-batch'], [], 2],
  )
})
