import type { Digest } from '@cella/bytes'
import type { KeyId } from '@cella/primitives'
import type { StoredAnchors } from '@cella/verify'
import { SdkError } from './error.ts'
import type { Home, Profile } from './home/home.ts'
import type { Keys } from './keys.ts'
import { type OwnLog, openLog } from './log.ts'
import type { Info } from './manager/answers.ts'
import { ManagerClient } from './manager/client.ts'
import { pinnedFetch } from './manager/pinned.ts'
import type { CommandTrace } from './trace.ts'

export interface SessionOptions {
  readonly home: Home
  /** In place of the profile's manager. */
  readonly manager?: string | undefined
  /** Asked at most once, when a key is needed. */
  readonly unlock: () => Promise<Keys>
  /** Seconds since 1970. */
  readonly now?: () => number
  readonly fetch?: typeof fetch
  /** What its requests to the manager are spans of. */
  readonly trace?: CommandTrace | undefined
}

/** One profile at work: its keys, its manager, its view of the log. */
export interface Session {
  readonly home: Home
  readonly now: () => number
  readonly manager: ManagerClient
  keys(): Promise<Keys>
  profile(): Promise<Profile>
  anchors(): Promise<StoredAnchors>
  info(): Promise<Info>
  /** The log, read to its newest witnessed checkpoint and consistent with all that was seen before. */
  log(): Promise<OwnLog>
  /** The organisation that this profile acts for. Throws ERR_PROFILE_INCOMPLETE. */
  organisation(): Promise<Digest>
  accountId(): Promise<KeyId>
}

/** Throws ERR_PROFILE_INCOMPLETE where no manager is known. */
export async function openSession(options: SessionOptions): Promise<Session> {
  const { home } = options
  const url = options.manager ?? (await home.profile()).manager
  if (url === null) {
    throw new SdkError('ERR_PROFILE_INCOMPLETE', `profile ${home.profileName} knows no manager`, {
      hint: 'cella up starts one here and keeps its address; or give one with --manager URL',
    })
  }
  const now = options.now ?? (() => Math.floor(Date.now() / 1000))
  let unlocked: Keys | undefined
  const keys = once(async () => {
    unlocked = await options.unlock()
    return unlocked
  })
  const manager = new ManagerClient({
    url,
    now,
    seed: () => unlocked?.account.seed.expose(),
    fetch: options.fetch ?? (await fetchFor(home, url)),
    trace: options.trace,
  })
  const info = once(() => manager.info())
  let log: OwnLog | undefined
  return {
    home,
    now,
    manager,
    keys,
    info,
    profile: () => home.profile(),
    anchors: () => home.anchors(),
    async log() {
      log ??= await openLog({ manager, home, origin: (await info()).log.origin })
      await log.advance()
      return log
    },
    async organisation() {
      const { organisation } = await home.profile()
      if (organisation !== null) return organisation
      throw new SdkError('ERR_PROFILE_INCOMPLETE', `profile ${home.profileName} belongs to no organisation`, {
        hint: 'cella org create makes one; cella org trust ID --join enters one that has taken you in',
      })
    },
    async accountId() {
      return (await keys()).account.keyId
    },
  }
}

/** A `fetch` for a manager at this address: under its TLS key, where the profile holds that. */
export async function fetchFor(home: Home, url: string): Promise<typeof fetch> {
  const { manager, tlsPin } = await home.profile()
  // Another address than the profile's is another server, of which nothing is known.
  return url === manager && tlsPin !== null ? pinnedFetch(tlsPin) : fetch
}

/** Runs `make` at the first call; a failure is not kept. */
function once<Value>(make: () => Promise<Value>): () => Promise<Value> {
  let kept: Promise<Value> | undefined
  return () => {
    kept ??= make().catch((error: unknown) => {
      kept = undefined
      throw error
    })
    return kept
  }
}
