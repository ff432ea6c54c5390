import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeHex, encodeUtf8 } from '@cella/bytes'
import fc from 'fast-check'
import { leafOf, origin, TestLog } from '../test/support.ts'
import {
  addSignatures,
  cosignNote,
  encodeLogMemory,
  encodeNote,
  encodeProofFile,
  encodeVkey,
  generateNoteSigner,
  isProvenEntry,
  LogError,
  LogView,
  makeProofFile,
  type ProvenEntry,
  parseLogMemory,
  parseLogPolicy,
  parseProofFile,
  proveEntry,
  signNote,
  verifyCheckpoint,
  verifyOfflineProof,
  verifySuccessor,
} from './index.ts'

const range = (from: number, to: number): Uint8Array[] =>
  Array.from({ length: to - from }, (_, index) => leafOf(from + index))
const tagOf = (leaf: Uint8Array): Uint8Array => leaf.subarray(48)

test('reads every leaf of every step and finds the first of each tag', async () => {
  const log = new TestLog()
  const view = new LogView({ policy: log.policy, read: log })
  for (const size of [0, 1, 3, 255, 256, 257, 511, 513, 2_000, 2_000]) {
    log.leaves = [...log.leaves, ...range(log.leaves.length, size)]
    await view.advance()
    assert.equal(view.size, size)
    assert.equal(encodeHex(view.root), encodeHex(log.tree().root()))
    for (const index of [0, size >> 1, size - 1]) {
      if (index >= 0 && index < size) assert.equal(view.firstIndexOf(tagOf(leafOf(index))), index)
    }
    assert.equal(view.firstIndexOf(tagOf(leafOf(size))), undefined)
  }
})

test('tells the root at every size that was read, and at none beyond', async () => {
  const log = new TestLog()
  const view = new LogView({ policy: log.policy, read: log })
  const roots: string[] = []
  for (let size = 0; size <= 300; size++) {
    log.leaves = [...log.leaves, ...range(log.leaves.length, size)]
    roots.push(encodeHex(log.tree().root()))
  }
  await view.advance()
  for (const [size, root] of roots.entries()) assert.equal(encodeHex(await view.rootAt(size)), root)
  await assert.rejects(view.rootAt(301), RangeError)
})

test('the first leaf with a tag stays the first, whatever comes later', async () => {
  const log = new TestLog([leafOf(1, 10), leafOf(2), leafOf(1, 11)])
  const view = new LogView({ policy: log.policy, read: log })
  await view.advance()
  assert.equal(view.firstIndexOf(tagOf(leafOf(1))), 0)
  log.leaves.push(leafOf(1, 12))
  const checkpoint = await view.advance()
  assert.equal(view.firstIndexOf(tagOf(leafOf(1))), 0)
  assert.equal(proveEntry(view, checkpoint, 3, leafOf(1, 12)).firstIndex, 0)
  assert.equal(view.leafAt(3).kind, 'state')
  assert.throws(() => view.leafAt(4), { code: 'ERR_LOG_ENTRY' })
})

test('a leaf of an unknown version or kind keeps its tag and proves nothing', async () => {
  const odd = leafOf(5)
  odd[0] = 9
  const kind = leafOf(6)
  kind[1] = 200
  const padded = leafOf(7)
  padded[9] = 1
  const log = new TestLog([odd, kind, padded])
  const view = new LogView({ policy: log.policy, read: log })
  const checkpoint = await view.advance()
  for (const [index, leaf] of log.leaves.entries()) {
    assert.equal(view.firstIndexOf(tagOf(leaf)), index)
    assert.equal(view.leafAt(index).kind, undefined)
    assert.throws(() => proveEntry(view, checkpoint, index, leaf), { code: 'ERR_LOG_MALFORMED' })
    assert.throws(() => proveEntry(view, checkpoint, index, leafOf(5 + index)), { code: 'ERR_LOG_ENTRY' })
  }
})

test('rollback: a smaller checkpoint is refused and changes nothing', async () => {
  const log = new TestLog(range(0, 300))
  const view = new LogView({ policy: log.policy, read: log })
  await view.advance()
  await assert.rejects(view.advance(log.signed(299)), { code: 'ERR_LOG_ROLLED_BACK' })
  await assert.rejects(view.advance(log.signed(0)), { code: 'ERR_LOG_ROLLED_BACK' })
  assert.equal(view.size, 300)
})

