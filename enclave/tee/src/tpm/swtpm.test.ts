import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { nvDefineSpace, nvRead, nvReadPublic, nvWrite, pcrRead } from './commands.ts'
import { openTpm } from './transport.ts'

// The commands against a TPM that somebody else wrote: swtpm, where it is installed (Debian: apt-get install swtpm).

const isThere = spawnSync('swtpm', ['--version']).error === undefined
const index = 0x01400001

test('commands of ours are what a software TPM takes', { skip: !isThere && 'swtpm is not installed' }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'cella-swtpm-'))
  const socket = join(folder, 'tpm')
  mkdirSync(join(folder, 'state'))
  const emulator = spawn(
    'swtpm',
    [
      ...['socket', '--tpm2', '--flags', 'not-need-init,startup-clear'],
      ...['--tpmstate', `dir=${join(folder, 'state')}`, '--server', `type=unixio,path=${socket}`],
      ...['--ctrl', `type=unixio,path=${join(folder, 'control')}`],
    ],
    { stdio: 'ignore' },
  )
  const ended = once(emulator, 'exit')
  try {
    while (!existsSync(socket) && emulator.exitCode === null) await sleep(10)
    const tpm = await openTpm(socket, 10_000)
    try {
      const data = Uint8Array.from({ length: 64 }, (_, at) => at)
      await tpm.run(nvDefineSpace(index, data.length))
      await tpm.run(nvWrite(index, data))
      assert.equal(await tpm.run(nvReadPublic(index)), data.length)
      assert.deepEqual(await tpm.run(nvRead(index, 0, data.length)), data)
      assert.deepEqual(await tpm.run(nvRead(index, 32, 8)), data.subarray(32, 40))
      const values = await tpm.run(pcrRead([0, 4, 7]))
      assert.deepEqual([...values.keys()], [0, 4, 7])
      assert.ok([...values.values()].every((value) => value.length === 32))
      await assert.rejects(tpm.run(nvReadPublic(index + 1)), { code: 'ERR_TEE_REFUSED' })
    } finally {
      await tpm.close()
    }
  } finally {
    emulator.kill('SIGKILL')
    await ended
    rmSync(folder, { recursive: true, force: true })
  }
})
