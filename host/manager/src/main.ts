import { parseArgs } from 'node:util'
import { readConfig } from './config.ts'
import { ManagerError } from './error.ts'
import { startManager } from './manager.ts'

// node main.ts --config FILE     serves; the first line on standard output is {"url"}; SIGTERM ends it cleanly

try {
  const { values } = parseArgs({ options: { config: { type: 'string' } } })
  if (values.config === undefined) throw new TypeError('usage: --config FILE')
  const manager = await startManager(await readConfig(values.config), { databaseUrl: process.env.DATABASE_URL })
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      manager.stop().then(() => process.exit(0), fail)
    })
  }
  process.stdout.write(`${JSON.stringify({ url: manager.url })}\n`)
} catch (error) {
  fail(error)
}

function fail(error: unknown): never {
  process.stderr.write(`error: ${error instanceof Error ? error.message : String(error)}\n`)
  if (error instanceof ManagerError && error.hint !== undefined) process.stderr.write(`hint: ${error.hint}\n`)
  process.exit(1)
}
