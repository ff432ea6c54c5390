import { canonicalJson, decodeBase64, encodeBase64, encodeUtf8, equalBytes, parseCanonicalJson } from '@cella/bytes'
import { type Leaf, type LeafKind, leafKindOf, leafLength } from './leaf.ts'
import { LeafStore } from './leaf-store.ts'
import { LogError } from './log-error.ts'
import { parseNote } from './note.ts'
import { malformed, parsing } from './parsing.ts'
import type { LogPolicy } from './policy.ts'
import { edgePlaces, type HashReader } from './proofs.ts'
import { readEntries, tileWidth } from './tiles.ts'
import { emptyRoot, foldEdge, leafHash, nodeHash, TreeBuilder } from './tree.ts'
import { verifyCheckpoint, type WitnessedCheckpoint, type WitnessTimes } from './witnessed.ts'

/** The door to a log's files. What it returns is not trusted. */
export interface LogReader {
  /** The newest checkpoint note. */
  checkpoint(): Promise<Uint8Array>
  /** The file at a path of `tilePath`; rejects when it is absent. */
  tile(path: string): Promise<Uint8Array>
  /** The newest checkpoint with the leaves that are new since `from`, where the log has a way to give both at once. */
  news?(from: number): Promise<LogNews>
}

/** A checkpoint note with leaves that are said to lead up to it. */
export interface LogNews {
  readonly checkpoint: Uint8Array
  /** Index of the first of `leaves`. */
  readonly from: number
  /** Entries of 64 bytes. Others than were asked for, and none, are made up for from the log's tiles. */
  readonly leaves: readonly Uint8Array[]
}

/** What to keep of a log over a restart, so that it can't go back or fork unseen. */
export interface LogMemory {
  readonly origin: string
  readonly size: number
  /** 32 bytes. */
  readonly root: Uint8Array
  /** The right edge, of which `root` is made. */
  readonly edge: readonly Uint8Array[]
}

/** How many bundles are asked for at once. */
const readAhead = 8
const cosignedMax = 32

/**
 * A log as one who reads all of it sees it: every leaf, re-hashed, and the first index of every tag. It only goes
 * forward: a checkpoint that is smaller, or no continuation, is refused and changes nothing.
 *
 * After a restart the leaves are read again from the first: only who has read all of them knows which tag came first.
 * `memory` makes sure that they are the same ones.
 */
export class LogView {
  readonly #policy: LogPolicy
  readonly #reader: LogReader
  readonly #memory: LogMemory
  readonly #store = new LeafStore()
  readonly #verified = new WeakSet<WitnessedCheckpoint>()
  /** Roots over 256, 256², … leaves, by level and index: with them a proof costs one tile's hashing a level. */
  readonly #roots: Uint8Array[][] = []
  /** By who signed beside the log, the newest last. */
  readonly #cosigned = new Map<string, Uint8Array>()
  #tree = new TreeBuilder()
  #last: Promise<unknown> = Promise.resolve()

  /**
   * Throws ERR_LOG_POLICY unless the policy names exactly one log, ERR_LOG_ORIGIN for the memory of another log,
   * ERR_LOG_MALFORMED for a memory that contradicts itself.
   */
  constructor(options: { policy: LogPolicy; read: LogReader; memory?: LogMemory }) {
    const [log, ...others] = options.policy.logs
    if (log === undefined || others.length > 0) {
      throw new LogError('ERR_LOG_POLICY', `a view reads one log, the policy names ${options.policy.logs.length}`)
    }
    const memory = options.memory ?? { origin: log.key.name, size: 0, root: emptyRoot(), edge: [] }
    if (memory.origin !== log.key.name) {
      throw new LogError('ERR_LOG_ORIGIN', `the memory is of ${memory.origin}, the policy names ${log.key.name}`)
    }
    checkMemory(memory)
    this.#policy = options.policy
    this.#reader = options.read
    this.#memory = memory
  }

  /** The log's origin. */
  get origin(): string {
    return this.#memory.origin
  }

  /** Leaves read and verified so far. */
  get size(): number {
    return this.#tree.size
  }

  /** The root over them, 32 bytes. */
  get root(): Uint8Array {
    return this.#tree.root()
  }

  /**
   * Verifies a checkpoint (the newest of the log, or the one given), reads every leaf up to it, and goes on to it. All
   * or nothing. Calls wait for each other. Leaves that come with a checkpoint save reading tiles; they are hashed like all
   * others.
   *
   * Throws ERR_LOG_ROLLED_BACK for a checkpoint that is smaller than one seen before, ERR_LOG_FORKED where leaves or
   * roots contradict, ERR_LOG_UNAVAILABLE when the log can't be read, and what `verifyCheckpoint` throws.
   */
  async advance(given?: Uint8Array | LogNews): Promise<WitnessedCheckpoint> {
    const next = this.#last.then(async () => this.#advance(given ?? (await this.#readNews())))
    this.#last = next.catch(() => undefined)
    return next
  }

