import { parseArgs } from 'node:util'
import { readConfig } from './config.ts'
import { ManagerError } from './error.ts'
import { startManager } from './manager.ts'

// node main.ts --config FILE     serves; the first line on standard output is {"url", "public"}; SIGTERM ends it cleanly

try {
  const { values } = parseArgs({ options: { config: { type: 'string' } } })
  if (values.config === undefined) throw new TypeError('usage: --config FILE')
  let isStopping = false
  let stop = (): void => undefined
  // From the first moment on: what a start has begun (initdb, a database server) must not outlive this process.
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      isStopping = true
      stop()
    })
  }
  const manager = await startManager(await readConfig(values.config), { databaseUrl: process.env.DATABASE_URL })
  stop = () => void manager.stop().then(() => process.exit(0), fail)
  if (isStopping) stop()
  // Whoever watches this process starts it again, and with it the database.
  void manager.lost.then(() => {
    if (isStopping) return
    fail(new ManagerError('ERR_DATABASE_UNAVAILABLE', 'the database server ended', { hint: 'start the manager again' }))
  })
  process.stdout.write(`${JSON.stringify({ url: manager.url, public: manager.public ?? null })}\n`)
} catch (error) {
  fail(error)
}

function fail(error: unknown): never {
  const code = error instanceof ManagerError ? ` (${error.code})` : ''
  const hint = error instanceof ManagerError && error.hint !== undefined ? `hint: ${error.hint}\n` : ''
  process.stderr.write(`error: ${error instanceof Error ? error.message : String(error)}${code}\n${hint}`)
  process.exit(1)
}