test('fork: another history is refused, at the same size and at a larger one, and changes nothing', async () => {
  const log = new TestLog(range(0, 300))
  const view = new LogView({ policy: log.policy, read: log })
  await view.advance()
  const honest = log.leaves
  log.leaves = [leafOf(999), ...honest.slice(1)]
  await assert.rejects(view.advance(), { code: 'ERR_LOG_FORKED' })
  log.leaves = [...log.leaves, ...range(300, 700)]
  await assert.rejects(view.advance(), { code: 'ERR_LOG_FORKED' })
  assert.equal(view.size, 300)
  assert.equal(view.firstIndexOf(tagOf(leafOf(400))), undefined)
  assert.equal(view.firstIndexOf(tagOf(leafOf(0))), 0)
  log.leaves = [...honest, ...range(500, 900)]
  await view.advance()
  assert.equal(view.firstIndexOf(tagOf(leafOf(500))), 300)
  assert.equal(view.firstIndexOf(tagOf(leafOf(400))), undefined)
})

test('a dropped, changed or added leaf in a bundle is refused', async () => {
  const log = new TestLog(range(0, 300))
  const honest = log.leaves
  const note = log.signed()
  const attacks = {
    dropped: [...honest.slice(0, 100), ...honest.slice(101), leafOf(1000)],
    changed: [...honest.slice(0, 100), leafOf(1000), ...honest.slice(101)],
    swapped: [honest[1]!, honest[0]!, ...honest.slice(2)],
  }
  for (const [name, leaves] of Object.entries(attacks)) {
    log.leaves = leaves
    const view = new LogView({ policy: log.policy, read: log })
    await assert.rejects(view.advance(note), { code: 'ERR_LOG_FORKED' }, name)
    assert.equal(view.size, 0)
    assert.equal(view.firstIndexOf(tagOf(leafOf(5))), undefined)
  }
  log.leaves = [...honest.slice(0, 299), new Uint8Array(63)]
  await assert.rejects(new LogView({ policy: log.policy, read: log }).advance(log.signed()), {
    code: 'ERR_LOG_MALFORMED',
  })
  log.leaves = honest.slice(0, 10)
  await assert.rejects(new LogView({ policy: log.policy, read: log }).advance(note), { code: 'ERR_LOG_UNAVAILABLE' })
})

test('a checkpoint without its quorum, of another log, or with a bent signature is refused', async () => {
  const log = new TestLog(range(0, 3))
  const view = new LogView({ policy: log.policy, read: log })
  const text = log.text()
  const stranger = generateNoteSigner({ name: origin, type: 'note' })
  const only = (signer: typeof stranger) => encodeNote({ text, signatures: [signNote(text, signer)] })
  await assert.rejects(view.advance(only(log.signer)), { code: 'ERR_LOG_QUORUM' })
  await assert.rejects(view.advance(only(stranger)), { code: 'ERR_LOG_SIGNATURE' })
  const other = new TestLog(range(0, 3))
  await assert.rejects(view.advance(other.signed()), { code: 'ERR_LOG_SIGNATURE' })
  const two = generateNoteSigner({ name: 'log.example/two', type: 'note' })
  const policy = parseLogPolicy(encodeUtf8(`log ${encodeVkey(two.key)}\nquorum none\n`))
  await assert.rejects(new LogView({ policy, read: log }).advance(), { code: 'ERR_LOG_ORIGIN' })
  assert.equal(view.size, 0)
})

test('keeps the newest note of each set of cosigners, and none that the log alone signed', async () => {
  const log = new TestLog(range(0, 3))
  const policy = { ...log.policy, quorum: undefined }
  const view = new LogView({ policy, read: log })
  const alone = (): Uint8Array => encodeNote({ text: log.text(), signatures: [signNote(log.text(), log.signer)] })
  await view.advance(alone())
  assert.deepEqual(view.cosigned(), [])
  const first = log.signed()
  await view.advance(first)
  log.leaves.push(leafOf(3))
  await view.advance(alone())
  assert.deepEqual(view.cosigned(), [first])
  const second = log.signed()
  await view.advance(second)
  assert.deepEqual(view.cosigned(), [second])
  for (let at = 0; at < 40; at++) {
    const other = generateNoteSigner({ name: `w.example/${at}`, type: 'cosignature' })
    await view.advance(addSignatures(alone(), [cosignNote(log.text(), other, 1)]))
  }
  assert.equal(view.cosigned().length, 32)
})

