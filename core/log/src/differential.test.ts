import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { encodeHex } from '@cella/bytes'
import fc from 'fast-check'
import { leafOf, TestLog } from '../test/support.ts'
import {
  consistencyProof,
  inclusionProof,
  isSubtree,
  leafHash,
  parseTile,
  partialTiles,
  subtreeConsistencyProof,
  tileHashes,
  tilePath,
  verifyConsistency,
  verifyInclusion,
  verifySubtreeConsistency,
} from './index.ts'

// A second implementation of RFC 6962 §2.1, written from its text: whole lists of leaves, recursion, no tiles, no edge. It
// shares nothing with the first but SHA-256.

const sha = (...parts: Uint8Array[]): Uint8Array => createHash('sha256').update(Buffer.concat(parts)).digest()

/** The largest power of two smaller than n. */
function split(n: number): number {
  let k = 1
  while (k * 2 < n) k *= 2
  return k
}

/** §2.1: MTH(D[n]). */
function mth(d: readonly Uint8Array[]): Uint8Array {
  if (d.length === 0) return sha()
  if (d.length === 1) return sha(Uint8Array.of(0), d[0]!)
  const k = split(d.length)
  return sha(Uint8Array.of(1), mth(d.slice(0, k)), mth(d.slice(k)))
}

/** §2.1.1: PATH(m, D[n]). */
function path(m: number, d: readonly Uint8Array[]): Uint8Array[] {
  if (d.length === 1) return []
  const k = split(d.length)
  return m < k ? [...path(m, d.slice(0, k)), mth(d.slice(k))] : [...path(m - k, d.slice(k)), mth(d.slice(0, k))]
}

/** §2.1.2: SUBPROOF(m, D[n], b). */
function subproof(m: number, d: readonly Uint8Array[], b: boolean): Uint8Array[] {
  if (m === d.length) return b ? [] : [mth(d)]
  const k = split(d.length)
  return m <= k
    ? [...subproof(m, d.slice(0, k), b), mth(d.slice(k))]
    : [...subproof(m - k, d.slice(k), false), mth(d.slice(0, k))]
}

const leaves = Array.from({ length: 600 }, (_, index) => leafOf(index))
const hexes = (hashes: readonly Uint8Array[]): string[] => hashes.map(encodeHex)
const readerOf = (size: number) => {
  const log = new TestLog(leaves.slice(0, size))
  return tileHashes((at) => log.tile(at), size)
}

/** draft-ietf-plants-merkle-tree-certs-03 §4.4: SUBTREE_SUBPROOF(start, end, D[n], b). */
function subtreeSubproof(start: number, end: number, d: readonly Uint8Array[], b: boolean): Uint8Array[] {
  if (start === 0 && end === d.length) return b ? [] : [mth(d)]
  const k = split(d.length)
  if (end <= k) return [...subtreeSubproof(start, end, d.slice(0, k), b), mth(d.slice(k))]
  if (start >= k) return [...subtreeSubproof(start - k, end - k, d.slice(k), b), mth(d.slice(0, k))]
  return [...subtreeSubproof(0, end - k, d.slice(k), false), mth(d.slice(0, k))]
}

test('roots and proofs of every small tree are those of the RFC’s text', async () => {
  for (let size = 1; size <= 33; size++) {
    const d = leaves.slice(0, size)
    const root = mth(d)
    assert.equal(encodeHex(new TestLog(d).tree().root()), encodeHex(root))
    const hashes = readerOf(size)
    for (let index = 0; index < size; index++) {
      const expected = path(index, d)
      assert.deepEqual(hexes(await inclusionProof({ index, size, hashes })), hexes(expected))
      verifyInclusion({ index, size, leaf: leafHash(d[index]!), path: expected, root })
    }
    for (let oldSize = 1; oldSize <= size; oldSize++) {
      const expected = subproof(oldSize, d, true)
      assert.deepEqual(hexes(await consistencyProof({ oldSize, newSize: size, hashes })), hexes(expected))
      verifyConsistency({ oldSize, newSize: size, oldRoot: mth(d.slice(0, oldSize)), newRoot: root, path: expected })
    }
    for (let start = 0; start < size; start++) {
      for (let end = start + 1; end <= size; end++) {
        if (!isSubtree({ start, end })) {
          await assert.rejects(subtreeConsistencyProof({ start, end, size, hashes }), RangeError)
          continue
        }
        const expected = subtreeSubproof(start, end, d, true)
        assert.deepEqual(hexes(await subtreeConsistencyProof({ start, end, size, hashes })), hexes(expected))
        const subtree = { start, end, size, subtreeRoot: mth(d.slice(start, end)), root }
        verifySubtreeConsistency({ ...subtree, path: expected })
        const others = [expected.slice(1), expected.slice(0, -1), [...expected, root], expected.toReversed()]
        for (const bent of others.filter((one) => hexes(one).join() !== hexes(expected).join())) {
          assert.throws(() => verifySubtreeConsistency({ ...subtree, path: bent }), { code: 'ERR_LOG_PROOF' })
        }
      }
    }
  }
})

test('so are those of trees over several tiles, read from tiles', async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 200, max: 600 }), fc.nat(), fc.nat(), async (size, one, other) => {
      const d = leaves.slice(0, size)
      const hashes = readerOf(size)
      const index = one % size
      const oldSize = 1 + (other % size)
      assert.deepEqual(hexes(await inclusionProof({ index, size, hashes })), hexes(path(index, d)))
      const consistency = await consistencyProof({ oldSize, newSize: size, hashes })
      assert.deepEqual(hexes(consistency), hexes(subproof(oldSize, d, true)))
    }),
    { numRuns: 8 },
  )
})

test('every hash of a tile is MTH over the leaves that tlog-tiles says', async () => {
  const log = new TestLog(leaves)
  for (const place of [{ level: 0, index: 1, width: 256 } as const, ...partialTiles(leaves.length)]) {
    const { level, index, width } = place
    if (level === 'entries') continue
    const span = 256 ** level
    const tile = parseTile(await log.tile(tilePath(place)), width)
    tile.forEach((hash, at) => {
      const first = (index * 256 + at) * span
      assert.equal(encodeHex(hash), encodeHex(mth(leaves.slice(first, first + span))))
    })
  }
})
