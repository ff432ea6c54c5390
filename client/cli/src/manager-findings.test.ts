import assert from 'node:assert/strict'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { metricsFindings, readinessFindings, refusedWorkers, serverFolderFindings } from './manager-findings.ts'

const now = 1_800_000_000
const good = {
  'cella_disk_bytes{kind="all"}': 100,
  'cella_disk_bytes{kind="free"}': 50,
  cella_log_diverged: 0,
  'cella_log_witness_behind_seconds{witness="w.example/a"}': 0,
  'cella_tls_certificate_end_seconds{listener="public"}': now + 90 * 86_400,
  'cella_workers{boundary="vm",isolation="2"}': 1,
}
const textOf = (samples: Record<string, number>): string =>
  Object.entries(samples)
    .map(([name, value]) => `# HELP of it\n${name} ${value}\n`)
    .join('')
const bad = (changes: Record<string, number>, without: readonly string[] = []): string[] => {
  const samples = Object.entries({ ...good, ...changes }).filter(([name]) => !without.includes(name))
  return metricsFindings(textOf(Object.fromEntries(samples)), now)
    .filter(({ ok }) => !ok)
    .map(({ check }) => check)
}

test('finds nothing wrong where nothing is', () => {
  assert.deepEqual(bad({}), [])
  assert.equal(metricsFindings(textOf(good), now).length, 5)
})

test('finds a full disk, a log that diverged, a witness behind, a certificate that ends, and no worker', () => {
  assert.deepEqual(bad({ 'cella_disk_bytes{kind="free"}': 9 }), ['disk'])
  assert.deepEqual(bad({ cella_log_diverged: 1 }), ['log history'])
  assert.deepEqual(bad({ 'cella_log_witness_behind_seconds{witness="w.example/a"}': 61 }), ['witness w.example/a'])
  assert.deepEqual(bad({ 'cella_tls_certificate_end_seconds{listener="public"}': now + 86_400 }), ['certificate'])
  assert.deepEqual(bad({}, ['cella_workers{boundary="vm",isolation="2"}']), ['workers'])
})

test('names the part that is not ready, and reads no answer of another form', () => {
  const answer = { status: 'not-ready', checks: { database: 'unavailable', blobs: 'ok', log: 'ok' } }
  const findings = readinessFindings(answer)
  assert.deepEqual(
    findings.map(({ check, ok }) => [check, ok]),
    [
      ['PostgreSQL', false],
      ['blobs', true],
      ['log server', true],
    ],
  )
  for (const answer of [undefined, 'x', { checks: 1 }]) assert.deepEqual(readinessFindings(answer), [])
  assert.deepEqual(
    metricsFindings('}{"\ncella_ nan', now).map(({ check }) => check),
    ['workers'],
  )
})

test('names each worker that the manager refuses, with the reason', () => {
  const refused = { code: 'ERR_EVIDENCE_ROOT_UNKNOWN', text: 'the chain ends at another root' }
  const answer = {
    workers: [
      { name: 'worker-1', url: '/v1/workers/worker-1' },
      { name: 'worker-2', refused },
    ],
  }
  assert.deepEqual(
    refusedWorkers(answer).map(({ check, ok, found }) => [check, ok, found]),
    [['worker worker-2', false, 'is offered no runs: ERR_EVIDENCE_ROOT_UNKNOWN: the chain ends at another root']],
  )
  for (const other of [undefined, [], { workers: [{ refused: 1 }] }]) assert.deepEqual(refusedWorkers(other), [])
})

test('finds a data folder that others can read', { skip: process.platform === 'win32' && 'no modes' }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'cella-findings-'))
  try {
    assert.equal(serverFolderFindings(folder)[0]?.ok, true)
    chmodSync(folder, 0o755)
    assert.equal(serverFolderFindings(folder)[0]?.ok, false)
  } finally {
    rmSync(folder, { recursive: true })
  }
})
