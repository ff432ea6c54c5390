import { equalBytes } from '@cella/bytes'
import {
  consistencyProof,
  encodeCheckpointText,
  encodeNote,
  inclusionProof,
  type NoteKey,
  type NoteSignature,
  type NoteSigner,
  parseEntryBundle,
  signNote,
  signReceiptRoot,
  type TileReader,
  tileHashes,
  tilePath,
  tileWidth,
} from '@cella/log'
import type { LastSigned, SignedTree } from './last-signed.ts'

/** A checkpoint note and the number of leaves it is of. */
export interface SizedCheckpoint {
  readonly size: number
  readonly bytes: Uint8Array
}

/** What a signer is asked to sign. One that remembers what it signed can check that nothing of it is taken back. */
export interface SigningRequest {
  /** The checkpoint's text, ending in a newline. */
  readonly text: string
  readonly next: SignedTree
  /** What was signed before; of size 0 at first. */
  readonly previous: SignedTree
  /**
   * That `next` continues `previous`, or another tree of this log with `from` leaves: RFC 6962 §2.1.2. Empty from an empty
   * or the same tree.
   */
  proof(from?: number): Promise<readonly Uint8Array[]>
  /** Where `leaf` is among what `next` has beyond `previous`, or beyond `from` leaves, with its inclusion path (RFC 6962 §2.1.1) in `next`. */
  entry(
    leaf: Uint8Array,
    from?: number,
  ): Promise<{ readonly index: number; readonly path: readonly Uint8Array[] } | undefined>
}

/** Who signs the log's checkpoints: a key in this process, or something elsewhere that holds one. */
export interface CheckpointSigner {
  /** Of type `note`; its name is the log's origin. */
  readonly key: NoteKey
  sign(request: SigningRequest): Promise<NoteSignature>
  /** The signature under COSE receipts of a tree that was signed, one of the last two: 64 bytes. */
  signReceipt(tree: SignedTree): Promise<Uint8Array>
}

/** Signs with a key in this process. */
export function localSigner(signer: NoteSigner): CheckpointSigner {
  if (signer.key.type !== 'note') throw new RangeError('a log signs with a key of type note')
  return {
    key: signer.key,
    sign: async ({ text }) => signNote(text, signer),
    signReceipt: async ({ root }) => signReceiptRoot(signer, root),
  }
}

/** Signs one tree after the other; what leaves it is in `lastSigned`, durably. */
export class Signing {
  readonly #signer: CheckpointSigner
  readonly #lastSigned: LastSigned
  readonly #tile: TileReader
  readonly #keep: (checkpoint: SizedCheckpoint) => Promise<void>

  /** `keep` holds a checkpoint elsewhere as well, before it leaves. */
  constructor(options: {
    signer: CheckpointSigner
    lastSigned: LastSigned
    tile: TileReader
    keep?: (checkpoint: SizedCheckpoint) => Promise<void>
  }) {
    this.#signer = options.signer
    this.#lastSigned = options.lastSigned
    this.#tile = options.tile
    this.#keep = options.keep ?? (async () => undefined)
  }

  /** Throws ERR_LOG_IN_USE or ERR_LOG_DAMAGED where another tree of this size, or a larger one, was signed. */
  async sign(next: SignedTree): Promise<SizedCheckpoint> {
    // Nothing signed leaves before it is on disk as the last. It may be there before a signer elsewhere signs it: the leaves
    // are durable, and then it is signed at the next start. Both are awaited whatever one of them says.
    const signing = this.#checkpointOf(next)
    const kept = await Promise.allSettled([this.#lastSigned.replace(next), signing.then(this.#keep)])
    for (const one of kept) if (one.status === 'rejected') throw one.reason
    return signing
  }

  /** The last tree again, which is no new signature. */
  async signAgain(last: SignedTree): Promise<SizedCheckpoint> {
    return this.#checkpointOf(last)
  }

  async #checkpointOf(next: SignedTree): Promise<SizedCheckpoint> {
    const { key } = this.#signer
    const text = encodeCheckpointText({ origin: key.name, size: next.size, root: next.root, extensions: [] })
    const previous = this.#lastSigned.tree ?? { size: 0, root: new Uint8Array(32) }
    const proof = async (from = previous.size): Promise<readonly Uint8Array[]> =>
      from === 0 || from === next.size
        ? []
        : consistencyProof({ oldSize: from, newSize: next.size, hashes: tileHashes(this.#tile, next.size) })
    const entry: SigningRequest['entry'] = async (leaf, from = previous.size) => {
      const index = await this.#find(leaf, from, next.size)
      if (index === undefined) return undefined
      return {
        index,
        path: await inclusionProof({ index, size: next.size, hashes: tileHashes(this.#tile, next.size) }),
      }
    }
    const signature = await this.#signer.sign({ text, next, previous, proof, entry })
    return { size: next.size, bytes: encodeNote({ text, signatures: [signature] }) }
  }

  async #find(leaf: Uint8Array, from: number, size: number): Promise<number | undefined> {
    for (let at = Math.floor(from / tileWidth); at * tileWidth < size; at++) {
      const width = Math.min(tileWidth, size - at * tileWidth)
      const bundle = await this.#tile(tilePath({ level: 'entries', index: at, width }))
      const found = parseEntryBundle(bundle, width).findIndex((entry) => equalBytes(entry, leaf))
      if (found >= 0) return at * tileWidth + found
    }
    return undefined
  }
}
