import type { Json } from '@cella/bytes'
import { evidenceDigest } from '@cella/evidence'
import { VaultError } from '../error.ts'
import type { Secrets } from '../secrets.ts'
import { guestEvidence, guestReportData, guestTee } from './evidence.ts'
import type { FlattenedJwe } from './jwe.ts'
import { readAttest, readAuth, readSecretPath } from './messages.ts'
import { Sessions } from './sessions.ts'

/** How a guest shows its session. */
export interface Shown {
  readonly cookie: string | undefined
  readonly token: string | undefined
}

/** The key broker protocol of Confidential Containers, in front of `Secrets`. */
export class KbsFront {
  readonly #secrets: Secrets
  readonly #sessions: Sessions

  constructor(secrets: Secrets, sessions: Sessions = new Sessions()) {
    this.#secrets = secrets
    this.#sessions = sessions
  }

  /** A challenge, and the session that it opens. */
  auth(body: Uint8Array): { answer: Json; session: string } {
    const { tee } = readAuth(body)
    guestTee(tee)
    const { id, nonce } = this.#sessions.start(tee)
    // Text, as the protocol's own server has it: clients find no other hash named in it and take SHA-384.
    return { answer: { nonce, 'extra-params': '' }, session: id }
  }

  /**
   * Keeps a guest's evidence for its session. Nothing has been decided by that: whose policy would it be? Each secret's owner's
   * judges it when the guest asks.
   */
  attest(body: Uint8Array, { cookie }: Shown): { answer: Json; session: string } {
    const session = this.#sessions.take(cookie)
    const { nonce, key, primary, additional } = readAttest(body)
    if (nonce !== session.nonce)
      throw new VaultError('ERR_KBS_RUNTIME_DATA', 'the nonce is another than this session’s')
    const tee = guestTee(session.tee)
    const evidence = guestEvidence(tee, primary)
    const digest = evidenceDigest(evidence)
    const reportData = guestReportData(tee, { key, nonce, additional })
    const token = this.#sessions.attested(cookie!, { evidence, digest, reportData, key }, body.length)
    return { answer: { token }, session: cookie! }
  }

  /** A secret for the guest of a session, encrypted to the key that its evidence is bound to. */
  async resource(segments: readonly string[], shown: Shown): Promise<FlattenedJwe> {
    const guest = this.#sessions.guest(shown)
    const path = readSecretPath(segments)
    if (path === undefined) {
      throw new VaultError(
        'ERR_SECRET_UNKNOWN',
        'secrets are named ORGANISATION/SERIES/REVISION, the last a number or latest',
      )
    }
    return this.#secrets.release(guest, path)
  }
}
