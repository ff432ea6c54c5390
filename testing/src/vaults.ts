import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, type TestContext } from 'node:test'
import { type Digest, decodeBase64url, encodeBase64url, encodeUtf8, type Json } from '@cella/bytes'
import { HostBodies, HostClient, HostLog } from '@cella/channel'
import { bindingDigest, evidenceDigest, evidenceJson, parseEvidenceJson } from '@cella/evidence'
import { LogView, parseLogPolicy } from '@cella/log'
import { initPolicyEngine, policyEngineUrl } from '@cella/policy'
import { ed25519PublicKey, generateHpkeKeyPair, type HpkeKeyPair, randomBytes } from '@cella/primitives'
import { createSimulatedPlatform, openTee, type SimulatedLaunch, type TeeDriver } from '@cella/tee'
import { createVaultServer, KbsFront, Secrets, Sessions, Vault, VaultLog, VaultState } from '@cella/vault'
import { type EnclaveHost, type ServedLog, startEnclaveHost } from './enclave-host.ts'
import { MemoryLog } from './memory-log.ts'
import {
  makeScenario,
  type Scenario,
  type ScenarioChanges,
  type ScenarioContents,
  type ScenarioVault,
} from './scenario.ts'
import { World, type WorldLog } from './world.ts'

const root = mkdtempSync(join(tmpdir(), 'cella-vault-'))
after(() => rmSync(root, { recursive: true, force: true }))
/** Folder of the simulated machine. */
export const simulatedPlatform: string = join(root, 'platform')
const [{ root: trusted }] = await Promise.all([
  createSimulatedPlatform(simulatedPlatform),
  initPolicyEngine(readFileSync(policyEngineUrl())),
])

/** The simulated root that every simulated machine here stands under. */
export const simulatedRoot = trusted

const launchOf = (digit: string): SimulatedLaunch => ({
  nodeDigest: 'a'.repeat(64) as Digest,
  bundleDigest: digit.repeat(64) as Digest,
  commandLine: ['--no-addons'],
})
export const vaultLaunch: SimulatedLaunch = launchOf('b')
export const workerLaunch: SimulatedLaunch = launchOf('c')
export const otherLaunch: SimulatedLaunch = launchOf('d')

const tees = new Map<SimulatedLaunch, Promise<TeeDriver>>()
export function teeOf(measured: SimulatedLaunch): Promise<TeeDriver> {
  const tee = tees.get(measured) ?? openTee({ kind: 'simulated', folder: simulatedPlatform, measured })
  tees.set(measured, tee)
  return tee
}

export const now = (): number => Math.floor(Date.now() / 1000)

export function temporaryFolder(): string {
  return mkdtempSync(join(root, 'folder-'))
}

export interface Place<Log extends WorldLog & ServedLog = MemoryLog> {
  readonly log: Log
  readonly host: EnclaveHost
  readonly folder: string
}

/** A log and what serves it, and a folder for a vault. */
export async function place(context: TestContext): Promise<Place> {
  return placeWith(context, new MemoryLog({ now: now() }))
}

export async function placeWith<Log extends WorldLog & ServedLog>(context: TestContext, log: Log): Promise<Place<Log>> {
  const host = await startEnclaveHost(log)
  context.after(() => host.close())
  return { log, host, folder: temporaryFolder() }
}

const configuration = 'e'.repeat(64) as Digest

/** A vault as its main.ts starts it, on what lies in `folder`. */
export async function startVault(
  here: Place<WorldLog & ServedLog>,
  options: { launch?: SimulatedLaunch; folder?: string } = {},
): Promise<Vault> {
  return (await startVaultWithFront(here, options)).vault
}

/** The same with what guests speak to; `clock` is that of their sessions, in milliseconds. */
export async function startVaultWithFront(
  { log, host, folder }: Place<WorldLog & ServedLog>,
  options: { launch?: SimulatedLaunch; folder?: string; clock?: () => number } = {},
): Promise<{ vault: Vault; front: KbsFront }> {
  const tee = await teeOf(options.launch ?? vaultLaunch)
  const state = await VaultState.open(tee, options.folder ?? folder)
  const memory = await state.logMemory()
  const client = new HostClient({ origin: host.url })
  const hostLog = new HostLog(client)
  const policy = parseLogPolicy(encodeUtf8(log.policyOf()))
  const view = new LogView({ policy, read: hostLog, ...(memory && { memory }) })
  const vaultLog = new VaultLog({ view, key: policy.logs[0]!.key, host: hostLog, state })
  await vaultLog.start()
  const vault = new Vault({ state, log: vaultLog, bodies: new HostBodies(client), tee, configuration })
  const secrets = new Secrets({ state, log: vaultLog, host: client, vault })
  return { vault, front: new KbsFront(secrets, new Sessions(options.clock)) }
}

