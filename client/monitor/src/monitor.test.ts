import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { encodeHex, encodeUtf8 } from '@cella/bytes'
import {
  checkCopy,
  encodeLeaf,
  LogError,
  type LogPolicy,
  type MirrorStore,
  parseLogPolicy,
  signerLeaf,
} from '@cella/log'
import { MemoryLog } from '@cella/testing/memory-log'
import { folderStore, monitorLog, storeOfLog, urlLog, type Watched } from './index.ts'

const now = 1_760_000_000

function leafOf(n: number): Uint8Array {
  const commitment = new Uint8Array(32)
  new DataView(commitment.buffer).setFloat64(0, n)
  return encodeLeaf({ kind: 'document', commitment, tag: commitment.slice(0, 16) })
}
const leaves = (from: number, to: number): Uint8Array[] =>
  Array.from({ length: to - from }, (_, index) => leafOf(from + index))

interface Place {
  readonly policy: LogPolicy
  readonly store: MirrorStore
  readonly folder: string
  readonly url: string
  honest: MemoryLog
  /** What is served in place of the honest file, by path; `null`: nothing. */
  readonly doctored: Map<string, Uint8Array | null>
  look(more?: { tags?: ReadonlyMap<string, string>; maxAgeSeconds?: number; now?: number }): Promise<Watched>
  /** The log now has these leaves and no others, signed and cosigned with everyone's keys. */
  rewrite(leaves: readonly Uint8Array[]): Promise<void>
}

