import assert from 'node:assert/strict'
import test from 'node:test'
import { anySnp, anything } from '../test/policy.ts'
import { type Build, issueEvidence, now, roots, soundReport } from '../test/vendor.ts'
import { type AppraisalPolicy, appraiseEvidence, nearestPolicy, verifyEvidence } from './index.ts'

async function nearest(build: Build, policy: AppraisalPolicy, simulated = false) {
  const trusted = roots.map((root) => ({ ...root, simulated }))
  const verified = await verifyEvidence(await issueEvidence(build), { roots: trusted, now })
  const result = nearestPolicy(policy, (changed) => appraiseEvidence(verified, changed))
  const left = appraiseEvidence(verified, result.policy).reasons
  assert.deepEqual(left, result.remaining, 'what it returns is what appraisal says')
  return result
}

const tcb = { bootLoader: 4, tee: 1, snp: 27, microcode: 222 }
const other = '09'.repeat(48)
const guestPolicy = soundReport('Milan', 'vcek').policy

test('a policy that accepts needs no change', async () => {
  const { changes, policy } = await nearest({}, anything)
  assert.deepEqual([changes, policy], [[], anything])
})

test('what is measured comes onto the list beside what was accepted', async () => {
  const { changes } = await nearest({}, { ...anything, measurements: [other] })
  assert.deepEqual(changes, [
    { path: 'measurements', from: [other], to: [other, '04'.repeat(48)], code: 'measurement' },
  ])
})

test('a minimum is lowered to what was found, component by component, and no further', async () => {
  const minimum = { Milan: { bootLoader: 4, tee: 0, snp: 200, microcode: 222 }, Genoa: tcb }
  const policy = { ...anything, tees: { 'sev-snp': { ...anySnp, minimumTcb: minimum } } }
  const { changes } = await nearest({}, policy)
  assert.equal(changes.length, 1)
  assert.equal(changes[0]?.path, 'tees.sev-snp.minimumTcb')
  assert.deepEqual((changes[0]!.to as typeof minimum).Milan, { ...minimum.Milan, snp: 27 })
})

test('numbers, levels and words change by the least that answers', async () => {
  const policy: AppraisalPolicy = {
    ...anything,
    simulated: 'refused',
    debug: 'refused',
    boundaries: ['process'],
    tees: {
      'sev-snp': {
        ...anySnp,
        minimumGuestSvn: 9,
        vmpls: [2, 3],
        guest: { ...anySnp.guest, migrationAgent: 'refused' },
      },
    },
  }
  const build = { report: { policy: { ...guestPolicy, debug: true, migrationAgent: true } } }
  const { changes, remaining } = await nearest(build, policy, true)
  assert.deepEqual(remaining, [])
  assert.deepEqual(Object.fromEntries(changes.map(({ path, to }) => [path, to])), {
    simulated: 'any',
    boundaries: ['process', 'vm'],
    debug: 'any',
    'tees.sev-snp.vmpls': [2, 3, 0],
    'tees.sev-snp.guest.migrationAgent': 'any',
    'tees.sev-snp.minimumGuestSvn': 7,
  })
})

test('freshness is never loosened, and a TEE without a part needs one', async () => {
  const stale = await nearest({}, { ...anything, reportData: new Uint8Array(64) })
  assert.deepEqual(stale.changes, [])
  assert.deepEqual(
    stale.remaining.map(({ code }) => code),
    ['report-data'],
  )
  const refused = await nearest({}, { ...anything, tees: {} })
  assert.deepEqual(
    refused.remaining.map(({ code }) => code),
    ['tee-refused'],
  )
})
