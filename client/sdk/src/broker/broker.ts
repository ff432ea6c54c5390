import { hash, randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Digest, encodeBase64url } from '@cella/bytes'
import { parseDocumentOf, type Terms } from '@cella/documents'
import { type Reading, readingSchema } from '@cella/events'
import type { KeyId } from '@cella/primitives'
import { accountOf } from '@cella/release'
import { gather } from '../documents.ts'
import { SdkError } from '../error.ts'
import { memberCard } from '../keys.ts'
import { addMember, membersOf, noEnd, publishTerms } from '../organisations.ts'
import type { Session } from '../session.ts'
import { appraiseVault, gatherTerms } from '../vaults.ts'
import { type BrokerTee, keepBundle, startEnclave } from './enclave.ts'
import { openPassage } from './passage.ts'

const pollsAtOnce = 4
const readingAgainMs = 60_000
const pauseMs = 1000

/**
 * Makes the organisation accept a vault at home: its build, the root of its TEE, and the account as its broker. Signed by the
 * organisation's root keys. What is accepted already stays as it is.
 */
export async function enrolBroker(
  session: Session,
  { folder, enclaves, roots }: { folder: string; enclaves: string; roots: Terms['roots'] },
): Promise<{ terms: Digest; build: Digest; isNew: boolean }> {
  const builds = await keepBundle(folder, enclaves)
  for (const envelope of [builds.organisation, builds.builds.vault]) {
    await session.manager.submit(envelope, randomBytes(32))
  }
  const build = parseDocumentOf('cella/build', builds.builds.vault).digest
  const organisation = await session.organisation()
  const { account, ...keys } = await session.keys()
  const { documents } = await gather(session, { organisations: [organisation] })
  const own = membersOf(documents, organisation).filter(({ payload }) => accountOf(payload) === account.keyId)
  if (!own.some(({ payload }) => payload.roles.includes('broker'))) {
    const card = memberCard({ account, ...keys }, own[0]?.payload.name ?? 'broker')
    await addMember(session, { card, roles: ['broker'], notBefore: 0, notAfter: noEnd })
  }
  const { payload, digest } = documents.terms(organisation)
  const missing = roots.filter(({ spki }) => !payload.roots.some((root) => root.spki === spki))
  if (missing.length === 0 && payload.vault.builds.includes(build)) return { terms: digest, build, isNew: false }
  const {
    type: _,
    version: __,
    organisation: ___,
    signer: ____,
    cosigners: _____,
    revision,
    previous,
    ...now
  } = payload
  const { document } = await publishTerms(session, {
    ...now,
    vault: { ...now.vault, builds: [...new Set([...now.vault.builds, build])] },
    roots: [...now.roots, ...missing],
    simulated: now.simulated || missing.some(({ simulated }) => simulated),
  })
  return { terms: document.digest, build, isNew: true }
}

export interface RunningBroker {
  readonly vault: KeyId
  /** Calls that were passed on since it started. */
  readonly calls: () => number
  readonly pid: number
  /** Resolves when the vault ended, whoever ended it. */
  readonly ended: Promise<void>
  stop(): Promise<void>
}

/**
 * Runs the owner's own vault on this machine, and asks the manager for what is asked of it: nothing here listens to others.
 * Returns once it serves and one's own terms accept it. Throws ERR_BROKER, ERR_VAULT_REFUSED.
 */