/** Puts the vaults' own HTTP servers behind the host, which passes calls and refusals on as a manager does. */
export async function serveVaults(context: TestContext, host: EnclaveHost, vaults: readonly Vault[]): Promise<void> {
  const urls = new Map<string, string>()
  for (const vault of vaults) {
    const server = createVaultServer(
      () => vault,
      () => undefined,
    )
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    context.after(() => {
      server.close()
      server.closeAllConnections()
    })
    urls.set(vault.id, `http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  }
  host.vaults = async (id, call, body) => {
    const response = await fetch(`${urls.get(id)}/${call}`, { method: 'POST', body: JSON.stringify(body) })
    const answer = (await response.json()) as { error?: { code: string } }
    if (answer.error === undefined) return answer
    throw Object.assign(new Error(answer.error.code), { status: response.status, code: answer.error.code })
  }
}

/** What grants are made for: KEKs as the vault itself gives them. */
export function granted(vault: Vault): ScenarioVault {
  return {
    id: vault.id as ScenarioVault['id'],
    launch: vaultLaunch,
    kekOf: async (organisation) => {
      const { binding } = (await vault.kek(organisation, encodeBase64url(randomBytes(32)))) as {
        binding: { kek: string }
      }
      return decodeBase64url(binding.kek, 'kek')
    },
  }
}

export async function scenarioFor<Log extends WorldLog & ServedLog>(
  { log }: Place<Log>,
  vault: Vault,
  change: ScenarioChanges = {},
  contents?: ScenarioContents,
  { programVault, shared }: { programVault?: Vault; shared?: boolean | undefined } = {},
): Promise<Scenario<Log>> {
  const world = new World(log)
  const options = {
    vault: granted(vault),
    programVault: programVault && granted(programVault),
    shared,
    worker: workerLaunch,
    roots: [trusted],
    change,
  }
  return makeScenario(world, { ...options, ...(contents && { contents }) })
}

/** What a worker sends and keeps for one attempt. */
export interface Asking {
  readonly request: { [name: string]: unknown }
  readonly hpke: HpkeKeyPair
  readonly evidence: Digest
}

/** A worker's request to decide, over a fresh nonce; `change` bends binding or request before the evidence is made. */
export async function asking(
  vault: Vault,
  { contract, world }: Pick<Scenario, 'contract' | 'world'>,
  options: {
    run?: number
    attempt?: number
    launch?: SimulatedLaunch
    /** Vaults that are asked beside this one. */
    also?: readonly Vault[]
    binding?: { [name: string]: Json }
    request?: { [name: string]: Json }
  } = {},
): Promise<Asking> {
  const execution = { contract: contract.digest, run: options.run ?? 1, attempt: options.attempt ?? 1 }
  const hpke = await generateHpkeKeyPair()
  const { nonce } = vault.nonce() as { nonce: string }
  const binding: { [name: string]: Json } = {
    role: 'worker',
    signingKey: encodeBase64url(ed25519PublicKey(randomBytes(32))),
    hpkeKey: encodeBase64url(hpke.publicKey),
    nonces: Object.fromEntries([
      [vault.id, nonce],
      ...(options.also ?? []).map((other) => [other.id, (other.nonce() as { nonce: string }).nonce]),
    ]),
    ...execution,
    isolation: 2,
    served: 0,
    configuration,
    ...options.binding,
  }
  const tee = await teeOf(options.launch ?? workerLaunch)
  const evidence = await tee.getEvidence(bindingDigest(binding))
  return {
    request: {
      ...execution,
      documents: world.documents(),
      binding,
      evidence: evidenceJson(evidence),
      ...options.request,
    },
    hpke,
    evidence: evidenceDigest(parseEvidenceJson(evidenceJson(evidence))),
  }
}
