import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeUtf8 } from '@cella/bytes'
import { encodeLeaf } from '@cella/log'
import { compilePolicy } from '@cella/policy'
import { generateHpkeKeyPair, keyIdOf, randomBytes } from '@cella/primitives'
import { MemoryLog } from '@cella/testing/memory-log'
import { contractOf, publishGrant, type Scenario, type ScenarioChanges } from '@cella/testing/scenario'
import {
  type Asked,
  arrange,
  codesOf,
  day,
  evidenceOf,
  judge,
  otherLaunch,
  otherRoots,
  roots,
  start,
  vault,
} from '../test/judging.ts'

const later = (days: number) => start + days * day

test('what everyone permits is allowed, and says on what', async () => {
  const scenario = await arrange()
  const { data, program } = await judge(scenario)
  assert.deepEqual(data.reasons, [])
  assert.deepEqual(program.reasons, [])
  assert.ok(data.allowed && program.allowed)
  assert.equal(data.grant?.digest, scenario.grant.digest)
  assert.equal(data.terms?.digest, scenario.terms.digest)
  assert.equal(data.manifest?.digest, scenario.data.digest)
  assert.deepEqual(data.time, { earliest: start, latest: start })
})

interface Case {
  readonly name: string
  readonly change?: ScenarioChanges | ((log: MemoryLog) => ScenarioChanges)
  readonly log?: () => MemoryLog
  /** What happens after all is published, and how the judgement is asked then. */
  readonly act?: (scenario: Scenario<MemoryLog>) => Promise<Asked | undefined>
  /** Every code against the hospital's data. */
  readonly data: readonly string[]
  /** Every code against the university's program; none unless said. */
  readonly program?: readonly string[]
}

/** Another contract by the same author, not approved unless it says so. */
async function anotherContract(
  { world, data, program, author, approver }: Scenario<MemoryLog>,
  options: { isLogged?: boolean; isApproved?: boolean; change?: object } = {},
): Promise<Asked> {
  const members = {
    ...contractOf({ data, program, author, vault: vault.id }),
    log: world.log.origin,
    ...world.window(),
    ...options.change,
  }
  const contract = await world.unpublished(author, 'cella/contract', members)
  if (options.isLogged !== false) await world.publish(contract)
  else world.envelopes.set(contract.digest, contract.envelope)
  if (options.isApproved !== false) {
    await world.signed(approver, 'cella/approval', { contract: contract.digest, runs: 3, ...world.window() })
  }
  return { contract }
}

const twoWitnesses = () => new MemoryLog({ now: start, witnesses: ['w1', 'w2'] })

