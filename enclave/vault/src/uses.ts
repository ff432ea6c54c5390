import { type Digest, encodeHex } from '@cella/bytes'
import { encodeLeaf, type LogView, TagStream } from '@cella/log'
import { reservationCommitment } from './keys.ts'

/** A use of an asset: the `n`-th of its stream, counted from 0, for one run of one contract. */
export interface Use {
  readonly n: number
  readonly leaf: Uint8Array
  /** Whether the log holds it already: this run was reserved before. */
  readonly reserved: boolean
}

interface Stream {
  readonly tags: TagStream
  /** How many of its uses are in `byCommitment`. */
  count: number
  readonly byCommitment: Map<string, number>
}

/**
 * The uses of assets, read from the log alone: this object only remembers how far it has read. A tag that stands in the
 * log counts, whatever its leaf commits to: doubt is a use.
 */
export class Uses {
  readonly #view: LogView
  readonly #streams = new Map<string, Stream>()

  constructor(view: LogView) {
    this.#view = view
  }

  /** The use that a run has of the asset of this stream, or would have next. */
  of(streamKey: Uint8Array, contract: Digest, run: number): Use {
    const { tags, count, byCommitment } = this.#read(streamKey)
    const commitment = reservationCommitment(streamKey, contract, run)
    const reserved = byCommitment.get(encodeHex(commitment))
    const n = reserved ?? count
    const leaf = encodeLeaf({ kind: 'reservation', commitment, tag: tags.tagOf(n) })
    return { n, leaf, reserved: reserved !== undefined }
  }

  #read(streamKey: Uint8Array): Stream {
    const name = encodeHex(streamKey)
    const stream = this.#streams.get(name) ?? {
      tags: new TagStream(this.#view, streamKey),
      count: 0,
      byCommitment: new Map<string, number>(),
    }
    this.#streams.set(name, stream)
    for (const index of stream.tags.read().slice(stream.count)) {
      const { kind, commitment } = this.#view.leafAt(index)
      const found = encodeHex(commitment)
      // The first one wins: a run that was somehow reserved twice keeps its first number, and both count.
      if (kind === 'reservation' && !stream.byCommitment.has(found)) stream.byCommitment.set(found, stream.count)
      stream.count += 1
    }
    return stream
  }
}