export async function startBroker(
  session: Session,
  { folder, enclaves, tee }: { folder: string; enclaves: string; tee: BrokerTee },
): Promise<RunningBroker> {
  const builds = await keepBundle(folder, enclaves)
  const { account } = await session.keys()
  const { origin } = (await session.info()).log
  const logPolicy = (await session.anchors()).logs.find(({ policy }) => policy.includes(origin))?.policy
  if (logPolicy === undefined) {
    throw new SdkError('ERR_LOG_UNTRUSTED', `the log ${origin} is not one whose key this profile holds`)
  }
  const passage = await openPassage(session.manager)
  const stop = new AbortController()
  let calls = 0
  let refusal: SdkError | undefined
  try {
    const enclave = await startEnclave(folder, {
      builds,
      tee,
      manager: passage.url,
      token: passage.token,
      logPolicy,
    })
    const nonce = encodeBase64url(hash('sha256', `cella/v1/broker\u0000${account.keyId}`, 'buffer'))
    const instance = encodeBase64url(randomBytes(16))
    let reading = await readingOf(enclave.url, nonce)
    let readAt = performance.now()
    const serve = async (): Promise<void> => {
      while (!stop.signal.aborted) {
        try {
          if (performance.now() - readAt > readingAgainMs) {
            readAt = performance.now()
            reading = await readingOf(enclave.url, nonce)
          }
          const call = await session.manager.brokerPoll({ vault: enclave.id, instance, reading }, stop.signal)
          if (call === undefined) continue
          calls += 1
          await session.manager.brokerAnswer(call.id, await ask(enclave.url, call))
        } catch (error) {
          if (error instanceof SdkError && error.refusal?.serverCode === 'ERR_NOT_ALLOWED') refusal = error
          // The manager or the vault is away, or nobody waits for the answer any more: asked again.
          await sleep(pauseMs, undefined, { signal: stop.signal }).catch(() => undefined)
        }
      }
    }
    const serving = Array.from({ length: pollsAtOnce }, serve)
    void enclave.ended.then(() => stop.abort())
    const end = async (): Promise<void> => {
      stop.abort()
      enclave.process.kill('SIGTERM')
      await Promise.all([...serving, enclave.ended])
      passage.close()
    }
    try {
      await requireAccepted(session, enclave.id, () => refusal)
    } catch (error) {
      await end()
      throw error
    }
    return { vault: enclave.id, calls: () => calls, pid: enclave.process.pid!, ended: enclave.ended, stop: end }
  } catch (error) {
    passage.close()
    throw error
  }
}

/** By way of the manager, as everybody else reaches it. */
async function requireAccepted(session: Session, vault: KeyId, refusal: () => SdkError | undefined): Promise<void> {
  const organisation = await session.organisation()
  const { terms, documents } = await gatherTerms(session, organisation)
  const deadline = performance.now() + 20_000
  for (;;) {
    try {
      await appraiseVault(session, { vault, organisation, terms: terms.payload, documents })
      return
    } catch (error) {
      const refused = refusal()
      if (refused !== undefined) {
        throw new SdkError('ERR_BROKER', `the manager passes nothing on to this account: ${refused.message}`, {
          cause: refused,
          hint: 'cella broker enroll makes the account your organisation’s broker',
        })
      }
      const isEarly = error instanceof SdkError && error.code.startsWith('ERR_MANAGER_')
      if (!isEarly || performance.now() > deadline) throw error
      await sleep(100)
    }
  }
}

async function readingOf(url: string, nonce: string): Promise<Reading> {
  const { status, bytes } = await post(`${url}/reading`, Buffer.from(JSON.stringify({ nonce })))
  if (status === 200) return readingSchema.parse(JSON.parse(Buffer.from(bytes).toString()))
  throw new SdkError('ERR_BROKER', `the vault does not say how far it has read (${status})`)
}

async function ask(url: string, { call, body }: { call: string; body: string }) {
  const { status, bytes } = await post(`${url}/${call}`, Buffer.from(body, 'base64url'))
  return { status, body: encodeBase64url(bytes) }
}

async function post(url: string, body: Uint8Array): Promise<{ status: number; bytes: Uint8Array }> {
  const response = await fetch(url, { method: 'POST', body: new Uint8Array(body), signal: AbortSignal.timeout(55_000) })
  return { status: response.status, bytes: new Uint8Array(await response.arrayBuffer()) }
}
