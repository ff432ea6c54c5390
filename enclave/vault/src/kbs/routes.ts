import type { IncomingMessage } from 'node:http'
import { VaultError } from '../error.ts'
import type { KbsFront, Shown } from './front.ts'
import { kbsBytesMax } from './messages.ts'
import { sessionSeconds } from './sessions.ts'

const prefix = '/kbs/v0/'
const cookieName = 'kbs-session-id'
const problems = 'https://github.com/confidential-containers/kbs/errors'

/** What goes back to a guest. */
export interface KbsAnswer {
  readonly status: number
  /** JSON. */
  readonly body: string
  /** The cookie's line, where there is one to set. */
  readonly session?: string
}

interface Parts {
  /** `undefined` while the vault is reading its log. */
  readonly front: KbsFront | undefined
  readonly refusalOf: (error: unknown) => { readonly status: number; readonly code: string; readonly message: string }
  readonly readBody: (request: IncomingMessage, bytesMax: number) => Promise<Uint8Array>
}

export function isKbsCall({ url = '' }: IncomingMessage): boolean {
  return url.startsWith(prefix)
}

/** Answers one call of the key broker protocol; refusals in that protocol's own form. */
export async function answerKbs(request: IncomingMessage, parts: Parts): Promise<KbsAnswer> {
  try {
    return await answer(request, parts)
  } catch (error) {
    const { status, code, message } = parts.refusalOf(error)
    const body = JSON.stringify({ type: `${problems}/${variantOf(code, request)}`, detail: `${code}: ${message}` })
    return { status, body }
  }
}

async function answer(request: IncomingMessage, { front, readBody }: Parts): Promise<KbsAnswer> {
  if (front === undefined) {
    throw new VaultError('ERR_VAULT_NOT_READY', 'the vault is reading its log; ask again shortly')
  }
  const { method, url = '' } = request
  const [call, ...segments] = url.slice(prefix.length).split('/')
  const shown = shownBy(request)
  if (method === 'POST' && segments.length === 0 && call === 'auth') {
    const { answer, session } = front.auth(await readBody(request, kbsBytesMax))
    return { status: 200, body: JSON.stringify(answer), session: cookieOf(session) }
  }
  if (method === 'POST' && segments.length === 0 && call === 'attest') {
    const { answer, session } = front.attest(await readBody(request, kbsBytesMax), shown)
    return { status: 200, body: JSON.stringify(answer), session: cookieOf(session) }
  }
  if (method === 'GET' && call === 'resource') {
    return { status: 200, body: JSON.stringify(await front.resource(segments, shown)) }
  }
  throw new VaultError(
    'ERR_ROUTE_UNKNOWN',
    'guests call POST auth, POST attest and GET resource/ORGANISATION/SERIES/REVISION',
  )
}

/** Without `Path`, as the protocol's own server has it: a proxy may have put all of it below another path. */
function cookieOf(session: string): string {
  return `${cookieName}=${session}; Max-Age=${sessionSeconds}; HttpOnly; SameSite=Strict`
}

function shownBy({ headers }: IncomingMessage): Shown {
  const { authorization, cookie = '' } = headers
  const sessions = [...cookie.matchAll(/(?:^|;)\s*kbs-session-id=([^;]*)/g)]
  return {
    // Two of one name could be read in two ways.
    cookie: sessions.length === 1 ? sessions[0]![1]!.trim() : undefined,
    token: authorization?.startsWith('Bearer ') ? authorization.slice('Bearer '.length) : undefined,
  }
}

/** The names that the protocol's own server has for its refusals. */
function variantOf(code: string, { url = '' }: IncomingMessage): string {
  if (code === 'ERR_ROUTE_UNKNOWN') return 'PluginNotFound'
  if (code === 'ERR_SECRET_UNKNOWN') return 'InvalidRequestPath'
  if (code === 'ERR_SECRET_DENIED') return 'PolicyDeny'
  if (!url.startsWith(`${prefix}resource/`)) return 'AttestationError'
  return code === 'ERR_KBS_SESSION' ? 'TokenNotFound' : 'PluginInternalError'
}
