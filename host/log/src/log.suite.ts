import assert from 'node:assert/strict'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { encodeHex } from '@cella/bytes'
import {
  emptyRoot,
  inclusionProof,
  LogView,
  leafHash,
  type NoteKey,
  type NoteSignature,
  type NoteSigner,
  partialTiles,
  signNote,
  signReceiptRoot,
  tileHashes,
  tilePath,
  verifyCheckpoint,
  verifyConsistency,
  verifyInclusion,
} from '@cella/log'
import { leafOf, startTestWitness, type TestPlace, type TestWitness } from '../test/support.ts'
import type { SignedTree } from './last-signed.ts'
import type { Log } from './log.ts'
import type { LogServerError } from './log-server-error.ts'
import type { CheckpointSigner, SigningRequest } from './signing.ts'

const range = (from: number, to: number): Uint8Array[] =>
  Array.from({ length: to - from }, (_, index) => leafOf(from + index))

const reader = (log: Log) => ({
  checkpoint: async () => log.checkpoint()!,
  tile: async (path: string) => (await log.tile(path))!,
})

type PlaceForLog = (context: TestContext, witnesses?: readonly TestWitness[]) => TestPlace | Promise<TestPlace>

/** The one suite that every implementation of Log passes. */
export function logSuite(name: string, placeForLog: PlaceForLog): void {
  describe(`a log: ${name}`, () => {
    test('an acknowledged leaf is in the checkpoint it is answered with', async (context) => {
      const witness = await startTestWitness(context, 'witness.example/a')
      const place = await placeForLog(context, [witness])
      const log = await place.open()
      for (const [from, to] of [
        [0, 1],
        [1, 4],
        [4, 300],
        [300, 301],
        [301, 1100],
      ] as const) {
        const { indices, checkpoint } = await log.append(range(from, to))
        assert.deepEqual(
          indices,
          Array.from({ length: to - from }, (_, at) => from + at),
        )
        const verified = verifyCheckpoint(checkpoint, place.policy)
        for (const index of [from, to - 1]) {
          const hashes = tileHashes(reader(log).tile, verified.size)
          const path = await inclusionProof({ index, size: verified.size, hashes })
          verifyInclusion({ index, size: verified.size, leaf: leafHash(leafOf(index)), path, root: verified.root })
        }
      }
    })

    test('a view reads every leaf that the log serves, at every size it answered with', async (context) => {
      const place = await placeForLog(context)
      const log = await place.open()
      const view = new LogView({ policy: place.policy, read: reader(log) })
      for (let size = 0; size < 520; size += 65) {
        const { checkpoint } = await log.append(range(size, size + 65))
        await view.advance(checkpoint)
        assert.equal(view.size, size + 65)
        assert.equal(view.firstIndexOf(leafOf(size + 3).subarray(48)), size + 3)
      }
    })

    test('a leaf sent twice is one entry: in one append, in two at once, later, and after a restart', async (context) => {
      const place = await placeForLog(context)
      const log = await place.open()
      assert.deepEqual((await log.append([leafOf(1), leafOf(2), leafOf(1)])).indices, [0, 1, 0])
      const [first, second] = await Promise.all([log.append([leafOf(3)]), log.append([leafOf(3), leafOf(4)])])
      assert.deepEqual(first.indices, [2])
      assert.deepEqual(second.indices, [2, 3])
      assert.deepEqual((await log.append([leafOf(4)])).indices, [3])
      await log.close()
      const again = await place.open()
      assert.deepEqual((await again.append([leafOf(5), leafOf(2)])).indices, [4, 1])
    })

    test('appends that arrive together share a checkpoint', async (context) => {
      const witness = await startTestWitness(context, 'witness.example/a')
      const log = await (await placeForLog(context, [witness])).open()
      const answers = await Promise.all(Array.from({ length: 200 }, (_, at) => log.append([leafOf(at)])))
      assert.deepEqual(
        answers.map(({ indices }) => indices[0]).sort((a, b) => a! - b!),
        [...Array(200).keys()],
      )
      assert.ok(witness.requests < 20, `${witness.requests} requests`)
    })

    test('a witness is asked at most 200 times a second', async (context) => {
      const witness = await startTestWitness(context, 'witness.example/a')
      const log = await (await placeForLog(context, [witness])).open()
      await log.append([leafOf(0)])
      const [startMs, before] = [performance.now(), witness.requests]
      for (let at = 1; at <= 30; at++) await log.append([leafOf(at)])
      const asked = witness.requests - before
      const mostAsked = 2 + (performance.now() - startMs) / 5
      assert.ok(asked >= 15 && asked <= mostAsked, `${asked} requests, at most ${mostAsked} are answered`)
    })

    test('every append is answered, whenever it comes', { timeout: 60_000 }, async (context) => {
      const log = await (await placeForLog(context)).open()
      let next = 0
      const client = async (pause: number): Promise<void> => {
        for (let turn = 0; turn < 40; turn++) {
          const first = next
          next += 20
          const { indices } = await log.append(range(first, first + 20))
          assert.equal(new Set(indices).size, 20)
          await new Promise((resolve) => setTimeout(resolve, (turn * pause) % 4))
        }
      }
      await Promise.all([0, 1, 2, 3, 5, 7].map(client))
      assert.equal(log.status().size, next)
    })

    test('refuses what is no leaf and takes nothing of that append', async (context) => {
      const log = await (await placeForLog(context)).open()
      const bent = leafOf(1)
      bent[5] = 1
      await assert.rejects(log.append([leafOf(0), bent]), { code: 'ERR_LOG_MALFORMED' })
      await assert.rejects(log.append([leafOf(0).slice(1)]), { code: 'ERR_LOG_MALFORMED' })
      await assert.rejects(log.append([]), RangeError)
      assert.equal(log.status().size, 0)
    })

    test('serves tiles of signed sizes only', async (context) => {
      const log = await (await placeForLog(context)).open()
      await log.append(range(0, 700))
      for (const size of [1, 255, 256, 257, 512, 700]) {
        for (const place of partialTiles(size)) assert.ok(await log.tile(tilePath(place)), tilePath(place))
      }
      for (const path of ['tile/0/002.p/189', 'tile/0/003', 'tile/1/000', 'tile/1/000.p/3', 'tile/2/000.p/1']) {
        assert.equal(await log.tile(path), undefined, path)
      }
      for (const path of ['tile/0/2', 'tile/00/000', 'tile/0/000.p/256', '../wal/0', 'tile/0/000.p/0']) {
        await assert.rejects(log.tile(path), { code: 'ERR_LOG_MALFORMED' }, path)
      }
    })

    test('waits for its quorum, says so when it does not come, and is one entry after the retry', async (context) => {
      const [a, b] = [await startTestWitness(context, 'w.example/a'), await startTestWitness(context, 'w.example/b')]
      const place = await placeForLog(context, [a, b])
      const log = await place.open({ witnessTimeoutMs: 200 })
      await log.append([leafOf(0)])
      b.failing = 500
      await assert.rejects(log.append([leafOf(1)]), { code: 'ERR_LOG_UNWITNESSED' })
      b.failing = undefined
      const { indices, checkpoint } = await log.append([leafOf(1)])
      assert.deepEqual(indices, [1])
      assert.equal(verifyCheckpoint(checkpoint, place.policy).witnesses.length, 2)
    })

    test('refuses more while what it took is not cosigned, and takes it once it is', async (context) => {
      const witness = await startTestWitness(context, 'witness.example/a')
      const log = await (await placeForLog(context, [witness])).open({ openLeavesMax: 100, witnessTimeoutMs: 500 })
      const retried = async (leaves: Uint8Array[]): Promise<number[]> => {
        for (;;) {
          try {
            return (await log.append(leaves)).indices
          } catch (error) {
            assert.match((error as LogServerError).code, /^ERR_LOG_(?:BUSY|UNWITNESSED)$/)
            await sleep(20)
          }
        }
      }
      await retried([leafOf(0)])
      witness.failing = 500
      await assert.rejects(log.append(range(1, 61)), { code: 'ERR_LOG_UNWITNESSED' })
      await assert.rejects(log.append(range(61, 121)), { code: 'ERR_LOG_BUSY' })
      witness.failing = undefined
      // Nothing of what was refused was taken: these follow what was.
      assert.equal((await retried(range(61, 121)))[0], 61)
      // What is more than the bound is taken when nothing else waits.
      assert.equal((await retried(range(121, 321))).length, 200)
    })

    test('says for how long each witness has not cosigned the newest checkpoint', async (context) => {
      const [a, b] = [await startTestWitness(context, 'w.example/a'), await startTestWitness(context, 'w.example/b')]
      const log = await (await placeForLog(context, [a, b])).open({ quorum: 1 })
      const behind = (): Record<string, number> =>
        Object.fromEntries(log.status().witnesses.map(({ name, behindSeconds }) => [name, behindSeconds]))
      const until = async (condition: () => boolean): Promise<void> => {
        while (!condition()) await sleep(5)
      }
      await log.append([leafOf(0)])
      await until(() => behind()['w.example/a'] === 0 && behind()['w.example/b'] === 0)
      b.failing = 503
      await log.append([leafOf(1)])
      await until(() => behind()['w.example/a'] === 0)
      const before = behind()['w.example/b']!
      assert.ok(before > 0)
      await log.append([leafOf(2)])
      await until(() => behind()['w.example/b']! > before)
      b.failing = undefined
      await log.append([leafOf(3)])
      await until(() => behind()['w.example/b'] === 0)
    })

    test('a quorum smaller than all goes on without one of them', async (context) => {
      const [a, b] = [await startTestWitness(context, 'w.example/a'), await startTestWitness(context, 'w.example/b')]
      b.failing = 503
      const log = await (await placeForLog(context, [a, b])).open({ quorum: 1 })
      assert.deepEqual((await log.append([leafOf(0)])).indices, [0])
    })

    test('takes a witness at an older size along', async (context) => {
      const witness = await startTestWitness(context, 'witness.example/a')
      const place = await placeForLog(context, [witness])
      const log = await place.open()
      await log.append(range(0, 10))
      const old = witness.state
      await log.append(range(10, 30))
      witness.state = old
      await log.append(range(30, 31))
      assert.equal(witness.state.size, 31)
    })

    test('signs nothing new before the witnesses have been asked', async (context) => {
      const witness = await startTestWitness(context, 'witness.example/a')
      witness.failing = 500
      const place = await placeForLog(context, [witness])
      const log = await place.open({ witnessTimeoutMs: 300 })
      await assert.rejects(log.append([leafOf(0)]), { code: 'ERR_LOG_UNWITNESSED' })
      assert.equal(log.status().size, 0)
      assert.equal(log.checkpoint(), undefined)
      witness.failing = undefined
      assert.deepEqual((await log.append([leafOf(0)])).indices, [0])
    })

    test('stops signing when a witness gets ahead of it', async (context) => {
      const witness = await startTestWitness(context, 'witness.example/a')
      const place = await placeForLog(context, [witness])
      const log = await place.open()
      await log.append([leafOf(0)])
      witness.state = { ...witness.state, size: 99 }
      await assert.rejects(log.append([leafOf(1)]), { code: 'ERR_LOG_BEHIND_WITNESS' })
      await assert.rejects(log.append([leafOf(2)]), { code: 'ERR_LOG_BEHIND_WITNESS' })
      assert.equal(place.fatal.length, 1)
    })

    test('stops signing when a witness holds another history', async (context) => {
      const witness = await startTestWitness(context, 'witness.example/a')
      const place = await placeForLog(context, [witness])
      const log = await place.open()
      await log.append(range(0, 4))
      witness.state = { size: 3, root: new Uint8Array(32) }
      await assert.rejects(log.append([leafOf(9)]), { code: 'ERR_LOG_WITNESS_CONFLICT' })
      assert.equal(place.fatal.length, 1)
    })

    test('a signer elsewhere gets what it needs to see that each tree continues the one it signed before', async (context) => {
      const place = await placeForLog(context)
      const signer = new RememberingSigner(place.signer)
      const log = await place.open({ signer })
      for (const [from, to] of [
        [0, 1],
        [1, 2],
        [2, 300],
        [300, 301],
        [301, 700],
      ] as const) {
        await log.append(range(from, to))
      }
      await log.close()
      const again = await place.open({ signer })
      await again.append(range(700, 800))
      assert.equal(signer.held.size, 800)
      assert.ok(signer.proven >= 5, `${signer.proven} proofs`)
      assert.equal(verifyCheckpoint(again.checkpoint()!, place.policy).size, 800)
    })

    test('a signer that refuses stops the log', async (context) => {
      const place = await placeForLog(context)
      const signer = new RememberingSigner(place.signer)
      const log = await place.open({ signer })
      await log.append(range(0, 5))
      // It saw another history before.
      signer.held = { ...signer.held, root: new Uint8Array(32) }
      await assert.rejects(log.append(range(5, 9)), { name: 'LogServerError' })
      assert.equal(place.fatal.length, 1)
      assert.equal(verifyCheckpoint(log.checkpoint()!, place.policy).size, 5)
    })

    test('a clock that is set back changes nothing', async (context) => {
      const place = await placeForLog(context)
      context.mock.timers.enable({ apis: ['Date'], now: 1_760_000_000_000 })
      const log = await place.open()
      await log.append(range(0, 3))
      context.mock.timers.setTime(1_000)
      assert.deepEqual((await log.append(range(2, 6))).indices, [2, 3, 4, 5])
      await log.close()
      context.mock.timers.setTime(0)
      const again = await place.open()
      assert.deepEqual((await again.append(range(4, 8))).indices, [4, 5, 6, 7])
    })

    test('signs the same root again for the same size', async (context) => {
      const place = await placeForLog(context)
      const log = await place.open()
      await log.append(range(0, 5))
      const before = log.checkpoint()!
      await log.close()
      const again = await place.open()
      assert.equal(encodeHex(again.checkpoint()!), encodeHex(before))
    })
  })
}

/** Signs nothing that does not continue what it signed before. */
class RememberingSigner implements CheckpointSigner {
  readonly #signer: NoteSigner
  held: SignedTree = { size: 0, root: emptyRoot() }
  proven = 0

  constructor(signer: NoteSigner) {
    this.#signer = signer
  }

  get key(): NoteKey {
    return this.#signer.key
  }

  async signReceipt({ root }: SignedTree): Promise<Uint8Array> {
    return signReceiptRoot(this.#signer, root)
  }

  async sign({ text, next, previous, proof }: SigningRequest): Promise<NoteSignature> {
    assert.equal(previous.size, this.held.size)
    const path = await proof()
    const [oldSize, newSize] = [this.held.size, next.size]
    if (oldSize > 0 && newSize > oldSize) {
      verifyConsistency({ oldSize, newSize, oldRoot: this.held.root, newRoot: next.root, path })
      this.proven += 1
    } else {
      assert.equal(path.length, 0)
      if (newSize === oldSize) assert.deepEqual(Buffer.from(next.root), Buffer.from(this.held.root))
    }
    this.held = { size: next.size, root: next.root }
    return signNote(text, this.#signer)
  }
}
