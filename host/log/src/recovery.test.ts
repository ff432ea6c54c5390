import assert from 'node:assert/strict'
import { cpSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Disk } from '@cella/blobs'
import { equalBytes } from '@cella/bytes'
import { parseCheckpointText, parseNote } from '@cella/log'
import fc from 'fast-check'
import { leafOf, placeForLog, startTestWitness, temporaryFolder } from '../test/support.ts'
import { LastSigned } from './last-signed.ts'
import type { Log } from './log.ts'
import { encodeWalRecord, parseWalRecord } from './wal.ts'

const sizeOf = (log: Log): number => parseCheckpointText(parseNote(log.checkpoint()!).text).size
/** Nothing is published while these tests run, so that all is in the write-ahead log. */
const unpublished = { publishIntervalMs: 1_000_000 }

function walFile(folder: string): string {
  const names = readdirSync(join(folder, 'wal'))
  assert.equal(names.length, 1)
  return join(folder, 'wal', names[0]!)
}

/** Where the records of a write-ahead log end; zeros follow, ahead of the next ones. */
function recordsEnd(file: string): number {
  const bytes = readFileSync(file)
  let end = 0
  for (;;) {
    const found = parseWalRecord(bytes.subarray(end))
    if (found === undefined) return end
    end += found.length
  }
}

/** Leaves behind what a crash would: the files as they are while the log is open. */
function crashCopy(place: { folder: string; lastSignedFile: string }, to: string): void {
  cpSync(place.folder, join(to, 'log'), { recursive: true })
  cpSync(place.lastSignedFile, join(to, 'last-signed'))
}

test('a tail torn at any byte below the signed size is refused, beyond it is cut', async (context) => {
  const place = placeForLog(context)
  const log = await place.open(unpublished)
  await log.append([leafOf(0), leafOf(1)])
  const signedOnce = readFileSync(place.lastSignedFile)
  const before = recordsEnd(walFile(place.folder))
  await log.append([leafOf(2)])
  const after = recordsEnd(walFile(place.folder))
  const copy = temporaryFolder(context)
  crashCopy(place, copy)
  const copied = { folder: join(copy, 'log'), lastSignedFile: join(copy, 'last-signed') }
  const whole = readFileSync(walFile(copied.folder))
  const signedTwice = readFileSync(copied.lastSignedFile)
  for (let length = before; length < after; length++) {
    // Acknowledged: the second record was signed.
    writeFileSync(walFile(copied.folder), whole.subarray(0, length))
    writeFileSync(copied.lastSignedFile, signedTwice)
    await assert.rejects(place.open({ ...copied, ...unpublished }), { name: 'LogServerError' }, `cut at ${length}`)
    // Not acknowledged: the crash came before the signature.
    writeFileSync(copied.lastSignedFile, signedOnce)
    const reopened = await place.open({ ...copied, ...unpublished })
    assert.equal(sizeOf(reopened), 2)
    assert.equal(readFileSync(walFile(copied.folder)).length, before)
    await reopened.close()
  }
  const last = await place.open({ ...copied, ...unpublished })
  assert.deepEqual((await last.append([leafOf(7)])).indices, [2])
})

test('a whole record that was not signed yet is signed at the next start', async (context) => {
  const place = placeForLog(context)
  const log = await place.open(unpublished)
  await log.append([leafOf(0)])
  const signedOnce = readFileSync(place.lastSignedFile)
  await log.append([leafOf(1)])
  const copy = temporaryFolder(context)
  crashCopy(place, copy)
  const copied = { folder: join(copy, 'log'), lastSignedFile: join(copy, 'last-signed') }
  writeFileSync(copied.lastSignedFile, signedOnce)
  const reopened = await place.open({ ...copied, ...unpublished })
  assert.deepEqual((await reopened.append([leafOf(1)])).indices, [1])
  assert.equal(sizeOf(reopened), 2)
})

test('any changed byte of the write-ahead log below the signed size is refused', async (context) => {
  const place = placeForLog(context)
  const log = await place.open(unpublished)
  await log.append([leafOf(0)])
  await log.append([leafOf(1)])
  const copy = temporaryFolder(context)
  crashCopy(place, copy)
  const copied = { folder: join(copy, 'log'), lastSignedFile: join(copy, 'last-signed') }
  const whole = readFileSync(walFile(copied.folder))
  for (let at = 0; at < recordsEnd(walFile(place.folder)); at++) {
    const bent = Buffer.from(whole)
    bent[at]! ^= 1
    writeFileSync(walFile(copied.folder), bent)
    await assert.rejects(place.open({ ...copied, ...unpublished }), { name: 'LogServerError' }, `changed at ${at}`)
  }
})

test('garbage behind the last record is cut', async (context) => {
  const place = placeForLog(context)
  const log = await place.open(unpublished)
  await log.append([leafOf(0)])
  const copy = temporaryFolder(context)
  crashCopy(place, copy)
  const file = walFile(join(copy, 'log'))
  const bytes = readFileSync(file)
  bytes.write('garbage', recordsEnd(file))
  writeFileSync(file, bytes)
  const reopened = await place.open({ folder: join(copy, 'log'), lastSignedFile: join(copy, 'last-signed') })
  assert.deepEqual((await reopened.append([leafOf(0), leafOf(1)])).indices, [0, 1])
})

