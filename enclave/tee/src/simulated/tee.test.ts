import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after } from 'node:test'
import { promisify } from 'node:util'
import { encodeHex, parseDigest } from '@cella/bytes'
import {
  type AppraisalPolicy,
  amdRoots,
  appraiseEvidence,
  bindingDigest,
  encodeEvidence,
  evidenceDigest,
  parseEvidence,
  snpBaseline,
  type VerifiedEvidence,
  verifyEvidence,
} from '@cella/evidence'
import {
  createSimulatedPlatform,
  openTee,
  type SimulatedFaults,
  simulatedMeasurementHex,
  simulatedRoot,
  type TeeDriver,
} from '../index.ts'

const root = mkdtempSync(join(tmpdir(), 'cella-tee-'))
after(() => rmSync(root, { recursive: true, force: true }))
const folder = join(root, 'one')
const other = join(root, 'two')
const [platform, otherPlatform] = await Promise.all([
  createSimulatedPlatform(folder),
  createSimulatedPlatform(other, { product: 'Genoa' }),
])
const now = Date.now() / 1000
const roots = [platform.root]
const measured = {
  nodeDigest: parseDigest('a'.repeat(64), 'node'),
  bundleDigest: parseDigest('b'.repeat(64), 'bundle'),
  commandLine: ['--disallow-code-generation-from-strings', '--role=vault'],
}
const measurement = simulatedMeasurementHex(measured)
const reportData = bindingDigest({ role: 'vault', nonce: 'n' })

function open(simulate?: SimulatedFaults): Promise<TeeDriver> {
  return openTee({ kind: 'simulated', folder, measured, ...(simulate && { simulate }) })
}

async function verified(tee: TeeDriver): Promise<VerifiedEvidence> {
  return verifyEvidence(parseEvidence(encodeEvidence(await tee.getEvidence(reportData))), { roots, now })
}

const minimum = { Milan: { bootLoader: 4, tee: 0, snp: 27, microcode: 222 } }
const policy: AppraisalPolicy = {
  simulated: 'any',
  boundaries: ['vm'],
  measurements: [measurement],
  reportData,
  hostData: ['00'.repeat(32)],
  platformIds: [(await open()).describe().platformId!],
  providers: 'any',
  debug: 'refused',
  collateralDaysMax: 'any',
  tees: {
    'sev-snp': {
      ...snpBaseline,
      products: ['Milan'],
      minimumTcb: minimum,
      minimumCommittedTcb: minimum,
      minimumLaunchTcb: minimum,
      vmpls: [0],
    },
  },
}

test('its evidence passes the same verifier and a strict policy, and is shown as simulated', async () => {
  const tee = await open()
  const result = appraiseEvidence(await verified(tee), policy)
  assert.deepEqual(result.reasons, [])
  assert.equal(result.claims.simulated, true)
  assert.equal(result.claims.measurement, measurement)
  assert.equal(result.claims.reportData, encodeHex(reportData))
  assert.deepEqual(tee.describe(), {
    kind: 'simulated',
    tee: 'sev-snp',
    boundary: 'vm',
    simulated: true,
    measurement,
    platformId: result.claims.platformId,
    sealing: 'measurement',
  })
})

test('is refused where the policy does not allow simulated TEEs in words', async () => {
  const result = appraiseEvidence(await verified(await open()), { ...policy, simulated: 'refused' })
  assert.deepEqual(
    result.reasons.map(({ code }) => code),
    ['simulated'],
  )
})

test('its evidence is under no root of AMD’s and under no other installation’s', async () => {
  const evidence = await (await open()).getEvidence(reportData)
  for (const foreign of [amdRoots, [otherPlatform.root], [{ ...otherPlatform.root, product: 'Milan' as const }]]) {
    await assert.rejects(verifyEvidence(evidence, { roots: foreign, now }), { code: 'ERR_EVIDENCE_ROOT_UNKNOWN' })
  }
})

const faults: readonly (readonly [string, SimulatedFaults, readonly string[]])[] = [
  ['the debug bit', { debug: true }, ['debug']],
  ['another chip', { chipId: new Uint8Array(64).fill(9) }, ['platform-id']],
  [
    'an older TCB',
    { tcb: { bootLoader: 4, tee: 0, snp: 26, microcode: 222 } },
    ['snp-tcb', 'snp-committed-tcb', 'snp-launch-tcb'],
  ],
  ['another privilege level', { vmpl: 1 }, ['snp-vmpl']],
  ['memory not checked for aliases', { withoutAliasCheck: true }, ['snp-platform-alias-check']],
]
for (const [what, simulate, codes] of faults) {
  test(`simulates ${what}: genuine, and refused for it`, async () => {
    const { reasons } = appraiseEvidence(await verified(await open(simulate)), policy)
    assert.deepEqual(
      reasons.map(({ code }) => code),
      codes,
    )
  })
}

test('every part of the launch changes the measurement', async () => {
  const changes = [
    { nodeDigest: parseDigest('c'.repeat(64), 'node') },
    { bundleDigest: parseDigest('c'.repeat(64), 'bundle') },
    { commandLine: [] },
    { commandLine: [measured.commandLine.join(' ')] },
    { commandLine: measured.commandLine.toReversed() },
  ]
  const seen = new Set([measurement, ...changes.map((change) => simulatedMeasurementHex({ ...measured, ...change }))])
  assert.equal(seen.size, changes.length + 1)
  // docs/formats/evidence.md shows this one.
  assert.equal(
    measurement,
    'cc83779d8d8b34b6a65ce2b1f59b60f87096041b809222f5c4057aa87b10e62158e2d4ee58ad13a270528313740e8dae',
  )
})

