import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { enclaveOptions } from '@cella/channel'
import { generateNoteSigner } from '@cella/log'
import { type CheckpointSigner, type Log, localSigner, openLog, remoteSigner } from '@cella/log-server'
import { installSigner, withLogSigner } from '@cella/supervisor'
import type { Figure } from '@cella/testing'
import { closedLoop, freshLeaf, type Load } from '../host/log/bench/load.ts'
import { buildEnclaves, signBuilds } from '../scripts/build-enclave.ts'

// What it costs that a log's key is in an enclave: a process with a simulated TEE, asked once for each checkpoint, which
// makes its own record durable first. The peer is the same log with the key in its own process, in the same run.

const seconds = 3
const root = fileURLToPath(new URL('..', import.meta.url))
/** One client pays the hop and a third synced file for each entry; many share both. */
const targets: readonly (readonly [clients: number, ratio: number])[] = [
  [1, 0.4],
  [32, 0.5],
  [1000, 0.5],
]

export async function bench(report: (figure: Figure) => void): Promise<void> {
  // Beside the project, not in a temporary folder: that may be memory.
  const folder = await mkdtemp(join(process.cwd(), '.bench-signer-'))
  try {
    const bundles = await buildEnclaves(join(folder, 'enclaves'))
    const { organisation, builds } = await signBuilds(join(folder, 'enclaves'), bundles)
    const { file } = bundles.find(({ role }) => role === 'log-signer')!
    const documents = { organisation, build: builds.logSigner, options: [...enclaveOptions] }
    const { id } = installSigner(folder, join(folder, 'enclaves', file), documents)
    const own = await openAt(folder, 'own', localSigner(generateNoteSigner({ name: 'log.example/own', type: 'note' })))
    const origin = 'log.example/enclave'
    await withLogSigner({ dataFolder: folder, id, origin, tee: 'sev-snp', root }, async (url) => {
      const signer = await remoteSigner(url, origin)
      const log = await openAt(folder, 'enclave', signer)
      await signer.announce(log)
      for (const [clients, target] of targets) {
        const load = (of: Log): Promise<Load> => closedLoop({ clients, seconds, call: () => of.append([freshLeaf()]) })
        const peer = await load(own)
        const { rate, p50Ms } = await load(log)
        const ratio = rate / peer.rate
        report({
          bench: `log-signer: ${clients} client${clients === 1 ? '' : 's'}, at p50 ${p50Ms.toFixed(2)} ms`,
          value: rate,
          unit: 'entries/s',
          against: `the key in the log's process, ${peer.rate.toFixed(0)}/s at p50 ${peer.p50Ms.toFixed(2)} ms`,
          ratio,
          target,
          met: ratio >= target,
        })
      }
      await log.close()
    })
    await own.close()
  } finally {
    await rm(folder, { recursive: true })
  }
}

function openAt(folder: string, name: string, signer: CheckpointSigner): Promise<Log> {
  return openLog({
    folder: join(folder, name),
    lastSignedFile: join(folder, `${name}.last-signed`),
    signer,
    witnesses: [],
    onFatal: (error) => {
      throw error
    },
  })
}
