import { concatBytes, type Digest, decodeHex, encodeUtf8, uint32Bytes } from '@cella/bytes'
import { streamTag } from '@cella/log'
import { digestOf, hkdfSha256, sha256 } from '@cella/primitives'
import { asDek, type Dek } from '@cella/seal'

const noSalt = new Uint8Array(0)

/**
 * The secret of one run, 32 bytes: the same for every attempt, whichever vaults gave the keys. It comes of the data keys of
 * all assets, so that nobody but all owners together could know it beside the run's workers. All randomness of the run comes
 * from it, so that a repetition gives the same bytes.
 */
export class RunSeed {
  readonly #seed: Uint8Array

  /** `deks`: those of all assets, in the contract's order. */
  constructor(deks: readonly Dek[], { contract, run }: { contract: Digest; run: number }) {
    if (deks.length === 0) throw new RangeError('deks: a run has at least one asset')
    const ikm = concatBytes(...deks)
    const info = concatBytes(encodeUtf8('cella/v1/run-seed\u0000'), decodeHex(contract, 'contract'), uint32Bytes(run))
    this.#seed = hkdfSha256({ ikm, salt: noSalt, info, length: 32 })
    ikm.fill(0)
  }

  /** What the program draws from, 32 bytes. */
  programSeed(): Uint8Array {
    return this.#derive('cella/v1/program-seed')
  }

  /** The tag of the run's receipt: all attempts share it, and the first leaf with it is the outcome. */
  receiptTag(): Uint8Array {
    return streamTag(this.#derive('cella/v1/receipt-tag'), 0)
  }

  /** The commitment that the receipt carries. */
  commitment(): Digest {
    return digestOf(concatBytes(encodeUtf8('cella/v1/seed-commitment\u0000'), this.#seed))
  }

  /**
   * Key and salt of an output, from its plaintext too: a repetition seals to the same bytes, and two different
   * plaintexts never share a key.
   */
  outputKey(name: string, plaintext: Uint8Array): { dek: Dek; salt: Uint8Array } {
    const about = concatBytes(encodeUtf8(`${name}\u0000`), sha256(plaintext))
    return { dek: asDek(this.#derive('cella/v1/output-key', about)), salt: this.#derive('cella/v1/output-salt', about) }
  }

  destroy(): void {
    this.#seed.fill(0)
  }

  #derive(label: string, about: Uint8Array = new Uint8Array(0)): Uint8Array {
    return hkdfSha256({
      ikm: this.#seed,
      salt: noSalt,
      info: concatBytes(encodeUtf8(`${label}\u0000`), about),
      length: 32,
    })
  }
}
