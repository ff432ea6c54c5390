import { type Digest, encodeBase64, encodeBase64url, encodeHex, encodeUtf8 } from '@cella/bytes'
import type { Evidence } from '@cella/evidence'
import { hmacSha256, randomBytes } from '@cella/primitives'
import { VaultError } from '../error.ts'
import type { TeeKey } from './messages.ts'

/** How long a session lasts, its evidence with it: what was shown longer ago says nothing of now. */
export const sessionSeconds = 300
const countMax = 4096
/** Of all evidence held. */
const bytesMax = 67_108_864
/** Secrets that may be asked for in one session. */
const asksMax = 64

/** A guest that has given evidence. Nothing about it has been verified: each owner's policy judges it anew. */
export interface Guest {
  readonly evidence: Evidence
  readonly digest: Digest
  /** What the evidence has to carry: key and nonce of this session. */
  readonly reportData: Uint8Array
  readonly key: TeeKey
}

interface Session {
  readonly id: string
  readonly tee: string
  readonly nonce: string
  readonly startedAt: number
  /** `used`: evidence was given, and it was refused or is being read. */
  state: 'fresh' | 'used' | { readonly guest: Guest; readonly token: string; readonly bytes: number; asks: number }
}

/** Sessions of guests, by a monotonic clock that the host can't set. When there is no room, the oldest goes. */
export class Sessions {
  readonly #clock: () => number
  readonly #tokenKey = randomBytes(32)
  readonly #byId = new Map<string, Session>()
  readonly #byToken = new Map<string, Session>()
  #bytes = 0

  constructor(clock: () => number = () => performance.now()) {
    this.#clock = clock
  }

  /** A new session: 16 random bytes as hexadecimal, and a nonce of 32 as base64. */
  start(tee: string): { id: string; nonce: string } {
    this.#sweep(countMax - 1, bytesMax)
    const id = encodeHex(randomBytes(16))
    const nonce = encodeBase64(randomBytes(32))
    this.#byId.set(id, { id, tee, nonce, startedAt: this.#clock(), state: 'fresh' })
    return { id, nonce }
  }

  /** Uses up a session's nonce, whatever comes of it. Throws ERR_KBS_SESSION. */
  take(id: string | undefined): { tee: string; nonce: string } {
    const session = this.#alive(id === undefined ? undefined : this.#byId.get(id))
    if (session.state !== 'fresh') throw unknown()
    session.state = 'used'
    return session
  }

  /** Keeps what the session's guest gave. Returns its token: a JWT that stands for the session and says nothing more. */
  attested(id: string, guest: Guest, bytes: number): string {
    const session = this.#byId.get(id)
    // Swept meanwhile.
    if (session === undefined) throw unknown()
    this.#sweep(countMax, bytesMax - bytes)
    const token = this.#token()
    session.state = { guest, token, bytes, asks: 0 }
    this.#bytes += bytes
    this.#byId.set(id, session)
    this.#byToken.set(token, session)
    return token
  }

  /** The guest of a session, by its cookie or its token. Throws ERR_KBS_SESSION. */
  guest(shown: { cookie?: string | undefined; token?: string | undefined }): Guest {
    const { cookie, token } = shown
    const found = token === undefined ? cookie && this.#byId.get(cookie) : this.#byToken.get(token)
    const { state } = this.#alive(found || undefined)
    if (typeof state === 'string') throw unknown()
    state.asks += 1
    if (state.asks > asksMax) throw unknown()
    return state.guest
  }

  #alive(session: Session | undefined): Session {
    if (session === undefined || this.#clock() - session.startedAt > sessionSeconds * 1000) throw unknown()
    return session
  }

  #sweep(count: number, bytes: number): void {
    for (const session of this.#byId.values()) {
      const isOver = this.#clock() - session.startedAt > sessionSeconds * 1000
      // In order of their start.
      if (!isOver && this.#byId.size <= count && this.#bytes <= bytes) break
      this.#byId.delete(session.id)
      if (typeof session.state === 'string') continue
      this.#byToken.delete(session.state.token)
      this.#bytes -= session.state.bytes
    }
  }

  // Clients look at `exp` to see when to come again; what counts is the clock above.
  #token(): string {
    const now = Math.floor(Date.now() / 1000)
    const part = (value: object): string => encodeBase64url(encodeUtf8(JSON.stringify(value)))
    const claims = { iss: 'cella-vault', jti: encodeHex(randomBytes(16)), iat: now, exp: now + sessionSeconds }
    const input = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`
    return `${input}.${encodeBase64url(hmacSha256(this.#tokenKey, encodeUtf8(input)))}`
  }
}

function unknown(): VaultError {
  return new VaultError(
    'ERR_KBS_SESSION',
    'no such session is open here, it is too old, or its evidence was given already; begin with auth',
  )
}