const cases: Case[] = [
  // Contract.
  {
    name: 'a contract that is not in the log',
    act: (scenario) => anotherContract(scenario, { isLogged: false }),
    data: ['ERR_DOCUMENT_MISSING'],
    program: ['ERR_DOCUMENT_MISSING'],
  },
  {
    name: 'a withdrawn contract',
    act: async ({ world, contract }) => void (await world.revoke(contract.digest)),
    data: ['ERR_DOCUMENT_REVOKED'],
    program: ['ERR_DOCUMENT_REVOKED'],
  },
  {
    name: 'a contract withdrawn after the documents were read',
    act: async ({ world, contract }) => ({ afterwards: () => world.revoke(contract.digest) }),
    data: ['ERR_DOCUMENT_REVOKED'],
    program: ['ERR_DOCUMENT_REVOKED'],
  },
  {
    name: 'an expired contract',
    change: { contract: { notAfter: start - 1 } },
    data: ['ERR_EXPIRED'],
    program: ['ERR_EXPIRED'],
  },
  {
    name: 'a contract that does not hold yet',
    change: { contract: { notBefore: start + 1 } },
    data: ['ERR_NOT_YET_VALID'],
    program: ['ERR_NOT_YET_VALID'],
  },
  {
    name: 'a run beyond the contract’s',
    change: { approval: { runs: 10 } },
    act: async () => ({ run: 6 }),
    data: ['ERR_CONTRACT_RUNS'],
    program: ['ERR_CONTRACT_RUNS'],
  },
  { name: 'run 0', act: async () => ({ run: 0 }), data: ['ERR_CONTRACT_RUNS'], program: ['ERR_CONTRACT_RUNS'] },
  {
    name: 'an attempt beyond the step’s',
    act: async () => ({ attempt: 4 }),
    data: ['ERR_CONTRACT_ATTEMPTS'],
    program: ['ERR_CONTRACT_ATTEMPTS'],
  },
  {
    name: 'attempt 0',
    act: async () => ({ attempt: 0 }),
    data: ['ERR_CONTRACT_ATTEMPTS'],
    program: ['ERR_CONTRACT_ATTEMPTS'],
  },
  {
    name: 'a vault that the contract does not name',
    act: async () => ({ vault: keyIdOf(randomBytes(32)) }),
    data: ['ERR_CONTRACT_VAULT', 'ERR_GRANT_MISSING'],
    program: ['ERR_CONTRACT_VAULT', 'ERR_GRANT_MISSING'],
  },
  // The contract's author.
  {
    name: 'a contract by an account without a membership',
    act: async (scenario) => {
      scenario.world.envelopes.delete(scenario.author.membership.digest)
      return undefined
    },
    data: ['ERR_CONTRACT_AUTHOR', 'ERR_DOCUMENT_MISSING'],
    program: ['ERR_CONTRACT_AUTHOR', 'ERR_DOCUMENT_MISSING'],
  },
  {
    name: 'a contract whose author has left since',
    act: async (scenario) => {
      const { world, office } = scenario
      const left = await world.member(office, ['receiver'])
      const { outputs } = scenario.contract.payload
      const asked = await anotherContract({ ...scenario, author: left }, { change: { outputs } })
      await world.revoke(left.membership.digest)
      return asked
    },
    data: ['ERR_CONTRACT_AUTHOR'],
    program: ['ERR_CONTRACT_AUTHOR'],
  },
  {
    name: 'a contract whose author’s membership has expired',
    act: async (scenario) => {
      const { world, office } = scenario
      const author = await world.member(office, ['receiver'], { change: { notAfter: start - 1 } })
      return anotherContract({ ...scenario, author }, { change: { outputs: scenario.contract.payload.outputs } })
    },
    data: ['ERR_CONTRACT_AUTHOR'],
    program: ['ERR_CONTRACT_AUTHOR'],
  },
  {
    name: 'a contract that its author signed between two memberships',
    act: async (scenario) => {
      const { world, office, contract } = scenario
      const author = await world.member(office, ['receiver'])
      await world.revoke(author.membership.digest)
      const asked = await anotherContract({ ...scenario, author }, { change: { outputs: contract.payload.outputs } })
      await world.renew(author, { name: 'renewed' })
      return asked
    },
    data: ['ERR_DOCUMENT_NOT_ENTITLED'],
    program: ['ERR_DOCUMENT_NOT_ENTITLED'],
  },
  // Approvals.
  { name: 'a contract that nobody approved', change: { approval: null }, data: ['ERR_APPROVAL_MISSING'] },
  {
    name: 'a run that was not approved',
    change: { approval: { runs: 2 } },
    act: async () => ({ run: 3 }),
    data: ['ERR_APPROVAL_MISSING'],
  },
  { name: 'an expired approval', change: { approval: { notAfter: start - 1 } }, data: ['ERR_APPROVAL_MISSING'] },
  {
    name: 'an approval that does not hold yet',
    change: { approval: { notBefore: start + 1 } },
    data: ['ERR_APPROVAL_MISSING'],
  },
  {
    name: 'a withdrawn approval',
    act: async ({ world, approval }) => void (await world.revoke(approval!.digest)),
    data: ['ERR_APPROVAL_MISSING'],
  },
  {
    name: 'an approval of another contract',
    act: (scenario) => anotherContract(scenario, { isApproved: false }),
    data: ['ERR_APPROVAL_MISSING'],
  },
  {
    name: 'an approval by another organisation’s approver',
    change: { approval: null },
    act: async ({ world, office, contract }) => {
      const stranger = await world.member(office, ['approver'])
      await world.signed(stranger, 'cella/approval', { contract: contract.digest, runs: 3, ...world.window() })
      return undefined
    },
    data: ['ERR_APPROVAL_MISSING'],
  },
  {
    name: 'an approval by a member who is no approver',
    change: { approval: null },
    act: async ({ world, publisher, contract }) => {
      await world.signed(publisher, 'cella/approval', { contract: contract.digest, runs: 3, ...world.window() })
      return undefined
    },
    data: ['ERR_APPROVAL_MISSING'],
  },
  {
    name: 'an approval by someone who has left since',
    act: async ({ world, approver }) => void (await world.revoke(approver.membership.digest)),
    data: ['ERR_APPROVAL_MISSING'],
  },
  {
    name: 'an approval by someone who is still a member but no approver',
    act: async ({ world, approver }) => {
      const before = approver.membership.digest
      await world.renew(approver, { roles: ['auditor'] })
      await world.revoke(before)
      return undefined
    },
    data: ['ERR_APPROVAL_MISSING'],
  },
  {
    name: 'an approval by someone whose membership has expired',
    change: { approval: null },
    act: async ({ world, hospital, contract }) => {
      const former = await world.member(hospital, ['approver'], { change: { notAfter: start - 1 } })
      await world.signed(former, 'cella/approval', { contract: contract.digest, runs: 3, ...world.window() })
      return undefined
    },
    data: ['ERR_APPROVAL_MISSING'],
  },
  // Manifests and grants.
  {
    name: 'a manifest that was withheld',
    act: async ({ world, data }) => void world.envelopes.delete(data.digest),
    data: ['ERR_DOCUMENT_MISSING'],
    program: ['ERR_DOCUMENT_MISSING'],
  },
  {
    name: 'a withdrawn manifest',
    act: async ({ world, data }) => void (await world.revoke(data.digest)),
    data: ['ERR_DOCUMENT_REVOKED'],
    program: ['ERR_DOCUMENT_REVOKED'],
  },
  { name: 'an expired manifest', change: { manifest: { notAfter: start - 1 } }, data: ['ERR_EXPIRED'] },
  {
    name: 'a manifest that does not hold yet',
    change: { manifest: { notBefore: start + 1 } },
    data: ['ERR_NOT_YET_VALID'],
  },
  {
    name: 'a manifest by a member who is no publisher',
    act: async (scenario) => {
      const { world, approver } = scenario
      const { type: _t, version: _v, organisation: _o, signer: _s, ...members } = scenario.data.payload
      const data = await world.signed(approver, 'cella/manifest', members)
      const asked = await anotherContract({ ...scenario, data })
      return asked
    },
    data: ['ERR_DOCUMENT_NOT_ENTITLED', 'ERR_GRANT_MISSING'],
    program: ['ERR_DOCUMENT_NOT_ENTITLED'],
  },
  {
    name: 'a manifest by a publisher who had left before',
    act: async (scenario) => {
      const { world, publisher } = scenario
      await world.revoke(publisher.membership.digest)
      const { type: _t, version: _v, organisation: _o, signer: _s, ...members } = scenario.data.payload
      const data = await world.signed(publisher, 'cella/manifest', { ...members, title: 'again' })
      return anotherContract({ ...scenario, data })
    },
    data: ['ERR_DOCUMENT_NOT_ENTITLED', 'ERR_GRANT_MISSING'],
    program: ['ERR_DOCUMENT_NOT_ENTITLED'],
  },
  {
    name: 'a grant for another vault',
    change: { grant: { vault: keyIdOf(randomBytes(32)) } },
    data: ['ERR_GRANT_MISSING'],
  },
  {
    name: 'a grant that counts in another log',
    change: { grant: { log: 'log.example/other' } },
    data: ['ERR_GRANT_MISSING'],
  },
  {
    name: 'a withdrawn grant',
    act: async ({ world, grant }) => void (await world.revoke(grant.digest)),
    data: ['ERR_GRANT_MISSING'],
  },
  {
    name: 'a grant by another organisation',
    act: async ({ world, grant, developer, data, sealed }) => {
      await world.revoke(grant.digest)
      await publishGrant(world, developer, { manifest: data, sealed: sealed.data, vault, change: { runs: 3 } })
      return undefined
    },
    data: ['ERR_GRANT_MISSING'],
  },
  {
    name: 'a use beyond the grant’s share',
    change: { grant: { runs: 2 } },
    act: async () => ({ use: 3 }),
    data: ['ERR_LIMIT_RUNS'],
  },
  {
    name: 'a use beyond the manifest’s limit',
    change: { grant: { runs: 9 } },
    act: async () => ({ use: 4 }),
    data: ['ERR_LIMIT_RUNS'],
  },
  {
    name: 'a grant without a limit of a manifest with one',
    change: { grant: { runs: null } },
    data: ['ERR_LIMIT_RUNS'],
  },
  // Terms.
  {
    name: 'terms that were withheld',
    act: async ({ world, terms }) => void world.envelopes.delete(terms.digest),
    data: ['ERR_DOCUMENT_MISSING'],
  },
  {
    name: 'terms that were superseded by some that are withheld',
    act: async ({ world, terms }) => void (await world.revoke(terms.digest)),
    data: ['ERR_DOCUMENT_REVOKED'],
  },
  {
    name: 'two terms in force at once',
    act: async ({ world, hospital, terms }) => {
      const { vault: vaults, worker, roots: trusted } = terms.payload
      const next = { vault: vaults, worker, roots: trusted, revision: 2, previous: terms.digest }
      await world.terms(hospital, next)
      return undefined
    },
    data: ['ERR_DOCUMENT_REVOKED'],
  },
  {
    name: 'terms that another organisation’s root signed',
    act: async ({ world, hospital, office, terms }) => {
      await world.revoke(terms.digest)
      const { vault: vaults, worker, roots: trusted } = terms.payload
      await world.terms(hospital, { vault: vaults, worker, roots: trusted }, office.roots)
      return undefined
    },
    data: ['ERR_DOCUMENT_REVOKED'],
  },
  {
    name: 'the newer of two terms, where the first does not even say yes',
    act: async ({ world, hospital, terms }) => {
      await world.revoke(terms.digest)
      const { worker, roots: trusted, vault: vaults } = terms.payload
      await world.terms(hospital, {
        vault: vaults,
        worker,
        roots: trusted,
        simulated: false,
        revision: 2,
        previous: terms.digest,
      })
      return undefined
    },
    data: ['ERR_TEE_SIMULATED'],
  },
  {
    name: 'terms that only one of two needed roots signed',
    change: { hospital: { roots: 3, threshold: 2 } },
    act: async ({ world, hospital, terms }) => {
      await world.revoke(terms.digest)
      const { vault: vaults, worker, roots: trusted } = terms.payload
      await world.terms(hospital, { vault: vaults, worker, roots: trusted }, hospital.roots.slice(0, 1))
      return undefined
    },
    data: ['ERR_DOCUMENT_REVOKED'],
  },
  {
    name: 'terms that a root and a stranger signed where two roots are needed',
    change: { hospital: { roots: 2, threshold: 2 } },
    act: async ({ world, hospital, office, terms }) => {
      await world.revoke(terms.digest)
      const { vault: vaults, worker, roots: trusted } = terms.payload
      await world.terms(hospital, { vault: vaults, worker, roots: trusted }, [hospital.roots[0]!, office.roots[0]!])
      return undefined
    },
    data: ['ERR_DOCUMENT_REVOKED'],
  },
  {
    name: 'terms that old roots signed after they were replaced',
    act: async ({ world, hospital, terms }) => {
      const old = await world.rotate(hospital)
      await world.revoke(terms.digest)
      const { vault: vaults, worker, roots: trusted } = terms.payload
      await world.terms(hospital, { vault: vaults, worker, roots: trusted, revision: 2, previous: terms.digest }, old)
      return undefined
    },
    data: ['ERR_DOCUMENT_REVOKED'],
  },
  {
    name: 'terms that old roots signed after they were replaced, where the manager dropped the withdrawal',
    act: async ({ world, hospital, terms }) => {
      const old = await world.rotate(hospital, { revokes: false })
      await world.revoke(terms.digest)
      const { vault: vaults, worker, roots: trusted } = terms.payload
      await world.terms(hospital, { vault: vaults, worker, roots: trusted, revision: 2, previous: terms.digest }, old)
      return undefined
    },
    data: ['ERR_DOCUMENT_REVOKED'],
  },
  {
    name: 'terms of roots that took over without the old ones',
    act: async ({ world, hospital, terms }) => {
      await world.rotate(hospital, { by: [randomBytes(32)] }).catch(() => undefined)
      await world.revoke(terms.digest)
      const { vault: vaults, worker, roots: trusted } = terms.payload
      await world.terms(hospital, { vault: vaults, worker, roots: trusted, revision: 2, previous: terms.digest })
      return undefined
    },
    data: ['ERR_DOCUMENT_REVOKED'],
  },
  // Receivers.
  {
    name: 'a receiver whose membership was withdrawn',
    act: async (scenario) => {
      const { world, office } = scenario
      const gone = await world.member(office, ['receiver'])
      const { outputs } = contractOf({ ...scenario, author: gone, vault: vault.id })
      const asked = await anotherContract(scenario, { change: { outputs } })
      await world.revoke(gone.membership.digest)
      return asked
    },
    data: ['ERR_DOCUMENT_REVOKED'],
    program: ['ERR_DOCUMENT_REVOKED'],
  },
  {
    name: 'a receiver whose membership has expired',
    act: async (scenario) => {
      const { world, office } = scenario
      const gone = await world.member(office, ['receiver'], { change: { notAfter: start - 1 } })
      const { outputs } = contractOf({ ...scenario, author: gone, vault: vault.id })
      return anotherContract(scenario, { change: { outputs } })
    },
    data: ['ERR_EXPIRED'],
    program: ['ERR_EXPIRED'],
  },
  {
    name: 'a receiver whose membership has not begun',
    act: async (scenario) => {
      const { world, office } = scenario
      const early = await world.member(office, ['receiver'], { change: { notBefore: start + 1 } })
      const { outputs } = contractOf({ ...scenario, author: early, vault: vault.id })
      return anotherContract(scenario, { change: { outputs } })
    },
    data: ['ERR_NOT_YET_VALID'],
    program: ['ERR_NOT_YET_VALID'],
  },
  {
    name: 'a receiver’s key swapped for that of a member of another organisation',
    act: async (scenario) => {
      const spy = await scenario.world.member(await scenario.world.organisation('Spy'), ['receiver'])
      const [output] = scenario.contract.payload.outputs
      const receivers = [{ ...output!.receivers[0]!, membership: spy.membership.digest }]
      return anotherContract(scenario, { change: { outputs: [{ ...output!, receivers }] } })
    },
    data: ['ERR_CONTRACT_RECEIVER'],
    program: ['ERR_CONTRACT_RECEIVER'],
  },
  {
    name: 'a receiver without the role',
    act: async (scenario) => {
      const { outputs } = contractOf({
        ...scenario,
        author: await scenario.world.member(scenario.office, ['auditor']),
        vault: vault.id,
      })
      return anotherContract(scenario, { change: { outputs } })
    },
    data: ['ERR_CONTRACT_RECEIVER', 'ERR_POLICY_FACTS'],
    program: ['ERR_CONTRACT_RECEIVER', 'ERR_POLICY_FACTS'],
  },
  {
    name: 'a receiver whose membership is not given',
    act: async (scenario) => {
      const hidden = await scenario.world.member(scenario.office, ['receiver'])
      scenario.world.envelopes.delete(hidden.membership.digest)
      const { outputs } = contractOf({ ...scenario, author: hidden, vault: vault.id })
      return anotherContract(scenario, { change: { outputs } })
    },
    data: ['ERR_DOCUMENT_MISSING', 'ERR_POLICY_NOTHING_ASKED'],
    program: ['ERR_DOCUMENT_MISSING', 'ERR_POLICY_NOTHING_ASKED'],
  },
  {
    name: 'a reader of diagnostics without a membership in force',
    act: async (scenario) => {
      const { world, office } = scenario
      const gone = await world.member(office, ['auditor'])
      await world.revoke(gone.membership.digest)
      const diagnostics = [{ organisation: office.id, role: 'auditor', membership: gone.membership.digest }]
      return anotherContract(scenario, { change: { diagnostics } })
    },
    data: ['ERR_DOCUMENT_REVOKED', 'ERR_POLICY_RECEIVER_ROLE'],
    program: ['ERR_DOCUMENT_REVOKED'],
  },
  // The worker and its TEE.
  {
    name: 'a simulated TEE under terms that demand a real one',
    change: { terms: { simulated: false } },
    data: ['ERR_TEE_SIMULATED'],
  },
  {
    name: 'evidence without revocation lists under terms that bound their age',
    change: { terms: { collateralDaysMax: 30 } },
    data: ['ERR_TEE_COLLATERAL_AGE'],
  },
  {
    name: 'a simulated TEE under a contract that demands a real one',
    change: { contract: { simulated: false } },
    data: ['ERR_TEE_SIMULATED'],
    program: ['ERR_TEE_SIMULATED'],
  },
  {
    name: 'a simulated TEE under a policy that demands a real one',
    change: { policy: { simulated: false } },
    data: ['ERR_POLICY_SIMULATED'],
  },
  {
    name: 'evidence under a root that the terms do not name',
    change: { terms: { roots: otherRoots } },
    data: ['ERR_EVIDENCE_ROOT_UNKNOWN', 'ERR_POLICY_DEBUG', 'ERR_TEE_BOUNDARY', 'ERR_TEE_ISOLATION'],
  },
  {
    name: 'a simulated root that terms call a real one',
    change: { terms: { roots: roots.map((one) => ({ ...one, simulated: false })) } },
    data: ['ERR_TEE_MEASUREMENT'],
  },
  {
    name: 'a worker of unknown measurement',
    act: async () => ({ enclave: { evidence: await evidenceOf({ launch: otherLaunch }) } }),
    data: ['ERR_TEE_MEASUREMENT'],
    program: ['ERR_TEE_MEASUREMENT'],
  },
  {
    name: 'a build that these terms do not name',
    change: { terms: { worker: { builds: [], signers: [] } } },
    data: ['ERR_TEE_MEASUREMENT'],
  },
  {
    name: 'a withdrawn build',
    act: async ({ world, builds }) => void (await world.revoke(builds.worker.digest)),
    data: ['ERR_TEE_MEASUREMENT'],
    program: ['ERR_TEE_MEASUREMENT'],
  },
  {
    name: 'a build that is withheld',
    act: async ({ world, builds }) => void world.envelopes.delete(builds.worker.digest),
    data: ['ERR_TEE_MEASUREMENT'],
    program: ['ERR_TEE_MEASUREMENT'],
  },
  {
    name: 'a measurement that a build has for real TEEs alone',
    change: {
      build: { measurements: [{ tee: 'sev-snp', boundary: 'vm', simulated: false, measurement: 'ab'.repeat(48) }] },
    },
    data: ['ERR_TEE_MEASUREMENT'],
    program: ['ERR_TEE_MEASUREMENT'],
  },
  {
    name: 'a vault’s evidence in place of a worker’s',
    act: async () => ({ enclave: { role: 'vault' as const } }),
    data: ['ERR_TEE_MEASUREMENT'],
    program: ['ERR_TEE_MEASUREMENT'],
  },
  {
    name: 'an attestation service’s evidence, of which the terms accept no build',
    act: async () => ({ enclave: { role: 'attestation-service' as const } }),
    data: ['ERR_TEE_MEASUREMENT'],
    program: ['ERR_TEE_MEASUREMENT'],
  },
  {
    name: 'evidence over another binding',
    act: async () => ({ enclave: { binding: { role: 'worker', nonce: 'another' } } }),
    data: ['ERR_TEE_REPORT_DATA'],
    program: ['ERR_TEE_REPORT_DATA'],
  },
  {
    name: 'a TEE in debug mode',
    act: async () => ({ enclave: { evidence: await evidenceOf({ faults: { debug: true } }) } }),
    data: ['ERR_POLICY_DEBUG', 'ERR_TEE_DEBUG'],
    program: ['ERR_POLICY_DEBUG', 'ERR_TEE_DEBUG'],
  },
  {
    name: 'a TCB below the minimum',
    change: { terms: { minimumTcb: { 'sev-snp': { Milan: { bootLoader: 4, tee: 0, snp: 28, microcode: 222 } } } } },
    data: ['ERR_TEE_SNP_COMMITTED_TCB', 'ERR_TEE_SNP_LAUNCH_TCB', 'ERR_TEE_SNP_TCB'],
  },
  {
    name: 'a product for which the terms name no minimum TCB',
    change: { terms: { minimumTcb: { 'sev-snp': { Genoa: { bootLoader: 0, tee: 0, snp: 0, microcode: 0 } } } } },
    data: ['ERR_TEE_SNP_COMMITTED_TCB', 'ERR_TEE_SNP_LAUNCH_TCB', 'ERR_TEE_SNP_TCB'],
  },
  {
    name: 'a chip that the terms do not name',
    change: { terms: { chips: ['ab'.repeat(64)] } },
    data: ['ERR_TEE_PLATFORM_ID'],
  },
  { name: 'an isolation below the terms’', change: { terms: { isolation: 3 } }, data: ['ERR_TEE_ISOLATION'] },
  {
    name: 'an isolation below the contract’s',
    change: { contract: { isolation: 3 } },
    data: ['ERR_TEE_ISOLATION'],
    program: ['ERR_TEE_ISOLATION'],
  },
  {
    name: 'a boundary that the terms do not name',
    change: { terms: { boundaries: ['process'] } },
    data: ['ERR_TEE_BOUNDARY'],
  },
  {
    name: 'a boundary that the contract’s step does not ask for',
    act: async (scenario) => {
      const [step] = scenario.contract.payload.steps
      return anotherContract(scenario, { change: { steps: [{ ...step!, boundary: 'process' }] } })
    },
    data: ['ERR_TEE_BOUNDARY'],
    program: ['ERR_TEE_BOUNDARY'],
  },
  // Log and time.
  {
    name: 'a contract that names another log',
    act: (scenario) => anotherContract(scenario, { change: { log: 'log.example/other' } }),
    data: ['ERR_LOG_ORIGIN'],
    program: ['ERR_LOG_ORIGIN'],
  },
  {
    name: 'terms that name another log',
    change: { terms: { log: new MemoryLog({ now: start, origin: 'log.example/other' }).policyOf() } },
    data: ['ERR_LOG_ORIGIN'],
  },
  {
    name: 'terms that name another key of the log',
    change: { terms: { log: new MemoryLog({ now: start }).policyOf() } },
    data: ['ERR_LOG_SIGNATURE'],
  },
  { name: 'terms that are no log policy', change: { terms: { log: 'log\n' } }, data: ['ERR_LOG_MALFORMED'] },
  {
    name: 'terms that ask no witness for the time',
    act: async ({ world, hospital, terms }) => {
      await world.revoke(terms.digest)
      const { vault: vaults, worker, roots: trusted } = terms.payload
      await world.terms(hospital, { vault: vaults, worker, roots: trusted, log: world.log.policyOf([]) })
      return undefined
    },
    data: ['ERR_LOG_QUORUM'],
  },
  {
    name: 'too few witnesses for one owner, though enough for another',
    log: twoWitnesses,
    change: (log) => ({ universityTerms: { log: log.policyOf(['w1']) } }),
    act: async ({ world }) => void world.log.clocks.delete('w2'),
    data: ['ERR_LOG_QUORUM'],
  },
  {
    name: 'a level below witnessed where nobody speaks for a host',
    change: { terms: { level: 'logged' } },
    data: ['ERR_LOG_QUORUM'],
  },
  {
    name: 'what another log signed, under terms of level logged',
    change: { terms: { level: 'logged', log: new MemoryLog({ now: start }).policyOf() } },
    act: async () => ({ host: { now: start, cosigned: [] } }),
    data: ['ERR_LOG_SIGNATURE'],
  },
  {
    name: 'an end that the host’s clock says, under terms of level logged',
    change: { terms: { level: 'logged' } },
    act: async () => ({ host: { now: later(31), cosigned: [] } }),
    data: ['ERR_APPROVAL_MISSING', 'ERR_CONTRACT_AUTHOR', 'ERR_EXPIRED'],
  },
  {
    name: 'what the log alone signed, for one owner, though another is content with it',
    change: { terms: { level: 'logged' } },
    act: async ({ world }) => {
      world.log.clocks.clear()
      return { host: { now: start, cosigned: [] } }
    },
    data: [],
    program: ['ERR_LOG_QUORUM'],
  },
  {
    name: 'a quorum older than the terms take',
    change: { terms: { level: 'witnessed-within 3600' } },
    act: async () => ({ host: { now: start + 3601, cosigned: [] } }),
    data: ['ERR_LOG_QUORUM'],
  },
  {
    name: 'terms that take an older quorum, and none at all',
    change: { terms: { level: 'witnessed-within 3600' } },
    act: async ({ world }) => {
      world.log.clocks.clear()
      return { host: { now: start, cosigned: [await world.log.checkpoint()] } }
    },
    data: ['ERR_LOG_QUORUM'],
    program: ['ERR_LOG_QUORUM'],
  },
  {
    name: 'a quorum on a checkpoint of more leaves than the one that is judged',
    change: { terms: { level: 'witnessed-within 3600' } },
    log: twoWitnesses,
    act: async ({ world }) => {
      const larger = await world.log.fork(world.log.size)
      await larger.append([encodeLeaf({ kind: 'state', commitment: new Uint8Array(32), tag: new Uint8Array(16) })])
      world.log.clocks.clear()
      return { host: { now: start, cosigned: [await larger.checkpoint()] } }
    },
    data: ['ERR_LOG_QUORUM'],
    program: ['ERR_LOG_QUORUM'],
  },
  {
    name: 'an end that only the fastest witness has seen',
    log: twoWitnesses,
    act: async ({ world }) => void world.log.clocks.set('w2', later(31)),
    data: ['ERR_APPROVAL_MISSING', 'ERR_CONTRACT_AUTHOR', 'ERR_EXPIRED'],
    program: ['ERR_CONTRACT_AUTHOR', 'ERR_EXPIRED'],
  },
  {
    name: 'a beginning that the slowest witness has not seen',
    log: twoWitnesses,
    act: async ({ world }) => void world.log.clocks.set('w1', later(-2)),
    data: ['ERR_APPROVAL_MISSING', 'ERR_CONTRACT_AUTHOR', 'ERR_NOT_YET_VALID'],
    program: ['ERR_CONTRACT_AUTHOR', 'ERR_NOT_YET_VALID'],
  },
  {
    name: 'clocks set back before everything',
    act: async ({ world }) => {
      world.log.now = later(-30)
      return undefined
    },
    data: ['ERR_APPROVAL_MISSING', 'ERR_CONTRACT_AUTHOR', 'ERR_NOT_YET_VALID'],
    program: ['ERR_CONTRACT_AUTHOR', 'ERR_NOT_YET_VALID'],
  },
  // Policy: its reasons are its owner's alone.
  {
    name: 'another program than the policy names',
    change: { policy: { programs: ['ab'.repeat(32)] } },
    data: ['ERR_POLICY_PROGRAM'],
  },
  {
    name: 'a purpose that the policy does not name',
    change: { policy: { purposes: ['sale'] } },
    data: ['ERR_POLICY_PURPOSE'],
  },
  {
    name: 'a use beyond the policy’s',
    change: { policy: { uses: 1 } },
    act: async () => ({ use: 2 }),
    data: ['ERR_POLICY_USES'],
  },
  {
    name: 'a policy that is no Cedar',
    change: { manifest: { policy: 'permit whatever' } },
    data: ['ERR_POLICY_INVALID'],
  },
  {
    name: 'a policy that permits nothing',
    change: { manifest: { policy: 'forbid (principal, action, resource);' } },
    data: ['ERR_POLICY_FORBIDDEN'],
  },
  {
    name: 'the program’s own policy, for that asset alone',
    change: {
      program: { policy: compilePolicy({ programs: 'any', receiverRoles: ['regulator'], simulated: true }) },
    },
    data: [],
    program: ['ERR_POLICY_RECEIVER_ROLE'],
  },
]

