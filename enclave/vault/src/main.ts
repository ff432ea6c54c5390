import type { AddressInfo } from 'node:net'
import cedarWasm from '@cedar-policy/cedar-wasm/web/cedar_wasm_bg.wasm'
import { encodeUtf8 } from '@cella/bytes'
import {
  enclaveOptions,
  HostBodies,
  HostClient,
  HostLog,
  measureLaunch,
  readConfiguration,
  requireHardened,
} from '@cella/channel'
import { LogView, parseLogPolicy } from '@cella/log'
import { initPolicyEngine } from '@cella/policy'
import { openTee } from '@cella/tee'
import { vaultConfigurationSchema } from './configuration.ts'
import { startReplication } from './join/replication.ts'
import { KbsFront } from './kbs/front.ts'
import { Secrets } from './secrets.ts'
import { createVaultServer } from './server.ts'
import { VaultState } from './state.ts'
import { Vault } from './vault.ts'
import { VaultLog } from './vault-log.ts'

// The vault enclave: configuration on standard input, one line of JSON on standard output for each thing that the
// supervisor waits for, HTTP on a loopback port.

requireHardened(enclaveOptions)
const [{ configuration, digest }, launch] = await Promise.all([
  readConfiguration(vaultConfigurationSchema, process.stdin),
  measureLaunch(),
  initPolicyEngine(cedarWasm),
])
const tee = await openTee(
  configuration.tee.kind === 'hardware' ? { kind: 'hardware' } : { ...configuration.tee, measured: launch },
)
const state = await VaultState.open(tee, configuration.folder)
const memory = await state.logMemory()
const client = new HostClient({ origin: configuration.manager, token: configuration.token })
const host = HostLog.at(configuration.log, client)
const bodies = new HostBodies(client)
const policy = parseLogPolicy(encodeUtf8(configuration.logPolicy))
const [followed] = policy.logs
const view = new LogView({
  policy,
  read: host,
  // What it remembers is a tree, whatever the name: a log's successor is the same tree under another one, and only the
  // terms of owners accept a name. A log that does not go on from this tree is refused.
  ...(memory && { memory: { ...memory, origin: followed?.key.name ?? memory.origin } }),
})
const log = new VaultLog({ view, key: followed!.key, host, state })
let vault: Vault | undefined
let front: KbsFront | undefined

const server = createVaultServer(
  () => vault,
  () => front,
)
server.listen(configuration.listen.port, configuration.listen.host, () => {
  report({ event: 'listening', port: (server.address() as AddressInfo).port, id: state.id, ...tee.describe() })
})
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.once(signal, () => {
    server.close(() => process.exit(0))
    server.closeIdleConnections()
    setTimeout(() => process.exit(0), 2000).unref()
  })
}

for (let waitMs = 50; vault === undefined; waitMs = Math.min(waitMs * 2, 2000)) {
  try {
    await log.start()
    const ready = new Vault({ state, log, bodies, tee, configuration: digest })
    const secrets = new Secrets({ state, log, host: client, vault: ready })
    front = new KbsFront(secrets)
    vault = ready
    if (configuration.join !== undefined) await startReplication(ready, configuration.join, { host: client, report })
    report({ event: 'ready', size: view.size })
  } catch (error) {
    const { code, message } = error as { code?: string; message: string }
    report({ event: 'waiting', code: code ?? 'ERR_VAULT_INTERNAL', message: code === undefined ? 'failed' : message })
    await new Promise((resolve) => setTimeout(resolve, waitMs))
  }
}

const every = (seconds: number, what: string, work: () => Promise<void>): void => {
  setInterval(() => {
    // What could not be logged now is logged the next time.
    work().catch((error: { code?: string }) => report({ event: what, code: error.code ?? 'ERR_VAULT_INTERNAL' }))
  }, seconds * 1000).unref()
}
every(60, 'chores', () => vault.chores())
let stood = ''
every(5, 'standing', async () => {
  const standing = await state.standing()
  if (JSON.stringify(standing) !== stood) report({ event: 'standing', ...standing })
  stood = JSON.stringify(standing)
})
if (configuration.coverSeconds !== undefined) every(configuration.coverSeconds, 'cover', () => vault.events.cover())

function report(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}
