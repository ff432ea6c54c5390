import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeHex, encodeUtf8, type Json } from '@cella/bytes'
import type { Terms } from '@cella/documents'
import { ChainCache, nitroBaseline, sgxBaseline, tdxBaseline } from '@cella/evidence'
import { LogView, parseLogPolicy } from '@cella/log'
import { type SimulatedTee, simulatedMeasurementHex, simulatedMrEnclave } from '@cella/tee'
import type { ScenarioChanges } from '@cella/testing/scenario'
import { arrange, binding, evidenceOf, roots, start, vendorRoots, workerLaunch } from '../test/judging.ts'
import { type Appraisal, appraiseEnclave, checkTeeTerms, readDocumentSet } from './index.ts'

type Parts = NonNullable<Terms['tees']>
const written = (policy: object): { readonly [name: string]: Json } => JSON.parse(JSON.stringify(policy))
const parts: Parts = {
  tdx: written(tdxBaseline),
  sgx: written({ ...sgxBaseline, signers: 'any', productIds: 'any' }),
  nitro: written({ ...nitroBaseline, nonce: 'any', ageSecondsMax: 'any' }),
}
const measurement = (tee: SimulatedTee) => ({
  tee,
  boundary: tee === 'sgx' ? ('process' as const) : ('vm' as const),
  simulated: true,
  measurement: tee === 'sgx' ? encodeHex(simulatedMrEnclave(workerLaunch)) : simulatedMeasurementHex(workerLaunch),
})
const others = ['tdx', 'sgx', 'nitro'] as const
const open: Partial<Terms> = {
  roots: [...roots, ...vendorRoots] as Terms['roots'],
  tees: parts,
  boundaries: ['process', 'vm'],
}

/** How the hospital's terms, changed by `terms`, judge the worker in a TEE of that kind. */
async function appraised(
  tee: SimulatedTee,
  {
    terms,
    build,
    withoutParts,
  }: { terms?: Partial<Terms>; build?: ScenarioChanges['build']; withoutParts?: true } = {},
): Promise<Appraisal> {
  const scenario = await arrange({
    terms: { ...(withoutParts ? { roots: open.roots!, boundaries: open.boundaries! } : open), ...terms },
    build: { measurements: others.map(measurement), ...build },
  })
  const { log } = scenario.world
  const view = new LogView({ policy: parseLogPolicy(encodeUtf8(log.policyOf([]))), read: log })
  await view.advance()
  const documents = await readDocumentSet(scenario.world.documents(), view)
  return appraiseEnclave(
    { role: 'worker', evidence: await evidenceOf({ tee }), binding, isolation: 2 },
    { terms: documents.terms(scenario.hospital.id).payload, documents, now: start, cache: new ChainCache() },
  )
}

const codes = ({ reasons }: Appraisal): string[] => reasons.map(({ code }) => code)

for (const tee of others) {
  test(`accepts a worker in ${tee} where terms have a part for it, and says what it is`, async () => {
    const { reasons, tee: facts, build } = await appraised(tee)
    assert.deepEqual(reasons, [])
    assert.equal(facts.kind, tee)
    assert.equal(facts.boundary, tee === 'sgx' ? 'process' : 'vm')
    assert.equal(facts.simulated, true)
    assert.equal(build?.payload.role, 'worker')
  })

  test(`refuses ${tee} under terms that have no part for it`, async () => {
    const { [tee]: _, ...rest } = parts
    const refused = await appraised(tee, { terms: { tees: rest } })
    assert.deepEqual(codes(refused), ['ERR_TEE_TEE_REFUSED'])
    assert.equal(refused.reasons[0]!.clause, 'terms.tees')
  })

  test(`refuses ${tee} whose root the terms do not name`, async () => {
    const { reasons } = await appraised(tee, { terms: { roots: open.roots!.filter((root) => root.tee !== tee) } })
    assert.deepEqual([reasons[0]!.code, reasons[0]!.clause], ['ERR_EVIDENCE_ROOT_UNKNOWN', 'terms.roots'])
  })

  test(`refuses ${tee} that measures what no accepted build has for it`, async () => {
    const build = { measurements: others.filter((other) => other !== tee).map(measurement) }
    assert.deepEqual(codes(await appraised(tee, { build })), ['ERR_TEE_MEASUREMENT'])
  })
}

test('terms without parts accept SEV-SNP alone', async () => {
  assert.deepEqual(codes(await appraised('tdx', { withoutParts: true })), ['ERR_TEE_TEE_REFUSED'])
  const build = { measurements: [measurement('sev-snp')] }
  assert.deepEqual(codes(await appraised('sev-snp', { withoutParts: true, build })), [])
})

test('SGX needs a boundary that the terms name', async () => {
  assert.deepEqual(codes(await appraised('sgx', { terms: { boundaries: ['vm'] } })), ['ERR_TEE_BOUNDARY'])
})

test('a build may name further registers, and host data: all of them have to be equal', async () => {
  const zeros = '0'.repeat(96)
  const tdx = measurement('tdx')
  const withRegisters = (registers: Record<string, string>, hostData?: string) => ({
    measurements: [{ ...tdx, registers, ...(hostData !== undefined && { hostData }) }],
  })
  const sound = await appraised('tdx', { build: withRegisters({ rtmr0: zeros, mrtd: tdx.measurement }, zeros) })
  assert.deepEqual(sound.reasons, [])
  for (const build of [
    withRegisters({ rtmr0: 'ab'.repeat(48) }),
    withRegisters({ nonsuch: zeros }),
    withRegisters({ rtmr0: zeros }, 'ab'.repeat(48)),
  ]) {
    assert.deepEqual(codes(await appraised('tdx', { build })), ['ERR_TEE_MEASUREMENT'], JSON.stringify(build))
  }
})

test('a part with a member left out accepts nothing and is refused before it is signed', async () => {
  const { tcb: _, ...rest } = parts.tdx!
  const tees = { ...parts, tdx: rest }
  const { reasons } = await appraised('tdx', { terms: { tees } })
  assert.deepEqual([reasons[0]!.code, reasons[0]!.clause], ['ERR_EVIDENCE_POLICY', 'terms.tees'])
  assert.throws(() => checkTeeTerms({ tees }), { code: 'ERR_EVIDENCE_POLICY', message: /policy\.tees\.tdx\.tcb/ })
  checkTeeTerms({ tees: parts })
  checkTeeTerms({})
})

test('TDX below the TCB statuses of its part is refused by the part', async () => {
  const tdx = written({ ...tdxBaseline, tcb: { ...tdxBaseline.tcb, minimumEvaluation: 4_000_000_000 } })
  const { reasons } = await appraised('tdx', { terms: { tees: { ...parts, tdx } } })
  assert.deepEqual([reasons[0]!.code, reasons[0]!.clause], ['ERR_TEE_INTEL_EVALUATION', 'terms.tees'])
})
