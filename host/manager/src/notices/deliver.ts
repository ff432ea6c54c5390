import { lookup } from 'node:dns'
import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { BlockList, isIP } from 'node:net'
import { encodeBase64, encodeUtf8 } from '@cella/bytes'
import { ed25519PublicKey, ed25519Sign, hkdfSha256 } from '@cella/primitives'

// Standard Webhooks (standard-webhooks spec 1.0), asymmetric: webhook-signature is "v1a," ‖ base64 of the Ed25519 signature
// over ID.TIMESTAMP.BODY. So no secret is shared, and none lies in the database.

const timeoutMs = 10_000
const answerBytesMax = 4096

/** Networks that no webhook may lead to: this machine and what stands beside it. RFC 6890, RFC 4193, RFC 4291. */
const inside = new BlockList()
for (const [network, prefix] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
] as const) {
  inside.addSubnet(network, prefix, 'ipv4')
}
for (const [network, prefix] of [
  ['::', 127],
  ['64:ff9b::', 96],
  ['fc00::', 7],
  ['fe80::', 10],
  ['ff00::', 8],
] as const) {
  inside.addSubnet(network, prefix, 'ipv6')
}

/** The key that signs what is delivered: the same for all managers of one installation. */
export class WebhookKey {
  readonly #seed: Uint8Array
  /** `whpk_` ‖ base64 of the Ed25519 public key, as Standard Webhooks spells it. */
  readonly publicKey: string

  constructor(workerToken: string) {
    this.#seed = hkdfSha256({
      ikm: encodeUtf8(workerToken),
      salt: new Uint8Array(),
      info: encodeUtf8('cella/v1/webhook'),
      length: 32,
    })
    this.publicKey = `whpk_${encodeBase64(ed25519PublicKey(this.#seed))}`
  }

  headers(id: string, seconds: number, body: string): Record<string, string> {
    const signature = ed25519Sign(this.#seed, encodeUtf8(`${id}.${seconds}.${body}`))
    return {
      'webhook-id': id,
      'webhook-timestamp': `${seconds}`,
      'webhook-signature': `v1a,${encodeBase64(signature)}`,
    }
  }
}

/**
 * Posts to a webhook. Resolves on a status of 2xx, and rejects with a short reason otherwise: another status, no answer, or
 * an address inside. The name is resolved once, so that what was checked is what is called; no redirect is followed.
 */
export async function deliver(
  url: string,
  { body, headers, allowInside }: { body: string; headers: Record<string, string>; allowInside: boolean },
): Promise<void> {
  const { protocol } = new URL(url)
  if (protocol !== 'https:' && !allowInside) throw new Error('its address is not https')
  const send = protocol === 'https:' ? httpsRequest : httpRequest
  const status = await new Promise<number>((resolve, reject) => {
    const outgoing = send(
      url,
      {
        method: 'POST',
        headers: { ...headers, 'content-type': 'application/json', 'user-agent': 'cella-webhook' },
        lookup: (hostname, options, callback) => {
          lookup(hostname, options, (error, found, family) => {
            const addresses = typeof found === 'string' ? [found] : (found ?? []).map(({ address }) => address)
            if (error === null && !allowInside && addresses.some(isInside)) {
              callback(new Error('it leads inside the operator’s network'), found, family)
              return
            }
            callback(error, found, family)
          })
        },
        signal: AbortSignal.timeout(timeoutMs),
      },
      (answer) => {
        let bytes = 0
        answer.on('data', (part: Buffer) => {
          bytes += part.length
          // The status is all that counts.
          if (bytes > answerBytesMax) outgoing.destroy()
        })
        answer.on('error', () => undefined)
        resolve(answer.statusCode ?? 0)
      },
    )
    outgoing.on('error', reject)
    outgoing.end(body)
  })
  if (status < 200 || status > 299) throw new Error(`it answers ${status}`)
}

/** Whether a URL names an address inside outright, where no name is looked up. */
export function isInside(address: string): boolean {
  const family = isIP(address)
  if (family === 0) return false
  // An IPv4 address in the clothes of IPv6 is checked as what it is.
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1]
  if (mapped !== undefined) return inside.check(mapped, 'ipv4')
  return inside.check(address, family === 4 ? 'ipv4' : 'ipv6')
}
