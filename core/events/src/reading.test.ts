import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { canonicalJson, type Digest, encodeBase64url } from '@cella/bytes'
import { ed25519PublicKey, keyIdOf } from '@cella/primitives'
import { type Reading, readingSchema, signReading, verifyReading } from './reading.ts'

const seed = new Uint8Array(32).fill(1)
const vault = keyIdOf(ed25519PublicKey(seed))
const nonce = encodeBase64url(new Uint8Array(32).fill(2))
const log = 'log.example/one'
const about = { log, nonce, root: 'ab'.repeat(32) as Digest, size: 7 }
const reading = signReading(about, seed)

test('a vault’s word on how far it has read is what it signed, and as docs/formats/events.md has it', () => {
  assert.deepEqual(verifyReading(readingSchema.parse(reading), { vault, nonce, log }), { size: 7, root: about.root })
  const page = readFileSync(new URL('../../../docs/formats/events.md', import.meta.url), 'utf8')
  assert.ok(page.includes(canonicalJson(reading)), canonicalJson(reading))
})

const other = new Uint8Array(32).fill(3)
const refusals: { name: string; bent: Reading; expected?: object }[] = [
  { name: 'more leaves than were signed', bent: { ...reading, size: 8 } },
  { name: 'another root', bent: { ...reading, root: 'cd'.repeat(32) as Digest } },
  { name: 'another vault’s word', bent: signReading(about, other) },
  { name: 'another vault’s word under this one’s id', bent: { ...signReading(about, other), vault } },
  { name: 'a key that is not the vault’s', bent: { ...reading, signingKey: encodeBase64url(ed25519PublicKey(other)) } },
  { name: 'an answer from before', bent: signReading({ ...about, nonce: encodeBase64url(other) }, seed) },
  { name: 'an answer about another log', bent: signReading({ ...about, log: 'log.example/two' }, seed) },
]
for (const { name, bent } of refusals) {
  test(`refuses ${name}`, () => {
    assert.throws(() => verifyReading(bent, { vault, nonce, log }), { code: 'ERR_READING' })
  })
}
