import assert from 'node:assert/strict'
import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { parseLogPolicy, verifyCheckpoint } from '@cella/log'
import { leafOf, placeForLog, startTestWitness } from '../test/support.ts'
import { fsck } from './fsck.ts'
import { logSuite } from './log.suite.ts'

const range = (from: number, to: number): Uint8Array[] =>
  Array.from({ length: to - from }, (_, index) => leafOf(from + index))

logSuite('embedded', placeForLog)

test('what it closes with passes fsck at three levels of tiles', async (context) => {
  const place = placeForLog(context)
  const log = await place.open()
  await log.append(range(0, 65_436))
  await log.append(range(65_436, 66_100))
  await log.close()
  const report = await fsck(place.folder, place.policy)
  assert.deepEqual(report.problems, [])
  assert.equal(report.size, 66_100)
  assert.equal(existsSync(`${place.folder}/tile/0/255.p`), false)
})

test('fsck finds every file that is changed or missing', async (context) => {
  const place = placeForLog(context)
  const log = await place.open()
  await log.append(range(0, 700))
  await log.close()
  place.isBent = true
  for (const path of ['tile/0/000', 'tile/0/001', 'tile/0/002.p/188', 'tile/1/000.p/2']) {
    const file = `${place.folder}/${path}`
    const bytes = readFileSync(file)
    const bent = Buffer.from(bytes)
    bent[40]! ^= 1
    chmodSync(file, 0o644)
    writeFileSync(file, bent)
    assert.equal((await fsck(place.folder, place.policy)).problems.length, 1, path)
    rmSync(file)
    assert.equal((await fsck(place.folder, place.policy)).problems.length, 1, path)
    writeFileSync(file, bytes)
  }
  const bundle = `${place.folder}/tile/entries/001`
  const bytes = readFileSync(bundle)
  bytes[50]! ^= 1
  chmodSync(bundle, 0o644)
  writeFileSync(bundle, bytes)
  assert.ok((await fsck(place.folder, place.policy)).problems.includes('tile/0/001 is not what its leaves give'))
  await assert.rejects(place.open(), { code: 'ERR_LOG_DAMAGED' })
  const stranger = parseLogPolicy(Buffer.from('quorum none\n'))
  await assert.rejects(fsck(place.folder, stranger), { code: 'ERR_LOG_ORIGIN' })
})

test('asks until its quorum has come, though nobody appends', async (context) => {
  const witness = await startTestWitness(context, 'witness.example/a')
  const place = placeForLog(context, [witness])
  const first = await place.open()
  await first.append(range(0, 3))
  await first.close()
  witness.failing = 500
  const log = await place.open({ witnessTimeoutMs: 300 })
  assert.equal(log.checkpoint(), undefined)
  witness.failing = undefined
  while (log.checkpoint() === undefined) await new Promise((resolve) => setTimeout(resolve, 10))
  assert.equal(verifyCheckpoint(log.checkpoint()!, place.policy).size, 3)
})
