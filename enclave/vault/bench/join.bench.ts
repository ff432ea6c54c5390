import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { encodeBase64url } from '@cella/bytes'
import { HostClient, listenAttested } from '@cella/channel'
import { parseDocumentOf } from '@cella/documents'
import { randomBytes } from '@cella/primitives'
import type { Figure } from '@cella/testing'
import { startEnclaveHost, startRealLog } from '@cella/testing/enclave-host'
import { scenarioFor, startVault } from '@cella/testing/vaults'

const organisations = 8
const msMax = 2000

/** An empty vault joins another over attested TLS, with the product's log server and a witness: until it stands in for all. */
export async function bench(report: (figure: Figure) => void): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'cella-join-bench-'))
  const log = await startRealLog(folder, Math.floor(Date.now() / 1000))
  const host = await startEnclaveHost(log)
  const here = { log, host, folder: join(folder, 'vault') }
  const vault = await startVault(here)
  const { world, builds, terms } = await scenarioFor(here, vault)
  const { roots, worker } = terms.payload
  for (let at = 2; at < organisations; at++) {
    const party = await world.organisation(`Organisation ${at}`)
    await world.terms(party, { vault: { builds: [builds.vault.digest], signers: [] }, worker, roots })
    await vault.kek(party.id, encodeBase64url(randomBytes(32)))
  }
  host.terms = () => world.documents()
  host.joined = ({ document }) => {
    world.envelopes.set(parseDocumentOf('cella/join', document).digest, document)
  }
  const client = new HostClient({ origin: host.url })
  const { giver, end } = vault.replication(client)
  const failures: unknown[] = []
  const server = await listenAttested(end, {
    host: '127.0.0.1',
    port: 0,
    serve: (peer) => giver.serve(peer),
    onFailure: (error) => failures.push(error),
  })
  try {
    const replica = await startVault({ ...here, folder: join(folder, 'replica') })
    const { taker } = replica.replication(client)
    const startedMs = performance.now()
    const { taken } = await taker.join({ host: '127.0.0.1', port: server.port })
    const ms = performance.now() - startedMs
    if (taken !== organisations || failures.length > 0) throw new Error(`${taken} of ${organisations} went over`)
    report({
      bench: `vault/join: two replicas join, ${organisations} organisations`,
      value: ms,
      unit: 'ms',
      against: `${msMax} ms`,
      ratio: ms / msMax,
      target: 1,
      met: ms <= msMax,
    })
  } finally {
    await server.close()
    await host.close()
    await log.close()
    rmSync(folder, { recursive: true, force: true })
  }
}
