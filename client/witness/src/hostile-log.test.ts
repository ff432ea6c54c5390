import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { decodeUtf8, encodeUtf8 } from '@cella/bytes'
import {
  addSignatures,
  consistencyProof,
  encodeAddCheckpoint,
  encodeCheckpointText,
  encodeEntryBundle,
  encodeLeaf,
  encodeNote,
  encodeVkey,
  generateNoteSigner,
  type LogReader,
  LogView,
  leafHash,
  parseCosignatures,
  parseLogPolicy,
  parseTilePath,
  signNote,
  TreeBuilder,
  tileHashes,
} from '@cella/log'
import { createWitness, type Witness } from './witness.ts'

// A log that holds its key and lies. Each lie is named by who reads the log and refused by who witnesses it.

const origin = 'log.example/one'
const signer = generateNoteSigner({ name: origin, type: 'note' })
const key = generateNoteSigner({ name: 'witness.example/w', type: 'cosignature' })
const logLine = `log ${encodeVkey(signer.key)}\n`
const bare = parseLogPolicy(encodeUtf8(`${logLine}quorum none\n`))
const witnessed = parseLogPolicy(encodeUtf8(`${logLine}witness w ${encodeVkey(key.key)}\nquorum w\n`))

function leafOf(n: number): Uint8Array {
  const commitment = new Uint8Array(32)
  new DataView(commitment.buffer).setFloat64(0, n)
  return encodeLeaf({ kind: 'document', commitment, tag: commitment.slice(0, 16) })
}

const range = (from: number, to: number): Uint8Array[] =>
  Array.from({ length: to - from }, (_, at) => leafOf(from + at))

/** What a log says of some leaves: its checkpoint, tiles and proofs all agree with each other. */
class Story implements LogReader {
  readonly leaves: readonly Uint8Array[]

  constructor(leaves: readonly Uint8Array[]) {
    this.leaves = leaves
  }

  async checkpoint(): Promise<Uint8Array> {
    const tree = new TreeBuilder()
    for (const leaf of this.leaves) tree.append(leafHash(leaf))
    const text = encodeCheckpointText({ origin, size: this.leaves.length, root: tree.root(), extensions: [] })
    return encodeNote({ text, signatures: [signNote(text, signer)] })
  }

  async tile(path: string): Promise<Uint8Array> {
    const { level, index, width } = parseTilePath(path)
    const from = index * 256
    if (level === 'entries') return encodeEntryBundle(this.leaves.slice(from, from + width))
    const hashes: Uint8Array[] = []
    const tree = new TreeBuilder()
    for (const leaf of this.leaves)
      tree.append(leafHash(leaf), (at, _, hash) => void (at === level * 8 && hashes.push(hash)))
    return Buffer.concat(hashes.slice(from, from + width))
  }

  /** Asks a witness that is said to be at `oldSize`. */
  async cosigned(witness: Witness, oldSize: number): Promise<{ status: number; body: string; note: Uint8Array }> {
    const size = this.leaves.length
    const hashes = tileHashes((path) => this.tile(path), size)
    const path = oldSize === 0 || oldSize >= size ? [] : await consistencyProof({ oldSize, newSize: size, hashes })
    const checkpoint = await this.checkpoint()
    const { status, body } = witness.addCheckpoint(encodeAddCheckpoint({ oldSize, path, checkpoint }))
    const note = status === 200 ? addSignatures(checkpoint, parseCosignatures(body)) : checkpoint
    return { status, body: decodeUtf8(body, 'body'), note }
  }
}

function open(context: TestContext): Witness {
  const folder = mkdtempSync(join(tmpdir(), 'hostile-log-'))
  const logs = [encodeVkey(signer.key)]
  const witness = createWitness({ file: join(folder, 'state.db'), keys: [key], logs, now: () => 1_760_000_000 })
  context.after(() => {
    witness.close()
    rmSync(folder, { recursive: true })
  })
  return witness
}

const shown = range(0, 300)
const swapped = [...shown.slice(0, 10), shown[200]!, ...shown.slice(11, 200), shown[10]!, ...shown.slice(201)]
const lies = [
  { name: 'forks: another first leaf', leaves: [leafOf(9_999), ...shown.slice(1)] },
  { name: 'omits a leaf', leaves: [...shown.slice(0, 100), ...shown.slice(101), leafOf(300)] },
  { name: 'omits its newest leaf', leaves: shown.slice(0, 299) },
  { name: 'reorders two leaves', leaves: swapped },
  { name: 'rewrites its newest leaf', leaves: [...shown.slice(0, 299), leafOf(9_999)] },
  { name: 'slips a leaf in', leaves: [...shown.slice(0, 50), leafOf(9_999), ...shown.slice(50)] },
] as const

for (const { name, leaves } of lies) {
  for (const more of [[], range(300, 420)]) {
    const grown = more.length === 0 ? '' : ', and grows over it'
    test(`a log that ${name}${grown}: who reads it says so, who witnesses it cosigns nothing`, async (context) => {
      const witness = open(context)
      const honest = new Story(shown)
      assert.equal((await honest.cosigned(witness, 0)).status, 200)
      let served: Story = honest
      const read: LogReader = { checkpoint: () => served.checkpoint(), tile: (path) => served.tile(path) }
      const view = new LogView({ policy: bare, read })
      await view.advance()

      served = new Story([...leaves, ...more])
      const isSmaller = served.leaves.length < shown.length
      await assert.rejects(view.advance(), { code: isSmaller ? 'ERR_LOG_ROLLED_BACK' : 'ERR_LOG_FORKED' })
      assert.equal(view.size, 300)
      const refusal = await served.cosigned(witness, 300)
      assert.equal(refusal.status, isSmaller ? 400 : 422, refusal.body)
      // Nor does a lie about what the witness holds help: it says what that is.
      const lied = await served.cosigned(witness, 0)
      assert.deepEqual({ status: lied.status, body: lied.body }, { status: 409, body: '300\n' })

      // What is true is still cosigned, and read on.
      served = new Story([...shown, ...range(300, 420)])
      assert.equal((await served.cosigned(witness, 300)).status, 200)
      await view.advance()
      assert.equal(view.size, 420)
    })
  }

  test(`a log that ${name} in its tiles alone, below a checkpoint that is true, is found out`, async () => {
    const honest = new Story(shown)
    const liar = new Story(leaves)
    const read: LogReader = { checkpoint: () => honest.checkpoint(), tile: (path) => liar.tile(path) }
    const view = new LogView({ policy: bare, read })
    await assert.rejects(view.advance(), { name: 'LogError' })
    assert.equal(view.size, 0)
  })
}

test('a log with a history for each of two readers: the one that the witness did not cosign is read by nobody', async (context) => {
  const witness = open(context)
  const told = [new Story(shown), new Story([leafOf(9_999), ...shown])]
  const notes = [await told[0]!.cosigned(witness, 0), await told[1]!.cosigned(witness, 300)].map(({ note }) => note)
  const views = told.map((story) => new LogView({ policy: witnessed, read: story }))
  await views[0]!.advance(notes[0])
  assert.equal(views[0]!.size, 300)
  await assert.rejects(views[1]!.advance(notes[1]), { code: 'ERR_LOG_QUORUM' })
})
