import { decodeBase64url, encodeBase64url, type Json } from '@cella/bytes'
import type { Boundary } from '@cella/documents'
import { ChainCache, challengeNonceLength, type TrustedRoot, type WorkerPoll, workerPollBytes } from '@cella/evidence'
import { ed25519Verify, randomBytes } from '@cella/primitives'
import { type Kysely, sql } from 'kysely'
import type { Tables } from '../database/tables.ts'
import { ManagerError } from '../error.ts'
import { liveSeconds, type WorkerChallenges } from './challenges.ts'
import type { PollingWorker } from './dispatcher.ts'
import { type AttestedWorker, judgeWorker, type WorkerRefusal } from './worker-evidence.ts'

/** A poll as it came. A worker built before poll keys has its name alone. */
export type Poll = { readonly worker: string } | (WorkerPoll & { readonly signature: string })

/** A worker that asked lately, for those who look after it. */
export interface ListedWorker {
  readonly name: string
  readonly attested?: Omit<AttestedWorker, 'notAfter'> & {
    /** Whether polls are signed by a key in the evidence. */
    readonly bound: boolean
    /** Unix seconds. */
    readonly until: number
  }
  readonly refused?: WorkerRefusal
}

/** A worker that is refused asks every few seconds, and each judgement costs its machine a quote. */
const refusedMs = 60_000
const refusedMax = 1000
/** Without a key nothing shows that a worker was started anew. */
const unboundSecondsMax = 300

/**
 * What is known of the workers that ask for runs, by their evidence. A worker is challenged when it polls for the first
 * time, under a new key, and again after `seconds`; in between, the key that its evidence named signs each poll, and a
 * counter makes each good once. What a worker says of itself counts for nothing.
 */
export class WorkerRegister {
  readonly #tables: Kysely<Tables>
  readonly #challenges: WorkerChallenges
  readonly #roots: readonly TrustedRoot[]
  readonly #seconds: number
  readonly #onJudged: (worker: string, refusal: WorkerRefusal | undefined) => void
  readonly #chains = new ChainCache()
  /** One challenge at a time for each name and key. */
  readonly #asking = new Map<string, Promise<void>>()
  readonly #refused = new Map<string, { readonly untilMs: number; readonly refusal: WorkerRefusal }>()

  constructor(options: {
    readonly tables: Kysely<Tables>
    readonly challenges: WorkerChallenges
    /** What evidence has to lead to. */
    readonly roots: readonly TrustedRoot[]
    /** How long evidence is enough. */
    readonly seconds: number
    readonly onJudged: (worker: string, refusal: WorkerRefusal | undefined) => void
  }) {
    this.#tables = options.tables
    this.#challenges = options.challenges
    this.#roots = options.roots
    this.#seconds = options.seconds
    this.#onJudged = options.onJudged
  }

  /**
   * The worker that polls, as its evidence shows it; challenges it first where that is needed. Throws ERR_WORKER_REFUSED
   * with the reason, ERR_WORKER_UNAVAILABLE where it does not answer the challenge.
   */
  async admit(poll: Poll, signal: AbortSignal): Promise<PollingWorker> {
    requireSigned(poll)
    const known = await this.#heard(poll)
    if (known !== undefined) return known
    await this.#challenge(poll, signal)
    const admitted = await this.#heard(poll)
    if (admitted !== undefined) return admitted
    // Between the two lines above: another worker of this name, or the same poll twice.
    throw refusedPoll(poll.worker, { code: 'ERR_WORKER_POLL', text: 'this poll was heard before' })
  }

  /** Those that asked lately. */
  async list(): Promise<ListedWorker[]> {
    const rows = await this.#tables
      .selectFrom('workers')
      .selectAll()
      .select(sql<number>`extract(epoch from attested_until)::bigint`.as('until'))
      .select(sql<boolean>`coalesce(attested_until > now(), false)`.as('is_attested'))
      .where('seen_at', '>', sql<Date>`now() - make_interval(secs => ${liveSeconds})`)
      .orderBy('name')
      .limit(1000)
      .execute()
    return rows.map((row) => {
      const { name, refusal, until, is_attested: isAttested, boundary, tee, isolation, simulated } = row
      if (isAttested && boundary !== null && tee !== null && isolation !== null) {
        const { measurement, platform_id: platformId, poll_key: key } = row
        const attested = {
          ...{ tee, boundary, isolation, simulated: simulated ?? true, measurement: measurement ?? '', platformId },
          ...{ bound: key !== null, until },
        }
        return { name, attested }
      }
      return { name, ...(refusal !== null && { refused: refusal }) }
    })
  }

  /** The registration of who polls, if it stands and the poll is a new one. */
  async #heard(poll: Poll): Promise<PollingWorker | undefined> {
    const { key, count } = keyOf(poll)
    // To be forgotten in a crash of the database costs a challenge at most, so nobody waits for the disk.
    const { rows } = await sql<{ boundary: Boundary; isolation: number; tee: string }>`
      update workers set seen_at = now(), polls = ${count}::bigint
      from (select set_config('synchronous_commit', 'off', true)) as setting
      where name = ${poll.worker} and poll_key is not distinct from ${key}::text and attested_until > now()
        and (poll_key is null or polls < ${count}::bigint)
      returning boundary, isolation, tee`.execute(this.#tables)
    const [row] = rows
    return row && { name: poll.worker, boundary: row.boundary, isolation: row.isolation, tee: row.tee }
  }

