import { mkdir } from 'node:fs/promises'
import { decodeBase64url, equalBytes, Secret } from '@cella/bytes'
import {
  type Checkpoint,
  encodeCheckpointText,
  encodeNote,
  encodeVkey,
  LogError,
  leafHash,
  type NoteKey,
  type NoteSigner,
  noteSigner,
  parseCheckpointText,
  signerLeaf,
  signNote,
  signReceiptRoot,
  verifyConsistency,
  verifyInclusion,
} from '@cella/log'
import { digestOf, hpkeSeal, randomBytes } from '@cella/primitives'
import { logKeyInfo } from '@cella/seal'
import type { TeeDriver } from '@cella/tee'
import { SignerError } from './error.ts'
import type { Identity } from './identity.ts'
import { encodeMemory, readMemory, type SignerMemory, writeMemory } from './memory.ts'
import { nothingSigned, type SignerState, type Tree } from './state.ts'
import { StateFile } from './state-file.ts'

/** Where an entry stands in a tree, and the hashes that show it: RFC 6962 §2.1.1. */
export interface EntryProof {
  readonly index: number
  readonly path: readonly Uint8Array[]
}

/** What is asked to be signed, with the proof that it continues the tree of `from` leaves. */
export interface SignRequest {
  /** The checkpoint's text. */
  readonly text: string
  readonly from: number
  readonly proof: readonly Uint8Array[]
  /** That the newest statement is in the tree: needed until it was shown once. */
  readonly entry?: EntryProof | undefined
}

/**
 * A log's key that signs one history, in which its own statement is an entry. Trees are signed one after the other; a tree
 * leaves signed only once it is durable as the last one. The tree before it may be asked for again, which is no new
 * signature: so a log that ended between our write and its own can start.
 */
export class LogSigner {
  readonly #identity: Identity
  readonly #signer: NoteSigner
  readonly #seed: Uint8Array
  readonly #statements: readonly Uint8Array[]
  readonly #file: StateFile
  #working: Promise<unknown> = Promise.resolve()

  private constructor(
    { seed, statements }: Pick<SignerMemory, 'seed' | 'statements'>,
    parts: { origin: string; identity: Identity; file: StateFile },
  ) {
    this.#identity = parts.identity
    this.#seed = seed
    this.#signer = signerOf(seed, parts.origin)
    this.#statements = statements
    this.#file = parts.file
  }

  /** Opens what was sealed in `folder`, or bears the key and states whose it is. Throws ERR_SIGNER_STATE. */
  static async open(
    tee: TeeDriver,
    options: { folder: string; origin: string; identity: Identity },
  ): Promise<LogSigner> {
    const { folder, origin, identity } = options
    await mkdir(folder, { recursive: true, mode: 0o700 })
    const at = { folder, origin }
    const memory = (await readMemory(tee, at)) ?? (await bear(tee, at, identity))
    return new LogSigner(memory, { origin, identity, file: await StateFile.open(tee, at) })
  }

  /** Nothing may be asked of it any more. */
  async close(): Promise<void> {
    await this.#working
    this.#file.close()
  }