test('a second writer of the folder is refused while the first is open', async (context) => {
  const place = placeForLog(context)
  const log = await place.open()
  await assert.rejects(place.open(), { code: 'ERR_LOG_IN_USE' })
  assert.deepEqual((await log.append([leafOf(0)])).indices, [0])
  await log.close()
  assert.equal(sizeOf(await place.open()), 1)
})

test('a second writer with a copy of the folder is stopped by the last signed checkpoint', async (context) => {
  const place = placeForLog(context)
  const log = await place.open()
  await log.append([leafOf(0)])
  const copy = join(temporaryFolder(context), 'log')
  cpSync(place.folder, copy, { recursive: true })
  const second = await place.open({ folder: copy })
  await second.append([leafOf(1)])
  await assert.rejects(log.append([leafOf(2)]), { code: 'ERR_LOG_IN_USE' })
  assert.equal(place.fatal.length, 1)
})

test('a restored folder is refused: what was signed last says so', async (context) => {
  const place = placeForLog(context)
  const log = await place.open()
  await log.append([leafOf(0)])
  await log.close()
  const backup = join(temporaryFolder(context), 'log')
  cpSync(place.folder, backup, { recursive: true })
  const later = await place.open()
  await later.append([leafOf(1)])
  await later.close()
  rmSync(place.folder, { recursive: true })
  cpSync(backup, place.folder, { recursive: true })
  await assert.rejects(place.open(), { code: 'ERR_LOG_SET_BACK' })
  rmSync(place.folder, { recursive: true })
  await assert.rejects(place.open(), { code: 'ERR_LOG_SET_BACK' })
})

test('a backup restored with its last signed checkpoint is refused: the witness is ahead', async (context) => {
  const witness = await startTestWitness(context, 'witness.example/a')
  const place = placeForLog(context, [witness])
  const log = await place.open()
  await log.append([leafOf(0)])
  await log.close()
  const backup = temporaryFolder(context)
  crashCopy(place, backup)
  const later = await place.open()
  await later.append([leafOf(1)])
  await later.close()
  const restored = { folder: join(backup, 'log'), lastSignedFile: join(backup, 'last-signed') }
  await assert.rejects(place.open(restored), { code: 'ERR_LOG_BEHIND_WITNESS' })
})

test('a log whose last signed checkpoint is lost is refused', async (context) => {
  const place = placeForLog(context)
  const log = await place.open()
  await log.append([leafOf(0)])
  await log.close()
  rmSync(place.lastSignedFile)
  await assert.rejects(place.open(), { code: 'ERR_LOG_SET_BACK' })
})

test('a torn slot of the last signed checkpoint leaves the one before', async (context) => {
  const file = join(temporaryFolder(context), 'last-signed')
  const tree = (size: number) => ({ size, root: new Uint8Array(32).fill(size) })
  const first = await LastSigned.open(new Disk(), file, 'log.example/one')
  for (const size of [0, 1, 2, 3]) await first.replace(tree(size))
  await first.close()
  const bytes = readFileSync(file)
  // Generation 4 is in the first slot, 3 in the second.
  for (const at of [0, 25, 59, 67, 99, 131]) {
    const torn = Buffer.from(bytes)
    torn[at]! ^= 1
    writeFileSync(file, torn)
    const reopened = await LastSigned.open(new Disk(), file, 'log.example/one')
    assert.equal(reopened.tree?.size, 2)
    await reopened.close()
  }
  writeFileSync(file, bytes)
  const again = await LastSigned.open(new Disk(), file, 'log.example/one')
  assert.equal(again.tree?.size, 3)
  await assert.rejects(again.replace(tree(2)), { code: 'ERR_LOG_DAMAGED' })
  await assert.rejects(again.replace({ size: 3, root: new Uint8Array(32) }), { code: 'ERR_LOG_DAMAGED' })
  await again.close()
  await assert.rejects(LastSigned.open(new Disk(), file, 'log.example/two'), { code: 'ERR_LOG_CONFIG' })
  truncateSync(file, 8192)
  writeFileSync(file, Buffer.alloc(8192, 1))
  await assert.rejects(LastSigned.open(new Disk(), file, 'log.example/one'), { code: 'ERR_LOG_DAMAGED' })
})

test('a write-ahead record reads back as it was written, and nothing else reads', () => {
  const record = { first: 700, leaves: [leafOf(1), leafOf(2)], root: new Uint8Array(32).fill(9) }
  const bytes = encodeWalRecord(record)
  const read = parseWalRecord(bytes)
  assert.equal(read?.length, bytes.length)
  assert.ok(read.record.leaves.every((leaf, at) => equalBytes(leaf, record.leaves[at]!)))
  for (let length = 0; length < bytes.length; length++) {
    assert.equal(parseWalRecord(bytes.subarray(0, length)), undefined)
  }
  for (let at = 0; at < bytes.length; at++) {
    const bent = bytes.slice()
    bent[at]! ^= 0x80
    assert.equal(parseWalRecord(bent), undefined)
  }
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (random) => parseWalRecord(random) === undefined))
})
