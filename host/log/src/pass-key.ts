import { decodeUtf8, encodeBase64, encodeUtf8 } from '@cella/bytes'
import { inclusionProof, signerLeaf, tileHashes } from '@cella/log'
import { postBytes } from './http-post.ts'
import type { Log } from './log.ts'
import { LogServerError } from './log-server-error.ts'
import type { RemoteSigner } from './remote-signer.ts'

const timeoutMs = 20_000
const answerBytesMax = 134_217_728

/**
 * Has the log's key pass from `signer` to the signer at `next`, whose statement becomes an entry first. May be repeated
 * after whatever ended it: the same statement is the same entry, and the key is given to it again. Returns the index of
 * the entry. Throws ERR_LOG_SIGNER where one of them refuses.
 */
export async function passKey(log: Log, signer: RemoteSigner, next: string): Promise<number> {
  const statement = await statementOf(next)
  const leaf = signerLeaf(signer.key, signer.statements.length, encodeUtf8(statement))
  const { indices } = await log.append([leaf])
  const index = indices[0]!
  const { size } = log.status()
  const tile = async (path: string): Promise<Uint8Array> => {
    const bytes = await log.tile(path)
    if (bytes === undefined) throw new LogServerError('ERR_LOG_DAMAGED', `no ${path}`)
    return bytes
  }
  const path = await inclusionProof({ index, size, hashes: tileHashes(tile, size) })
  const passed = await call(`${signer.url}/pass`, { statement, entry: { index, path: path.map(encodeBase64) } })
  await call(`${next}/take`, { sealed: (passed as { sealed: string }).sealed })
  return index
}

async function statementOf(url: string): Promise<string> {
  try {
    const response = await fetch(`${url}/statement`, { signal: AbortSignal.timeout(timeoutMs), redirect: 'error' })
    const { statement } = (await response.json()) as { statement?: unknown }
    if (typeof statement === 'string') return statement
  } catch (cause) {
    throw new LogServerError('ERR_LOG_UNAVAILABLE', `the signer at ${url} does not answer`, { cause })
  }
  throw new LogServerError('ERR_LOG_SIGNER', `the signer at ${url} takes over no key`)
}

async function call(url: string, body: object): Promise<unknown> {
  let answer: Awaited<ReturnType<typeof postBytes>>
  try {
    answer = await postBytes({ url, body: encodeUtf8(JSON.stringify(body)), timeoutMs, answerBytesMax })
  } catch (cause) {
    throw new LogServerError('ERR_LOG_UNAVAILABLE', `${url} does not answer`, { cause })
  }
  const json = JSON.parse(decodeUtf8(answer.body, 'answer')) as { code?: string; message?: string }
  if (answer.status === 200) return json
  throw new LogServerError('ERR_LOG_SIGNER', `the key does not pass (${json.code}): ${json.message}`)
}
