import { mkdir } from 'node:fs/promises'
import {
  canonicalJson,
  decodeBase64,
  encodeBase64,
  encodeUtf8,
  equalBytes,
  parseCanonicalJson,
  Secret,
} from '@cella/bytes'
import {
  type Checkpoint,
  emptyRoot,
  encodeCheckpointText,
  encodeNote,
  LogError,
  type NoteKey,
  type NoteSigner,
  noteSigner,
  parseCheckpointText,
  signNote,
  verifyConsistency,
} from '@cella/log'
import { randomBytes } from '@cella/primitives'
import type { TeeDriver } from '@cella/tee'
import { z } from 'zod'
import { SignerError } from './error.ts'
import { readSealed, writeSealed } from './sealed-files.ts'

interface Tree {
  readonly size: number
  readonly root: Uint8Array
}

/** What is asked to be signed, with the proof that it continues the tree of `from` leaves. */
export interface SignRequest {
  /** The checkpoint's text. */
  readonly text: string
  readonly from: number
  readonly proof: readonly Uint8Array[]
}

const treeSchema = z.strictObject({ root: z.string().length(44), size: z.int().min(0) })
const stateSchema = z.strictObject({ before: treeSchema, last: treeSchema, origin: z.string(), version: z.literal(1) })

/**
 * A log's key that signs one history. Trees are signed one after the other; a tree leaves signed only once it is durable as
 * the last one. The tree before it may be asked for again, which is no new signature: so a log that ended between our write
 * and its own can start.
 */
export class LogSigner {
  readonly #tee: TeeDriver
  readonly #folder: string
  readonly #signer: NoteSigner
  #last: Tree
  #before: Tree
  #working: Promise<unknown> = Promise.resolve()

  private constructor(tee: TeeDriver, folder: string, signer: NoteSigner, trees: { last: Tree; before: Tree }) {
    this.#tee = tee
    this.#folder = folder
    this.#signer = signer
    this.#last = trees.last
    this.#before = trees.before
  }

  /** Opens what was sealed in `folder`, or bears the key. Throws ERR_SIGNER_STATE. */
  static async open(tee: TeeDriver, options: { folder: string; origin: string }): Promise<LogSigner> {
    const { folder, origin } = options
    await mkdir(folder, { recursive: true, mode: 0o700 })
    const held = await readSealed(tee, folder, 'key')
    const state = await readSealed(tee, folder, 'state')
    if (held === undefined && state !== undefined) throw new SignerError('ERR_SIGNER_STATE', 'the key is lost')
    const seed = held ?? randomBytes(32)
    if (held === undefined) await writeSealed(tee, folder, 'key', seed)
    const signer = noteSigner({ name: origin, type: 'note', seed: new Secret(seed) })
    const empty = { size: 0, root: emptyRoot() }
    if (state === undefined) return new LogSigner(tee, folder, signer, { last: empty, before: empty })
    const parsed = stateSchema.parse(parseCanonicalJson(state, 'state', 4096))
    if (parsed.origin !== origin) throw new SignerError('ERR_SIGNER_STATE', `the state is of the log ${parsed.origin}`)
    const treeOf = (tree: z.infer<typeof treeSchema>): Tree => ({
      size: tree.size,
      root: decodeBase64(tree.root, 'root'),
    })
    return new LogSigner(tee, folder, signer, { last: treeOf(parsed.last), before: treeOf(parsed.before) })
  }

  get key(): NoteKey {
    return this.#signer.key
  }

  /** Leaves of the tree that was signed last. */
  get size(): number {
    return this.#last.size
  }

  /** The note with this log's signature. Throws SignerError; then nothing is signed and nothing changed. */
  async sign(request: SignRequest): Promise<Uint8Array> {
    const note = this.#working.then(() => this.#sign(request))
    this.#working = note.catch(() => undefined)
    return note
  }

  async #sign({ text, from, proof }: SignRequest): Promise<Uint8Array> {
    const next = this.#checkpointOf(text)
    const isRepeated = [this.#last, this.#before].some(
      (tree) => tree.size === next.size && equalBytes(tree.root, next.root),
    )
    if (!isRepeated) await this.#advance(next, { from, proof })
    return encodeNote({ text, signatures: [signNote(text, this.#signer)] })
  }

  #checkpointOf(text: string): Checkpoint {
    try {
      const checkpoint = parseCheckpointText(text)
      const { origin, size, root } = checkpoint
      if (text === encodeCheckpointText({ origin, size, root, extensions: [] }) && origin === this.key.name)
        return checkpoint
    } catch (cause) {
      if (!(cause instanceof LogError)) throw cause
      throw new SignerError('ERR_SIGNER_MALFORMED', cause.message, { cause })
    }
    throw new SignerError('ERR_SIGNER_MALFORMED', `the text is no plain checkpoint of ${this.key.name}`)
  }

  async #advance(next: Tree, { from, proof }: Pick<SignRequest, 'from' | 'proof'>): Promise<void> {
    const last = this.#last
    if (next.size <= last.size) {
      throw new SignerError('ERR_SIGNER_ROLLBACK', `${last.size} leaves are signed; no other tree of ${next.size} is`)
    }
    if (from !== last.size) {
      throw new SignerError('ERR_SIGNER_BEHIND', `the proof is from ${from} leaves, signed are ${last.size}`)
    }
    try {
      if (last.size > 0) {
        verifyConsistency({
          oldSize: last.size,
          newSize: next.size,
          oldRoot: last.root,
          newRoot: next.root,
          path: proof,
        })
      }
    } catch (cause) {
      if (!(cause instanceof LogError)) throw cause
      throw new SignerError('ERR_SIGNER_FORK', cause.message, { cause })
    }
    const json = ({ size, root }: Tree) => ({ root: encodeBase64(root), size })
    const state = { before: json(last), last: json(next), origin: this.key.name, version: 1 }
    await writeSealed(this.#tee, this.#folder, 'state', encodeUtf8(canonicalJson(state)))
    this.#before = last
    this.#last = { size: next.size, root: new Uint8Array(next.root) }
  }
}
