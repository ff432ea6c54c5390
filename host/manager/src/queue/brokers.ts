import { randomInt } from 'node:crypto'
import { ManagerError } from '../error.ts'

/** A call to a vault at its owner's home. */
export interface BrokerCall {
  readonly id: number
  readonly call: string
  /** base64url of the body as it came. */
  readonly body: string
}

export interface BrokerAnswer {
  readonly status: number
  readonly body: Uint8Array
}

interface Pending {
  readonly vault: string
  readonly settle: (answer: BrokerAnswer | undefined) => void
}

interface Broker {
  readonly account: string
  /** Which start of it polls: another one knows nothing of calls that this one was given. */
  instance: string
  readonly waiting: BrokerCall[]
  /** Polls that are open: whoever has none for a while is away. */
  polls: number
  wake: () => void
  goneTimer: NodeJS.Timeout | undefined
}

const brokersMax = 256
const waitingMax = 64
const callMsMax = 60_000
/** How long a broker may have no poll open. */
const absentMsMax = 3000

/**
 * Passes calls on to vaults at home: each broker asks for them from there, so that nothing at home listens. What is passed
 * is verified at both ends. Of this process: calls and polls have to reach the same manager, and what is lost with it is
 * one failed attempt of a run, which is tried again.
 */
export class Brokers {
  readonly #brokers = new Map<string, Broker>()
  readonly #pending = new Map<number, Pending>()

  /** Vaults whose brokers are there now. */
  vaults(): string[] {
    return [...this.#brokers.keys()]
  }

  has(vault: string): boolean {
    return this.#brokers.has(vault)
  }

  /** The next call for this vault, or undefined after `milliseconds`. Throws ERR_NOT_ALLOWED while another account serves it. */
  async poll(
    { vault, account, instance }: { vault: string; account: string; instance: string },
    milliseconds: number,
    signal: AbortSignal,
  ): Promise<BrokerCall | undefined> {
    const broker = this.#brokers.get(vault) ?? this.#add(vault, { account, instance })
    if (broker.account !== account) throw new ManagerError('ERR_NOT_ALLOWED', 'another account serves this vault now')
    clearTimeout(broker.goneTimer)
    if (broker.instance !== instance) {
      broker.instance = instance
      this.#drop(vault)
    }
    broker.polls += 1
    try {
      const deadline = performance.now() + milliseconds
      while (broker.waiting.length === 0 && !signal.aborted && performance.now() < deadline) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, deadline - performance.now())
          const before = broker.wake
          broker.wake = () => {
            before()
            clearTimeout(timer)
            resolve()
          }
          signal.addEventListener('abort', () => broker.wake(), { once: true })
        })
      }
      return signal.aborted ? undefined : broker.waiting.shift()
    } finally {
      broker.polls -= 1
      if (broker.polls === 0) {
        broker.wake = () => undefined
        broker.goneTimer = setTimeout(() => this.#remove(vault), absentMsMax)
        broker.goneTimer.unref()
      }
    }
  }

  /** Throws ERR_VAULT_UNAVAILABLE when the broker goes, or does not answer in time. */
  async call(vault: string, { call, body }: { call: string; body: Uint8Array }): Promise<BrokerAnswer> {
    const broker = this.#brokers.get(vault)
    if (broker === undefined) throw away()
    if (broker.waiting.length >= waitingMax) {
      throw new ManagerError('ERR_REQUEST_RATE', `${waitingMax} calls wait for this vault already`)
    }
    // Of no other call of any manager: an answer that comes late, after a restart above all, is nobody's.
    const id = randomInt(1, 2 ** 47)
    const answer = await new Promise<BrokerAnswer | undefined>((resolve) => {
      const timer = setTimeout(() => resolve(undefined), callMsMax)
      this.#pending.set(id, {
        vault,
        settle: (given) => {
          clearTimeout(timer)
          resolve(given)
        },
      })
      broker.waiting.push({ id, call, body: Buffer.from(body).toString('base64url') })
      broker.wake()
    })
    this.#pending.delete(id)
    if (answer === undefined) throw away()
    return answer
  }

  /** Throws ERR_NOT_FOUND for a call that nobody waits for any more, or that is not this account's. */
  answer(id: number, account: string, answer: BrokerAnswer): void {
    const pending = this.#pending.get(id)
    if (pending === undefined || this.#brokers.get(pending.vault)?.account !== account) {
      throw new ManagerError('ERR_NOT_FOUND', 'nobody waits for this answer')
    }
    pending.settle(answer)
  }

  /** No call is answered any more: who waits hears so at once. */
  stop(): void {
    for (const vault of this.vaults()) this.#remove(vault)
  }

  #add(vault: string, { account, instance }: { account: string; instance: string }): Broker {
    if (this.#brokers.size >= brokersMax)
      throw new ManagerError('ERR_QUOTA', `${brokersMax} brokers are served already`)
    const broker: Broker = { account, instance, waiting: [], polls: 0, wake: () => undefined, goneTimer: undefined }
    this.#brokers.set(vault, broker)
    return broker
  }

  #remove(vault: string): void {
    this.#brokers.delete(vault)
    this.#drop(vault)
  }

  /** Who waits learns at once that there will be no answer. */
  #drop(vault: string): void {
    this.#brokers.get(vault)?.waiting.splice(0)
    for (const { vault: of, settle } of this.#pending.values()) if (of === vault) settle(undefined)
  }
}

function away(): ManagerError {
  return new ManagerError('ERR_VAULT_UNAVAILABLE', 'the vault at its owner’s home does not answer', {
    hint: 'its owner runs cella broker serve; where several managers run, its calls have to reach the one that it asks',
  })
}
