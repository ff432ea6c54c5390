import assert from 'node:assert/strict'
import { dirname } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { Disk } from '@cella/blobs'
import { edgePlaces, foldEdge, parseCheckpointText, parseNote, tileHashes } from '@cella/log'
import { type Fault, mayFail, newScope, randomFrom, SimulatedDisk } from '../test/simulated-disk.ts'
import { leafOf, placeForLog, type TestLog } from '../test/support.ts'
import { fsck } from './fsck.ts'
import type { Log } from './log.ts'
import { LogServerError } from './log-server-error.ts'

// The log on a disk that loses power, and on one whose calls fail, each in turn. CELLA_SEED repeats a series.

const isLong = process.env.CELLA_LONG === '1'
const seed = Number(process.env.CELLA_SEED ?? Math.floor(Math.random() * 2 ** 31))
/** Leaves of each append: across the edge of a bundle, twice. */
const appends = [1, 100, 155, 1, 30, 225, 2, 3]

interface Told {
  /** Index of each leaf that was acknowledged. */
  readonly indices: Map<number, number>
  /** The newest checkpoint that was. */
  checkpoint: Uint8Array | undefined
}

async function emptyDisk(place: TestLog): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk()
  await new Disk(disk).makeFolder(dirname(place.folder))
  // The lock asks the real file system.
  await new Disk().makeFolder(place.folder)
  return disk
}

/** Appends until something fails; what was acknowledged. */
async function run(place: TestLog, files: SimulatedDisk): Promise<Told> {
  const told: Told = { indices: new Map(), checkpoint: undefined }
  let log: Log | undefined
  try {
    log = await place.open({ files, publishIntervalMs: 1 })
    let next = 0
    for (const count of appends) {
      const leaves = Array.from({ length: count }, () => next++)
      const { indices, checkpoint } = await log.append(leaves.map(leafOf))
      leaves.forEach((leaf, at) => {
        told.indices.set(leaf, indices[at]!)
      })
      told.checkpoint = checkpoint
      await turn()
    }
  } catch (error) {
    if (!(error instanceof LogServerError) && !/^(?:EIO|ENOSPC)/.test((error as Error).message)) throw error
  }
  await log?.close().catch(() => undefined)
  return told
}

/** All that was acknowledged is there, the log goes on, and what it leaves passes fsck. */
async function checkAfter(place: TestLog, files: SimulatedDisk, told: Told): Promise<void> {
  const log = await place.open({ files, publishIntervalMs: 1_000_000 })
  const leaves = [...told.indices.keys()]
  if (leaves.length > 0) {
    assert.deepEqual((await log.append(leaves.map(leafOf))).indices, [...told.indices.values()])
  }
  if (told.checkpoint !== undefined) {
    const { size, root } = parseCheckpointText(parseNote(told.checkpoint).text)
    const read = async (path: string): Promise<Uint8Array> => (await log.tile(path))!
    assert.deepEqual(Buffer.from(foldEdge(await tileHashes(read, size)(edgePlaces(size)))), Buffer.from(root))
  }
  await log.append([leafOf(1_000_000)])
  await log.close()
  assert.deepEqual((await fsck(place.folder, place.policy, files)).problems, [])
}

async function callsOf(context: TestContext): Promise<number> {
  const place = placeForLog(context)
  const disk = await emptyDisk(place)
  assert.equal((await run(place, disk)).indices.size, 517)
  return disk.calls
}

test(`a power loss at any moment takes nothing that was acknowledged (CELLA_SEED=${seed})`, async (context) => {
  const calls = await callsOf(context)
  const random = randomFrom(seed)
  const moments = isLong ? 2 * calls : 14
  for (let moment = 0; moment < moments; moment++) {
    await using scope = newScope()
    const place = placeForLog(scope)
    const disk = await emptyDisk(place)
    const end = 1 + Math.floor(random() * calls)
    disk.fault = (call) => (call >= end ? 'off' : undefined)
    const told = await run(place, disk)
    for (const chance of [0, 0.5, 1, random()]) {
      const after = disk.afterPowerLoss(() => random() < chance)
      // The folder that holds the log is older than it.
      await new Disk(after).makeFolder(dirname(place.folder))
      await checkAfter(place, after, told).catch((cause: unknown) => {
        throw new Error(`power off at call ${end}, chance ${chance}`, { cause })
      })
    }
  }
})

for (const code of ['EIO', 'ENOSPC'] as const) {
  test(`a call that fails with ${code}, each in turn, stops the log and takes nothing`, async (context) => {
    const calls = await callsOf(context)
    const random = randomFrom(seed)
    const step = isLong ? 1 : Math.ceil(calls / 18)
    let stopped = 0
    for (let first = 1 + Math.floor(random() * step); first < calls; first += step) {
      await using scope = newScope()
      const place = placeForLog(scope)
      const disk = await emptyDisk(place)
      let failed: Fault | undefined
      disk.fault = (call, name) => {
        if (call < first || failed !== undefined || !mayFail(code, name)) return undefined
        failed = { code }
        return failed
      }
      const told = await run(place, disk)
      if (failed !== undefined && told.indices.size < 517) stopped += 1
      disk.fault = () => undefined
      // After a failed sync only what the disk has counts, not the cache of the machine that is still up.
      const after = disk.afterPowerLoss(() => false)
      await new Disk(after).makeFolder(dirname(place.folder))
      await checkAfter(place, after, told).catch((cause: unknown) => {
        throw new Error(`${code} at call ${first}`, { cause })
      })
    }
    assert.ok(stopped > 5, `only ${stopped} faults stopped the log`)
  })
}

test('a bit that flips on the way to the disk is found before it is signed, and the tree before stays', async (context) => {
  const place = placeForLog(context)
  const disk = await emptyDisk(place)
  let flips = false
  const open = disk.open.bind(disk)
  disk.open = async (path, flags) => {
    const file = await open(path, flags)
    return {
      ...file,
      write: (bytes, offset, length, position) => {
        // In the middle of a leaf.
        const at = offset + Math.min(150, length - 1)
        const sent = flips && path.endsWith('.wal') ? bytes.slice() : bytes
        if (sent !== bytes) sent[at]! ^= 4
        return file.write(sent, offset, length, position)
      },
    }
  }
  const log = await place.open({ files: disk })
  const { checkpoint } = await log.append([leafOf(0), leafOf(1)])
  flips = true
  await assert.rejects(log.append([leafOf(2), leafOf(3), leafOf(4)]), { name: 'LogServerError' })
  assert.equal((place.fatal[0] as LogServerError).code, 'ERR_LOG_DAMAGED')
  assert.deepEqual(log.checkpoint(), checkpoint)
  await log.close().catch(() => undefined)
  flips = false
  place.fatal.length = 0
  const again = await place.open({ files: disk })
  assert.equal(again.status().size, 2)
  assert.deepEqual((await again.append([leafOf(2), leafOf(1)])).indices, [2, 1])
  await again.close()
  assert.deepEqual((await fsck(place.folder, place.policy, disk)).problems, [])
})