  /** The index of the first leaf with this tag (16 bytes), or `undefined` when no leaf read so far has it. */
  firstIndexOf(tag: Uint8Array): number | undefined {
    const index = this.#store.firstIndexOf(tag)
    // While `advance` reads, leaves lie beyond the size that are not verified yet.
    return index !== undefined && index < this.size ? index : undefined
  }

  /** A leaf below `size`; `kind` is `undefined` for one of a version or kind not known here. */
  leafAt(index: number): { kind: LeafKind | undefined; commitment: Uint8Array; tag: Uint8Array } {
    this.#requireIndex(index)
    const { kind, commitment, tag } = this.#store.at(index)
    return { kind: leafKindOf(kind), commitment, tag }
  }

  /** The 64 bytes of a leaf below `size`. */
  leafBytesAt(index: number): Uint8Array {
    this.#requireIndex(index)
    return this.#store.bytesAt(index)
  }

  /** Whether the leaf at `index` is this one. */
  holds(index: number, leaf: Leaf): boolean {
    return Number.isSafeInteger(index) && index >= 0 && index < this.size && this.#store.holds(index, leaf)
  }

  /** Whether this view made the checkpoint, and so has read every leaf up to it. */
  hasVerified(checkpoint: WitnessedCheckpoint): boolean {
    return this.#verified.has(checkpoint)
  }

