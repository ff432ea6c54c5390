import { setTimeout as sleep } from 'node:timers/promises'
import {
  type CollateralNeed,
  collateralBytesMax,
  type Endorsement,
  type EndorsementKind,
  EvidenceError,
  readCollateral,
} from '@cella/evidence'
import { CollateralError } from './error.ts'

export type CollateralServices = { readonly [Service in CollateralNeed['service']]: string }

/** The vendors' own. A PCCS stands in for Intel's, a mirror for AMD's. */
export const vendorServices: CollateralServices = {
  'amd-kds': 'https://kdsintf.amd.com',
  'intel-pcs': 'https://api.trustedservices.intel.com',
  'intel-certificates': 'https://certificates.trustedservices.intel.com',
  'nvidia-rim': 'https://rim.attestation.nvidia.com',
  'nvidia-ocsp': 'https://ocsp.ndis.nvidia.com',
}

export interface FetchOptions {
  readonly services: CollateralServices
  /** What became of each need, as it happens. */
  readonly onAnswer?: (need: CollateralNeed, outcome: 'fetched' | 'retrying', detail: string) => void
  readonly signal?: AbortSignal
  /** Milliseconds: for one answer, before a first retry, between requests to one service. */
  readonly timeout?: number
  readonly firstPause?: number
  readonly spacing?: number
  /** Requests for one need, the first one included. */
  readonly attempts?: number
}

/** AMD's service answers about one request in ten seconds and address. */
const spacings: { readonly [Service in CollateralNeed['service']]: number } = {
  'amd-kds': 10_000,
  'intel-pcs': 200,
  'intel-certificates': 200,
  'nvidia-rim': 200,
  'nvidia-ocsp': 200,
}
const pauseMax = 60_000
// Intel names the headers so; PCCS the same. URL-encoded PEM.
const chainHeaders = [
  'tcb-info-issuer-chain',
  'sgx-tcb-info-issuer-chain',
  'sgx-enclave-identity-issuer-chain',
  'sgx-pck-crl-issuer-chain',
]

/**
 * Asks the services for what `needs` name, one request at a time for each service. An answer is taken only when it is
 * of the kind that was asked for; nothing is verified. Throws CollateralError: ERR_COLLATERAL_UNAVAILABLE when the
 * retries are used up, ERR_COLLATERAL_REFUSED for a need that the service knows nothing of.
 */
export async function fetchCollateral(
  needs: readonly CollateralNeed[],
  options: FetchOptions,
): Promise<readonly Endorsement[]> {
  const services = new Set(needs.map(({ service }) => service))
  const fetched = await Promise.all(
    [...services].map(async (service) => {
      const found: Endorsement[] = []
      const own = needs.filter((need) => need.service === service)
      for (const [at, need] of own.entries()) {
        if (at > 0) await sleep(options.spacing ?? spacings[service], undefined, { signal: options.signal })
        found.push(...(await fetchNeed(need, options)))
      }
      return found
    }),
  )
  return fetched.flat()
}

async function fetchNeed(need: CollateralNeed, options: FetchOptions): Promise<readonly Endorsement[]> {
  const address = options.services[need.service].replace(/\/$/, '') + need.path
  const attempts = options.attempts ?? 5
  let pause = options.firstPause ?? 1000
  let problem = ''
  for (let attempt = 1; attempt <= attempts; attempt++) {
    const answer = await ask(address, need.body, options)
    if ('bytes' in answer) {
      const found = take(need, answer, address)
      options.onAnswer?.(need, 'fetched', address)
      return found
    }
    if (answer.final) throw new CollateralError('ERR_COLLATERAL_REFUSED', `${address}: ${answer.problem}`)
    problem = answer.problem
    if (attempt === attempts) break
    const wait = Math.min(Math.max(answer.retryAfter ?? 0, pause), pauseMax)
    options.onAnswer?.(need, 'retrying', `${problem}; again in ${Math.ceil(wait / 1000)} s`)
    await sleep(wait, undefined, { signal: options.signal })
    pause *= 2
  }
  throw new CollateralError('ERR_COLLATERAL_UNAVAILABLE', `${address}: ${problem}, asked ${attempts} times`)
}

type Answer =
  | { readonly bytes: Uint8Array; readonly headers: Headers }
  | { readonly problem: string; readonly final: boolean; readonly retryAfter?: number | undefined }

async function ask(
  address: string,
  body: Uint8Array | undefined,
  { timeout = 15_000, signal }: FetchOptions,
): Promise<Answer> {
  const deadline = AbortSignal.timeout(timeout)
  try {
    const response = await fetch(address, {
      ...(body && { method: 'POST', body: Buffer.from(body), headers: { 'content-type': 'application/ocsp-request' } }),
      // Where else the answer would come from is not what was configured.
      redirect: 'error',
      signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
    })
    if (response.ok) return { bytes: await bodyOf(response), headers: response.headers }
    await response.body?.cancel()
    const { status } = response
    const retryAfter = Number(response.headers.get('retry-after')) * 1000 || undefined
    return { problem: `answered ${status}`, final: status < 500 && status !== 429 && status !== 408, retryAfter }
  } catch (error) {
    if (error instanceof CollateralError) throw error
    signal?.throwIfAborted()
    const { name, message, cause } = error as Error
    if (name === 'TimeoutError') return { problem: `no answer in ${timeout / 1000} s`, final: false }
    return { problem: (cause as Error | undefined)?.message ?? message, final: false }
  }
}

async function bodyOf(response: Response): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  let length = 0
  for await (const part of response.body ?? []) {
    length += part.length
    if (length > collateralBytesMax) {
      throw new CollateralError(
        'ERR_COLLATERAL_ANSWER',
        `${response.url}: the answer has over ${collateralBytesMax} bytes`,
      )
    }
    parts.push(part)
  }
  return new Uint8Array(Buffer.concat(parts))
}

const kinds: { readonly [Form in CollateralNeed['form']]: EndorsementKind } = {
  'der-certificate': 'certificate',
  'pem-certificates': 'certificate',
  'der-crl': 'crl',
  'tcb-info': 'tcb-info',
  'enclave-identity': 'enclave-identity',
  rim: 'rim',
  ocsp: 'ocsp',
}

function take(need: CollateralNeed, answer: { bytes: Uint8Array; headers: Headers }, address: string): Endorsement[] {
  const found = collateralIn(answer.bytes, address)
  const strange = found.find(({ kind }) => kind !== kinds[need.form])
  if (found.length === 0 || strange) {
    throw new CollateralError(
      'ERR_COLLATERAL_ANSWER',
      `${address}: answered a ${strange?.kind ?? 'nothing'}, asked for a ${need.form}`,
    )
  }
  const chains = chainHeaders.flatMap((name) => {
    const chain = answer.headers.get(name)
    return chain === null ? [] : collateralIn(new TextEncoder().encode(decodeHeader(chain, address)), address)
  })
  return [...found, ...chains.filter(({ kind }) => kind === 'certificate')]
}

function decodeHeader(text: string, address: string): string {
  try {
    return decodeURIComponent(text)
  } catch (cause) {
    throw new CollateralError('ERR_COLLATERAL_ANSWER', `${address}: the issuer chain is not URL-encoded`, { cause })
  }
}

function collateralIn(bytes: Uint8Array, address: string): readonly Endorsement[] {
  try {
    return readCollateral(bytes)
  } catch (cause) {
    if (!(cause instanceof EvidenceError)) throw cause
    throw new CollateralError('ERR_COLLATERAL_ANSWER', `${address}: ${cause.message}`, { cause })
  }
}
