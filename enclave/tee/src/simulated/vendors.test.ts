import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { encodeHex, parseDigest } from '@cella/bytes'
import {
  bindingDigest,
  Endorsements,
  encodeEvidence,
  parseEvidence,
  type VerifiedEvidence,
  vendorRoots,
  verifyEvidence,
} from '@cella/evidence'
import {
  createSimulatedPlatform,
  openTee,
  readSimulatedLevels,
  type SimulatedFaults,
  type SimulatedTee,
  simulatedCollateral,
  simulatedTees,
  simulatedVendorRoots,
  stepSimulatedLevels,
  type TeeDriver,
} from '../index.ts'

const root = mkdtempSync(join(tmpdir(), 'cella-vendors-'))
after(() => rmSync(root, { recursive: true, force: true }))
const folder = join(root, 'one')
const platform = await createSimulatedPlatform(folder)

/** A machine of its own with the same AMD, whose keys take seconds to make. */
function anotherMachine(name: string): string {
  const place = join(root, name)
  mkdirSync(place, { mode: 0o700 })
  copyFileSync(join(folder, 'simulated-platform.json'), join(place, 'simulated-platform.json'))
  return place
}

const other = anotherMachine('two')
const roots = [platform.root, ...(await simulatedVendorRoots(folder))]
const now = Math.floor(Date.now() / 1000)
const measured = {
  nodeDigest: parseDigest('a'.repeat(64), 'node'),
  bundleDigest: parseDigest('b'.repeat(64), 'bundle'),
  commandLine: ['--role=vault'],
}
const reportData = bindingDigest({ role: 'vault', nonce: 'n' })
const further: readonly SimulatedTee[] = ['tdx', 'sgx', 'nitro']

function open(tee: SimulatedTee, more: { simulate?: SimulatedFaults; in?: string } = {}): Promise<TeeDriver> {
  const { simulate, in: where = folder } = more
  return openTee({ kind: 'simulated', folder: where, measured, tee, ...(simulate && { simulate }) })
}

async function verified(tee: TeeDriver, endorsements = Endorsements.none, at = now): Promise<VerifiedEvidence> {
  const evidence = parseEvidence(encodeEvidence(await tee.getEvidence(reportData)))
  return verifyEvidence(evidence, { roots, now: at, endorsements })
}

const boundaries = { 'sev-snp': 'vm', tdx: 'vm', sgx: 'process', nitro: 'vm' } as const
for (const kind of simulatedTees) {
  test(`${kind}: its evidence passes the vendor’s own verification and is shown as simulated`, async () => {
    const tee = await open(kind)
    const { claims, simulated } = await verified(tee)
    assert.equal(simulated, true)
    assert.equal(claims.tee, kind)
    assert.equal(claims.boundary, boundaries[kind])
    assert.equal(claims.debug, false)
    assert.equal(claims.reportData, encodeHex(reportData))
    const { measurement, platformId, ...described } = tee.describe()
    assert.deepEqual({ measurement, platformId }, { measurement: claims.measurement, platformId: claims.platformId })
    const boundary = boundaries[kind]
    assert.deepEqual(described, { kind: 'simulated', tee: kind, boundary, simulated: true, sealing: 'measurement' })
  })

  test(`${kind}: is under no vendor’s root and under no other installation’s`, async () => {
    const evidence = await (await open(kind)).getEvidence(reportData)
    for (const foreign of [vendorRoots, await simulatedVendorRoots(other)]) {
      await assert.rejects(verifyEvidence(evidence, { roots: foreign, now }), { code: 'ERR_EVIDENCE_ROOT_UNKNOWN' })
    }
  })

  test(`${kind}: simulates a debug guest, which can’t open what a sound one sealed`, async () => {
    const debug = await open(kind, { simulate: { debug: true } })
    assert.equal((await verified(debug)).claims.debug, true)
    const sealed = await (await open(kind)).seal('x', Uint8Array.of(7))
    assert.deepEqual(new Uint8Array(await (await open(kind)).unseal('x', sealed)), Uint8Array.of(7))
    await assert.rejects(debug.unseal('x', sealed), { code: 'ERR_TEE_UNSEAL' })
    for (const foreign of simulatedTees.filter((one) => one !== kind)) {
      await assert.rejects((await open(foreign)).unseal('x', sealed), { code: 'ERR_TEE_UNSEAL' })
    }
  })

  test(`${kind}: takes 64 bytes of report data and no other number`, async () => {
    const tee = await open(kind)
    assert.equal(tee.bindingLength, 64)
    for (const length of [0, 32, 63, 65]) await assert.rejects(tee.getEvidence(new Uint8Array(length)), RangeError)
  })
}