test('a view is of exactly one log', () => {
  const log = new TestLog()
  const none = parseLogPolicy(encodeUtf8('quorum none\n'))
  assert.throws(() => new LogView({ policy: none, read: log }), { code: 'ERR_LOG_POLICY' })
})

test('memory: what was seen before a restart binds after it', async () => {
  const log = new TestLog(range(0, 300))
  const before = new LogView({ policy: log.policy, read: log })
  await before.advance()
  const memory = parseLogMemory(encodeLogMemory(before.memory()))
  const honest = log.leaves

  const again = new LogView({ policy: log.policy, read: log, memory })
  assert.deepEqual(encodeLogMemory(again.memory()), encodeLogMemory(memory))
  log.leaves = [...honest, ...range(300, 600)]
  await again.advance()
  assert.equal(again.firstIndexOf(tagOf(leafOf(7))), 7)

  const rolledBack = new LogView({ policy: log.policy, read: log, memory })
  await assert.rejects(rolledBack.advance(log.signed(299)), { code: 'ERR_LOG_ROLLED_BACK' })
  log.leaves = [...honest.slice(0, 299), ...range(400, 700)]
  await assert.rejects(rolledBack.advance(), { code: 'ERR_LOG_FORKED' })
  assert.equal(rolledBack.size, 0)
  const other = { ...memory, origin: 'log.example/two' }
  assert.throws(() => new LogView({ policy: log.policy, read: log, memory: other }), { code: 'ERR_LOG_ORIGIN' })
  assert.throws(() => new LogView({ policy: log.policy, read: log, memory: { ...memory, root: new Uint8Array(32) } }), {
    code: 'ERR_LOG_MALFORMED',
  })
})

test('memory: every cut and changed byte is refused or is another memory', async () => {
  const log = new TestLog(range(0, 5))
  const view = new LogView({ policy: log.policy, read: log })
  await view.advance()
  const bytes = encodeLogMemory(view.memory())
  for (let length = 0; length < bytes.length; length++) {
    assert.throws(() => parseLogMemory(bytes.slice(0, length)), { code: 'ERR_LOG_MALFORMED' })
  }
  for (let at = 0; at < bytes.length; at++) {
    const bent = bytes.slice()
    bent[at]! ^= 1
    refusedOr(() => assert.notDeepEqual(encodeLogMemory(parseLogMemory(bent)), bytes))
  }
})

test('calls of advance wait for each other', async () => {
  const log = new TestLog(range(0, 600))
  const view = new LogView({ policy: log.policy, read: log })
  const small = log.signed(100)
  await Promise.all([view.advance(small), view.advance(), view.advance()])
  assert.equal(view.size, 600)
})

test('times are those of the witnesses that count, the earliest and the latest', async () => {
  const log = new TestLog(range(0, 3))
  const view = new LogView({ policy: log.policy, read: log })
  const checkpoint = await view.advance()
  assert.deepEqual(view.times(checkpoint), { earliest: log.time, latest: log.time })
  const unseen = verifyCheckpoint(log.signed(), log.policy)
  assert.throws(() => view.times(unseen), RangeError)
})

test('proves the leaf at its index and no other', async () => {
  const log = new TestLog(range(0, 300))
  const view = new LogView({ policy: log.policy, read: log })
  const checkpoint = await view.advance()
  const entry = proveEntry(view, checkpoint, 42, leafOf(42))
  assert.ok(isProvenEntry(entry))
  assert.deepEqual([entry.index, entry.firstIndex, entry.size, entry.origin], [42, 42, 300, origin])
  assert.deepEqual(entry.witnesses, [{ name: 'w', time: log.time }])
  assert.throws(() => proveEntry(view, checkpoint, 41, leafOf(42)), { code: 'ERR_LOG_ENTRY' })
  assert.throws(() => proveEntry(view, checkpoint, 300, leafOf(42)), { code: 'ERR_LOG_ENTRY' })
  assert.throws(() => proveEntry(view, checkpoint, 0.5, leafOf(42)), { code: 'ERR_LOG_ENTRY' })
  assert.throws(() => proveEntry(view, checkpoint, 42, leafOf(42, 43)), { code: 'ERR_LOG_ENTRY' })
  assert.throws(() => proveEntry(view, checkpoint, 42, leafOf(42, 42, 'receipt')), { code: 'ERR_LOG_ENTRY' })
  const unread = verifyCheckpoint(log.signed(), log.policy)
  assert.throws(() => proveEntry(view, unread, 42, leafOf(42)), RangeError)
})

