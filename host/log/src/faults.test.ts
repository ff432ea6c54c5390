import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { kill, post, type Running, settle, start } from '../test/process.ts'
import { leafOf, startTestWitness } from '../test/support.ts'
import { fsck } from './fsck.ts'

const together = 250

/** Appends leaves until the log fails; how many were acknowledged. */
async function appendUntilItEnds(running: Running, from: number): Promise<number> {
  let next = from
  const untilMs = performance.now() + 60_000
  try {
    for (; performance.now() < untilMs; next += together) {
      const { indices } = await post(
        running.url,
        Array.from({ length: together }, (_, at) => leafOf(next + at)),
      )
      assert.equal(indices.length, together)
    }
  } catch {
    return next
  }
  throw new Error('the fault never came')
}

test('a disk that takes no more ends the process, and nothing acknowledged is lost', async (context) => {
  const witness = await startTestWitness(context, 'witness.example/a')
  const { config, settings, policyOf } = settle(context, witness)
  // No file may grow beyond this many KiB: the write-ahead log fails first.
  const running = await start(config, ['bash', '-c', 'ulimit -f 1500; exec "$@"', 'bash'])
  const ended = once(running.child, 'exit')
  const acknowledged = await appendUntilItEnds(running, 0)
  assert.equal((await ended)[0], 1)
  assert.ok(acknowledged > 0)
  const again = await start(config)
  for (let at = 0; at < acknowledged; at += together) {
    const leaves = Array.from({ length: together }, (_, n) => leafOf(at + n))
    const indices = (await post(again.url, leaves)).indices
    assert.deepEqual(
      indices,
      leaves.map((_, n) => at + n),
    )
  }
  await kill(again, 'SIGTERM')
  assert.deepEqual((await fsck(settings.folder, policyOf(again.vkey))).problems, [])
})

// What strace makes fail: the system call, and from which time on.
const faults = [
  'fdatasync:when=1+',
  'fdatasync:when=4+',
  'fsync:when=9+',
  'rename:when=2+',
  'pwrite64:when=3+',
] as const
const traces = spawnSync('strace', ['-qq', '-o', '/dev/null', 'true']).status === 0

test('a failing sync, write or rename ends the process, and nothing acknowledged is lost', {
  skip: traces ? false : 'strace, which makes system calls fail, can’t run here',
}, async (context) => {
  const witness = await startTestWitness(context, 'witness.example/a')
  const { config, settings, policyOf } = settle(context, witness)
  await kill(await start(config), 'SIGTERM')
  const acknowledged: number[] = []
  let next = 0
  let ended = 0
  for (const fault of faults) {
    const [call, when] = fault.split(':') as [string, string]
    const inject = `inject=${call}:error=EIO:${when}`
    let running: Running
    try {
      running = await start(config, ['strace', '-f', '-qq', '-o', '/dev/null', '-e', `trace=${call}`, '-e', inject])
    } catch (error) {
      // The fault met the start: then nothing was acknowledged either.
      assert.match((error as Error).message, /EIO/, fault)
      ended += 1
      continue
    }
    const exit = once(running.child, 'exit')
    const until = await appendUntilItEnds(running, next)
    for (let leaf = next; leaf < until; leaf++) acknowledged.push(leaf)
    // Those that failed may be in the log or not; they are never asked for again.
    next = until + together
    assert.equal((await exit)[0], 1, fault)
    ended += 1
  }
  assert.equal(ended, faults.length)
  assert.ok(acknowledged.length > 0)
  const again = await start(config)
  const before = (await post(again.url, [leafOf(1_000_000)])).indices[0]!
  for (let at = 0; at < acknowledged.length; at += 200) {
    const { indices } = await post(again.url, acknowledged.slice(at, at + 200).map(leafOf))
    assert.ok(indices.every((index) => index < before))
  }
  await kill(again, 'SIGTERM')
  assert.deepEqual((await fsck(settings.folder, policyOf(again.vkey))).problems, [])
})

const small = mkdtempSync(join(tmpdir(), 'log-small-'))
const mounts = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', small]).status === 0
after(() => {
  if (mounts) spawnSync('umount', [small])
  rmSync(small, { recursive: true, force: true })
})

test('a full disk ends the process, and with more room it goes on where it was', {
  skip: mounts ? false : 'a small file system can’t be mounted here',
}, async (context) => {
  const witness = await startTestWitness(context, 'witness.example/a')
  const { config, settings, policyOf } = settle(context, witness)
  const folder = join(small, 'log')
  writeFileSync(config, JSON.stringify({ ...settings, folder, lastSigned: join(small, 'last-signed') }))
  const running = await start(config)
  const ended = once(running.child, 'exit')
  const acknowledged = await appendUntilItEnds(running, 0)
  assert.equal((await ended)[0], 1)
  assert.ok(acknowledged > 0)
  assert.equal(spawnSync('mount', ['-o', 'remount,size=64m', small]).status, 0)
  const again = await start(config)
  for (let at = 0; at < acknowledged; at += together) {
    const leaves = Array.from({ length: together }, (_, n) => leafOf(at + n))
    assert.equal((await post(again.url, leaves)).indices[0], at)
  }
  await kill(again, 'SIGTERM')
  assert.deepEqual((await fsck(folder, policyOf(again.vkey))).problems, [])
})