test('a contract that asks for a process is refused to a worker in a VM, and the refusal names both', async () => {
  const made = await arrange({}, new MemoryLog({ now: start }))
  const [step] = made.contract.payload.steps
  const asked = await anotherContract(made, { change: { steps: [{ ...step!, boundary: 'process' }] } })
  const { data } = await judge(made, asked)
  assert.deepEqual(
    data.reasons.map(({ code, expected, got }) => [code, expected, got]),
    [['ERR_TEE_BOUNDARY', 'process', 'vm']],
  )
})

for (const { name, change, log, act, data, program = [] } of cases) {
  test(`refuses ${name}`, async () => {
    const world = log?.() ?? new MemoryLog({ now: start })
    const scenario = await arrange(typeof change === 'function' ? change(world) : change, world)
    const asked = (await act?.(scenario)) ?? {}
    const judged = await judge(scenario, asked)
    assert.deepEqual(codesOf(judged.data), [...data].sort(), JSON.stringify(judged.data.reasons, null, 1))
    assert.deepEqual(codesOf(judged.program), [...program].sort(), JSON.stringify(judged.program.reasons, null, 1))
    assert.equal(judged.data.allowed, data.length === 0)
    assert.equal(judged.program.allowed, program.length === 0)
  })
}

const permitted: { name: string; change?: ScenarioChanges; act: NonNullable<Case['act']> }[] = [
  {
    name: 'what the log alone signed, by the host’s clock, under terms of level logged',
    change: { terms: { level: 'logged' }, universityTerms: { level: 'logged' } },
    act: async ({ world }) => {
      world.log.clocks.clear()
      return { host: { now: start, cosigned: [] } }
    },
  },
  {
    name: 'a quorum on an earlier checkpoint, under terms that take one of that age',
    change: { terms: { level: 'witnessed-within 3600' }, universityTerms: { level: 'witnessed-within 3600' } },
    act: async ({ world }) => {
      const cosigned = [encodeUtf8('no note'), await world.log.checkpoint()]
      world.log.clocks.clear()
      await world.log.append([encodeLeaf({ kind: 'state', commitment: new Uint8Array(32), tag: new Uint8Array(16) })])
      return { host: { now: start + 3600, cosigned } }
    },
  },
  {
    name: 'documents that old roots signed before they were replaced',
    act: async ({ world, hospital }) => void (await world.rotate(hospital)),
  },
  {
    name: 'terms of the new roots after the old ones were replaced',
    act: async ({ world, hospital, terms }) => {
      await world.rotate(hospital)
      await world.revoke(terms.digest)
      const { vault: vaults, worker, roots: trusted } = terms.payload
      await world.terms(hospital, { vault: vaults, worker, roots: trusted, revision: 2, previous: terms.digest })
      return undefined
    },
  },
  {
    name: 'an organisation whose roots were replaced twice',
    act: async ({ world, hospital, terms }) => {
      await world.rotate(hospital)
      await world.rotate(hospital)
      await world.revoke(terms.digest)
      const { vault: vaults, worker, roots: trusted } = terms.payload
      await world.terms(hospital, { vault: vaults, worker, roots: trusted, revision: 2, previous: terms.digest })
      return undefined
    },
  },
  {
    name: 'terms that two of three roots signed',
    change: { hospital: { roots: 3, threshold: 2 } },
    act: async ({ world, hospital, terms }) => {
      await world.revoke(terms.digest)
      const { vault: vaults, worker, roots: trusted } = terms.payload
      await world.terms(hospital, { vault: vaults, worker, roots: trusted }, hospital.roots.slice(1))
      return undefined
    },
  },
  {
    name: 'a manifest whose publisher left afterwards',
    act: async ({ world, publisher }) => void (await world.revoke(publisher.membership.digest)),
  },
  {
    name: 'a build of a signer that the terms trust',
    act: async ({ world, hospital, builder, terms }) => {
      await world.revoke(terms.digest)
      const { vault: vaults, roots: trusted } = terms.payload
      const worker = { builds: [], signers: [builder.organisation.payload.signer] }
      await world.terms(hospital, { vault: vaults, worker, roots: trusted })
      return undefined
    },
  },
  {
    name: 'the newest of two grants in force',
    act: async ({ world, publisher, data, sealed }) => {
      const kek = await generateHpkeKeyPair()
      const another = { ...vault, kekOf: async () => kek.publicKey }
      await publishGrant(world, publisher, { manifest: data, sealed: sealed.data, vault: another, change: { runs: 1 } })
      return undefined
    },
  },
  {
    name: 'an approver who renewed the membership',
    act: async ({ world, approver }) => {
      const before = approver.membership.digest
      await world.renew(approver, { name: 'renewed' })
      await world.revoke(before)
      return undefined
    },
  },
  { name: 'the last second of a contract', change: { contract: { notAfter: start } }, act: async () => undefined },
  { name: 'the first second of a contract', change: { contract: { notBefore: start } }, act: async () => undefined },
  { name: 'the last run that was approved', act: async () => ({ run: 3 }) },
  { name: 'the last use of a limit', act: async () => ({ use: 3 }) },
  { name: 'the last attempt', act: async () => ({ attempt: 3 }) },
]

for (const { name, change, act } of permitted) {
  test(`permits ${name}`, async () => {
    const scenario = await arrange(change)
    const asked = (await act(scenario)) ?? {}
    const { data, program } = await judge(scenario, asked)
    assert.deepEqual([...data.reasons, ...program.reasons], [])
  })
}
