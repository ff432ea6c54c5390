import assert from 'node:assert/strict'
import test from 'node:test'
import type { Boundary, Contract } from '@cella/documents'
import { assumedWorker } from './assumed-worker.ts'

const contract = (boundary: Boundary, simulated = false): Pick<Contract, 'steps' | 'simulated'> => ({
  steps: [{ boundary }] as unknown as Contract['steps'],
  simulated,
})
const terms = { boundaries: ['process', 'container-group', 'vm', 'world'] satisfies Boundary[], simulated: false }

test('assumes a kind of TEE that the terms accept and that the contract’s boundary allows', () => {
  const kind = (boundary: Boundary, tees?: { readonly [tee: string]: object }) => {
    const { assumed, appraisal } = assumedWorker(contract(boundary), { ...terms, ...(tees && { tees: tees as never }) })
    assert.equal(appraisal.tee.kind, assumed.tee)
    return [assumed.tee, appraisal.reasons.map(({ code }) => code)]
  }
  assert.deepEqual(kind('vm'), ['sev-snp', []])
  assert.deepEqual(kind('vm', { sgx: {}, tdx: {} }), ['tdx', []])
  assert.deepEqual(kind('process', { sgx: {}, tdx: {} }), ['sgx', []])
  // Nothing that comes will be accepted, and the vault will say the same.
  assert.deepEqual(kind('process'), ['sgx', ['ERR_TEE_TEE_REFUSED']])
  assert.deepEqual(kind('vm', {}), ['sev-snp', ['ERR_TEE_TEE_REFUSED']])
})

test('says what the terms do not accept of the boundary, and is simulated only where both sides say so', () => {
  const { appraisal } = assumedWorker(contract('vm'), { ...terms, boundaries: ['process'] })
  assert.deepEqual(
    appraisal.reasons.map(({ code, clause, got }) => [code, clause, got]),
    [['ERR_TEE_BOUNDARY', 'terms.boundaries', 'vm']],
  )
  for (const [author, owner] of [
    [true, true],
    [true, false],
    [false, true],
  ] as const) {
    const { assumed } = assumedWorker(contract('vm', author), { ...terms, simulated: owner })
    assert.equal(assumed.simulated, author && owner)
  }
})
