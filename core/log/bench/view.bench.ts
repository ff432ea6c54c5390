import { randomBytes, sha256 } from '@cella/primitives'
import type { Figure } from '@cella/testing'
import {
  encodeCheckpointText,
  encodeEntryBundle,
  encodeLeaf,
  encodeNote,
  encodeVkey,
  generateNoteSigner,
  inclusionProof,
  LogView,
  leafHash,
  parseLogPolicy,
  parseTilePath,
  randomTag,
  signNote,
  TreeBuilder,
  verifyInclusion,
} from '../src/index.ts'

const leafCount = 262_144
const encoder = new TextEncoder()

/** Leaves that a view reads a second, and inclusion proofs that it verifies, against the bare hashing in them. */
export async function bench(report: (figure: Figure) => void): Promise<void> {
  const leaves = Array.from({ length: leafCount }, () =>
    encodeLeaf({ kind: 'state', commitment: randomBytes(32), tag: randomTag() }),
  )
  const nodes: Uint8Array[][] = []
  const tree = new TreeBuilder()
  for (const leaf of leaves) {
    tree.append(leafHash(leaf), (level, _index, hash) => {
      nodes[level] ??= []
      nodes[level].push(hash)
    })
  }
  const hashMs = bareHashMs(leafCount * 2)
  const readMs = await readLeavesMs(leaves, tree)
  const perSecond = (count: number, ms: number): number => Math.round((count / ms) * 1000)
  report({
    bench: 'log/view: leaves read and indexed',
    value: perSecond(leafCount, readMs),
    unit: 'leaves/s',
    against: `the two SHA-256 a leaf alone, ${perSecond(leafCount, hashMs)} leaves/s`,
    ratio: readMs / hashMs,
    target: 2.5,
    met: readMs / hashMs <= 2.5,
  })

  const proofs = 20_000
  const hashes = async (places: readonly { level: number; index: number }[]): Promise<Uint8Array[]> =>
    places.map(({ level, index }) => nodes[level]![index]!)
  const path = await inclusionProof({ index: 12_345, size: leafCount, hashes })
  const options = { index: 12_345, size: leafCount, leaf: leafHash(leaves[12_345]!), path, root: tree.root() }
  const start = coreMs()
  for (let count = 0; count < proofs; count++) verifyInclusion(options)
  const verifyMs = coreMs() - start
  const pathMs = bareHashMs(proofs * path.length)
  report({
    bench: `log/proofs: inclusion checked in a tree of ${leafCount} leaves, ${path.length} hashes each`,
    value: perSecond(proofs, verifyMs),
    unit: 'proofs/s',
    against: `their SHA-256 alone, ${perSecond(proofs, pathMs)} proofs/s`,
    ratio: verifyMs / pathMs,
    target: 1.5,
    met: verifyMs / pathMs <= 1.5,
  })
}

async function readLeavesMs(leaves: readonly Uint8Array[], tree: TreeBuilder): Promise<number> {
  const signer = generateNoteSigner({ name: 'log.example/bench', type: 'note' })
  const size = leaves.length
  const text = encodeCheckpointText({ origin: signer.key.name, size, root: tree.root(), extensions: [] })
  const checkpoint = encodeNote({ text, signatures: [signNote(text, signer)] })
  const bundles: Uint8Array[] = []
  for (let at = 0; at < size; at += 256) bundles.push(encodeEntryBundle(leaves.slice(at, at + 256)))
  const view = new LogView({
    policy: parseLogPolicy(encoder.encode(`log ${encodeVkey(signer.key)}\nquorum none\n`)),
    read: { checkpoint: async () => checkpoint, tile: async (path) => bundles[parseTilePath(path).index]! },
  })
  const start = coreMs()
  await view.advance()
  return coreMs() - start
}

function bareHashMs(count: number): number {
  const bytes = new Uint8Array(65)
  const start = coreMs()
  for (let at = 0; at < count; at++) {
    bytes[at & 63] = at
    sha256(bytes)
  }
  return coreMs() - start
}

/** Milliseconds that a core has worked for this process: what is measured is one core's, whoever else is on it. */
function coreMs(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}
