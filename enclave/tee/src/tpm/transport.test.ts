import assert from 'node:assert/strict'
import { read, write } from 'node:fs'
import test from 'node:test'
import { promisify } from 'node:util'
import { openRawPty } from '../../test/pty.ts'
import { vtpmCommands } from '../../test/vtpm.ts'
import { nvReadPublic, pcrRead } from './commands.ts'
import { openTpm } from './transport.ts'

const pcrs = Array.from({ length: 24 }, (_, at) => new Uint8Array(32).fill(at))

test('a character device takes each command in one write and is read until its answer is whole', {
  skip: process.platform !== 'linux' && 'needs a pseudo-terminal',
}, async () => {
  const pty = await openRawPty()
  try {
    const run = vtpmCommands({ pcrs, hclReport: async () => new Uint8Array(2600) })
    const served = (async () => {
      for (let commands = 0; commands < 3; commands++) {
        const buffer = new Uint8Array(4096)
        const { bytesRead } = await promisify(read)(pty.master, buffer, 0, buffer.length, null)
        const answer = (await run(buffer.slice(0, bytesRead))) as Uint8Array
        const half = answer.length >> 1
        await promisify(write)(pty.master, answer.subarray(0, half), 0, half, null)
        await promisify(write)(pty.master, answer.subarray(half), 0, answer.length - half, null)
      }
    })()
    const tpm = await openTpm(pty.slave, 5_000)
    assert.equal(await tpm.run(nvReadPublic(0x01400001)), 2600)
    await assert.rejects(tpm.run(nvReadPublic(0x01400009)), { code: 'ERR_TEE_REFUSED', absent: true })
    assert.deepEqual(await tpm.run(pcrRead([1, 9])), new Map([1, 9].map((pcr) => [pcr, pcrs[pcr]])))
    await served
    await tpm.close()
  } finally {
    pty.close()
  }
})

test('a device that is not there, or not to be opened, is unavailable', async () => {
  await assert.rejects(openTpm('/nowhere/tpmrm0', 100), { code: 'ERR_TEE_UNAVAILABLE' })
  await assert.rejects(openTpm('/', 100), { code: 'ERR_TEE_UNAVAILABLE' })
})