  /**
   * Checkpoints of this view whose notes carry more signatures than the log's, newest first: for who takes an older
   * quorum than that on the newest. One for each set of signers; the signatures are not verified but by this policy.
   */
  cosigned(): Uint8Array[] {
    return [...this.#cosigned.values()].reverse()
  }

  /** What the witnesses that count for the quorum say it was; `undefined` when the policy asks for none. */
  times(checkpoint: WitnessedCheckpoint): WitnessTimes | undefined {
    if (!this.hasVerified(checkpoint)) throw new RangeError('times: the checkpoint is not of this view')
    return checkpoint.times
  }

  /** What to keep over a restart. Before the first `advance`, what the view was given. */
  memory(): LogMemory {
    if (this.size < this.#memory.size) return this.#memory
    return { origin: this.origin, size: this.size, root: this.root, edge: this.#tree.edge() }
  }

  /**
   * Hashes of perfect subtrees of what was read, for proofs on any checkpoint of this view. Throws RangeError for a node
   * beyond it.
   */
  hashes(): HashReader {
    const known = new Map<string, Uint8Array>()
    const hashAt = (level: number, index: number): Uint8Array => {
      if (level === 0) return leafHash(this.#store.bytesAt(index))
      if (level % 8 === 0) return this.#roots[level / 8]![index]!
      const name = `${level}/${index}`
      const hash = known.get(name) ?? nodeHash(hashAt(level - 1, index * 2), hashAt(level - 1, index * 2 + 1))
      known.set(name, hash)
      return hash
    }
    return async (places) =>
      places.map(({ level, index }) => {
        if ((index + 1) * 2 ** level > this.size) throw new RangeError(`hashes: ${this.size} leaves have no such node`)
        return hashAt(level, index)
      })
  }

  /** The root over the first `size` leaves read. Throws RangeError for more than were. */
  async rootAt(size: number): Promise<Uint8Array> {
    if (size > this.size) throw new RangeError(`rootAt: ${this.size} leaves were read, not ${size}`)
    return foldEdge(await this.hashes()(edgePlaces(size)))
  }

  #requireIndex(index: number): void {
    if (Number.isSafeInteger(index) && index >= 0 && index < this.size) return
    throw new LogError('ERR_LOG_ENTRY', `the view holds ${this.size} leaves, none has index ${index}`)
  }

  async #readNews(): Promise<Uint8Array | LogNews> {
    try {
      return (await this.#reader.news?.(this.size)) ?? (await this.#reader.checkpoint())
    } catch (cause) {
      throw new LogError('ERR_LOG_UNAVAILABLE', `the checkpoint of ${this.origin} can't be read`, { cause })
    }
  }

  async #advance(given: Uint8Array | LogNews): Promise<WitnessedCheckpoint> {
    const news = 'checkpoint' in given ? given : { checkpoint: given, from: 0, leaves: [] }
    const checkpoint = verifyCheckpoint(news.checkpoint, this.#policy)
    const seen = Math.max(this.size, this.#memory.size)
    if (checkpoint.size < seen) {
      throw new LogError(
        'ERR_LOG_ROLLED_BACK',
        `${this.origin} shows a checkpoint of ${checkpoint.size} leaves after one of ${seen}; it was set back`,
      )
    }
    try {
      const tree = await this.#readLeaves(checkpoint.size, news)
      if (!equalBytes(tree.root(), checkpoint.root)) {
        throw new LogError(
          'ERR_LOG_FORKED',
          `the ${checkpoint.size} leaves of ${this.origin} do not have the root of its checkpoint`,
        )
      }
      this.#tree = tree
    } catch (error) {
      this.#store.truncate(this.#tree.size)
      throw error
    }
    this.#verified.add(checkpoint)
    this.#keepCosigned(checkpoint.bytes)
    return checkpoint
  }

  #keepCosigned(bytes: Uint8Array): void {
    const signers = parseNote(bytes).signatures.map(({ name, keyId }) => `${name} ${keyId}`)
    const others = [...new Set(signers)].filter((signer) => !signer.startsWith(`${this.origin} `)).sort()
    if (others.length === 0) return
    const names = others.join('\n')
    // The newest goes last; the host chooses the names, so there is a bound.
    this.#cosigned.delete(names)
    this.#cosigned.set(names, bytes)
    if (this.#cosigned.size > cosignedMax) this.#cosigned.delete(this.#cosigned.keys().next().value!)
  }

  /** The tree over all leaves to `end`; their tags are in the store. */
  async #readLeaves(end: number, { from, leaves }: LogNews): Promise<TreeBuilder> {
    const tree = new TreeBuilder({ size: this.#tree.size, edge: this.#tree.edge() })
    this.#compareMemory(tree)
    // This view may have gone on while they were on their way.
    if (from <= tree.size && from + leaves.length === end) {
      for (const leaf of leaves.slice(tree.size - from)) this.#add(tree, leaf)
    }
    const ahead: Promise<Uint8Array[]>[] = []
    let asked = Math.floor(tree.size / tileWidth)
    while (tree.size < end) {
      while (ahead.length < readAhead && asked * tileWidth < end) {
        const width = Math.min(tileWidth, end - asked * tileWidth)
        const entries = readEntries((path) => this.#reader.tile(path), { level: 'entries', index: asked, width })
        // A failure is thrown where the bundle is awaited; an earlier one may leave this one unawaited.
        entries.catch(() => undefined)
        ahead.push(entries)
        asked += 1
      }
      const entries = await ahead.shift()!
      // A partial bundle may have been read before: go on behind what is known of it.
      for (const entry of entries.slice(tree.size % tileWidth)) this.#add(tree, entry)
    }
    return tree
  }

  #add(tree: TreeBuilder, entry: Uint8Array): void {
    if (entry.length !== leafLength) {
      throw malformed(`entry ${tree.size}`, `has ${entry.length} bytes, every leaf of this log has ${leafLength}`)
    }
    this.#store.append(entry)
    tree.append(leafHash(entry), (level, index, hash) => {
      if (level === 0 || level % 8 !== 0) return
      this.#roots[level / 8] ??= []
      this.#roots[level / 8]![index] = hash
    })
    this.#compareMemory(tree)
  }

  #compareMemory(tree: TreeBuilder): void {
    if (tree.size === this.#memory.size && !equalBytes(tree.root(), this.#memory.root)) {
      throw new LogError(
        'ERR_LOG_FORKED',
        `the first ${tree.size} leaves of ${this.origin} are others than those seen before`,
      )
    }
  }
}

function checkMemory(memory: LogMemory): void {
  if (memory.edge.length !== edgePlaces(memory.size).length || !equalBytes(foldEdge(memory.edge), memory.root)) {
    throw malformed('log memory', 'has a right edge that is not that of its root')
  }
}

/** Canonical JSON, for a file or a row. */
export function encodeLogMemory(memory: LogMemory): Uint8Array {
  const { origin, size, root, edge } = memory
  return encodeUtf8(canonicalJson({ edge: edge.map(encodeBase64), origin, root: encodeBase64(root), size, version: 1 }))
}

/** The inverse of `encodeLogMemory`. Throws ERR_LOG_MALFORMED. */
export function parseLogMemory(bytes: Uint8Array): LogMemory {
  const value = parsing(() => parseCanonicalJson(bytes, 'log memory', 100_000))
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw malformed('log memory', 'is no object')
  }
  const { edge, origin, root, size, version, ...others } = value as Record<string, unknown>
  if (version !== 1 || Object.keys(others).length > 0) throw malformed('log memory', 'is not of version 1')
  if (typeof origin !== 'string' || typeof root !== 'string' || !Number.isSafeInteger(size) || !Array.isArray(edge)) {
    throw malformed('log memory', 'has a member of another type')
  }
  if (edge.length > 64 || edge.some((hash) => typeof hash !== 'string')) throw malformed('log memory', 'has no edge')
  const memory: LogMemory = {
    origin,
    size: size as number,
    root: parsing(() => decodeBase64(root, 'log memory root')),
    edge: edge.map((hash) => parsing(() => decodeBase64(hash as string, 'log memory edge'))),
  }
  if (memory.size < 0) throw malformed('log memory', 'has a negative size')
  checkMemory(memory)
  return memory
}