test('nothing but the verifiers makes a proven entry', async () => {
  const log = new TestLog(range(0, 3))
  const view = new LogView({ policy: log.policy, read: log })
  const checkpoint = await view.advance()
  const entry = proveEntry(view, checkpoint, 1, leafOf(1))
  const { leaf, index, firstIndex, origin: of, size, times, witnesses } = entry
  // @ts-expect-error: an object with the same members is no ProvenEntry.
  const forged: ProvenEntry = { leaf, index, firstIndex, checkpoint, origin: of, size, times, witnesses }
  assert.equal(isProvenEntry(forged), false)
  assert.equal(isProvenEntry(Object.create(entry)), false)
  assert.equal(isProvenEntry(structuredClone({ ...entry, checkpoint: undefined })), false)
  const Constructor = entry.constructor as unknown as new (...args: unknown[]) => unknown
  assert.throws(() => new Constructor(Symbol('proveEntry'), { leaf, index: 2, firstIndex: 2, checkpoint }), TypeError)
  const Witnessed = checkpoint.constructor as unknown as new (...args: unknown[]) => unknown
  assert.throws(() => new Witnessed(Symbol('verifyCheckpoint'), checkpoint, new Uint8Array(0), []), TypeError)
  assert.throws(() => Object.assign(entry, { index: 2 }), TypeError)
})

test('a proof file verifies without the log, and says nothing of other leaves', async () => {
  const log = new TestLog(range(0, 300))
  const view = new LogView({ policy: log.policy, read: log })
  const checkpoint = await view.advance()
  for (const index of [0, 42, 255, 256, 299]) {
    const proofFile = await makeProofFile({ tile: (path) => log.tile(path), checkpoint, index })
    const entry = verifyOfflineProof({ proofFile, leaf: leafOf(index), policy: log.policy })
    assert.deepEqual([entry.index, entry.firstIndex, entry.size], [index, undefined, 300])
    assert.throws(() => verifyOfflineProof({ proofFile, leaf: leafOf(index + 1), policy: log.policy }), {
      code: 'ERR_LOG_PROOF',
    })
    const other = new TestLog()
    assert.throws(() => verifyOfflineProof({ proofFile, leaf: leafOf(index), policy: other.policy }), {
      code: 'ERR_LOG_SIGNATURE',
    })
  }
})

test('every cut and every changed byte of a proof file is refused or proves the same', async () => {
  const log = new TestLog(range(0, 11))
  const checkpoint = verifyCheckpoint(log.signed(), log.policy)
  const tile = (path: string) => log.tile(path)
  const proofFile = await makeProofFile({ tile, checkpoint, index: 6, extra: encodeUtf8('x') })
  const verify = (bytes: Uint8Array) => verifyOfflineProof({ proofFile: bytes, leaf: leafOf(6), policy: log.policy })
  for (let length = 0; length < proofFile.length; length++) refused(() => verify(proofFile.slice(0, length)))
  for (let at = 0; at < proofFile.length; at++) {
    const bent = proofFile.slice()
    bent[at]! ^= 1
    // Only the extra, which is not authenticated, may change.
    refusedOr(() => {
      verify(bent)
      assert.notDeepEqual(parseProofFile(bent).extra, parseProofFile(proofFile).extra)
    })
  }
  assert.deepEqual(encodeProofFile(parseProofFile(proofFile)), proofFile)
})

test('leaves that come with a checkpoint are hashed like those of tiles, and save reading them', async () => {
  const log = new TestLog(range(0, 300))
  let news = (from: number) => ({ checkpoint: log.signed(), from, leaves: log.leaves.slice(from) })
  const view = new LogView({
    policy: log.policy,
    read: { checkpoint: () => log.checkpoint(), tile: (path) => log.tile(path), news: async (from) => news(from) },
  })
  await view.advance()
  log.leaves.push(...range(300, 301))
  await view.advance()
  assert.deepEqual(log.reads, [])
  assert.equal(encodeHex(view.root), encodeHex(log.tree().root()))
  // An append was answered while the view went on by itself.
  const earlier = { checkpoint: log.signed(), from: 290, leaves: log.leaves.slice(290) }
  assert.equal((await view.advance(earlier)).size, 301)
  log.leaves.push(...range(301, 310))
  await view.advance({ checkpoint: log.signed(), from: 295, leaves: log.leaves.slice(295) })
  assert.equal(view.size, 310)
  for (const wrong of [
    { from: 311, leaves: [] },
    { from: 310, leaves: log.leaves.slice(0, 3) },
    { from: 0, leaves: [] },
  ]) {
    log.reads.length = 0
    log.leaves.push(leafOf(log.leaves.length))
    news = () => ({ checkpoint: log.signed(), ...wrong })
    await view.advance()
    assert.equal(view.size, log.leaves.length)
    assert.ok(log.reads.length > 0)
  }
  const size = log.leaves.length
  log.leaves.push(leafOf(size))
  for (const leaf of [leafOf(1), new Uint8Array(64), new Uint8Array(63)]) {
    news = (from) => ({ checkpoint: log.signed(), from, leaves: [leaf] })
    await assert.rejects(view.advance(), LogError)
    assert.equal(view.size, size)
  }
  await view.advance(log.signed())
  assert.equal(view.size, size + 1)
})

