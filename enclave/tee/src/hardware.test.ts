import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { build } from 'esbuild'
import { made, madeSnp, place } from '../test/made.ts'
import { emulateTsm } from '../test/tsm-kernel.ts'
import {
  hardwareDrivers,
  openHardwareTee,
  openTee,
  probeSources,
  type SourceDriver,
  type SourceName,
  sourceNames,
} from './index.ts'

const nowhere = { socket: '/nowhere/service' }

/** Drivers that look at nothing of this machine, but for a configfs of our own. */
function drivers(folder: string, aux = true): SourceDriver[] {
  const files = emulateTsm({
    provider: 'sev_guest',
    report: async (inblob) => {
      const { report, table } = await madeSnp(inblob)
      return { out: report, ...(aux && { aux: table }) }
    },
  }).files
  return hardwareDrivers({
    gramine: { folder: '/nowhere/attestation' },
    azureContainerGroup: { securityContext: '/nowhere/context' },
    azureVtpm: { device: '/nowhere/tpm' },
    configfs: { folder, files },
    dstack: { agent: nowhere },
    coco: { agent: nowhere },
  })
}

function given(name: SourceName, extra: object = {}): SourceDriver {
  const collect = async (binding: Uint8Array) => {
    const { quote } = (await made('sgx', binding)) as { quote: Uint8Array }
    return [{ role: 'cpu' as const, format: 'sgx/1', fields: { quote } }]
  }
  const source = { name, bindingLength: 64 as const, collect, ...extra }
  return { name, title: name, probe: async () => ({ attempts: [], source }) }
}

test('the report names every source: chosen, found, absent with why, not looked for', async () => {
  const folder = place('hardware')
  const failing: SourceDriver = {
    name: 'confidential-space',
    title: 'failing',
    probe: () => Promise.reject(new Error('broken')),
  }
  const { source, report } = await probeSources([...drivers(folder), given('sev-guest'), failing])
  assert.equal(source?.name, 'configfs-tsm')
  assert.equal(report.chosen, 'configfs-tsm')
  assert.deepEqual(
    report.drivers.map(({ name }) => name),
    sourceNames,
  )
  const outcome = (name: SourceName) => report.drivers.find((one) => one.name === name)!
  assert.deepEqual(
    [outcome('configfs-tsm'), outcome('sev-guest'), outcome('gramine'), outcome('nitro-nsm')].map((one) => one.outcome),
    ['chosen', 'found', 'absent', 'not-looked-for'],
  )
  assert.equal(outcome('confidential-space').why, 'broken')
  assert.match(outcome('sev-guest').why!, /configfs-tsm is more direct/)
  assert.deepEqual(outcome('gramine').attempts, [{ what: '/nowhere/attestation/user_report_data', found: 'ENOENT' }])
  assert.deepEqual(JSON.parse(JSON.stringify(report)), report)
})

test('nothing found is an error with every reason, and never a simulated TEE', async () => {
  const none = drivers(join(place('hardware-none'), 'report'))
  await assert.rejects(openHardwareTee(none), {
    code: 'ERR_TEE_UNAVAILABLE',
    message: /gramine: .*configfs-tsm: .*coco: /,
  })
  const look = { configfs: { folder: '/nowhere' }, azureVtpm: { device: '/nowhere' } }
  await assert.rejects(openTee({ kind: 'hardware', look }), { code: 'ERR_TEE_UNAVAILABLE' })
})

test('a source becomes a driver: evidence over our bytes; sealing for this launch where there is no key', async () => {
  const folder = place('hardware-open')
  const tee = await openHardwareTee(drivers(folder))
  const { kind, tee: name, simulated, sealing } = tee.describe()
  assert.deepEqual([kind, name, simulated, sealing], ['configfs-tsm', 'sev-snp', false, 'launch'])
  const { entries } = await tee.getEvidence(new Uint8Array(64).fill(3))
  assert.equal(entries[0]?.format, 'sev-snp/1')
  const sealed = await tee.seal('x', Uint8Array.of(7))
  assert.deepEqual(new Uint8Array(await tee.unseal('x', sealed)), Uint8Array.of(7))
  await assert.rejects(tee.unseal('y', sealed), { code: 'ERR_TEE_UNSEAL' })
  await assert.rejects(tee.unseal('x', sealed.with(40, sealed[40]! ^ 1)), { code: 'ERR_TEE_UNSEAL' })
  await assert.rejects(tee.unseal('x', sealed.subarray(0, 20)), { code: 'ERR_TEE_UNSEAL' })
  const next = await openHardwareTee(drivers(folder))
  await assert.rejects(next.unseal('x', sealed), { code: 'ERR_TEE_UNSEAL' }, 'another launch')
})

test('a TEE with a sealing key opens after a restart what it sealed', async () => {
  const open = (byte: number) =>
    openHardwareTee([given('gramine', { sealingKey: async () => new Uint8Array(16).fill(byte) })])
  const sealed = await (await open(1)).seal('x', Uint8Array.of(7))
  assert.equal((await open(1)).describe().sealing, 'measurement')
  assert.deepEqual(new Uint8Array(await (await open(1)).unseal('x', sealed)), Uint8Array.of(7))
  await assert.rejects((await open(2)).unseal('x', sealed), { code: 'ERR_TEE_UNSEAL' })
})

test('refuses sources that an enclave can’t start with: tokens, re-hashed bindings, no certificates', async () => {
  const token = { collect: async () => [{ role: 'cpu', format: 'confidential-space/1', fields: { token: 't' } }] }
  await assert.rejects(openHardwareTee([given('confidential-space', token)]), { code: 'ERR_TEE_UNAVAILABLE' })
  const rehashed = given('azure-container-group', { rehashes: 'sha256' })
  await assert.rejects(openHardwareTee([rehashed]), { code: 'ERR_TEE_UNAVAILABLE', message: /device build/ })
  const bare = drivers(place('hardware-bare'), false)
  await assert.rejects(openHardwareTee(bare), { code: 'ERR_TEE_UNAVAILABLE', message: /certificates/ })
})

test('the command prints the report of this machine', async () => {
  const main = fileURLToPath(new URL('tool-main.ts', import.meta.url))
  const { stdout } = await promisify(execFile)(process.execPath, [main, 'probe'])
  assert.deepEqual(
    JSON.parse(stdout).drivers.map(({ name }: { name: string }) => name),
    sourceNames,
  )
})

test('a bundle of the package holds no FFI; one that names the devices does', async () => {
  const bundled = async (entry: string): Promise<boolean> => {
    const outfile = join(place('bundles'), `${entry}.mjs`)
    const entryPoints = [fileURLToPath(new URL(`${entry}.ts`, import.meta.url))]
    await build({
      entryPoints,
      outfile,
      bundle: true,
      format: 'esm',
      platform: 'node',
      target: 'node26',
      logLevel: 'error',
    })
    return readFileSync(outfile, 'utf8').includes('node:ffi')
  }
  assert.deepEqual([await bundled('index'), await bundled('devices')], [false, true])
})
