import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { facts } from '../test/fixture.ts'
import {
  compilePolicy,
  decide,
  decideSecret,
  explainPolicy,
  flagsOf,
  initPolicyEngine,
  policyEngineUrl,
} from './index.ts'

await initPolicyEngine(readFileSync(policyEngineUrl()))

type SecretFacts = Parameters<typeof decideSecret>[0]['facts']

const secret: SecretFacts = {
  asset: { ...facts.asset, kind: 'secret' },
  guest: { evidence: '1'.repeat(64), attestation: 'web', measurement: 'ab'.repeat(48), hostData: 'cd'.repeat(32) },
  tee: { ...facts.tee, simulated: false, debug: false },
  time: { earliest: 1000, latest: 1001 },
  uses: 2,
}
const codes = (policyText: string, given: SecretFacts = secret): string[] =>
  decideSecret({ policyText, facts: given }).reasons.map(({ code }) => code)

test('a secret’s policy allows what fits and names each thing that does not', () => {
  const policy = compilePolicy({ secret: true, measurements: ['ab'.repeat(48)], hostData: ['cd'.repeat(32)], uses: 2 })
  assert.deepEqual(codes(policy), [])
  const { guest, tee } = secret
  assert.deepEqual(codes(policy, { ...secret, guest: { ...guest, measurement: '00'.repeat(48) } }), [
    'ERR_POLICY_MEASUREMENT',
  ])
  assert.deepEqual(codes(policy, { ...secret, guest: { ...guest, hostData: '' } }), ['ERR_POLICY_HOST_DATA'])
  assert.deepEqual(codes(policy, { ...secret, tee: { ...tee, debug: true } }), ['ERR_POLICY_DEBUG'])
  assert.deepEqual(codes(policy, { ...secret, tee: { ...tee, simulated: true } }), ['ERR_POLICY_SIMULATED'])
  assert.deepEqual(codes(policy, { ...secret, uses: 3 }), ['ERR_POLICY_USES'])
  assert.deepEqual(codes(policy, { ...secret, uses: null }), ['ERR_POLICY_USES'])
  assert.deepEqual(codes(policy, { ...secret, asset: facts.asset }), ['ERR_POLICY_FACTS'])
  assert.deepEqual(codes('permit (principal, action, resource'), ['ERR_POLICY_INVALID'])
})

test('a policy for contracts hands no secret to a guest, and a secret’s lets nothing compute', () => {
  assert.deepEqual(codes(compilePolicy({ programs: 'any', receiverRoles: 'any', simulated: true })), [
    'ERR_POLICY_NO_PERMIT',
  ])
  const { allowed } = decide({ policyText: compilePolicy({ secret: true, simulated: true }), facts })
  assert.equal(allowed, false)
})

test('flags of one kind are refused with the other; a compiled text says which flags it has', () => {
  assert.throws(() => compilePolicy({ secret: true, programs: 'any' }), { code: 'ERR_POLICY_FLAGS' })
  assert.throws(() => compilePolicy({ secret: true, isolation: 2 }), { code: 'ERR_POLICY_FLAGS' })
  assert.throws(() => compilePolicy({ programs: 'any', measurements: ['ab'.repeat(48)] }), { code: 'ERR_POLICY_FLAGS' })
  assert.throws(() => compilePolicy({ secret: true, measurements: ['AB'.repeat(48)] }), { code: 'ERR_POLICY_FLAGS' })
  const text = compilePolicy({ secret: true, uses: 1 })
  assert.deepEqual(flagsOf(text), { secret: true, uses: 1 })
  assert.match(explainPolicy(text).join('\n'), /Guests that its attestation policy accepts may read it, whole/)
  assert.match(explainPolicy(text).join('\n'), /At most 1 time\./)
})
