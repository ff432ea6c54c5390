import { addSignatures, type NoteSignature } from '@cella/log'
import { LogServerError } from './log-server-error.ts'
import type { SizedCheckpoint } from './signing.ts'
import { unwitnessed, Waiters } from './waiters.ts'
import type { WitnessClient } from './witness-client.ts'

const graceMs = 50
/** From the beginning of one round to the next: a witness answers one log some 200 times a second and then refuses. */
const roundMsMin = 6
const retryMsMin = 50
const retryMsMax = 2_000

/** How far a witness is behind. */
export interface WitnessStanding {
  readonly name: string
  readonly behindSeconds: number
}

/**
 * Takes signed checkpoints to the witnesses, always the newest, one round at a time; who waits for a size is answered by
 * the first checkpoint of at least that size that enough of them cosigned.
 */
export class Cosigner {
  readonly #witnesses: readonly WitnessClient[]
  readonly #quorum: number
  readonly #onAlarm: (error: LogServerError) => void
  readonly #waiters = new Waiters<SizedCheckpoint>()
  /** Since when the newest checkpoint lacks the cosignature of each, by `performance.now()`. */
  readonly #behindSince = new Map<WitnessClient, number>()
  #signed: SizedCheckpoint
  #cosigned: SizedCheckpoint | undefined
  #running: Promise<void> | undefined
  #lastFailure: Error | undefined
  #stopped: LogServerError | undefined

  constructor(options: {
    witnesses: readonly WitnessClient[]
    /** How many have to cosign, 0 to all. */
    quorum: number
    signed: SizedCheckpoint
    /** A witness ahead or in conflict: the log must sign no more. */
    onAlarm: (error: LogServerError) => void
  }) {
    this.#witnesses = options.witnesses
    this.#quorum = options.quorum
    this.#signed = options.signed
    this.#onAlarm = options.onAlarm
    if (options.quorum === 0) this.#cosigned = options.signed
    for (const witness of options.witnesses) this.#lacks(witness, performance.now())
  }

  /** The newest checkpoint that enough witnesses cosigned. */
  get cosigned(): SizedCheckpoint | undefined {
    return this.#cosigned
  }

  /**
   * Asks every witness about the first checkpoint, then goes on asking those who did not answer. Throws
   * ERR_LOG_BEHIND_WITNESS or ERR_LOG_WITNESS_CONFLICT.
   */
  async greet(): Promise<void> {
    const startMs = performance.now()
    const asked = await Promise.allSettled(this.#witnesses.map((witness) => witness.cosign(this.#signed.bytes)))
    for (const [at, answer] of asked.entries()) {
      if (answer.status === 'fulfilled') this.#answered(this.#witnesses[at]!, this.#signed, startMs)
      if (answer.status === 'rejected' && (answer.reason as LogServerError).code !== 'ERR_LOG_UNWITNESSED') {
        throw answer.reason
      }
    }
    this.#take(this.#signed)
  }

  /** A new signed checkpoint to take round. */
  offer(signed: SizedCheckpoint): void {
    for (const witness of this.#witnesses) this.#lacks(witness, performance.now())
    this.#take(signed)
  }

  /** For how long each witness has not cosigned the newest checkpoint; 0 for those that did. */
  standing(): WitnessStanding[] {
    const now = performance.now()
    return this.#witnesses.map((witness) => {
      const since = this.#behindSince.get(witness)
      return { name: witness.name, behindSeconds: since === undefined ? 0 : (now - since) / 1000 }
    })
  }

  #take(signed: SizedCheckpoint): void {
    this.#signed = signed
    if (this.#quorum === 0) {
      this.#settle(signed)
      if (this.#witnesses.length === 0) return
    }
    this.#wake()
  }

  /** A cosigned checkpoint of at least `size` leaves. Throws ERR_LOG_UNWITNESSED after `timeoutMs`. */
  async wait(size: number, timeoutMs: number): Promise<SizedCheckpoint> {
    if (this.#cosigned !== undefined && this.#cosigned.size >= size) return this.#cosigned
    if (this.#stopped !== undefined) throw this.#stopped
    const waiting = this.#waiters.wait(size, {
      timeoutMs,
      late: () => {
        const failure = this.#lastFailure === undefined ? '' : ` (${this.#lastFailure.message})`
        return unwitnessed(timeoutMs, `${this.#quorum} witnesses did not cosign${failure}`)
      },
    })
    this.#wake()
    return waiting
  }

  /** Rejects all who wait and asks no more. */
  stop(error: LogServerError): void {
    this.#stopped ??= error
    this.#waiters.stop(this.#stopped)
  }

  #wake(): void {
    if (this.#stopped !== undefined || this.#running !== undefined) return
    this.#running = this.#run().finally(() => {
      this.#running = undefined
      // What was offered between the last look and here.
      if (this.#behind() && this.#stopped === undefined) this.#wake()
    })
  }

  // Whether anybody waits or not: who reads needs a cosigned checkpoint before there is anything to wait for.
  #behind(): boolean {
    return this.#signed.size > (this.#cosigned?.size ?? -1)
  }

  async #run(): Promise<void> {
    let retryMs = retryMsMin
    do {
      const startMs = performance.now()
      const signed = this.#signed
      const signatures = await this.#round(signed)
      if (signatures.length >= this.#quorum) {
        this.#settle({ size: signed.size, bytes: addSignatures(signed.bytes, signatures) })
        retryMs = retryMsMin
        await pause(startMs + roundMsMin - performance.now())
      } else {
        await pause(retryMs)
        retryMs = Math.min(retryMs * 2, retryMsMax)
      }
    } while (this.#stopped === undefined && this.#behind())
  }

  /** Asks every witness; once enough have cosigned, the others get a moment more. */
  async #round(signed: SizedCheckpoint): Promise<NoteSignature[]> {
    const signatures: NoteSignature[] = []
    const startMs = performance.now()
    return new Promise((resolve) => {
      let open = this.#witnesses.length
      let grace: NodeJS.Timeout | undefined
      const finish = (): void => {
        clearTimeout(grace)
        resolve([...signatures])
      }
      for (const witness of this.#witnesses) {
        witness
          .cosign(signed.bytes)
          .then((signature) => {
            signatures.push(signature)
            this.#answered(witness, signed, startMs)
          })
          .catch((error: unknown) => this.#failed(error))
          .finally(() => {
            open -= 1
            if (open === 0) finish()
            else if (signatures.length >= this.#quorum) grace ??= setTimeout(finish, graceMs)
          })
      }
    })
  }

  #lacks(witness: WitnessClient, sinceMs: number): void {
    if (!this.#behindSince.has(witness)) this.#behindSince.set(witness, sinceMs)
  }

  /** What is newer than `signed` came after it was taken round. */
  #answered(witness: WitnessClient, signed: SizedCheckpoint, startMs: number): void {
    this.#behindSince.delete(witness)
    if (signed.size < this.#signed.size) this.#lacks(witness, startMs)
  }

  #failed(error: unknown): void {
    this.#lastFailure = error instanceof Error ? error : new Error(String(error))
    if (!(error instanceof LogServerError) || error.code === 'ERR_LOG_UNWITNESSED') return
    this.#onAlarm(error)
    this.stop(error)
  }

  #settle(checkpoint: SizedCheckpoint): void {
    if (this.#cosigned === undefined || checkpoint.size >= this.#cosigned.size) this.#cosigned = checkpoint
    this.#waiters.settle(checkpoint.size, checkpoint)
  }
}

async function pause(milliseconds: number): Promise<void> {
  if (milliseconds > 0) await new Promise((resolve) => setTimeout(resolve, milliseconds).unref())
}
