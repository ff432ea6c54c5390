import { decodeBase64url, decodeUtf8, encodeHex, FormatError } from '@cella/bytes'
import { type Attempt, type Probe, requireLength, type SourceDriver } from '../source.ts'
import { jsonObject, readingAnswer } from './answer.ts'
import { callService, lookForService, type ServiceAddress } from './request.ts'

// Google Confidential Space: the launcher's socket gives the verdict of an attestation service as a token (JWT), not the
// evidence below it. Nonces are 10 to 74 bytes of text.

const tokenBytesMax = 32_768

export interface ConfidentialSpaceOptions {
  readonly launcher?: ServiceAddress
  /** `aud` of the token: whom it is for. */
  readonly audience: string
  /** Google's own service, or Intel Trust Authority where the launcher is set up for it. */
  readonly service?: 'google' | 'intel'
  readonly timeoutMs?: number
}

/** A workload in Confidential Space. The token's `eat_nonce` is the binding digest (32 bytes) in hexadecimal. */
export function confidentialSpaceDriver(options: ConfidentialSpaceOptions): SourceDriver {
  const { launcher = { socket: '/run/container_launcher/teeserver.sock' }, timeoutMs = 30_000 } = options
  return {
    name: 'confidential-space',
    title: 'Google Confidential Space: attestation token',
    async probe(): Promise<Probe> {
      const attempts: Attempt[] = []
      if (!(await lookForService(launcher, Math.min(timeoutMs, 2_000), attempts))) {
        return { source: undefined, attempts, why: 'no launcher of Confidential Space listens' }
      }
      return {
        attempts,
        source: {
          name: 'confidential-space',
          bindingLength: 32,
          async collect(binding) {
            requireLength(binding, 32)
            const nonce = encodeHex(binding)
            const answer = await callService(launcher, {
              method: 'POST',
              path: options.service === 'intel' ? '/v1/intel/token' : '/v1/token',
              body: { audience: options.audience, token_type: 'OIDC', nonces: [nonce] },
              answerBytesMax: tokenBytesMax,
              timeoutMs,
            })
            const token = readingAnswer('the launcher’s token', () => tokenOver(answer, nonce))
            return [{ role: 'cpu', format: 'confidential-space/1', fields: { token } }]
          },
        },
      }
    },
  }
}

/** The token's text, if it is one and has our nonce. Its signature is the verifier's business. */
function tokenOver(answer: Uint8Array, nonce: string): string {
  const token = decodeUtf8(answer, 'token').trim()
  const parts = token.split('.')
  if (parts.length !== 3) throw new FormatError('token', 'has not the three parts of a JWT')
  const [, claims] = parts.map((part, at) => decodeBase64url(part, `token part ${at}`))
  const found = jsonObject(claims!, 'token claims').eat_nonce
  const nonces = Array.isArray(found) ? found : [found]
  if (!nonces.includes(nonce)) throw new FormatError('token', 'is over another nonce than was asked for')
  return token
}
