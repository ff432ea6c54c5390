import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  azureVmPresets,
  type Endorsement,
  encodeCollateral,
  sgxBaseline,
  snpRehearsal,
  type TrustedRoot,
  tdxBaseline,
} from '@cella/evidence'
import { openTee, type SimulatedTee, simulatedVendorRoots, type TeeDriver } from '@cella/tee'
import { azureMachine } from '@cella/testing/azure-guest'
import { type GuestMachine, machineOf } from '@cella/testing/kbs-guest'
import {
  type Changes,
  decisionsOf,
  guestMeasurement,
  releases,
  type Setting,
  secretText,
  set,
} from '@cella/testing/secret-setting'
import { otherLaunch, simulatedPlatform, simulatedRoot, teeOf, workerLaunch } from '@cella/testing/vaults'

// Guests of TEEs other than SEV-SNP, through a whole release: their attesters' JSON, the operator's collateral, the
// owner's policy with a part for that TEE.

const open = (tee: SimulatedTee, more: object = {}): Promise<TeeDriver> =>
  openTee({ kind: 'simulated', folder: simulatedPlatform, measured: workerLaunch, tee, ...more })
const stranger = (tee: SimulatedTee): Promise<TeeDriver> => open(tee, { measured: otherLaunch })

interface Case {
  readonly name: string
  readonly machine: GuestMachine
  /** Another measurement on such a machine. */
  readonly other: GuestMachine
  readonly roots: readonly TrustedRoot[]
  readonly collateral: Uint8Array
  readonly appraisal: NonNullable<Changes['appraisal']>
}

async function intelCase(tee: 'tdx' | 'sgx'): Promise<Case> {
  const driver = await open(tee)
  const roots = (await simulatedVendorRoots(simulatedPlatform)).filter((root) => root.tee === tee)
  // What the vendor publishes: with a guest's evidence itself nothing of it travels.
  const { endorsements = [] } = await driver.getEvidence(new Uint8Array(64))
  assert.ok(endorsements.some(({ kind }) => kind === 'tcb-info'))
  const parts = { tdx: tdxBaseline, sgx: { ...sgxBaseline, signers: 'any', productIds: 'any' } } as const
  return {
    name: tee,
    machine: machineOf(driver),
    other: machineOf(await stranger(tee)),
    roots,
    collateral: encodeCollateral(endorsements),
    appraisal: {
      boundaries: [tee === 'sgx' ? 'process' : 'vm'],
      measurements: [driver.describe().measurement!],
      tees: { [tee]: parts[tee] },
    },
  }
}

async function azureCase(): Promise<Case> {
  const { machine, chain } = await azureMachine(await teeOf(workerLaunch))
  const { machine: other } = await azureMachine(await teeOf(otherLaunch))
  const certificates = chain.map((content): Endorsement => ({ kind: 'certificate', content }))
  return {
    name: 'az-snp-vtpm',
    machine,
    other,
    roots: [simulatedRoot],
    collateral: encodeCollateral(certificates),
    appraisal: {
      measurements: [guestMeasurement],
      tees: { 'azure-vm': { ...azureVmPresets.sevSnp, sevSnp: snpRehearsal } },
    },
  }
}

const denial = async (setting: Setting, machine: GuestMachine): Promise<string> => {
  const guest = await (await setting.guest(machine)).handshake()
  const before = releases(setting)
  const answer = await guest.resource(setting.path)
  assert.equal(answer.status, 403, answer.text)
  assert.equal(decisionsOf(setting).at(-1)!.allowed, false)
  assert.equal(releases(setting), before)
  return String(answer.body.detail)
}

for (const { name, machine, other, roots, collateral, appraisal } of [
  await intelCase('tdx'),
  await intelCase('sgx'),
  await azureCase(),
]) {
  test(`a guest of ${name} gets a secret; another measurement, another TEE’s policy, missing collateral do not`, async (context) => {
    const changes: Changes = { roots, collateral, appraisal }
    const setting = await set(context, changes)
    const guest = await (await setting.guest(machine)).handshake()
    const answer = await guest.resource(setting.path)
    assert.equal(answer.status, 200, answer.text)
    assert.equal(Buffer.from(await guest.open(answer)).toString(), secretText)
    assert.equal(releases(setting), 1)
    assert.match(await denial(setting, other), /ERR_TEE_MEASUREMENT/)
    // The same session's evidence under the name of another TEE is none of that.
    const posing = await setting.guest({ ...machine, tee: name === 'tdx' ? 'sgx' : 'tdx' })
    await posing.auth()
    const posed = await posing.attest()
    assert.deepEqual([posed.status, String(posed.body.detail).split(':')[0]], [400, 'ERR_EVIDENCE_MALFORMED'])

    const without = await set(context, { roots, appraisal })
    assert.match(
      await denial(without, machine),
      name === 'az-snp-vtpm' ? /ERR_EVIDENCE_COLLATERAL_MISSING|ERR_EVIDENCE_CHAIN/ : /ERR_TEE_INTEL_TCB_STATUS/,
    )
    const forSnpAlone = await set(context, { roots, collateral })
    assert.match(await denial(forSnpAlone, machine), /ERR_TEE_TEE_REFUSED/)
  })
}