test('each evidence is over the report data it was asked for', async () => {
  const tee = await open()
  const [one, two] = [await tee.getEvidence(new Uint8Array(64)), await tee.getEvidence(reportData)]
  assert.notEqual(evidenceDigest(one), evidenceDigest(two))
  for (const length of [0, 32, 63, 65]) await assert.rejects(tee.getEvidence(new Uint8Array(length)), RangeError)
})

test('opens again what it sealed, after a restart too', async () => {
  const secret = new TextEncoder().encode('organisation secret')
  const sealed = await (await open()).seal('vault/1', secret)
  assert.deepEqual(new Uint8Array(await (await open()).unseal('vault/1', sealed)), secret)
  assert.notDeepEqual(await (await open()).seal('vault/1', secret), sealed)
})

test('no other measurement, chip, installation, label or debug guest opens what was sealed', async () => {
  const tee = await open()
  const sealed = await tee.seal('vault/1', Uint8Array.of(1, 2, 3))
  const closed = {
    name: 'TeeError',
    code: 'ERR_TEE_UNSEAL',
    message: 'the sealed bytes can’t be opened by this enclave',
  }
  const others = [
    await openTee({ kind: 'simulated', folder, measured: { ...measured, commandLine: [] } }),
    await openTee({ kind: 'simulated', folder: other, measured }),
    await open({ debug: true }),
    await open({ chipId: new Uint8Array(64).fill(1) }),
  ]
  for (const wrong of others) await assert.rejects(wrong.unseal('vault/1', sealed), closed)
  await assert.rejects(tee.unseal('vault/2', sealed), closed)
  for (let at = 0; at < sealed.length; at++) {
    const changed = Uint8Array.from(sealed)
    changed[at]! ^= 1
    await assert.rejects(tee.unseal('vault/1', changed), closed)
    await assert.rejects(tee.unseal('vault/1', sealed.subarray(0, at)), closed)
  }
})

test('makes a platform once, whole, for its user alone', async () => {
  await assert.rejects(createSimulatedPlatform(folder), { code: 'ERR_TEE_EXISTS' })
  assert.deepEqual(readdirSync(folder), ['simulated-platform.json'])
  if (process.platform !== 'win32') {
    assert.equal(statSync(folder).mode & 0o777, 0o700)
    assert.equal(statSync(join(folder, 'simulated-platform.json')).mode & 0o777, 0o600)
  }
  assert.deepEqual(await simulatedRoot(folder), platform)
  assert.notEqual(platform.root.spki, otherPlatform.root.spki)
})

test('two makers at once make one platform', async () => {
  const both = join(root, 'both')
  const made = await Promise.allSettled([createSimulatedPlatform(both), createSimulatedPlatform(both)])
  const [winner] = made.filter((outcome) => outcome.status === 'fulfilled')
  const [loser] = made.filter((outcome) => outcome.status === 'rejected')
  assert.equal(loser?.reason.code, 'ERR_TEE_EXISTS')
  assert.deepEqual(await simulatedRoot(both), winner?.value)
  assert.deepEqual(readdirSync(both), ['simulated-platform.json'])
})

test('refuses a platform that is absent, open to others, altered or cut off', async () => {
  await assert.rejects(simulatedRoot(join(root, 'nothing')), { code: 'ERR_TEE_UNAVAILABLE' })
  const written = readFileSync(join(folder, 'simulated-platform.json'), 'utf8')
  const bad = mkdtempSync(join(root, 'bad-'))
  const path = join(bad, 'simulated-platform.json')
  const key = JSON.parse(written).ark.key as string
  for (const text of [
    '',
    written.slice(0, -1),
    ` ${written}`,
    written.replace('"version":1', '"version":2'),
    written.replace('"Milan"', '"Rome"'),
    written.replace('{"ark"', '{"a":1,"ark"'),
    written.replace(/"sealing":"[^"]*"/, '"sealing":"AAAA"'),
    written.replace(/"chip":"[^"]*"/, '"chip":"00"'),
    written.replace(key, key.slice(0, -8)),
  ]) {
    writeFileSync(path, text, { mode: 0o600 })
    await assert.rejects(simulatedRoot(bad), (error: Error & { code: string }) => {
      assert.equal(error.code, 'ERR_TEE_MALFORMED')
      assert.ok(!String(error.stack).includes(key.slice(40, 80)), 'no key in the error')
      assert.equal(error.cause, undefined)
      return true
    })
  }
  if (process.platform !== 'win32') {
    writeFileSync(path, written)
    chmodSync(path, 0o640)
    await assert.rejects(simulatedRoot(bad), { code: 'ERR_TEE_UNAVAILABLE' })
  }
})

test('refuses a kind of TEE that it does not know', async () => {
  await assert.rejects(openTee({ kind: 'sgx', folder, measured } as never), TypeError)
})

test('opens, attests and seals where no code is made from strings', async () => {
  const module = new URL('../index.ts', import.meta.url).href
  const code = `
    import { openTee } from ${JSON.stringify(module)}
    const tee = await openTee(${JSON.stringify({ kind: 'simulated', folder, measured })})
    const { entries } = await tee.getEvidence(new Uint8Array(64))
    const opened = await tee.unseal('x', await tee.seal('x', Uint8Array.of(7)))
    console.log(entries[0].report.length, opened[0])`
  const args = ['--disallow-code-generation-from-strings', '--input-type=module', '--eval', code]
  const { stdout } = await promisify(execFile)(process.execPath, args)
  assert.equal(stdout.trim(), '1184 7')
})
