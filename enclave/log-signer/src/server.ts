import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { decodeBase64, FormatError } from '@cella/bytes'
import { encodeVkey } from '@cella/log'
import { Challenges, type TeeDriver, TeeError } from '@cella/tee'
import { z } from 'zod'
import { SignerError } from './error.ts'
import type { LogSigner } from './log-signer.ts'

const bodyBytesMax = 65_536
const signSchema = z.strictObject({
  from: z.int().min(0),
  proof: z.array(z.string().length(44)).max(64),
  text: z.string().max(4096),
})
const challengeSchema = z.strictObject({ nonce: z.string().regex(/^[A-Za-z0-9_-]{43}$/) })

/** Serves one signer: `GET /key`, `POST /challenge`, `POST /sign`. Who may ask is for the address to decide. */
export function createSignerServer(options: { signer: LogSigner; tee: TeeDriver; configuration: string }): Server {
  const { signer, tee, configuration } = options
  const vkey = encodeVkey(signer.key)
  const challenges = new Challenges('log-signer', tee)
  const answer = async (request: IncomingMessage): Promise<Uint8Array | string> => {
    switch (`${request.method} ${request.url}`) {
      case 'GET /key':
        return JSON.stringify({ vkey })
      case 'POST /challenge': {
        const { nonce } = await readBody(request, challengeSchema)
        return JSON.stringify(await challenges.answer(nonce, { configuration, vkey }))
      }
      case 'POST /sign': {
        const { text, from, proof } = await readBody(request, signSchema)
        return signer.sign({ text, from, proof: proof.map((hash) => decodeBase64(hash, 'proof')) })
      }
      default:
        throw new SignerError('ERR_SIGNER_MALFORMED', 'there is no such call')
    }
  }
  return createServer({ requestTimeout: 10_000, headersTimeout: 5_000 }, (request, response) => {
    answer(request).then(
      (body) => void response.end(body),
      (error: unknown) => refuse(response, error, signer.size),
    )
  })
}

/** The one place where a code becomes a status. */
function refuse(response: ServerResponse, error: unknown, size: number): void {
  const malformed = error instanceof FormatError || error instanceof RangeError
  const code =
    error instanceof SignerError || error instanceof TeeError
      ? error.code
      : malformed
        ? 'ERR_SIGNER_MALFORMED'
        : 'ERR_SIGNER_INTERNAL'
  const status = code === 'ERR_SIGNER_MALFORMED' ? 400 : error instanceof SignerError ? 409 : 503
  const message = code === 'ERR_SIGNER_INTERNAL' ? 'failed' : (error as Error).message
  response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify({ code, message, size }))
}

async function readBody<T>(request: IncomingMessage, schema: z.ZodType<T>): Promise<T> {
  const parts: Buffer[] = []
  let length = 0
  for await (const part of request) {
    length += part.length
    if (length > bodyBytesMax) throw new SignerError('ERR_SIGNER_MALFORMED', `a body has at most ${bodyBytesMax} bytes`)
    parts.push(part)
  }
  try {
    return schema.parse(JSON.parse(Buffer.concat(parts).toString('utf8')))
  } catch (cause) {
    throw new SignerError('ERR_SIGNER_MALFORMED', 'the body is not of the form of this call', { cause })
  }
}
