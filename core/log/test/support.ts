import { encodeUtf8 } from '@cella/bytes'
import {
  cosignNote,
  encodeCheckpointText,
  encodeEntryBundle,
  encodeLeaf,
  encodeNote,
  encodeVkey,
  generateNoteSigner,
  type LeafKind,
  type LogPolicy,
  type LogReader,
  leafHash,
  type NoteSigner,
  parseLogPolicy,
  parseTilePath,
  signNote,
  TreeBuilder,
} from '../src/index.ts'

export const origin = 'log.example/one'

/** A leaf whose tag and commitment are of these numbers. */
export function leafOf(tag: number, commitment: number = tag, kind: LeafKind = 'state'): Uint8Array {
  return encodeLeaf({ kind, commitment: number32(commitment), tag: number32(tag).slice(16) })
}

function number32(value: number): Uint8Array {
  const bytes = new Uint8Array(32)
  new DataView(bytes.buffer).setFloat64(24, value)
  return bytes
}

/** A log in memory that a test can bend, with one witness. */
export class TestLog implements LogReader {
  readonly signer: NoteSigner = generateNoteSigner({ name: origin, type: 'note' })
  readonly witness: NoteSigner = generateNoteSigner({ name: 'witness.example/w', type: 'cosignature' })
  readonly policy: LogPolicy = parseLogPolicy(
    encodeUtf8(`log ${encodeVkey(this.signer.key)}\nwitness w ${encodeVkey(this.witness.key)}\nquorum w\n`),
  )
  leaves: Uint8Array[]
  time = 1_760_000_000
  /** Paths read. */
  readonly reads: string[] = []

  constructor(leaves: Uint8Array[] = []) {
    this.leaves = leaves
  }

  tree(size: number = this.leaves.length): TreeBuilder {
    const tree = new TreeBuilder()
    for (const leaf of this.leaves.slice(0, size)) tree.append(leafHash(leaf))
    return tree
  }

  /** The text that log and witness sign. */
  text(size: number = this.leaves.length): string {
    return encodeCheckpointText({ origin, size, root: this.tree(size).root(), extensions: [] })
  }

  signed(size: number = this.leaves.length): Uint8Array {
    const text = this.text(size)
    return encodeNote({ text, signatures: [signNote(text, this.signer), cosignNote(text, this.witness, this.time)] })
  }

  async checkpoint(): Promise<Uint8Array> {
    return this.signed()
  }

  async tile(path: string): Promise<Uint8Array> {
    this.reads.push(path)
    const place = parseTilePath(path)
    const hashes = this.hashesAt(place.level === 'entries' ? 0 : place.level)
    const from = place.index * 256
    if (from + place.width > hashes.length) throw new Error(`no ${path}`)
    if (place.level === 'entries') return encodeEntryBundle(this.leaves.slice(from, from + place.width))
    return new Uint8Array(Buffer.concat(hashes.slice(from, from + place.width)))
  }

  hashesAt(wanted: number): Uint8Array[] {
    const hashes: Uint8Array[] = []
    const tree = new TreeBuilder()
    for (const leaf of this.leaves) {
      tree.append(leafHash(leaf), (level, _index, hash) => {
        if (level === wanted * 8) hashes.push(hash)
      })
    }
    return hashes
  }
}
