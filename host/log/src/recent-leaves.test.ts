import assert from 'node:assert/strict'
import { test } from 'node:test'
import { leafHash } from '@cella/log'
import { leafOf } from '../test/support.ts'
import { RecentLeaves } from './recent-leaves.ts'

test('the newest leaves are found by their first index, the oldest are forgotten', () => {
  const recent = new RecentLeaves(64)
  const hashes = Array.from({ length: 1000 }, (_, at) => leafHash(leafOf(at)))
  for (const [index, hash] of hashes.entries()) {
    assert.equal(recent.find(hash), undefined)
    recent.add(hash, index)
    // The same again, elsewhere: the first place stays.
    recent.add(hash, index + 5_000)
    for (let back = 0; back < 64 && back <= index; back++)
      assert.equal(recent.find(hashes[index - back]!), index - back)
  }
  const found = hashes.filter((hash) => recent.find(hash) !== undefined).length
  assert.ok(found >= 64 && found <= 128, `${found} of 1000 are held`)
})

test('a hash that begins or ends like one that is held is another', () => {
  const recent = new RecentLeaves(64)
  const hash = leafHash(leafOf(0))
  recent.add(hash, 7)
  for (let at = 0; at < 32; at++) {
    const other = new Uint8Array(hash)
    other[at]! ^= 1
    assert.equal(recent.find(other), undefined, `byte ${at}`)
  }
  assert.equal(recent.find(hash), 7)
})
