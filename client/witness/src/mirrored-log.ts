import {
  type Checkpoint,
  cosignNote,
  type EntryPackage,
  encodeNote,
  LogCopy,
  LogError,
  leafHash,
  type MirrorStore,
  type NoteKey,
  type NoteSignature,
  type NoteSigner,
  type PackageRange,
  parseCheckpointText,
  parseNote,
  TreeBuilder,
  timeToSign,
  verifyNote,
  verifySubtreeConsistency,
} from '@cella/log'
import { WitnessError } from './witness-error.ts'

/** A checkpoint that was accepted, with its note as the log signed it. */
export interface Target {
  readonly checkpoint: Checkpoint
  readonly note: Uint8Array
}

interface Opened {
  readonly copy: LogCopy
  /** Entries after whole bundles; they are written with the checkpoint that ends in their bundle. */
  readonly tail: Uint8Array[]
  /** Leaves of the newest checkpoint that is served. */
  readonly heldSize: number
}

/** The copy of one log. Every change waits for the one before. */
export class MirroredLog {
  readonly #key: NoteKey
  readonly #store: MirrorStore
  readonly #signers: readonly NoteSigner[]
  readonly #now: () => number
  readonly #pendingSize: () => number
  #opened: Opened | undefined
  #turn: Promise<unknown> = Promise.resolve()

  constructor(options: {
    key: NoteKey
    store: MirrorStore
    signers: readonly NoteSigner[]
    /** Seconds since 1970. */
    now: () => number
    /** Leaves of the newest checkpoint that was accepted. */
    pendingSize: () => number
  }) {
    this.#key = options.key
    this.#store = options.store
    this.#signers = options.signers
    this.#now = options.now
    this.#pendingSize = options.pendingSize
  }

  /** What it has by now: `next` is the first entry that is missing. */
  async standing(): Promise<{ heldSize: number; next: number }> {
    return this.#inTurn(async ({ copy, tail, heldSize }) => ({ heldSize, next: copy.size + tail.length }))
  }

  /** The checkpoint that is served, as the log signed it. */
  async held(): Promise<Target | undefined> {
    const bytes = await this.#store.read('checkpoint')
    return bytes && targetOf(bytes, this.#key)
  }

  /** Takes in what is new of a package. Throws ERR_LOG_PROOF where its entries are not those of the target's tree. */
  async save({ start, first, end }: PackageRange, { entries, path }: EntryPackage, target: Target): Promise<void> {
    await this.#inTurn(async ({ copy, tail }) => {
      const before = start < copy.size ? await copy.bundle(start) : tail
      const all = [...before.slice(0, first - start), ...entries]
      const tree = new TreeBuilder()
      for (const entry of all) tree.append(leafHash(entry))
      const { size, root } = target.checkpoint
      verifySubtreeConsistency({ start, end, size, subtreeRoot: tree.root(), root, path })
      if (end <= copy.size + tail.length) return
      // The first that is missing is in this package, so the package is of the bundle after the whole ones.
      if (end % 256 !== 0) tail.splice(0, tail.length, ...all)
      else {
        tail.length = 0
        await copy.append(all)
      }
    })
  }

  /**
   * Serves the target's checkpoint, all of whose entries were saved, and cosigns it: only after every byte is on disk. Returns
   * `undefined` where a larger one is served by now.
   */
  async finish(target: Target): Promise<NoteSignature[] | undefined> {
    return this.#inTurn(async (opened) => {
      const { copy, tail, heldSize } = opened
      const { size } = target.checkpoint
      if (size < heldSize) return undefined
      const whole = size - (size % 256)
      const last = whole < copy.size ? await copy.bundle(whole) : tail
      await copy.finish(target.checkpoint, last.slice(0, size - whole))
      const held = await this.#store.read('checkpoint')
      const { text, signatures } = parseNote(target.note)
      const now = this.#now
      const own = this.#signers.map((signer) => cosignNote(text, signer, timeToSign({ signer, now }, held)))
      await this.#store.write('checkpoint', encodeNote({ text, signatures: [...signatures, ...own] }))
      this.#opened = { ...opened, heldSize: size }
      return own
    })
  }

  async #inTurn<T>(act: (opened: Opened) => Promise<T>): Promise<T> {
    const turn = this.#turn.then(async () => {
      this.#opened ??= await this.#open()
      try {
        return await act(this.#opened)
      } catch (error) {
        // What a failed write left undone is seen by reading the store again.
        if (!(error instanceof LogError && error.code === 'ERR_LOG_PROOF')) this.#opened = undefined
        throw error
      }
    })
    this.#turn = turn.catch(() => undefined)
    return turn
  }

  async #open(): Promise<Opened> {
    const heldSize = (await this.held())?.checkpoint.size ?? 0
    const copy = await LogCopy.open(this.#store, heldSize, { until: this.#pendingSize() })
    const lastStart = heldSize - (heldSize % 256)
    const tail =
      copy.size === lastStart && heldSize > lastStart ? await copy.bundle(lastStart, heldSize - lastStart) : []
    return { copy, tail, heldSize }
  }
}

/** A checkpoint of the log as it signed it, without what others added. Throws ERR_WITNESS_STATE. */
export function targetOf(bytes: Uint8Array, key: NoteKey): Target {
  try {
    const { text, signatures } = parseNote(bytes)
    const own = signatures.filter(({ name, keyId }) => name === key.name && keyId === key.id)
    const checkpoint = parseCheckpointText(text)
    if (checkpoint.origin === key.name && verifyNote({ text, signatures: own }, [key]).length > 0) {
      return { checkpoint, note: encodeNote({ text, signatures: own }) }
    }
  } catch (cause) {
    if (!(cause instanceof LogError)) throw cause
    throw new WitnessError('ERR_WITNESS_STATE', `the checkpoint kept of ${key.name} is damaged`, { cause })
  }
  throw new WitnessError('ERR_WITNESS_STATE', `the checkpoint kept of ${key.name} is of another log`)
}
