import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createWitness, loadWitnessKeys, startWitnessServer, type Witness } from '@cella/witness'

/** A witness whose clock is the test's, for the logs of installations on `dataFolders`, once they have a key. */
export async function openWitness(options: {
  readonly folder: string
  readonly name: string
  /** Seconds since 1970. */
  readonly now: () => number
  readonly dataFolders: readonly string[]
}): Promise<{ readonly vkey: string; readonly url: string; close(): Promise<void> }> {
  const { folder, name, now, dataFolders } = options
  const { keys, vkeys } = loadWitnessKeys({ name, keyFile: join(folder, `${name}.key`), mlDsaKeyFile: undefined })
  const known = new Set<string>()
  let witness: Witness | undefined
  /** The log's key is made at its first start, which asks its witnesses already. */
  const current = (): Witness | undefined => {
    const before = known.size
    for (const data of dataFolders) {
      const file = join(data, 'state.json')
      const { vkey } = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as { vkey?: string }) : {}
      if (vkey !== undefined) known.add(vkey)
    }
    if (known.size === before) return witness
    witness?.close()
    witness = createWitness({ file: join(folder, `${name}.db`), keys, logs: [...known], now })
    return witness
  }
  const unknown = { status: 404 as const, type: 'text/plain', body: new TextEncoder().encode('unknown log\n') }
  const server = await startWitnessServer({
    witness: {
      addCheckpoint: (body) => current()?.addCheckpoint(body) ?? unknown,
      signSubtree: (body) => current()?.signSubtree(body) ?? unknown,
      latest: (origin) => current()?.latest(origin),
      close: () => witness?.close(),
    },
    listen: { host: '127.0.0.1', port: 0 },
    requestsPerSecond: 10_000,
  })
  return {
    vkey: vkeys[0]!,
    url: server.url,
    async close() {
      await server.close()
      witness?.close()
    },
  }
}
