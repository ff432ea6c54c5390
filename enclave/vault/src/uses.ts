import { type Digest, encodeHex } from '@cella/bytes'
import { encodeLeaf, type LogView, streamTag } from '@cella/log'
import { reservationCommitment } from './keys.ts'

/** A use of an asset: the `n`-th of its stream, counted from 0, for one run of one contract. */
export interface Use {
  readonly n: number
  readonly leaf: Uint8Array
  /** Whether the log holds it already: this run was reserved before. */
  readonly reserved: boolean
}

/**
 * The uses of assets, read from the log alone: this object only remembers how far it has read. A tag that stands in the
 * log counts, whatever its leaf commits to: doubt is a use.
 */
export class Uses {
  readonly #view: LogView
  readonly #streams = new Map<string, { count: number; byCommitment: Map<string, number> }>()

  constructor(view: LogView) {
    this.#view = view
  }

  /** The use that a run has of the asset of this stream, or would have next. */
  of(streamKey: Uint8Array, contract: Digest, run: number): Use {
    const stream = this.#read(streamKey)
    const commitment = reservationCommitment(streamKey, contract, run)
    const reserved = stream.byCommitment.get(encodeHex(commitment))
    const n = reserved ?? stream.count
    const leaf = encodeLeaf({ kind: 'reservation', commitment, tag: streamTag(streamKey, n) })
    return { n, leaf, reserved: reserved !== undefined }
  }

  #read(streamKey: Uint8Array): { count: number; byCommitment: Map<string, number> } {
    const name = encodeHex(streamKey)
    const stream = this.#streams.get(name) ?? { count: 0, byCommitment: new Map<string, number>() }
    this.#streams.set(name, stream)
    for (;;) {
      const index = this.#view.firstIndexOf(streamTag(streamKey, stream.count))
      if (index === undefined) return stream
      const { kind, commitment } = this.#view.leafAt(index)
      const found = encodeHex(commitment)
      // The first one wins: a run that was somehow reserved twice keeps its first number, and both count.
      if (kind === 'reservation' && !stream.byCommitment.has(found)) stream.byCommitment.set(found, stream.count)
      stream.count += 1
    }
  }
}
