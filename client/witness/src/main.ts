import { parseArgs } from 'node:util'
import { encodeVkey } from '@cella/log'
import { readWitnessConfig } from './config.ts'
import { loadWitnessKey } from './key-file.ts'
import { startWitnessServer } from './server.ts'
import { createWitness } from './witness.ts'

// node main.ts --config FILE           serve; the first line on standard output is {"url", "vkey"}
// node main.ts --config FILE --init    make the key where there is none, print {"vkey"}, and end

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { config: { type: 'string' }, init: { type: 'boolean' } } })
  if (values.config === undefined) throw new TypeError('usage: --config FILE [--init]')
  const config = readWitnessConfig(values.config)
  const signer = loadWitnessKey({ file: config.keyFile, name: config.name })
  const vkey = encodeVkey(signer.key)
  if (values.init) {
    process.stdout.write(`${JSON.stringify({ vkey })}\n`)
    return
  }
  const witness = createWitness({
    file: config.file,
    keys: [signer],
    logs: config.logs,
    now: () => Date.now() / 1000,
  })
  const { listen, requestsPerSecond } = config
  const server = await startWitnessServer({ witness, listen, requestsPerSecond })
  const stop = (): void => {
    server.close().then(
      () => witness.close(),
      () => process.exit(1),
    )
  }
  process.once('SIGTERM', stop)
  process.once('SIGINT', stop)
  process.stdout.write(`${JSON.stringify({ url: server.url, vkey })}\n`)
}

main().catch((error: unknown) => {
  process.stderr.write(`error: ${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
})
