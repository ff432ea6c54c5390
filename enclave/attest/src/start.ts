import { readFile } from 'node:fs/promises'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Digest, decodeUtf8, FormatError } from '@cella/bytes'
import type { TeeDriver } from '@cella/tee'
import { Collateral } from './collateral.ts'
import type { AttestConfiguration } from './configuration.ts'
import { AttestError } from './error.ts'
import { makeFolder } from './files.ts'
import type { Log } from './log.ts'
import { Policies } from './policies.ts'
import { policyRequest } from './requests.ts'
import { createAttestServer } from './server.ts'
import { AttestationService, type Build } from './service.ts'
import { SigningKeys } from './signing-keys.ts'

const upkeepMs = 2000
const closeMs = 10_000

export interface RunningService {
  readonly url: string
  readonly issuer: string
  readonly service: AttestationService
  /** Answers what was asked, for ten seconds at most, and ends. */
  close(): Promise<void>
}

/** Listens, then opens keys, collateral and policies, then answers. Throws what keeps it from that. */
export async function startAttestService(options: {
  configuration: AttestConfiguration
  digest: Digest
  tee: TeeDriver | undefined
  build: Build
  log: Log
}): Promise<RunningService> {
  const { configuration, log } = options
  let service: AttestationService | undefined
  const server = createAttestServer({
    ready: () => service,
    addressPerSecond: configuration.limits.addressPerSecond,
    log,
  })
  const url = await listen(server, configuration.listen)
  try {
    const issuer = configuration.issuer ?? url
    service = await openService({ ...options, issuer })
    const upkeep = setInterval(() => void keepUp(service!, log), upkeepMs)
    upkeep.unref()
    return {
      url,
      issuer,
      service,
      close: async () => {
        clearInterval(upkeep)
        await close(server)
      },
    }
  } catch (error) {
    server.close()
    server.closeAllConnections()
    throw error
  }
}

async function openService({
  configuration,
  digest,
  tee,
  build,
  log,
  issuer,
}: Parameters<typeof startAttestService>[0] & { issuer: string }): Promise<AttestationService> {
  const now = Math.floor(Date.now() / 1000)
  const { folder, tokenSeconds, keyDays, limits, organisations } = configuration
  await makeFolder(folder)
  const keys = await SigningKeys.open({ folder, tee, tokenSeconds, now })
  if (configuration.rotate) await keys.rotate(now)
  const collateral = await Collateral.open(configuration.collateral ?? undefined, now)
  const policies = await Policies.open({ folder, organisations })
  for (const path of configuration.policies) await putFile(policies, path, log)
  return new AttestationService({
    issuer,
    keys,
    policies,
    collateral,
    tee,
    configuration: digest,
    build,
    tokenSeconds,
    keyDays,
    organisationPerSecond: limits.organisationPerSecond,
  })
}

async function putFile(policies: Policies, path: string, log: Log): Promise<void> {
  let request: ReturnType<typeof policyRequest.parse>
  try {
    request = policyRequest.parse(JSON.parse(decodeUtf8(new Uint8Array(await readFile(path)), 'file')))
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    const problem =
      cause instanceof FormatError || code === undefined ? 'is no signed policy' : `can't be read (${code})`
    throw new AttestError('ERR_POLICY_MALFORMED', `${path}: ${problem}`, { cause })
  }
  try {
    await policies.put(request)
  } catch (error) {
    if (!(error instanceof AttestError && error.code === 'ERR_POLICY_OLDER')) throw error
    // The file lies there from before: what came later by PUT stays.
    log.warn('policy-older', { path, message: error.message })
  }
}

async function keepUp(service: AttestationService, log: Log): Promise<void> {
  try {
    for (const event of await service.upkeep()) log.event(event)
  } catch (error) {
    log.failed(error)
  }
}

async function listen(server: Server, { host, port }: AttestConfiguration['listen']): Promise<string> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.off('error', reject)
      resolve()
    })
  })
  const { address, family, port: bound } = server.address() as AddressInfo
  return `http://${family === 'IPv6' ? `[${address}]` : address}:${bound}`
}

async function close(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  server.closeIdleConnections()
  const late = setTimeout(() => server.closeAllConnections(), closeMs)
  await closed
  clearTimeout(late)
}
