import { encodeBase64url, type Json, parseDigest } from '@cella/bytes'
import { type WorkerPoll, workerPollBytes } from '@cella/evidence'
import { ed25519PublicKey, ed25519Sign, randomBytes } from '@cella/primitives'
import { Challenges, openSimulatedTee, type SimulatedFaults, type SimulatedTee, type TeeDriver } from '@cella/tee'
import type { Reply } from './harness.ts'

export interface WorkerKind {
  readonly tee?: SimulatedTee
  readonly isolation?: number
  readonly simulate?: SimulatedFaults
}

type Send = (path: string, body: object) => Promise<Reply>
type Answer = { readonly [name: string]: Json }

/** A worker as the manager sees one: polls under a key of its own, and answers challenges with evidence of a simulated TEE. */
export class TestWorker {
  readonly name: string
  readonly tee: TeeDriver
  readonly #isolation: number
  readonly #send: Send
  readonly #seed = randomBytes(32)
  readonly #challenges: Challenges
  readonly key = encodeBase64url(ed25519PublicKey(this.#seed))
  #polls = 0
  #running: Promise<void> | undefined
  #isStopped = false
  /** Nonces that it was challenged with. */
  readonly challenged: string[] = []
  /** What it answers instead. */
  answer: ((nonce: string, honest: () => Promise<Answer>) => Promise<Answer>) | undefined

  private constructor(name: string, { tee, isolation, send }: { tee: TeeDriver; isolation: number; send: Send }) {
    this.name = name
    this.tee = tee
    this.#isolation = isolation
    this.#send = send
    this.#challenges = new Challenges('worker', tee)
  }

  static async open(
    name: string,
    { tee = 'sev-snp', isolation = 1, simulate }: WorkerKind,
    { folder, send }: { folder: string; send: Send },
  ): Promise<TestWorker> {
    const measured = {
      nodeDigest: parseDigest('a'.repeat(64), 'node'),
      bundleDigest: parseDigest('b'.repeat(64), 'bundle'),
      commandLine: [],
    }
    return new TestWorker(name, {
      tee: await openSimulatedTee({ folder, tee, measured, ...(simulate && { simulate }) }),
      isolation,
      send,
    })
  }

  /** Asks for a run, and for challenges from the first time on. */
  poll(changes: Partial<WorkerPoll & { signature: string }> = {}): Promise<Reply> {
    this.serve()
    return this.#send('/v1/worker/poll', { ...this.nextPoll(), ...changes })
  }

  /** The next poll as it is sent. */
  nextPoll(): WorkerPoll & { signature: string } {
    this.#polls += 1
    return this.sign({ worker: this.name, key: this.key, poll: this.#polls })
  }

  sign(poll: WorkerPoll): WorkerPoll & { signature: string } {
    return { ...poll, signature: encodeBase64url(ed25519Sign(this.#seed, workerPollBytes(poll))) }
  }

  /** What it answers to a challenge. */
  async evidence(nonce: string, pollKey: string | undefined = this.key): Promise<Answer> {
    const about = { isolation: this.#isolation, configuration: '0'.repeat(64), ...(pollKey && { pollKey }) }
    return (await this.#challenges.answer(nonce, about)) as Answer
  }

  /** Answers challenges until it is stopped. */
  serve(): void {
    this.#running ??= this.#run()
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    await this.#running
  }

  async #run(): Promise<void> {
    while (!this.#isStopped) {
      try {
        const { status, json } = await this.#send('/v1/worker/challenges/poll', { worker: this.name })
        if (status !== 200) continue
        this.challenged.push(json.nonce)
        const honest = (): Promise<Answer> => this.evidence(json.nonce)
        const answer = await (this.answer?.(json.nonce, honest) ?? honest())
        await this.#send(`/v1/worker/challenges/${json.id}`, { answer })
      } catch {
        // The manager is down, or being started again.
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
    }
  }
}
