import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { concatBytes } from '@cella/bytes'
import { sharedTest } from '@cella/testing'
import { made, place } from '../../test/made.ts'
import { recorded } from '../../test/recorded.ts'
import { gramineDriver } from './driver.ts'

const binding = Uint8Array.from({ length: 64 }, (_, at) => at + 1)
const { quote } = (await made('sgx', binding)) as { quote: Uint8Array }
let places = 0

/** Gramine's pseudo-files with one quote in them. */
function emulate(given: Uint8Array, type = 'dcap\n'): string {
  const folder = place(`gramine-${places++}`)
  mkdirSync(join(folder, 'keys'))
  writeFileSync(join(folder, 'user_report_data'), new Uint8Array(64))
  writeFileSync(join(folder, 'attestation_type'), type)
  writeFileSync(join(folder, 'quote'), given)
  writeFileSync(join(folder, 'keys/_sgx_mrenclave'), new Uint8Array(16).fill(9))
  return folder
}

async function found(folder: string, timeoutMs = 5_000) {
  const { source, attempts } = await gramineDriver({ folder, timeoutMs }).probe()
  assert.ok(source, JSON.stringify(attempts))
  return source
}

test('writes the report data, reads the quote, cuts what is after it', async () => {
  const folder = emulate(concatBytes(quote, new Uint8Array(39)))
  const source = await found(folder)
  assert.deepEqual(await source.collect(binding), [{ role: 'cpu', format: 'sgx/1', fields: { quote } }])
  const { readFileSync } = await import('node:fs')
  assert.deepEqual(new Uint8Array(readFileSync(join(folder, 'user_report_data'))), binding)
  for (const length of [0, 32, 65]) await assert.rejects(source.collect(new Uint8Array(length)), RangeError)
})

test('half a quote, another TEE’s, and one over other bytes are refused', async () => {
  const { quote: tdx } = (await made('tdx', binding)) as { quote: Uint8Array }
  for (const given of [
    quote.subarray(0, 1000),
    new Uint8Array(),
    tdx,
    quote.with(48 + 320, 0),
    new Uint8Array(40_000),
  ]) {
    await assert.rejects((await found(emulate(given))).collect(binding), { code: 'ERR_TEE_MALFORMED' })
  }
})

test('a quote that can’t be read is refused, and one that does not come ends in time', async () => {
  const folder = emulate(quote)
  const source = await found(folder, 100)
  rmSync(join(folder, 'quote'))
  await assert.rejects(source.collect(binding), { code: 'ERR_TEE_REFUSED' })
  // A pipe that nobody writes to: the reader waits in the kernel until the end of the test.
  execFileSync('mkfifo', [join(folder, 'quote')])
  await assert.rejects(source.collect(binding), { code: 'ERR_TEE_TIMEOUT' })
  writeFileSync(join(folder, 'quote'), '')
})

test('a quote that comes in pieces is joined; one that ends amid them is refused', async () => {
  for (const given of [quote, quote.subarray(0, 2000)]) {
    const folder = emulate(quote)
    const source = await found(folder)
    rmSync(join(folder, 'quote'))
    execFileSync('mkfifo', [join(folder, 'quote')])
    const collected = source.collect(binding)
    // Opens once the driver reads.
    const pipe = await open(join(folder, 'quote'), 'w')
    for (let from = 0; from < given.length; from += 1500) {
      await pipe.write(given.subarray(from, from + 1500))
      await sleep(2)
    }
    await pipe.close()
    if (given === quote) assert.deepEqual((await collected)[0]?.fields, { quote })
    else await assert.rejects(collected, { code: 'ERR_TEE_MALFORMED' })
  }
})

test('the sealing key is the CPU’s 16 bytes, never zeros, never cut', async () => {
  const folder = emulate(quote)
  const source = await found(folder)
  assert.deepEqual(await source.sealingKey?.(), new Uint8Array(16).fill(9))
  for (const key of [new Uint8Array(16), new Uint8Array(15).fill(1)]) {
    writeFileSync(join(folder, 'keys/_sgx_mrenclave'), key)
    await assert.rejects(source.sealingKey!(), { code: 'ERR_TEE_MALFORMED' })
  }
})

test('is not found outside of Gramine, or where Gramine attests otherwise', async () => {
  const outside = await gramineDriver({ folder: place('not-gramine') }).probe()
  assert.deepEqual(
    outside.attempts.map((attempt) => attempt.found),
    ['ENOENT'],
  )
  for (const type of ['none', 'epid']) {
    const probe = await gramineDriver({ folder: emulate(quote, type) }).probe()
    assert.equal(probe.source, undefined)
    assert.match('why' in probe ? probe.why : '', new RegExp(type))
  }
})

sharedTest('a real quote comes out whole', 'vectors/sgx', async () => {
  const real = recorded('sgx/automata-v3-hex/quote.hex', 'hex')
  const source = await found(emulate(real))
  const [piece] = await source.collect(real.slice(48 + 320, 48 + 384))
  const cut = piece?.fields.quote as Uint8Array
  assert.deepEqual(cut, real.subarray(0, cut.length))
})
