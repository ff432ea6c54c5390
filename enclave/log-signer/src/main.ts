import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { enclaveOptions, measureLaunch, readConfiguration, requireHardened } from '@cella/channel'
import { encodeVkey } from '@cella/log'
import { openTee } from '@cella/tee'
import { type SignerConfiguration, signerConfigurationSchema } from './configuration.ts'
import { SignerError } from './error.ts'
import { Identity } from './identity.ts'
import { LogSigner } from './log-signer.ts'
import { createSignerServer, createSuccessorServer } from './server.ts'
import { Successor } from './succession.ts'

// The log signer enclave: configuration on standard input, one line of JSON on standard output once it listens.

requireHardened(enclaveOptions)
const [{ configuration, digest }, launch] = await Promise.all([
  readConfiguration(signerConfigurationSchema, process.stdin),
  measureLaunch(),
])
try {
  const tee = await openTee(
    configuration.tee.kind === 'hardware' ? { kind: 'hardware' } : { ...configuration.tee, measured: launch },
  )
  const identity = await Identity.open(tee, { ...configuration, configuration: digest })
  const successor = await successorOf(configuration)
  if (successor !== undefined) {
    // Started again it has the key, and is a signer.
    const server = createSuccessorServer(successor, () => server.close(() => process.exit(0)))
    listen(server, { event: 'successor' })
  } else {
    const signer = await LogSigner.open(tee, { ...configuration, identity })
    listen(createSignerServer({ signer, tee, configuration: digest }), {
      event: 'ready',
      vkey: encodeVkey(signer.key),
      size: signer.size,
      ...tee.describe(),
    })
  }

  async function successorOf({ predecessors, folder, origin }: SignerConfiguration): Promise<Successor | undefined> {
    if (predecessors === undefined) return undefined
    return Successor.open(tee, { folder, origin, identity, predecessors })
  }
} catch (error) {
  if (!(error instanceof SignerError)) throw error
  process.stderr.write(`error: ${error.message} (${error.code})\n`)
  process.exit(1)
}

function listen(server: Server, line: { readonly event: string; readonly [member: string]: unknown }): void {
  server.listen(configuration.listen.port, configuration.listen.host, () => {
    const { port } = server.address() as AddressInfo
    process.stdout.write(`${JSON.stringify({ ...line, port })}\n`)
  })
  // What counts is durable before it is answered: there is nothing to end.
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => process.exit(0))
}
