import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { combineDek, type DekShare, generateDek, splitDek } from './index.ts'

test('any shares up to the threshold give the key back, whichever they are', async () => {
  const sizes = fc.integer({ min: 2, max: 8 }).chain((count) =>
    fc.record({
      count: fc.constant(count),
      threshold: fc.integer({ min: 2, max: count }),
      order: fc.shuffledSubarray([...Array(count).keys()], { minLength: count, maxLength: count }),
    }),
  )
  await fc.assert(
    fc.asyncProperty(sizes, async ({ count, threshold, order }) => {
      const dek = generateDek()
      const shares = await splitDek(dek, { count, threshold })
      assert.deepEqual(await combineDek(order.slice(0, threshold).map((at) => shares[at]!)), dek)
    }),
    { numRuns: 50 },
  )
})

test('fewer give another key, and a wrong one too', async () => {
  const dek = generateDek()
  const shares = await splitDek(dek, { count: 4, threshold: 3 })
  assert.notDeepEqual(await combineDek(shares.slice(0, 2)), dek)
  const bent = shares[0]!.share.slice()
  bent[3]! ^= 1
  assert.notDeepEqual(
    await combineDek([{ index: shares[0]!.index, share: bent as DekShare['share'] }, ...shares.slice(1, 3)]),
    dek,
  )
})

test('one share, or one twice, makes no key', async () => {
  const [first] = await splitDek(generateDek(), { count: 2, threshold: 2 })
  await assert.rejects(combineDek([first!]), { code: 'ERR_SEAL_WRONG_KEY' })
  await assert.rejects(combineDek([first!, first!]), { code: 'ERR_SEAL_WRONG_KEY' })
  for (const wrong of [
    { count: 1, threshold: 1 },
    { count: 9, threshold: 2 },
    { count: 3, threshold: 4 },
    { count: 3, threshold: 1 },
  ]) {
    await assert.rejects(splitDek(generateDek(), wrong), RangeError)
  }
})