  async #challenge(poll: Poll, signal: AbortSignal): Promise<void> {
    const { key, count } = keyOf(poll)
    const id = `${key ?? ''} ${poll.worker}`
    const before = this.#refused.get(id)
    if (before !== undefined && performance.now() < before.untilMs) throw refusedPoll(poll.worker, before.refusal)
    const asked = this.#asking.get(id) ?? this.#ask(poll.worker, { key, count, signal })
    this.#asking.set(id, asked)
    try {
      await asked
    } finally {
      if (this.#asking.get(id) === asked) this.#asking.delete(id)
    }
  }

  async #ask(
    name: string,
    { key, count, signal }: { key: string | null; count: number; signal: AbortSignal },
  ): Promise<void> {
    await this.#requireNew(name, { key, count })
    // The worker is there; whether it is what it should be, its answer shows.
    // Judged by the database's clock: several managers share it.
    const { rows } = await sql<{ now: number }>`
      insert into workers (name, seen_at) values (${name}, now())
      on conflict (name) do update set seen_at = excluded.seen_at
      returning extract(epoch from now())::float8 as now`.execute(this.#tables)
    const now = Math.floor(rows[0]!.now)
    const nonce = encodeBase64url(randomBytes(challengeNonceLength))
    const answer = JSON.parse(await this.#challenges.ask(name, nonce, signal)) as Json
    const judgement = await judgeWorker(answer, {
      ...{ nonce, pollKey: key ?? undefined },
      ...{ roots: this.#roots, now, cache: this.#chains },
    })
    if ('refusal' in judgement) {
      await this.#refuse(name, { key, count }, judgement.refusal)
      this.#onJudged(name, judgement.refusal)
      throw refusedPoll(name, judgement.refusal)
    }
    const { attested } = judgement
    const longest = key === null ? Math.min(this.#seconds, unboundSecondsMax) : this.#seconds
    const seconds = Math.max(0, Math.min(longest, attested.notAfter - now))
    await sql`
      update workers set
        poll_key = ${key}, polls = ${count - 1}, refusal = null,
        attested_until = now() + make_interval(secs => ${seconds}),
        tee = ${attested.tee}, boundary = ${attested.boundary}, isolation = ${attested.isolation},
        simulated = ${attested.simulated}, measurement = ${attested.measurement}, platform_id = ${attested.platformId}
      where name = ${name}`.execute(this.#tables)
    this.#onJudged(name, undefined)
  }

  /** Throws ERR_WORKER_REFUSED for a poll under a key that is registered, which would be one heard before. */
  async #requireNew(name: string, { key, count }: { key: string | null; count: number }): Promise<void> {
    const row = await this.#tables
      .selectFrom('workers')
      .select('polls')
      .where('name', '=', name)
      .where('poll_key', '=', key)
      .where('polls', '>=', count)
      .executeTakeFirst()
    if (row === undefined) return
    throw refusedPoll(name, { code: 'ERR_WORKER_POLL', text: `poll ${count} was heard before` })
  }

  /** Told to whoever looks; a worker that is registered under this name by another key is left as it is. */
  async #refuse(
    name: string,
    { key, count }: { key: string | null; count: number },
    refusal: WorkerRefusal,
  ): Promise<void> {
    const now = performance.now()
    for (const [id, { untilMs }] of this.#refused) {
      if (untilMs <= now || this.#refused.size >= refusedMax) this.#refused.delete(id)
    }
    this.#refused.set(`${key ?? ''} ${name}`, { untilMs: now + refusedMs, refusal })
    await sql`
      update workers set
        poll_key = ${key}, polls = ${count}, refusal = ${JSON.stringify(refusal)}, attested_until = null,
        tee = null, boundary = null, isolation = null, simulated = null, measurement = null, platform_id = null
      where name = ${name}
        and (attested_until is null or attested_until <= now() or poll_key is not distinct from ${key}::text)`.execute(
      this.#tables,
    )
  }
}

function keyOf(poll: Poll): { key: string | null; count: number } {
  return 'key' in poll ? { key: poll.key, count: poll.poll } : { key: null, count: 1 }
}

/** Whoever sends a poll holds its key. That the key is a worker's is for its evidence to show. */
function requireSigned(poll: Poll): void {
  if (!('key' in poll)) return
  const { key, signature } = poll
  const isSigned = ed25519Verify(
    decodeBase64url(key, 'key'),
    workerPollBytes(poll),
    decodeBase64url(signature, 'signature'),
  )
  if (!isSigned) throw refusedPoll(poll.worker, { code: 'ERR_WORKER_POLL', text: 'the poll is not signed by its key' })
}

function refusedPoll(worker: string, { code, text }: WorkerRefusal): ManagerError {
  return new ManagerError('ERR_WORKER_REFUSED', `worker ${worker} is given no runs: ${code}: ${text}`, {
    hint: 'docs/manager.md, “The queue”, lists the reasons; cella doctor names every worker that is refused',
  })
}
