import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { decodeUtf8, encodeBase64url } from '@cella/bytes'
import { ed25519PublicKey, ed25519Sign } from '@cella/primitives'
import { workerPollBytes } from './index.ts'

test('the vector of docs/formats/challenge.md', () => {
  const page = readFileSync(new URL('../../../docs/formats/challenge.md', import.meta.url), 'utf8')
  const seed = new Uint8Array(32)
  const bytes = workerPollBytes({ worker: 'worker-1', key: encodeBase64url(ed25519PublicKey(seed)), poll: 7 })
  const [label, json] = decodeUtf8(bytes, 'poll').split('\u0000')
  assert.equal(label, 'cella/v1/worker-poll')
  assert.ok(
    page.includes(`\n    ${json}\n    ${encodeBase64url(ed25519Sign(seed, bytes))}\n`),
    `${json}\n${encodeBase64url(ed25519Sign(seed, bytes))}`,
  )
})
