import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { encodeBase64url } from '@cella/bytes'
import { bindingDigest } from '@cella/evidence'
import { randomBytes } from '@cella/primitives'
import { createSimulatedPlatform } from '@cella/tee'
import { commandLine } from '@cella/testing'

// A TCB recovery as an operator rehearses it: with the command alone.

const folder = mkdtempSync(join(tmpdir(), 'cella-rehearsal-'))
const platform = join(folder, 'tee')
const file = (name: string): string => join(folder, name)
const nonce = encodeBase64url(randomBytes(32))
before(() => createSimulatedPlatform(platform))
after(() => rmSync(folder, { recursive: true, force: true }))

interface Ended {
  readonly code: number
  readonly json: Record<string, unknown>
  readonly stderr: string
}

function cella(...args: string[]): Promise<Ended> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [commandLine, '--home', file('home'), '--json', ...args],
      { maxBuffer: 1 << 24 },
      (error, stdout, stderr) => {
        const json = stdout === '' ? {} : (JSON.parse(stdout) as Record<string, unknown>)
        resolve({ code: Number(error?.code ?? 0), json, stderr })
      },
    )
  })
}

async function collect(output: string, tee = 'tdx'): Promise<string> {
  const where = ['--simulated', platform, '--tee', tee, '--nonce', nonce, '--output', file(output)]
  const { code, json, stderr } = await cella('evidence', 'collect', ...where)
  assert.equal(code, 0, stderr)
  assert.deepEqual([json.tee, json.simulated], [tee, true])
  return file(output)
}

const show = (evidence: string, ...more: string[]) =>
  cella('evidence', 'show', evidence, '--root', file('roots.json'), ...more)

const statusOf = ({ json }: Ended): unknown =>
  ((json.claims as { tcb: { status: unknown } }[] | undefined)?.[0] ?? { tcb: { status: undefined } }).tcb.status

test('published, out of date; installed, up to date again; revoked, refused by name', async () => {
  assert.equal((await cella('simulate', 'roots', '--folder', platform, '--output', file('roots.json'))).code, 0)
  const first = await show(await collect('first'))
  assert.deepEqual([first.code, statusOf(first)], [0, 'UpToDate'])
  const [claims] = first.json.claims as { reportData: string }[]
  assert.equal(claims?.reportData, Buffer.from(bindingDigest({ nonce })).toString('hex'))
  const early = await cella('simulate', 'install', '--folder', platform, '--what', 'intel')
  assert.deepEqual([early.code, /level 2 of Intel’s is not published/.test(early.stderr)], [1, true], early.stderr)

  assert.equal((await cella('simulate', 'publish', '--folder', platform, '--what', 'intel')).code, 0)
  const flawed = await show(await collect('flawed'))
  assert.deepEqual([flawed.code, statusOf(flawed)], [0, 'OutOfDate'])

  const { json } = await cella('simulate', 'install', '--folder', platform, '--what', 'intel')
  assert.deepEqual(json.installed, { amd: 1, intel: 2 })
  const mended = await show(await collect('mended'))
  assert.deepEqual([mended.code, statusOf(mended)], [0, 'UpToDate'])

  assert.equal((await cella('simulate', 'revoke', '--folder', platform, '--what', 'pck')).code, 0)
  const revoked = await show(await collect('revoked'))
  assert.deepEqual([revoked.code, (revoked.json.error as { code: string }).code], [1, 'ERR_EVIDENCE_REVOKED'])
})

test('collateral of the simulated vendor refuses AMD’s revoked intermediate, which travels with evidence as before', async () => {
  const evidence = await collect('snp', 'sev-snp')
  assert.equal((await show(evidence)).code, 0)
  assert.equal((await cella('simulate', 'revoke', '--folder', platform, '--what', 'ask')).code, 0)
  const published = ['--folder', platform, '--tee', 'sev-snp', '--output', file('amd.json')]
  assert.equal((await cella('simulate', 'collateral', ...published)).code, 0)
  const revoked = await show(evidence, '--collateral', file('amd.json'))
  assert.deepEqual([revoked.code, (revoked.json.error as { code: string }).code], [1, 'ERR_EVIDENCE_REVOKED'])
})

test('every kind is collected, over report data as it is given', async () => {
  const reportData = 'ab'.repeat(64)
  for (const tee of process.env.CELLA_LONG === '1' ? ['sgx', 'nitro'] : ['nitro']) {
    const where = ['--simulated', platform, '--tee', tee, '--report-data', reportData, '--output', file(tee)]
    assert.equal((await cella('evidence', 'collect', ...where)).code, 0)
  }
  const short = ['--simulated', platform, '--report-data', 'ab'.repeat(32), '--output', file('short')]
  const refused = await cella('evidence', 'collect', ...short)
  assert.deepEqual([refused.code, /this TEE's field has 64/.test(refused.stderr)], [1, true], refused.stderr)
  const vague = await cella('evidence', 'collect', '--simulated', platform, '--output', file('vague'))
  assert.equal(vague.code, 2)
  const otherwise = await cella('evidence', 'collect', '--tee', 'tdx', '--nonce', nonce, '--output', file('other'))
  assert.equal(otherwise.code, 2)
})

test('doctor names every source with what was looked at, and why it is not used', async () => {
  const { json } = await cella('doctor')
  const { drivers } = json.tee as { drivers: { name: string; outcome: string; why: string | null }[] }
  assert.ok(drivers.length >= 9)
  assert.ok(drivers.every(({ outcome, why }) => outcome === 'chosen' || (why ?? '').length > 0))
})
