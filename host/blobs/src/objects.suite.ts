import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { ObjectStore } from './objects.ts'

/** The one suite that every implementation of ObjectStore passes. */
export function objectStoreSuite(
  name: string,
  setUp: () => Promise<{ readonly open: () => Promise<ObjectStore>; readonly close: () => Promise<void> }>,
): void {
  describe(`an object store: ${name}`, () => {
    let under: Awaited<ReturnType<typeof setUp>>
    let store: ObjectStore
    const one = Buffer.from('one')
    before(async () => {
      under = await setUp()
      store = await under.open()
    })
    after(() => under.close())

    test('gives back what was put, also when opened again', async () => {
      const objects = new Map(
        Array.from({ length: 30 }, (_, at) => [`tile/0/x00${at % 3}/${at}`, Buffer.from([at, 0, 255])]),
      )
      await store.putNew(objects)
      const again = await under.open()
      for (const [key, bytes] of objects) assert.deepEqual(Buffer.from((await again.get(key))!), bytes)
      assert.equal(await store.get('tile/0/x003/1'), undefined)
      assert.equal(await store.get('tile/0/x000/1/1'), undefined)
    })

    test('an object that never changes may be put again, with the same bytes alone', async () => {
      await store.putNew(new Map([['a/b', one]]))
      await store.putNew(new Map([['a/b', one]]))
      await assert.rejects(store.putNew(new Map([['a/b', Buffer.from('two')]])), { code: 'ERR_BLOB_CONFLICT' })
      assert.deepEqual(Buffer.from((await store.get('a/b'))!), one)
    })

    test('replaces an object whole', async () => {
      await store.put('checkpoint', Buffer.from('a longer text'))
      await store.put('checkpoint', one)
      assert.deepEqual(Buffer.from((await store.get('checkpoint'))!), one)
    })

    test('removes what lies below a folder and nothing beside it', async () => {
      await store.putNew(
        new Map([
          ['t/1.p/3', one],
          ['t/1.p/4', one],
          ['t/1', one],
          ['t/1.px', one],
        ]),
      )
      await store.removeBelow('t/1.p')
      await store.removeBelow('t/1.p')
      assert.equal(await store.get('t/1.p/3'), undefined)
      assert.equal(await store.get('t/1.p/4'), undefined)
      for (const key of ['t/1', 't/1.px']) assert.deepEqual(Buffer.from((await store.get(key))!), one)
      await store.putNew(new Map([['t/1.p/3', one]]))
      assert.deepEqual(Buffer.from((await store.get('t/1.p/3'))!), one)
    })

    test('refuses keys that leave its folder', async () => {
      for (const key of ['', '/a', '../a', 'a/../b', 'a//b', 'a/', '.a', 'a\\b', 'a b', 'a/.', `a${'b'.repeat(200)}`]) {
        await assert.rejects(async () => store.get(key), RangeError, key)
        await assert.rejects(async () => store.putNew(new Map([[key, one]])), RangeError, key)
        await assert.rejects(async () => store.put(key, one), RangeError, key)
        await assert.rejects(async () => store.removeBelow(key), RangeError, key)
      }
    })
  })
}
