import { mkdir } from 'node:fs/promises'
import { encodeBase64url, encodeUtf8, equalBytes, Secret } from '@cella/bytes'
import { EvidenceError, parseSignerStatement } from '@cella/evidence'
import { encodeVkey, noteSigner } from '@cella/log'
import { deriveHpkeKeyPair, digestOf, HpkeOpenError, hpkeOpen, randomBytes } from '@cella/primitives'
import { logKeyInfo } from '@cella/seal'
import type { TeeDriver } from '@cella/tee'
import { SignerError } from './error.ts'
import type { Identity } from './identity.ts'
import { parseMemory, readMemory, writeMemory } from './memory.ts'
import { readSealed, writeSealed } from './sealed-files.ts'

/** New code that is to take a key over: it has its statement, which is to be logged, and the key comes to it alone. */
export class Successor {
  readonly #tee: TeeDriver
  readonly #at: { readonly folder: string; readonly origin: string }
  readonly #secret: Uint8Array
  readonly statement: Uint8Array

  private constructor(
    tee: TeeDriver,
    at: { folder: string; origin: string },
    kept: { secret: Uint8Array; statement: Uint8Array },
  ) {
    this.#tee = tee
    this.#at = at
    this.#secret = kept.secret
    this.statement = kept.statement
  }

  /**
   * `undefined` where the key is here already. Keeps its statement over a restart: one that was logged stays the one.
   * Throws ERR_SIGNER_STATE, ERR_SIGNER_MALFORMED.
   */
  static async open(
    tee: TeeDriver,
    options: { folder: string; origin: string; identity: Identity; predecessors: readonly string[] },
  ): Promise<Successor | undefined> {
    const { folder, origin, identity, predecessors } = options
    await mkdir(folder, { recursive: true, mode: 0o700 })
    const at = { folder, origin }
    if ((await readMemory(tee, at)) !== undefined) return undefined
    const kept = await readSealed(tee, folder, 'handover')
    const previous = predecessors.map(encodeUtf8)
    if (kept !== undefined) {
      const [secret, statement] = [new Uint8Array(kept.subarray(0, 32)), new Uint8Array(kept.subarray(32))]
      if (parseSignerStatement(statement).binding.number === previous.length) {
        return new Successor(tee, at, { secret, statement })
      }
    }
    const before = readStatement(previous.at(-1)!)
    const secret = randomBytes(32)
    const { publicKey } = await deriveHpkeKeyPair(secret)
    const statement = await identity.state({
      vkey: before.vkey,
      number: previous.length,
      previous: digestOf(previous.at(-1)!),
      handover: encodeBase64url(publicKey),
    })
    const both = new Uint8Array(32 + statement.length)
    both.set(secret)
    both.set(statement, 32)
    await writeSealed(tee, folder, 'handover', both)
    return new Successor(tee, at, { secret, statement })
  }

  /** Takes what the signer before encrypted to this one, and keeps it. Throws ERR_SIGNER_SUCCESSOR. */
  async take(sealed: Uint8Array): Promise<void> {
    const { privateKey } = await deriveHpkeKeyPair(this.#secret)
    let bytes: Uint8Array
    try {
      bytes = await hpkeOpen({ privateKey, info: logKeyInfo({ statement: digestOf(this.statement) }), sealed })
    } catch (cause) {
      if (!(cause instanceof HpkeOpenError)) throw cause
      throw new SignerError('ERR_SIGNER_SUCCESSOR', 'this was not encrypted to this signer', { cause })
    }
    const memory = parseMemory(bytes, this.#at.origin)
    const { vkey } = readStatement(this.statement)
    const { key } = noteSigner({ name: this.#at.origin, type: 'note', seed: new Secret(new Uint8Array(memory.seed)) })
    if (encodeVkey(key) !== vkey || !equalBytes(memory.statements.at(-1)!, this.statement)) {
      throw new SignerError('ERR_SIGNER_SUCCESSOR', 'what came is another key than this log’s')
    }
    await writeMemory(this.#tee, this.#at, memory)
  }
}

function readStatement(bytes: Uint8Array): { readonly vkey: string } {
  try {
    return parseSignerStatement(bytes).binding
  } catch (cause) {
    if (!(cause instanceof EvidenceError)) throw cause
    throw new SignerError('ERR_SIGNER_MALFORMED', cause.message, { cause })
  }
}
