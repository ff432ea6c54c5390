import { concatBytes, encodeHex } from '@cella/bytes'
import {
  cosignNote,
  encodeCheckpointText,
  encodeEntryBundle,
  encodeNote,
  encodeVkey,
  generateNoteSigner,
  type LogReader,
  leafHash,
  type NoteSigner,
  parseTilePath,
  signNote,
  TreeBuilder,
} from '@cella/log'
import type { WorldLog } from './world.ts'

/** A log in memory with the real tree, notes and cosignatures, whose witnesses' clocks a test sets. */
export class MemoryLog implements WorldLog, LogReader {
  readonly signer: NoteSigner
  readonly witnesses: ReadonlyMap<string, NoteSigner>
  /** Seconds since 1970 by each witness's clock; whoever is not in it does not cosign. */
  readonly clocks: Map<string, number>
  #unwitnessed: number
  readonly #leaves: Uint8Array[] = []
  readonly #indices = new Map<string, number>()
  readonly #tree = new TreeBuilder()
  /** Hashes at level 8 · n, for tiles of level n. */
  readonly #hashes: Uint8Array[][] = []

  constructor(options: { now: number; witnesses?: readonly string[]; origin?: string; like?: MemoryLog }) {
    const names = options.witnesses ?? ['w1']
    this.signer =
      options.like?.signer ?? generateNoteSigner({ name: options.origin ?? 'log.example/world', type: 'note' })
    this.witnesses =
      options.like?.witnesses ??
      new Map(names.map((name) => [name, generateNoteSigner({ name: `witness.example/${name}`, type: 'cosignature' })]))
    this.clocks = new Map(names.map((name) => [name, options.now]))
    this.#unwitnessed = options.now
  }

  get origin(): string {
    return this.signer.key.name
  }

  get size(): number {
    return this.#leaves.length
  }

  /** The first witness's clock; without witnesses, the log's own. */
  get now(): number {
    return [...this.clocks.values()][0] ?? this.#unwitnessed
  }

  /** Sets the clocks of all witnesses. */
  set now(seconds: number) {
    this.#unwitnessed = seconds
    for (const name of this.clocks.keys()) this.clocks.set(name, seconds)
  }

  /** A policy that demands all of `witnesses`; of nobody: quorum none. */
  policyOf(witnesses: readonly string[] = [...this.witnesses.keys()]): string {
    const lines = witnesses.map((name) => `witness ${name} ${encodeVkey(this.witnesses.get(name)!.key)}\n`).join('')
    const quorum = witnesses.length === 0 ? 'quorum none\n' : `group q all ${witnesses.join(' ')}\nquorum q\n`
    return `log ${encodeVkey(this.signer.key)}\n${lines}${quorum}`
  }

  /** Its first `size` leaves in a log of the same keys: what only an operator with everyone's keys could make. */
  async fork(size: number): Promise<MemoryLog> {
    const other = new MemoryLog({ now: this.now, witnesses: [...this.clocks.keys()], like: this })
    await other.append(this.#leaves.slice(0, size))
    return other
  }

  /** Indices of the leaves; of one that is there already, its first. */
  async append(leaves: readonly Uint8Array[]): Promise<number[]> {
    return leaves.map((leaf) => {
      const known = this.#indices.get(encodeHex(leaf))
      if (known !== undefined) return known
      const index = this.#leaves.length
      this.#indices.set(encodeHex(leaf), index)
      this.#leaves.push(leaf.slice())
      this.#tree.append(leafHash(leaf), (level, _, hash) => {
        if (level % 8 !== 0) return
        const tile = this.#hashes[level / 8] ?? []
        this.#hashes[level / 8] = tile
        tile.push(new Uint8Array(hash))
      })
      return index
    })
  }

  async checkpoint(): Promise<Uint8Array> {
    const text = encodeCheckpointText({
      origin: this.origin,
      size: this.size,
      root: this.#tree.root(),
      extensions: [],
    })
    const cosigned = [...this.clocks].map(([name, now]) => cosignNote(text, this.witnesses.get(name)!, now))
    return encodeNote({ text, signatures: [signNote(text, this.signer), ...cosigned] })
  }

  async tile(path: string): Promise<Uint8Array> {
    const { level, index, width } = parseTilePath(path)
    const from = index * 256
    const items = level === 'entries' ? this.#leaves : (this.#hashes[level] ?? [])
    if (from + width > items.length) throw new Error(`no ${path}`)
    const taken = items.slice(from, from + width)
    return level === 'entries' ? encodeEntryBundle(taken) : concatBytes(...taken)
  }
}
