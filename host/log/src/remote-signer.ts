import { setTimeout as delay } from 'node:timers/promises'
import { decodeBase64, decodeUtf8, encodeBase64, encodeUtf8 } from '@cella/bytes'
import { encodeVkey, type NoteSignature, parseNote, parseVkey, signerLeaf, verifyNote } from '@cella/log'
import { type HttpAnswer, postBytes } from './http-post.ts'
import type { Log } from './log.ts'
import { LogServerError } from './log-server-error.ts'
import { SignStream } from './sign-stream.ts'
import type { CheckpointSigner, SigningRequest } from './signing.ts'

const timeoutMs = 10_000
const answerBytesMax = 65_536
/** How long a signer may be away: it is started again, and what it is asked a second time it signs again. */
const awayMsDefault = 15_000

/** A signer elsewhere, which states which code it is. */
export interface RemoteSigner extends CheckpointSigner {
  readonly url: string
  /** The statements on its key, oldest first: docs/formats/log-signer.md. */
  readonly statements: readonly string[]
  /**
   * Appends `before` and the leaf of the newest statement at once, where that is not in the log yet: to a log that begins,
   * before anything else.
   */
  announce(log: Pick<Log, 'append'>, before?: readonly Uint8Array[]): Promise<void>
}

interface RemoteSignerOptions {
  /** The key that it has to hold; absent for a log that begins. */
  readonly vkey?: string | undefined
  /** Default 15,000. */
  readonly awayMs?: number
}

/**
 * The signer that listens at `url`, such as one in an enclave, for the log of this origin. It verifies by itself that a
 * tree continues what it signed; a signature that is not of its key is refused. Throws ERR_LOG_UNAVAILABLE, ERR_LOG_SIGNER.
 */
export async function remoteSigner(
  url: string,
  origin: string,
  { vkey: expected, awayMs = awayMsDefault }: RemoteSignerOptions = {},
): Promise<RemoteSigner> {
  const { vkey, statements, entry } = await aboutSigner(url, awayMs)
  const key = parseVkey(vkey)
  if (key.name !== origin || key.type !== 'note') throw otherKey(url, `is of ${key.name}, not of ${origin}`)
  if (expected !== undefined && expected !== vkey) throw otherKey(url, `holds ${vkey}, this log’s key is ${expected}`)
  const own = statements.at(-1)
  if (own === undefined) throw otherKey(url, 'does not say which code it is')
  const leaf = signerLeaf(key, statements.length - 1, encodeUtf8(own))
  let isLogged = entry !== null
  const stream = new SignStream(url, timeoutMs)
  const ask = async (request: SigningRequest, from: number): Promise<HttpAnswer> => {
    const path = from === 0 || from >= request.next.size ? [] : await request.proof(from)
    const entry = isLogged ? undefined : await request.entry(leaf, from)
    const body = JSON.stringify({
      text: request.text,
      from,
      proof: path.map(encodeBase64),
      ...(entry && { entry: { index: entry.index, path: entry.path.map(encodeBase64) } }),
    })
    const answer = await untilAnswered(url, awayMs, () => stream.ask(encodeUtf8(body)))
    if (entry !== undefined && answer.status === 200) isLogged = true
    return answer
  }
  return {
    key,
    url,
    statements,
    async signReceipt({ size }) {
      const body = encodeUtf8(JSON.stringify({ size }))
      const answer = await untilAnswered(url, awayMs, () =>
        postBytes({ url: `${url}/receipt`, body, timeoutMs, answerBytesMax }),
      )
      const { signature, code, message } = JSON.parse(decodeUtf8(answer.body, 'answer'))
      if (answer.status === 200) return decodeBase64(signature, 'signature')
      throw new LogServerError(code === 'ERR_SIGNER_BEHIND' ? 'ERR_LOG_BUSY' : 'ERR_LOG_SIGNER', message)
    },
    async announce(log, before = []) {
      if (isLogged) return
      await log.append([...before, leaf])
      isLogged = true
    },
    async sign(request) {
      const answer = await ask(request, request.previous.size)
      // It made its state durable and we ended before ours was: it says from where it goes on.
      const note = answer.status === 409 ? await ask(request, sizeOf(answer, request)) : answer
      if (note.status !== 200) throw refused(note)
      return signatureOf(note.body, request, key)
    },
  }
}

async function aboutSigner(
  url: string,
  awayMs: number,
): Promise<{ vkey: string; statements: readonly string[]; entry: number | null }> {
  return untilAnswered(url, awayMs, async () => {
    const response = await fetch(`${url}/statements`, { signal: AbortSignal.timeout(timeoutMs), redirect: 'error' })
    const about = (await response.json()) as { vkey?: unknown; statements?: unknown; entry?: unknown }
    const { vkey, statements, entry } = about
    const isText = (value: unknown): value is string => typeof value === 'string'
    if (!isText(vkey) || !Array.isArray(statements) || !statements.every(isText) || entry === undefined) {
      throw otherKey(url, `answered ${response.status} out of protocol`)
    }
    return { vkey, statements, entry: entry as number | null }
  })
}

async function untilAnswered<T>(url: string, awayMs: number, ask: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + awayMs
  for (let waitMs = 20; ; waitMs = Math.min(waitMs * 2, 500)) {
    try {
      return await ask()
    } catch (cause) {
      if (cause instanceof LogServerError) throw cause
      if (performance.now() + waitMs > deadline) {
        throw new LogServerError('ERR_LOG_UNAVAILABLE', `the signer at ${url} does not answer`, { cause })
      }
    }
    await delay(waitMs)
  }
}

/** From which tree it wants to be shown the way. Throws where that is not what it refused. */
function sizeOf(answer: HttpAnswer, { next }: SigningRequest): number {
  const { code, size } = refusalOf(answer)
  if (code !== 'ERR_SIGNER_BEHIND' || !Number.isSafeInteger(size) || size < 0 || size > next.size) throw refused(answer)
  return size
}

function refusalOf({ body }: HttpAnswer): { code: string; message: string; size: number } {
  return JSON.parse(decodeUtf8(body, 'answer'))
}

function refused(answer: HttpAnswer): LogServerError {
  const { code, message } = refusalOf(answer)
  const setBack = code === 'ERR_SIGNER_ROLLBACK' || code === 'ERR_SIGNER_FORK' || code === 'ERR_SIGNER_BEHIND'
  return new LogServerError(
    setBack ? 'ERR_LOG_SET_BACK' : 'ERR_LOG_SIGNER',
    `the signer refuses (${code}): ${message}${setBack ? '; this log was set back or altered' : ''}`,
  )
}

function signatureOf(note: Uint8Array, { text }: SigningRequest, key: CheckpointSigner['key']): NoteSignature {
  const parsed = parseNote(note)
  const [signature] = parsed.signatures
  if (parsed.text !== text || signature === undefined || verifyNote(parsed, [key]).length !== 1) {
    throw new LogServerError(
      'ERR_LOG_SIGNER',
      `the signer answered with something else than a signature of ${encodeVkey(key)}`,
    )
  }
  return signature
}

function otherKey(url: string, problem: string): LogServerError {
  return new LogServerError('ERR_LOG_SIGNER', `the signer at ${url} ${problem}`)
}
