import { parseArgs } from 'node:util'
import { readWitnessConfig } from './config.ts'
import { loadWitnessKeys } from './key-file.ts'
import { openWitness } from './open.ts'

// node main.ts --config FILE           serve; the first line on standard output is {"url", "vkey", "vkeys"}
// node main.ts --config FILE --init    make keys where there are none, print {"vkey", "vkeys"}, and end
// `vkey` is the Ed25519 one, `vkeys` all of them.

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { config: { type: 'string' }, init: { type: 'boolean' } } })
  if (values.config === undefined) throw new TypeError('usage: --config FILE [--init]')
  const config = readWitnessConfig(values.config)
  const { vkeys } = loadWitnessKeys(config)
  const shown = { vkey: vkeys[0], vkeys }
  if (values.init) {
    process.stdout.write(`${JSON.stringify(shown)}\n`)
    return
  }
  const witness = await openWitness(config)
  const stop = (): void => {
    witness.close().catch(() => process.exit(1))
  }
  process.once('SIGTERM', stop)
  process.once('SIGINT', stop)
  process.stdout.write(`${JSON.stringify({ url: witness.url, ...shown })}\n`)
}

main().catch((error: unknown) => {
  process.stderr.write(`error: ${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
})