/** A log on a real HTTP server, and a monitor that has seen `count` entries of it. */
async function placeOf(context: TestContext, count: number): Promise<Place> {
  const folder = mkdtempSync(join(tmpdir(), 'monitor-'))
  const honest = new MemoryLog({ now, witnesses: ['w1', 'w2'] })
  await honest.append(leaves(0, count))
  const server = createServer((request, response) => {
    const path = request.url!.slice(1)
    const read = async (): Promise<Uint8Array> => {
      const bent = place.doctored.get(path)
      if (bent === null) throw new Error('withheld')
      return bent ?? (path === 'checkpoint' ? place.honest.checkpoint() : place.honest.tile(path))
    }
    read().then(
      (bytes) => response.end(bytes),
      () => response.writeHead(404).end(),
    )
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  context.after(() => {
    server.close()
    server.closeAllConnections()
    rmSync(folder, { recursive: true, force: true })
  })
  const place: Place = {
    policy: parseLogPolicy(encodeUtf8(honest.policyOf().replace('group q all w1 w2', 'group q any w1 w2'))),
    store: folderStore(folder),
    folder,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    honest,
    doctored: new Map(),
    look: (more) => {
      const { policy, store } = place
      return monitorLog({ policy, store, log: urlLog(place.url), now, ...more })
    },
    async rewrite(all) {
      place.honest = new MemoryLog({ now, witnesses: ['w1', 'w2'], like: honest })
      await place.honest.append(all)
    },
  }
  const first = await place.look()
  assert.deepEqual([first.findings, first.before, first.checkpoint?.size], [[], 0, count])
  return place
}

const codes = ({ findings }: Watched): string[] => findings.map(({ code }) => code)

test('a log that grows is followed, from where the look before ended', async (context) => {
  const place = await placeOf(context, 300)
  await place.honest.append(leaves(300, 700))
  const tags = new Map([
    [encodeHex(leafOf(5).slice(48)), 'an entry seen before'],
    [encodeHex(leafOf(450).slice(48)), 'your asset'],
  ])
  const seen = await place.look({ tags })
  assert.deepEqual([seen.before, seen.checkpoint?.size, codes(seen), seen.behind], [300, 700, [], []])
  assert.deepEqual(seen.entries, [{ index: 450, about: 'your asset' }])
  assert.deepEqual((await checkCopy({ policy: place.policy, store: place.store })).problems, [])
  assert.deepEqual((await place.look({ tags })).entries, [])
})

test('entries that say which code holds the log’s key are told, whoever is watched for', async (context) => {
  const place = await placeOf(context, 3)
  const { key } = place.policy.logs[0]!
  const stated = (number: number): Uint8Array => signerLeaf(key, number, encodeUtf8(`statement ${number}`))
  await place.honest.append([leafOf(3), stated(0)])
  assert.deepEqual((await place.look()).signers, [{ index: 4, about: 'the log says which code holds its key' }])
  await place.honest.append([stated(1), leafOf(4)])
  assert.deepEqual((await place.look()).signers, [
    { index: 5, about: 'the log’s key passes to other code (statement 1)' },
  ])
  await place.honest.append([leafOf(5)])
  assert.deepEqual((await place.look()).signers, [])
})

type Attack = [name: string, code: string, detail: RegExp, bend: (place: Place) => Promise<void>]
const attacks: Attack[] = [
  ['set back', 'ERR_LOG_ROLLED_BACK', /set back/, (place) => place.rewrite(leaves(0, 280))],
  ['forked', 'ERR_LOG_FORKED', /seen before/, (place) => place.rewrite([...leaves(0, 200), ...leaves(5000, 5400)])],
  [
    'that leaves an entry out',
    'ERR_LOG_OMITTED',
    /1 entry from index 7 on/,
    (place) => place.rewrite([...leaves(0, 7), ...leaves(8, 400)]),
  ],
  [
    'that leaves entries out over the end of a bundle',
    'ERR_LOG_OMITTED',
    /3 entries from index 255 on/,
    (place) => place.rewrite([...leaves(0, 255), ...leaves(258, 400)]),
  ],
  [
    'that puts an entry in between',
    'ERR_LOG_INSERTED',
    /1 entry from index 9 on/,
    (place) => place.rewrite([...leaves(0, 9), leafOf(9000), ...leaves(9, 300)]),
  ],
  [
    'in another order',
    'ERR_LOG_REORDERED',
    /2 entries from index 20 on/,
    (place) => place.rewrite([...leaves(0, 20), leafOf(21), leafOf(20), ...leaves(22, 300)]),
  ],
  [
    'that rewrites an entry',
    'ERR_LOG_REWRITTEN',
    /1 entry from index 100 on/,
    (place) => place.rewrite([...leaves(0, 100), leafOf(7777), ...leaves(101, 300)]),
  ],
]
for (const [name, code, detail, bend] of attacks) {
  test(`a log ${name} is named, with the note that shows it, and nothing of it is kept`, async (context) => {
    const place = await placeOf(context, 300)
    await bend(place)
    const seen = await place.look()
    const expected = code === 'ERR_LOG_ROLLED_BACK' || code === 'ERR_LOG_FORKED' ? code : 'ERR_LOG_FORKED'
    assert.equal(codes(seen)[0], expected)
    const found = seen.findings.find((finding) => finding.code === code)
    assert.match(found?.text ?? `only ${codes(seen)}`, detail)
    assert.deepEqual(seen.evidence, await place.honest.checkpoint())
    assert.equal(seen.checkpoint?.size, 300)
    assert.deepEqual((await checkCopy({ policy: place.policy, store: place.store })).problems, [])
    // Back at the log that was seen, all is well again.
    await place.rewrite(leaves(0, 310))
    assert.deepEqual(codes(await place.look()), [])
  })
}

test('old entries that are served otherwise than they were signed are named', async (context) => {
  const place = await placeOf(context, 300)
  const bundle = await place.honest.tile('tile/entries/000')
  const [first, second] = [bundle.slice(0, 66), bundle.slice(66, 132)]
  for (const [bent, code] of [
    [Buffer.concat([second, first, bundle.subarray(132)]), 'ERR_LOG_REORDERED'],
    [bundle.with(40, bundle[40]! ^ 1), 'ERR_LOG_REWRITTEN'],
    [null, 'ERR_LOG_WITHHELD'],
  ] as const) {
    place.doctored.set('tile/entries/000', bent)
    assert.deepEqual(codes(await place.look()), [code])
  }
})

test('new entries that are not those of the checkpoint, or not shown, are named and not kept', async (context) => {
  const place = await placeOf(context, 300)
  await place.honest.append(leaves(300, 600))
  const bundle = await place.honest.tile('tile/entries/001')
  place.doctored.set('tile/entries/001', bundle.with(bundle.length - 3, bundle.at(-3)! ^ 1))
  assert.equal(codes(await place.look())[0], 'ERR_LOG_PROOF')
  place.doctored.set('tile/entries/001', null)
  assert.equal(codes(await place.look())[0], 'ERR_LOG_WITHHELD')
  place.doctored.clear()
  assert.deepEqual([codes(await place.look()), (await place.look()).checkpoint?.size], [[], 600])
})

test('a checkpoint that nobody signed, of another log, or of no witness is named', async (context) => {
  const place = await placeOf(context, 3)
  const stranger = new MemoryLog({ now, origin: 'log.example/other' })
  const same = new MemoryLog({ now, origin: place.honest.origin, witnesses: ['w1', 'w2'] })
  for (const other of [stranger, same]) await other.append(leaves(0, 4))
  const honest = new TextDecoder().decode(await place.honest.checkpoint())
  for (const [bytes, code] of [
    [await stranger.checkpoint(), 'ERR_LOG_ORIGIN'],
    [await same.checkpoint(), 'ERR_LOG_SIGNATURE'],
    [encodeUtf8(honest.replace(/— witness.*\n/g, '')), 'ERR_LOG_QUORUM'],
    [encodeUtf8('nothing'), 'ERR_LOG_MALFORMED'],
  ] as const) {
    place.doctored.set('checkpoint', bytes)
    assert.deepEqual(codes(await place.look()), [code])
  }
  place.doctored.set('checkpoint', null)
  await assert.rejects(place.look(), (error) => error instanceof LogError && error.code === 'ERR_LOG_UNAVAILABLE')
})

test('a witness that did not cosign, and a log whose time is old, are said to be behind', async (context) => {
  const place = await placeOf(context, 3)
  place.honest.clocks.delete('w2')
  await place.honest.append(leaves(3, 4))
  assert.match((await place.look()).behind.join(), /^witness w2 has not cosigned the newest checkpoint, of 4 entries$/)
  const late = await place.look({ maxAgeSeconds: 60, now: now + 61 })
  assert.match(late.behind[1]!, /newest checkpoint is of 2025-10-09T08:53:20/)
})

test('a served log is checked file by file, each problem named', async (context) => {
  const place = await placeOf(context, 600)
  const store = storeOfLog(urlLog(place.url))
  assert.deepEqual((await checkCopy({ policy: place.policy, store })).problems, [])
  const tile = await place.honest.tile('tile/0/001')
  place.doctored.set('tile/0/001', tile.with(4, tile[4]! ^ 1))
  place.doctored.set('tile/0/002.p/88', null)
  assert.deepEqual((await checkCopy({ policy: place.policy, store })).problems, [
    'tile/0/001 is not what its leaves give',
    'tile/0/002.p/88 is missing',
  ])
})

test('a path that is none of a log is never read or written', async (context) => {
  const { store } = await placeOf(context, 3)
  await assert.rejects(store.read('../secret'), LogError)
  await assert.rejects(store.write('tile/../x', new Uint8Array(1)), LogError)
})
