import { join } from 'node:path'
import { folderStore } from '@cella/monitor'
import type { WitnessConfig } from './config.ts'
import { loadWitnessKeys } from './key-file.ts'
import { createMirror } from './mirror.ts'
import { startWitnessServer } from './server.ts'
import { createWitness } from './witness.ts'

/** Starts the witness, or with `copies` the mirror, that the settings describe, with its keys. */
export async function openWitness(config: WitnessConfig): Promise<{ url: string; close(): Promise<void> }> {
  const { file, logs, copies, logRequestsPerSecond, listen, requestsPerSecond } = config
  const { keys } = loadWitnessKeys(config)
  const options = { file, keys, logs, logRequestsPerSecond, now: () => Date.now() / 1000 }
  const witness =
    copies === undefined
      ? createWitness(options)
      : createMirror({ ...options, storeOf: (prefix) => folderStore(join(copies, prefix)) })
  const server = await startWitnessServer({ witness, listen, requestsPerSecond })
  return {
    url: server.url,
    async close() {
      await server.close()
      witness.close()
    },
  }
}
