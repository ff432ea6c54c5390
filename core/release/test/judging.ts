import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import { type Digest, encodeBase64url, encodeUtf8, type Json } from '@cella/bytes'
import type { SignedDocument } from '@cella/documents'
import { bindingDigest, ChainCache, type Evidence } from '@cella/evidence'
import { LogView, parseLogPolicy } from '@cella/log'
import { initPolicyEngine, policyEngineUrl } from '@cella/policy'
import { generateHpkeKeyPair, keyIdOf, randomBytes } from '@cella/primitives'
import {
  createSimulatedPlatform,
  openTee,
  type SimulatedFaults,
  type SimulatedTee,
  simulatedVendorRoots,
} from '@cella/tee'
import { MemoryLog } from '@cella/testing/memory-log'
import { makeScenario, type Scenario, type ScenarioChanges, type ScenarioVault } from '@cella/testing/scenario'
import { World } from '@cella/testing/world'
import {
  appraiseEnclave,
  type EnclaveEvidence,
  type HostWord,
  type Judgement,
  judgeContract,
  type LogSigners,
  readDocumentSet,
} from '../src/index.ts'

export const start = 1_760_000_000
export const day = 86_400

const root = mkdtempSync(join(tmpdir(), 'cella-release-'))
after(() => rmSync(root, { recursive: true, force: true }))
const [platform, otherPlatform] = await Promise.all([
  createSimulatedPlatform(join(root, 'one'), { now: start - 365 * day }),
  createSimulatedPlatform(join(root, 'two'), { now: start - 365 * day }),
  initPolicyEngine(readFileSync(policyEngineUrl())),
])
export const roots = [platform.root]
/** Of the simulated SGX, TDX and Nitro of platform one. */
export const vendorRoots = await simulatedVendorRoots(join(root, 'one'))
export const otherRoots = [otherPlatform.root]

const launchOf = (digit: string) => ({
  nodeDigest: 'a'.repeat(64) as Digest,
  bundleDigest: digit.repeat(64) as Digest,
  commandLine: ['--no-addons'],
})
export const workerLaunch = launchOf('b')
export const vaultLaunch = launchOf('c')
export const otherLaunch = launchOf('d')

const vaultKey = randomBytes(32)
const kek = await generateHpkeKeyPair()
export const vault: ScenarioVault = {
  id: keyIdOf(vaultKey),
  kekOf: async () => kek.publicKey,
  launch: vaultLaunch,
}

const chains = new ChainCache()
export const binding: { [name: string]: Json } = { role: 'worker', nonce: encodeBase64url(randomBytes(32)) }

/** Evidence of a simulated worker; each kind of it is made once. */
const evidences = new Map<string, Promise<Evidence>>()
export function evidenceOf(
  options: {
    launch?: typeof workerLaunch
    faults?: SimulatedFaults
    platform?: 'one' | 'two'
    tee?: SimulatedTee
  } = {},
): Promise<Evidence> {
  const { launch = workerLaunch, faults, platform: name = 'one', tee = 'sev-snp' } = options
  const key = JSON.stringify([tee, launch, name, faults && { ...faults, chipId: faults.chipId?.toHex() }])
  const made =
    evidences.get(key) ??
    openTee({
      kind: 'simulated',
      folder: join(root, name),
      measured: launch,
      tee,
      now: () => start,
      ...(faults && { simulate: faults }),
    }).then((driver) => driver.getEvidence(bindingDigest(binding)))
  evidences.set(key, made)
  return made
}

/** A fresh world with the scenario that everyone permits, but for `change`. */
export async function arrange(
  change: ScenarioChanges = {},
  log: MemoryLog = new MemoryLog({ now: start }),
): Promise<Scenario<MemoryLog>> {
  return makeScenario(new World(log), { vault, worker: workerLaunch, roots, change })
}

/** What a judgement is asked with, where it differs from run 1, attempt 1, by a sound worker. */
export interface Asked {
  readonly run?: number
  readonly attempt?: number
  readonly vault?: ScenarioVault['id']
  readonly contract?: SignedDocument<'cella/contract'>
  readonly host?: HostWord
  readonly signers?: LogSigners
  /** The use that the log has counted up to, this one included. */
  readonly use?: number
  readonly enclave?: Partial<EnclaveEvidence>
  /** Reads the documents before `afterwards` runs, so that it can change the log behind them. */
  readonly afterwards?: () => Promise<void>
}

/** The judgements of data and program. */
export async function judge(
  { world, contract: usual }: Pick<Scenario<MemoryLog>, 'world' | 'contract'>,
  asked: Asked = {},
): Promise<{ data: Judgement; program: Judgement }> {
  const { log } = world
  const view = new LogView({ policy: parseLogPolicy(encodeUtf8(log.policyOf([]))), read: log })
  await view.advance()
  const documents = await readDocumentSet(world.documents(), view)
  if (asked.afterwards !== undefined) {
    await asked.afterwards()
    await view.advance()
  }
  const evidence = await evidenceOf()
  const enclave = { role: 'worker' as const, evidence, binding, isolation: 2, ...asked.enclave }
  const judgements = await judgeContract({
    contract: asked.contract ?? usual,
    run: asked.run ?? 1,
    attempt: asked.attempt ?? 1,
    documents,
    checkpoint: await log.checkpoint(),
    host: asked.host,
    signers: asked.signers ?? 'unseen',
    asked: (asked.contract ?? usual).payload.vaults,
    vault: asked.vault ?? vault.id,
    useOf: () => asked.use ?? 1,
    appraise: (terms, now) => appraiseEnclave(enclave, { terms, documents, now, cache: chains }),
  })
  const [data, program] = judgements
  return { data: data!, program: program! }
}

export function codesOf(judgement: Judgement): string[] {
  return [...new Set(judgement.reasons.map(({ code }) => code))].sort()
}