test('host data go into the field that the vendor has for them', async () => {
  const hostData = new Uint8Array(32).fill(5)
  for (const kind of ['tdx', 'sgx'] as const) {
    const { claims } = await verified(await openTee({ kind: 'simulated', folder, measured, tee: kind, hostData }))
    assert.equal(claims.hostData?.slice(0, 64), encodeHex(hostData))
  }
  const nitro = openTee({ kind: 'simulated', folder, measured, tee: 'nitro', hostData })
  await assert.rejects(nitro, RangeError)
  const short = openTee({ kind: 'simulated', folder, measured, tee: 'tdx', hostData: new Uint8Array(31) })
  await assert.rejects(short, RangeError)
})

test('refuses a fault that this kind of hardware does not have', async () => {
  for (const kind of further) await assert.rejects(open(kind, { simulate: { vmpl: 1 } }), RangeError)
  await assert.rejects(open('sev-snp', { simulate: { withoutCollateral: true } }), RangeError)
  await assert.rejects(open('nitro', { simulate: { withoutCollateral: true } }), RangeError)
})

test('without collateral a quote is genuine and nobody knows how current; with it from a store it is UpToDate', async () => {
  for (const kind of ['tdx', 'sgx'] as const) {
    const bare = await open(kind, { simulate: { withoutCollateral: true } })
    assert.equal((await verified(bare)).claims.tcb.status, null)
    const store = new Endorsements(await simulatedCollateral(folder, kind, now))
    assert.equal((await verified(bare, store)).claims.tcb.status, 'UpToDate')
  }
})

test('collateral is in force for its 30 days and no longer', async () => {
  const bare = await open('tdx', { simulate: { withoutCollateral: true } })
  const store = new Endorsements(await simulatedCollateral(folder, 'tdx', now))
  await verified(bare, store, now + 29 * 86_400)
  for (const at of [now - 7200, now + 31 * 86_400]) {
    await assert.rejects(verified(bare, store, at), { code: 'ERR_EVIDENCE_COLLATERAL_EXPIRED' })
  }
})

test('Nitro’s certificates end three hours after each document, and the next document has new ones', async () => {
  let clock = now
  const tee = await openTee({ kind: 'simulated', folder, measured, tee: 'nitro', now: () => clock })
  const evidence = await tee.getEvidence(reportData)
  await assert.rejects(verifyEvidence(evidence, { roots, now: now + 4 * 3600 }), { code: 'ERR_EVIDENCE_EXPIRED' })
  clock += 4 * 3600
  await verifyEvidence(await tee.getEvidence(reportData), { roots, now: clock })
})

test('a TCB recovery: published, OutOfDate, installed, started again, UpToDate', async () => {
  const place = anotherMachine('recovery')
  const trusted = [platform.root, ...(await simulatedVendorRoots(place))]
  const status = async (tee: TeeDriver) => {
    const { claims } = await verifyEvidence(await tee.getEvidence(reportData), { roots: trusted, now: now + 1 })
    const { status, advisories, evaluation } = claims.tcb
    return { status, advisories, evaluation }
  }
  const running = await open('tdx', { in: place })
  const before = await status(running)
  assert.deepEqual(before, { status: 'UpToDate', advisories: [], evaluation: 20 })
  await assert.rejects(stepSimulatedLevels(place, { install: 'intel' }, now), RangeError, 'nothing to install yet')

  await stepSimulatedLevels(place, { publish: 'intel' }, now)
  const behind = { status: 'OutOfDate', advisories: ['INTEL-SA-90001'], evaluation: 21 }
  assert.deepEqual(await status(running), behind)
  assert.deepEqual(await status(await open('sgx', { in: place })), behind)

  await stepSimulatedLevels(place, { install: 'intel' }, now)
  assert.deepEqual(await status(running), behind, 'launched below the new level')
  for (const kind of ['tdx', 'sgx'] as const) {
    const current = { status: 'UpToDate', advisories: [], evaluation: 21 }
    assert.deepEqual(await status(await open(kind, { in: place })), current)
  }
  assert.deepEqual(await readSimulatedLevels(place), {
    installed: { amd: 1, intel: 2 },
    published: [now],
    revoked: [],
  })
})

test('raising AMD’s firmware raises the microcode of the next launch, under a certificate of its own', async () => {
  const place = anotherMachine('amd')
  const microcode = async () => {
    const evidence = await (await open('sev-snp', { in: place })).getEvidence(reportData)
    const { claims } = await verifyEvidence(evidence, { roots: [platform.root], now })
    return /microcode (\d+)/.exec(String(claims.tcb.levels.reported))?.[1]
  }
  assert.equal(await microcode(), '222')
  await stepSimulatedLevels(place, { install: 'amd' })
  assert.equal(await microcode(), '223')
})

