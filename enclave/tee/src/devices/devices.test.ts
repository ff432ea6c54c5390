import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { closeSync, openSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { promisify } from 'node:util'
import { concatBytes } from '@cella/bytes'
import { encodeNsmResponse } from '@cella/evidence/nitro-issue'
import { sharedTest } from '@cella/testing'
import { made, madeSnp, place } from '../../test/made.ts'
import { openRawPty } from '../../test/pty.ts'
import { recorded } from '../../test/recorded.ts'
import { nsmDriver, sevGuestDriver } from '../devices.ts'
import type { EvidenceSource, SourceDriver } from '../source.ts'
import { ioctlReadWrite, type NativeCalls, nativeCalls } from './ioctl.ts'

const linux = { skip: process.platform !== 'linux' && 'devices of Linux' }
const device = join(place('dev'), 'device')
writeFileSync(device, '')
const binding = Uint8Array.from({ length: 64 }, (_, at) => at + 1)
const snp = await madeSnp(binding)
const { document } = (await made('nitro', binding)) as { document: Uint8Array }

/** A kernel of our own behind real memory: it gets the addresses that the driver passes, and follows them. */
async function emulate(
  kernel: (request: bigint, at: (address: bigint, length: number) => Uint8Array, argument: bigint) => number,
): Promise<NativeCalls> {
  // biome-ignore lint/correctness/noUnresolvedImports: a built-in module that is newer than the linter's list
  const ffi = await import('node:ffi')
  const at = (address: bigint, length: number): Uint8Array => ffi.toBuffer(address, length, false)
  const native = await nativeCalls()
  return { pin: native.pin, ioctl: (_, request, argument) => kernel(request, at, argument) }
}

const u64 = (bytes: Uint8Array, offset: number): bigint =>
  new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(offset, true)
const putU64 = (bytes: Uint8Array, offset: number, value: bigint): void =>
  new DataView(bytes.buffer, bytes.byteOffset).setBigUint64(offset, value, true)
const putU32 = (bytes: Uint8Array, offset: number, value: number): void =>
  new DataView(bytes.buffer, bytes.byteOffset).setUint32(offset, value, true)

async function found(driver: SourceDriver): Promise<EvidenceSource> {
  const { source, attempts } = await driver.probe()
  assert.ok(source, JSON.stringify(attempts))
  return source
}

test('node:ffi calls ioctl of this kernel: answers, errno and memory are real', linux, async () => {
  const { ioctl, pin } = await nativeCalls()
  const pty = await openRawPty()
  const number = pin(4)
  assert.equal(ioctl(pty.master, 0x80045430n, number.address), 0, 'TIOCGPTN')
  assert.equal(new DataView(number.bytes.buffer).getUint32(0, true), Number(pty.slave.split('/').at(-1)))
  pty.close()
  const file = openSync(device, 'r')
  assert.equal(ioctl(file, ioctlReadWrite(0x53, 0, 32), pin(32).address), 25, 'ENOTTY')
  closeSync(file)
  assert.equal(ioctl(99_999, 0x80045430n, number.address), 9, 'EBADF')
})

test('request numbers are those of the kernel’s headers', () => {
  assert.equal(ioctlReadWrite(0x53, 0, 32), 0xc0205300n)
  assert.equal(ioctlReadWrite(0x53, 2, 32), 0xc0205302n)
  assert.equal(ioctlReadWrite(0x0a, 0, 32), 0xc0200a00n)
})

test('without node:ffi the drivers are absent and say so', linux, async () => {
  const module = new URL('../devices.ts', import.meta.url).href
  const code = `
    import { nsmDriver } from ${JSON.stringify(module)}
    import { probeSources } from ${JSON.stringify(new URL('../probe.ts', import.meta.url).href)}
    const { report } = await probeSources([nsmDriver({ device: ${JSON.stringify(device)} })])
    console.log(JSON.stringify(report.drivers.find(({ name }) => name === 'nitro-nsm')))`
  const args = ['--no-experimental-ffi', '--input-type=module', '--eval', code]
  const { outcome, why } = JSON.parse((await promisify(execFile)(process.execPath, args)).stdout)
  assert.equal(outcome, 'absent')
  assert.match(why, /node:ffi is switched off/)
})

async function nsm(answer: Uint8Array, more: { errno?: number[]; length?: bigint } = {}): Promise<EvidenceSource> {
  const errnos = [...(more.errno ?? [])]
  const calls = await emulate((request, at, argument) => {
    assert.equal(request, 0xc0200a00n)
    const message = at(argument, 32)
    const asked = at(u64(message, 0), Number(u64(message, 8)))
    assert.ok(asked.toString().includes('Attestation') && Buffer.from(asked).includes(binding))
    const errno = errnos.shift()
    if (errno !== undefined) return errno
    at(u64(message, 16), answer.length).set(answer)
    putU64(message, 24, more.length ?? BigInt(answer.length))
    return 0
  })
  return found(nsmDriver({ device, calls }))
}

test('Nitro: the document that the security module answers', linux, async () => {
  const source = await nsm(encodeNsmResponse(document))
  assert.deepEqual(await source.collect(binding), [{ role: 'cpu', format: 'nitro/1', fields: { document } }])
  for (const length of [0, 32, 65]) await assert.rejects(source.collect(new Uint8Array(length)), RangeError)
})

test('Nitro: busy is tried again, a no is told, a malformed answer is refused', linux, async () => {
  const sound = encodeNsmResponse(document)
  assert.equal((await (await nsm(sound, { errno: [16, 4, 11] })).collect(binding)).length, 1)
  const busy = await nsm(sound, { errno: Array<number>(9).fill(16) })
  await assert.rejects(busy.collect(binding), { code: 'ERR_TEE_BUSY' })
  for (const [errno, code] of [
    [90, 'ERR_TEE_REFUSED'],
    [22, 'ERR_TEE_REFUSED'],
    [25, 'ERR_TEE_UNAVAILABLE'],
    [110, 'ERR_TEE_TIMEOUT'],
  ] as const) {
    await assert.rejects((await nsm(sound, { errno: [errno] })).collect(binding), { code })
  }
  const error = concatBytes(
    Uint8Array.of(0xa1, 0x65),
    new TextEncoder().encode('Error'),
    Uint8Array.of(0x6d),
    new TextEncoder().encode('InternalError'),
  )
  await assert.rejects((await nsm(error)).collect(binding), { code: 'ERR_TEE_REFUSED', message: /InternalError/ })
  const bad = [
    new Uint8Array(),
    concatBytes(sound, Uint8Array.of(0)),
    sound.with(0, 0xa2),
    encodeNsmResponse(document).subarray(1),
  ]
  for (let length = 1; length < sound.length; length += 311) bad.push(sound.subarray(0, length))
  for (const answer of bad) await assert.rejects((await nsm(answer)).collect(binding), { code: 'ERR_TEE_MALFORMED' })
  await assert.rejects((await nsm(sound, { length: 0x3001n })).collect(binding), { code: 'ERR_TEE_MALFORMED' })
})

sharedTest('a real Nitro document comes out as it was recorded', 'vectors/nitro', async () => {
  const real = recorded('nitro/veracruz-2022/attestation.cose')
  assert.deepEqual((await (await nsm(encodeNsmResponse(real))).collect(binding))[0]?.fields, { document: real })
})

interface Firmware {
  readonly report?: Uint8Array
  readonly status?: number
  readonly table?: Uint8Array
  /** errno and the host's half of exitinfo2, one after the other, before it answers. */
  readonly refusals?: readonly (readonly [number, number])[]
  /** What the host says it needs. */
  readonly room?: number
}

async function sevGuest(firmware: Firmware): Promise<EvidenceSource> {
  const refusals = [...(firmware.refusals ?? [])]
  const { table = snp.table, report = snp.report, status = 0 } = firmware
  const calls = await emulate((request, at, argument) => {
    const message = at(argument, 32)
    assert.equal(message[0], 1)
    const refusal = refusals.shift()
    if (refusal) {
      putU64(message, 24, BigInt(refusal[1]) << 32n)
      return refusal[0]
    }
    if (request === 0xc0205301n) {
      const asked = at(u64(message, 8), 32)
      assert.equal(u64(asked, 8), 9n)
      const answer = at(u64(message, 16), 64)
      putU32(answer, 0, status)
      answer.fill(7, 32)
      return 0
    }
    assert.equal(request, 0xc0205302n)
    const asked = at(u64(message, 8), 112)
    assert.deepEqual(new Uint8Array(asked.subarray(0, 64)), binding)
    const room = new DataView(asked.buffer, asked.byteOffset).getUint32(104, true)
    const needed = firmware.room ?? table.length
    if (needed > room) {
      putU32(asked, 104, needed)
      putU64(message, 24, 1n << 32n)
      return 5
    }
    at(u64(asked, 96), table.length).set(table)
    const answer = at(u64(message, 16), 4000)
    putU32(answer, 0, status)
    putU32(answer, 4, report.length)
    answer.set(report, 32)
    return 0
  })
  return found(sevGuestDriver({ device, calls }))
}

test(
  'SNP: the report with the host’s certificates, however much room they need, and the sealing key',
  linux,
  async () => {
    const { report, certificates } = snp
    const wide = concatBytes(snp.table, new Uint8Array(32_768 - snp.table.length))
    for (const table of [snp.table, wide]) {
      const source = await sevGuest({ table })
      assert.deepEqual(await source.collect(binding), [
        { role: 'cpu', format: 'sev-snp/1', fields: { report, certificates } },
      ])
    }
    const source = await sevGuest({})
    assert.deepEqual(await source.sealingKey?.(), new Uint8Array(32).fill(7))
  },
)

test('SNP: busy hosts are asked again; refusals and malformed answers end in their errors', linux, async () => {
  const refusals = [
    [5, 2],
    [16, 0],
    [4, 0],
  ] as const
  assert.equal((await (await sevGuest({ refusals })).collect(binding)).length, 1)
  for (const [firmware, code] of [
    [{ refusals: Array<readonly [number, number]>(9).fill([5, 2]) }, 'ERR_TEE_BUSY'],
    [{ refusals: [[5, 0]] }, 'ERR_TEE_REFUSED'],
    [{ refusals: [[25, 0]] }, 'ERR_TEE_UNAVAILABLE'],
    [{ status: 0x16 }, 'ERR_TEE_REFUSED'],
    [{ report: snp.report.subarray(0, 1000) }, 'ERR_TEE_MALFORMED'],
    [{ report: snp.report.with(0x51, 0) }, 'ERR_TEE_MALFORMED'],
    [{ table: new Uint8Array(4096).fill(1) }, 'ERR_TEE_MALFORMED'],
    [{ room: 1 << 24 }, 'ERR_TEE_MALFORMED'],
  ] as const satisfies readonly (readonly [Firmware, string])[]) {
    await assert.rejects((await sevGuest(firmware)).collect(binding), { code })
  }
  await assert.rejects((await sevGuest({ status: 0x16 })).sealingKey!(), { code: 'ERR_TEE_REFUSED' })
})

test('a device that is not there is not found', async () => {
  for (const driver of [nsmDriver({ device: '/nowhere' }), sevGuestDriver({ device: '/nowhere' })]) {
    const { source, attempts } = await driver.probe()
    assert.equal(source, undefined)
    assert.deepEqual(attempts, [{ what: '/nowhere', found: 'ENOENT' }])
  }
})