test('proofs made of what was read are those made of tiles', async () => {
  const odd = leafOf(5)
  odd[0] = 9
  const log = new TestLog([...range(0, 5), odd])
  const view = new LogView({ policy: log.policy, read: log })
  const first = await view.advance()
  for (const size of [7, 255, 256, 300, 513, 1_024, 1_500]) {
    log.leaves.push(...range(log.leaves.length, size))
    const checkpoint = await view.advance()
    const hashes = view.hashes()
    for (const index of [0, 5, size >> 1, size - 1]) {
      const made = await makeProofFile({ hashes, checkpoint, index })
      assert.deepEqual(made, await makeProofFile({ tile: (path) => log.tile(path), checkpoint, index }))
      if (index !== 5) verifyOfflineProof({ proofFile: made, leaf: log.leaves[index]!, policy: log.policy })
    }
  }
  // For an earlier checkpoint as well; never for one to come.
  await makeProofFile({ hashes: view.hashes(), checkpoint: first, index: 3 })
  await assert.rejects(view.hashes()([{ level: 0, index: 1_500 }]), RangeError)
})

test('a successor is demanded of those who read no leaves', async () => {
  const log = new TestLog(range(0, 300))
  const tile = (path: string) => log.tile(path)
  const now = verifyCheckpoint(log.signed(), log.policy)
  const at = (size: number) => ({ origin, size, root: log.tree(size).root() })
  for (const size of [0, 1, 7, 256, 299, 300]) await verifySuccessor({ seen: at(size), checkpoint: now, tile })
  const root = new Uint8Array(32)
  for (const [seen, code] of [
    [{ ...at(7), root }, 'ERR_LOG_FORKED'],
    [{ ...at(300), root }, 'ERR_LOG_FORKED'],
    [{ ...at(300), size: 301 }, 'ERR_LOG_ROLLED_BACK'],
    [{ ...at(7), origin: 'log.example/two' }, 'ERR_LOG_ORIGIN'],
  ] as const) {
    await assert.rejects(verifySuccessor({ seen, checkpoint: now, tile }), { code })
  }
})

test('any sequence of tags, growth and failed steps finds the same first indices as a list', async () => {
  const steps = fc.array(fc.record({ tags: fc.array(fc.nat(40), { maxLength: 300 }), fails: fc.boolean() }), {
    maxLength: 6,
  })
  await fc.assert(
    fc.asyncProperty(steps, async (sequence) => {
      const log = new TestLog()
      const view = new LogView({ policy: log.policy, read: log })
      for (const { tags, fails } of sequence) {
        const honest = log.leaves
        log.leaves = [...honest, ...tags.map((tag, at) => leafOf(tag, honest.length + at))]
        if (fails && tags.length > 0) {
          const note = log.signed()
          log.leaves = [...log.leaves.slice(0, -1), leafOf(1_000)]
          await assert.rejects(view.advance(note), { code: 'ERR_LOG_FORKED' })
          log.leaves = honest
        } else {
          await view.advance()
        }
        for (let tag = 0; tag <= 40; tag++) {
          const first = log.leaves.findIndex((leaf) => encodeHex(tagOf(leaf)) === encodeHex(tagOf(leafOf(tag))))
          assert.equal(view.firstIndexOf(tagOf(leafOf(tag))), first < 0 ? undefined : first)
        }
      }
    }),
    { numRuns: 30 },
  )
})

function refused(run: () => unknown): void {
  assert.throws(run, (error) => error instanceof LogError)
}

function refusedOr(run: () => void): void {
  try {
    run()
  } catch (error) {
    if (!(error instanceof LogError)) throw error
  }
}