for (const { revoke, tee } of [
  { revoke: 'pck', tee: 'tdx' },
  { revoke: 'pck-ca', tee: 'sgx' },
  { revoke: 'ask', tee: 'sev-snp' },
] as const) {
  test(`a revoked ${revoke} refuses ${tee}`, async () => {
    const place = anotherMachine(`revoked-${revoke}`)
    const trusted = [platform.root, ...(await simulatedVendorRoots(place))]
    const check = async () => {
      const evidence = await (await open(tee, { in: place })).getEvidence(reportData)
      const endorsements = new Endorsements(await simulatedCollateral(place, tee, now))
      return verifyEvidence(evidence, { roots: trusted, now, endorsements })
    }
    await check()
    await stepSimulatedLevels(place, { revoke }, now)
    await assert.rejects(check(), { code: 'ERR_EVIDENCE_REVOKED' })
  })
}

test('a platform of an earlier version stays as it is and gets the further vendors when they are asked for', async () => {
  const place = anotherMachine('old')
  const file = join(place, 'simulated-platform.json')
  const before = readFileSync(file)
  await open('sev-snp', { in: place })
  assert.deepEqual(readdirSync(place), ['simulated-platform.json'])
  const [one, two] = await Promise.all([simulatedVendorRoots(place), simulatedVendorRoots(place)])
  assert.deepEqual(one, two, 'two makers at once make the same')
  assert.deepEqual(readdirSync(place).sort(), ['simulated-platform.json', 'simulated-vendors.json'])
  assert.deepEqual(readFileSync(file), before)
  if (process.platform !== 'win32') {
    assert.equal(statSync(join(place, 'simulated-vendors.json')).mode & 0o777, 0o600)
  }
})

test('refuses files of vendors or levels that are cut off or altered', async () => {
  const place = anotherMachine('altered')
  await assert.rejects(simulatedVendorRoots(join(root, 'nothing')), { code: 'ERR_TEE_UNAVAILABLE' })
  await simulatedVendorRoots(place)
  await stepSimulatedLevels(place, { publish: 'intel' }, now)
  const refused = async (
    name: string,
    read: () => Promise<unknown>,
    changes: readonly ((text: string) => string)[],
  ) => {
    const path = join(place, name)
    const written = readFileSync(path, 'utf8')
    for (const change of changes) {
      assert.notEqual(change(written), written)
      writeFileSync(path, change(written))
      await assert.rejects(read(), { code: 'ERR_TEE_MALFORMED' })
    }
    writeFileSync(path, written)
    await read()
  }
  const common = [
    (t: string) => t.slice(0, -1),
    (t: string) => ` ${t}`,
    (t: string) => t.replace('"version":1', '"version":2'),
  ]
  await refused('simulated-vendors.json', () => simulatedVendorRoots(place), [
    ...common,
    (text) => text.replace(/"ppid":"../, '"ppid":"'),
    (text) => text.replace(/"instanceId":"i-/, '"instanceId":"j-'),
    (text) => text.replace(/"pck":"[^"]{9}/, '"pck":"'),
  ])
  await refused('simulated-levels.json', () => readSimulatedLevels(place), [
    ...common,
    (text) => text.replace('"intel":1', '"intel":3'),
    (text) => text.replace('"amd":1', '"amd":0'),
    (text) => text.replace('"revoked":[]', '"revoked":["ark"]'),
    (text) => text.replace('"published":[', '"published":[-1,'),
  ])
})

test('the command takes one step and prints the levels', async () => {
  const place = anotherMachine('command')
  const main = fileURLToPath(new URL('../tool-main.ts', import.meta.url))
  const run = (...args: string[]) => promisify(execFile)(process.execPath, [main, 'step', '--folder', place, ...args])
  const { stdout } = await run('--publish', 'intel')
  assert.equal(JSON.parse(stdout).published.length, 1)
  assert.equal(JSON.parse((await run('--install', 'intel')).stdout).installed.intel, 2)
  for (const args of [[], ['--install', 'arm'], ['--publish', 'amd'], ['--publish', 'intel', '--revoke', 'pck']]) {
    await assert.rejects(run(...args), (error: { stdout?: string }) => /usage/.test(error.stdout ?? ''))
  }
  assert.equal((await readSimulatedLevels(place)).installed.intel, 2)
})
