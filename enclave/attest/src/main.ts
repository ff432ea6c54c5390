import { enclaveOptions, measureLaunch, readConfiguration, requireHardened } from '@cella/channel'
import { openTee, type TeeDriver } from '@cella/tee'
import { type AttestConfiguration, attestConfigurationSchema } from './configuration.ts'
import { Log } from './log.ts'
import { release } from './release.ts'
import { startAttestService } from './start.ts'

// The attestation service: configuration on standard input, lines of JSON on standard output, HTTP on a port. The same
// program with and without a TEE.

requireHardened(enclaveOptions)
const { configuration, digest } = await readConfiguration(attestConfigurationSchema, process.stdin)
const log = new Log(configuration.log)
try {
  const launch = await measureLaunch()
  const running = await startAttestService({
    configuration,
    digest,
    tee: await teeOf(configuration, launch),
    build: { release, node: process.version, bundle: isBundle() ? launch.bundleDigest : null },
    log,
  })
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => {
      log.event('stopping')
      running.close().then(
        () => process.exit(0),
        () => process.exit(1),
      )
    })
  }
  const { url, issuer } = running
  log.event('ready', { url, issuer, key: running.service.keyId, tee: configuration.tee?.kind ?? null })
} catch (error) {
  const { code, message } = error as { code?: string; message: string }
  log.event('failed', { code: code ?? 'ERR_ATTEST_INTERNAL', message: code === undefined ? 'failed' : message })
  if (code === undefined) log.failed(error)
  process.exit(1)
}

async function teeOf(
  { tee }: AttestConfiguration,
  measured: Awaited<ReturnType<typeof measureLaunch>>,
): Promise<TeeDriver | undefined> {
  if (tee === null) return undefined
  return openTee(tee.kind === 'simulated' ? { ...tee, measured } : { kind: 'hardware' })
}

/** Whether all of it is in the one file that was measured. */
function isBundle(): boolean {
  return !import.meta.url.endsWith('/src/main.ts')
}
