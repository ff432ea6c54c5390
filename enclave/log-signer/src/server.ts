import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { decodeBase64, decodeUtf8, encodeBase64, encodeUtf8, FormatError, type Json } from '@cella/bytes'
import { encodeVkey, signStreamProtocol } from '@cella/log'
import { Challenges, type TeeDriver, TeeError } from '@cella/tee'
import { z } from 'zod'
import { SignerError } from './error.ts'
import { answerFrames } from './frames.ts'
import type { EntryProof, LogSigner } from './log-signer.ts'
import type { Successor } from './succession.ts'

const signBytesMax = 65_536
const statementBytesMax = 2_097_152
const takeBytesMax = 134_217_728

const hashes = z.array(z.string().length(44)).max(64)
const entrySchema = z.strictObject({ index: z.int().min(0), path: hashes })
const signSchema = z.strictObject({
  entry: entrySchema.exactOptional(),
  from: z.int().min(0),
  proof: hashes,
  text: z.string().max(4096),
})
const receiptSchema = z.strictObject({ size: z.int().min(0) })
const passSchema = z.strictObject({ entry: entrySchema, statement: z.string().max(1_048_576) })
const takeSchema = z.strictObject({ sealed: z.string() })
const challengeSchema = z.strictObject({ nonce: z.string().regex(/^[A-Za-z0-9_-]{43}$/) })

type Answer = Promise<Uint8Array | Json>
type Calls = { readonly [call: string]: (request: IncomingMessage) => Answer }

/**
 * Serves a signer: `GET /key`, `GET /statements`, `POST /challenge`, `POST /receipt`, `POST /pass`, and the stream of frames at
 * `/sign`. Who may ask is for the address to decide.
 */
export function createSignerServer(options: { signer: LogSigner; tee: TeeDriver; configuration: string }): Server {
  const { signer, tee, configuration } = options
  const vkey = encodeVkey(signer.key)
  const challenges = new Challenges('log-signer', tee)
  const size = (): number => signer.size
  const server = serve(size, {
    'GET /key': async () => ({ vkey }),
    'GET /statements': async () => ({
      entry: signer.entry ?? null,
      statements: signer.statements.map((statement) => decodeUtf8(statement, 'statement')),
      vkey,
    }),
    'POST /challenge': async (request) => {
      const { nonce } = await readBody(request, challengeSchema, signBytesMax)
      return challenges.answer(nonce, { configuration, vkey })
    },
    'POST /receipt': async (request) => {
      const { size } = await readBody(request, receiptSchema, signBytesMax)
      return { signature: encodeBase64(signer.signReceipt(size)) }
    },
    'POST /pass': async (request) => {
      const { statement, entry } = await readBody(request, passSchema, statementBytesMax)
      return { sealed: encodeBase64(await signer.pass(encodeUtf8(statement), entryOf(entry))) }
    },
  })
  return server.on('upgrade', (request, socket: Socket, head: Buffer) => {
    const { upgrade } = request.headers
    if (request.url !== '/sign' || upgrade !== signStreamProtocol || head.length > 0) {
      socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n')
      return
    }
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${signStreamProtocol}\r\n\r\n`)
    answerFrames(socket, {
      bytesMax: signBytesMax,
      answer: async (body) => {
        const { text, from, proof, entry } = parsed(signSchema, body)
        return signer.sign({ text, from, proof: hashesOf(proof), entry: entry && entryOf(entry) })
      },
      refusal: (error) => {
        const { status, json } = refusalOf(error, size())
        return { status, body: encodeUtf8(JSON.stringify(json)) }
      },
    })
  })
}

/** Serves code that takes a key over: `GET /statement`, and `POST /take`, after which `taken` is called. */
export function createSuccessorServer(successor: Successor, taken: () => void): Server {
  return serve(() => 0, {
    'GET /statement': async () => ({ statement: decodeUtf8(successor.statement, 'statement') }),
    'POST /take': async (request) => {
      const { sealed } = await readBody(request, takeSchema, takeBytesMax)
      await successor.take(decodeBase64(sealed, 'sealed'))
      taken()
      return {}
    },
  })
}

function serve(size: () => number, calls: Calls): Server {
  return createServer({ requestTimeout: 10_000, headersTimeout: 5_000 }, (request, response) => {
    const name = `${request.method} ${request.url}`
    const call = Object.hasOwn(calls, name) ? calls[name] : undefined
    const answer = call?.(request) ?? Promise.reject(new SignerError('ERR_SIGNER_MALFORMED', 'there is no such call'))
    answer.then(
      (body) => void response.end(body instanceof Uint8Array ? body : JSON.stringify(body)),
      (error: unknown) => refuse(response, error, size()),
    )
  })
}

function entryOf({ index, path }: z.infer<typeof entrySchema>): EntryProof {
  return { index, path: hashesOf(path) }
}

function hashesOf(path: readonly string[]): Uint8Array[] {
  return path.map((hash) => decodeBase64(hash, 'proof'))
}

/** The one place where a code becomes a status. */
function refusalOf(error: unknown, size: number): { status: number; json: Json } {
  const malformed = error instanceof FormatError || error instanceof RangeError
  const code =
    error instanceof SignerError || error instanceof TeeError
      ? error.code
      : malformed
        ? 'ERR_SIGNER_MALFORMED'
        : 'ERR_SIGNER_INTERNAL'
  const status = code === 'ERR_SIGNER_MALFORMED' ? 400 : error instanceof SignerError ? 409 : 503
  const message = code === 'ERR_SIGNER_INTERNAL' ? 'failed' : (error as Error).message
  return { status, json: { code, message, size } }
}

function refuse(response: ServerResponse, error: unknown, size: number): void {
  const { status, json } = refusalOf(error, size)
  response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(json))
}

async function readBody<T>(request: IncomingMessage, schema: z.ZodType<T>, bytesMax: number): Promise<T> {
  const parts: Buffer[] = []
  let length = 0
  for await (const part of request) {
    length += part.length
    if (length > bytesMax) throw new SignerError('ERR_SIGNER_MALFORMED', `a body has at most ${bytesMax} bytes`)
    parts.push(part)
  }
  return parsed(schema, Buffer.concat(parts))
}

function parsed<T>(schema: z.ZodType<T>, body: Uint8Array): T {
  try {
    return schema.parse(JSON.parse(decodeUtf8(body, 'body')))
  } catch (cause) {
    throw new SignerError('ERR_SIGNER_MALFORMED', 'the body is not of the form of this call', { cause })
  }
}
