import { type Digest, encodeHex, encodeUtf8, type Json } from '@cella/bytes'
import { LogView, makeProofFile, parseLogPolicy, type WitnessedCheckpoint } from '@cella/log'
import { ed25519PublicKey, keyIdOf } from '@cella/primitives'
import { MemoryLog } from '@cella/testing/memory-log'
import {
  commitmentOfBody,
  type EventBody,
  type EventPlace,
  leafOfBody,
  makeEventBody,
  signStreamKey,
} from '../src/index.ts'

export const key: Uint8Array = new Uint8Array(32).fill(7)
export const organisation = 'a'.repeat(64) as Digest
export const vaultSeed: Uint8Array = new Uint8Array(32).fill(9)
export const vault = keyIdOf(ed25519PublicKey(vaultSeed))

/** A stream in a log of its own, among leaves of others. */
export class TestStream {
  readonly log = new MemoryLog({ now: 1_760_000_000 })
  readonly policy = parseLogPolicy(encodeUtf8(this.log.policyOf()))
  readonly bodies = new Map<number, EventBody>()
  #previous: EventPlace['previous'] = null
  #count = 0

  /** A body for the next number; nothing is logged. */
  body(type: string, about: { readonly [name: string]: Json } = {}): EventBody {
    const body = makeEventBody({ n: this.#count, previous: this.#previous, type }, about)
    this.bodies.set(this.#count, body)
    this.#previous = { n: this.#count, commitment: encodeHex(commitmentOfBody(body)) as Digest }
    this.#count += 1
    return body
  }

  async add(type: string, about: { readonly [name: string]: Json } = {}): Promise<EventBody> {
    const body = this.body(type, about)
    await this.log.append([leafOfBody(body, key)])
    return body
  }

  async noise(count: number): Promise<void> {
    const leaf = (): Uint8Array => {
      const bytes = crypto.getRandomValues(new Uint8Array(64))
      bytes.set([1, 7, ...new Uint8Array(14)])
      return bytes
    }
    await this.log.append(Array.from({ length: count }, leaf))
  }

  async view(): Promise<{ view: LogView; checkpoint: WitnessedCheckpoint }> {
    const view = new LogView({ policy: this.policy, read: this.log })
    return { view, checkpoint: await view.advance() }
  }

  /** A .tlog-proof of the leaf at `index`. */
  async proof(index: number): Promise<Uint8Array> {
    const { view, checkpoint } = await this.view()
    return makeProofFile({ checkpoint, index, hashes: view.hashes() })
  }

  get statement() {
    return signStreamKey(
      { key, organisation, log: this.log.origin, size: this.log.size, count: this.#count },
      vaultSeed,
    )
  }
}