  get #state(): SignerState {
    return this.#file.state
  }

  get key(): NoteKey {
    return this.#signer.key
  }

  /** Leaves of the tree that was signed last. */
  get size(): number {
    return this.#state.last?.size ?? 0
  }

  /** The statements on this key, oldest first; the last is on this code. */
  get statements(): readonly Uint8Array[] {
    return this.#statements
  }

  /** Where the statement on this code stands in the log; `undefined` until that was shown. */
  get entry(): number | undefined {
    return this.#state.entry
  }

  /** The note with this log's signature. Throws SignerError; then nothing is signed and nothing changed. */
  sign(request: SignRequest): Promise<Uint8Array> {
    return this.#inTurn(() => this.#sign(request))
  }

  /** The signature under COSE receipts (`signReceiptRoot`) of one of the last two trees. Throws ERR_SIGNER_BEHIND. */
  signReceipt(size: number): Uint8Array {
    const tree = [this.#state.last, this.#state.before].find((one) => one?.size === size)
    if (tree === undefined) {
      throw new SignerError(
        'ERR_SIGNER_BEHIND',
        `receipts are signed of the last two trees, and none has ${size} leaves`,
      )
    }
    return signReceiptRoot(this.#signer, tree.root)
  }

  /**
   * The key and what was signed last, encrypted to the code of `statement`, which has to be an entry of the tree that was
   * signed last. From then on this signer signs nothing; for the same statement it gives the same again. Throws SignerError.
   */
  pass(statement: Uint8Array, entry: EntryProof): Promise<Uint8Array> {
    return this.#inTurn(() => this.#pass(statement, entry))
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#working.then(work)
    this.#working = done.catch(() => undefined)
    return done
  }

  async #sign({ text, from, proof, entry }: SignRequest): Promise<Uint8Array> {
    const next = this.#checkpointOf(text)
    const isRepeated = [this.#state.last, this.#state.before].some(
      (tree) => tree !== undefined && tree.size === next.size && equalBytes(tree.root, next.root),
    )
    if (!isRepeated) await this.#advance(next, { from, proof, entry })
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

  async #advance(next: Tree, { from, proof, entry }: Pick<SignRequest, 'from' | 'proof' | 'entry'>): Promise<void> {
    const { last } = this.#state
    if (this.#state.passedTo !== undefined) {
      throw new SignerError('ERR_SIGNER_PASSED', 'the key was passed to a newer signer, which signs from now on')
    }
    if (last !== undefined && next.size <= last.size) {
      throw new SignerError('ERR_SIGNER_ROLLBACK', `${last.size} leaves are signed; no other tree of ${next.size} is`)
    }
    if (from !== (last?.size ?? 0)) {
      throw new SignerError('ERR_SIGNER_BEHIND', `the proof is from ${from} leaves, signed are ${last?.size ?? 0}`)
    }
    if (last !== undefined && last.size > 0)
      verified('ERR_SIGNER_FORK', () =>
        verifyConsistency({
          oldSize: last.size,
          newSize: next.size,
          oldRoot: last.root,
          newRoot: next.root,
          path: proof,
        }),
      )
    // Of the tree that it starts from, empty or another log's, it knows nothing; every later one says who signs.
    const shown = this.#state.entry ?? (last === undefined ? undefined : this.#shown(next, entry))
    await this.#file.write({ last: copyOf(next), before: last, entry: shown, passedTo: undefined })
  }

  #shown(next: Tree, entry: EntryProof | undefined): number {
    if (entry === undefined) {
      throw new SignerError(
        'ERR_SIGNER_UNLOGGED',
        'no tree is signed before the statement on this signer is an entry of it',
      )
    }
    const leaf = signerLeaf(this.key, this.#statements.length - 1, this.#statements.at(-1)!)
    verified('ERR_SIGNER_UNLOGGED', () => verifyEntry(next, leaf, entry))
    return entry.index
  }

  async #pass(statement: Uint8Array, entry: EntryProof): Promise<Uint8Array> {
    const digest = digestOf(statement)
    const { last, passedTo } = this.#state
    if (passedTo !== undefined && passedTo !== digest) {
      throw new SignerError('ERR_SIGNER_PASSED', `the key was passed to the signer of statement ${passedTo}`)
    }
    const number = this.#statements.length
    const { binding } = await this.#identity.verifySuccessor(statement, {
      vkey: encodeVkey(this.key),
      number,
      previous: digestOf(this.#statements.at(-1)!),
    })
    if (last === undefined || this.#state.entry === undefined) {
      throw new SignerError('ERR_SIGNER_SUCCESSOR', 'this signer is not in the log itself yet')
    }
    verified('ERR_SIGNER_SUCCESSOR', () => verifyEntry(last, signerLeaf(this.key, number, statement), entry))
    // In both slots: no torn one leaves a signer that signs on.
    if (passedTo === undefined) for (const _ of [0, 1]) await this.#file.write({ ...this.#state, passedTo: digest })
    const state = { ...this.#state, entry: entry.index, passedTo: undefined }
    return hpkeSeal({
      publicKey: decodeBase64url(binding.handover!, 'handover'),
      info: logKeyInfo({ statement: digest }),
      plaintext: encodeMemory({ seed: this.#seed, statements: [...this.#statements, statement], state }, this.key.name),
    })
  }
}

async function bear(tee: TeeDriver, at: { folder: string; origin: string }, identity: Identity): Promise<SignerMemory> {
  const seed = randomBytes(32)
  const vkey = encodeVkey(signerOf(seed, at.origin).key)
  const statement = await identity.state({ vkey, number: 0, previous: null, handover: null })
  const memory = { seed, statements: [statement], state: nothingSigned }
  await writeMemory(tee, at, memory)
  return memory
}

function signerOf(seed: Uint8Array, origin: string): NoteSigner {
  return noteSigner({ name: origin, type: 'note', seed: new Secret(new Uint8Array(seed)) })
}

function verifyEntry({ size, root }: Tree, leaf: Uint8Array, { index, path }: EntryProof): void {
  if (index >= size) throw new LogError('ERR_LOG_PROOF', `${size} leaves, none has index ${index}`)
  verifyInclusion({ index, size, leaf: leafHash(leaf), path, root })
}

function verified(code: SignerError['code'], verify: () => void): void {
  try {
    verify()
  } catch (cause) {
    if (!(cause instanceof LogError)) throw cause
    throw new SignerError(code, cause.message, { cause })
  }
}

function copyOf({ size, root }: Tree): Tree {
  return { size, root: new Uint8Array(root) }
}
