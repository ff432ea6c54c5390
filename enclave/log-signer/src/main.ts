import type { AddressInfo } from 'node:net'
import { enclaveOptions, measureLaunch, readConfiguration, requireHardened } from '@cella/channel'
import { encodeVkey } from '@cella/log'
import { openTee } from '@cella/tee'
import { signerConfigurationSchema } from './configuration.ts'
import { LogSigner } from './log-signer.ts'
import { createSignerServer } from './server.ts'

// The log signer enclave: configuration on standard input, one line of JSON on standard output once it listens.

requireHardened(enclaveOptions)
const [{ configuration, digest }, launch] = await Promise.all([
  readConfiguration(signerConfigurationSchema, process.stdin),
  measureLaunch(),
])
const tee = await openTee(
  configuration.tee.kind === 'hardware' ? { kind: 'hardware' } : { ...configuration.tee, measured: launch },
)
const signer = await LogSigner.open(tee, configuration)
const server = createSignerServer({ signer, tee, configuration: digest })
server.listen(configuration.listen.port, configuration.listen.host, () => {
  const { port } = server.address() as AddressInfo
  const line = { event: 'listening', port, vkey: encodeVkey(signer.key), size: signer.size, ...tee.describe() }
  process.stdout.write(`${JSON.stringify(line)}\n`)
})
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.once(signal, () => {
    server.close(() => process.exit(0))
    server.closeIdleConnections()
    setTimeout(() => process.exit(0), 2000).unref()
  })
}
