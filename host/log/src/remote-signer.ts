import { decodeUtf8, encodeBase64, encodeUtf8 } from '@cella/bytes'
import { type NoteSignature, parseNote, parseVkey, verifyNote } from '@cella/log'
import { type HttpAnswer, postBytes } from './http-post.ts'
import { LogServerError } from './log-server-error.ts'
import type { CheckpointSigner, SigningRequest } from './signing.ts'

const timeoutMs = 10_000
const answerBytesMax = 65_536

/**
 * The signer that listens at `url`, such as one in an enclave, for the log of this origin. It verifies by itself that a
 * tree continues what it signed; a signature that is not of its key is refused. Throws ERR_LOG_UNAVAILABLE, ERR_LOG_CONFIG.
 */
export async function remoteSigner(url: string, origin: string): Promise<CheckpointSigner> {
  const key = parseVkey(await vkeyOf(url))
  if (key.name !== origin || key.type !== 'note') {
    throw new LogServerError('ERR_LOG_CONFIG', `the signer at ${url} is of ${key.name}, not of ${origin}`)
  }
  return {
    key,
    async sign(request) {
      const answer = await ask(url, request, request.previous.size)
      // It made its state durable and we ended before ours was: it says from where it goes on.
      const note = answer.status === 409 ? await ask(url, request, sizeOf(answer, request)) : answer
      if (note.status !== 200) throw refused(note)
      return signatureOf(note.body, request, key)
    },
  }
}

async function vkeyOf(url: string): Promise<string> {
  try {
    const response = await fetch(`${url}/key`, { signal: AbortSignal.timeout(timeoutMs) })
    const { vkey } = (await response.json()) as { vkey: string }
    return vkey
  } catch (cause) {
    throw new LogServerError('ERR_LOG_UNAVAILABLE', `the signer at ${url} does not answer`, { cause })
  }
}

async function ask(url: string, { text, next, proof }: SigningRequest, from: number): Promise<HttpAnswer> {
  const path = from === 0 || from >= next.size ? [] : await proof(from)
  const body = encodeUtf8(JSON.stringify({ text, from, proof: path.map(encodeBase64) }))
  try {
    return await postBytes({ url: `${url}/sign`, body, timeoutMs, answerBytesMax })
  } catch (cause) {
    throw new LogServerError('ERR_LOG_UNAVAILABLE', `the signer at ${url} does not answer`, { cause })
  }
}

/** From which tree it wants to be shown the way. Throws where that is not what it refused. */
function sizeOf(answer: HttpAnswer, { next }: SigningRequest): number {
  const { code, size } = refusalOf(answer)
  if (code !== 'ERR_SIGNER_BEHIND' || !Number.isSafeInteger(size) || size <= 0 || size > next.size)
    throw refused(answer)
  return size
}

function refusalOf({ body }: HttpAnswer): { code: string; message: string; size: number } {
  return JSON.parse(decodeUtf8(body, 'answer'))
}

function refused(answer: HttpAnswer): LogServerError {
  const { code, message } = refusalOf(answer)
  const hint = code === 'ERR_SIGNER_ROLLBACK' || code === 'ERR_SIGNER_FORK' ? '; this log was set back or altered' : ''
  return new LogServerError('ERR_LOG_SET_BACK', `the signer refuses (${code}): ${message}${hint}`)
}

function signatureOf(note: Uint8Array, { text }: SigningRequest, key: CheckpointSigner['key']): NoteSignature {
  const parsed = parseNote(note)
  const [signature] = parsed.signatures
  if (parsed.text !== text || signature === undefined || verifyNote(parsed, [key]).length !== 1) {
    throw new LogServerError('ERR_LOG_DAMAGED', 'the signer answered with something else than its signature')
  }
  return signature
}
