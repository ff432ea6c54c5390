import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { decodeBase64, decodeHex, decodeUtf8, encodeBase64, encodeHex, encodeUtf8, Secret } from '@cella/bytes'
import { sha256 } from '@cella/primitives'
import { sharedPath, sharedTest } from '@cella/testing'
import { encodeCheckpointText, parseCheckpointText } from './checkpoint.ts'
import { noteKey, noteSigner, parseVkey } from './keys.ts'
import { LogError } from './log-error.ts'
import { cosignNote, encodeNote, parseNote, signNote, verifyNote } from './note.ts'
import { parseLogPolicy } from './policy.ts'
import { encodeProofFile, parseProofFile } from './proof-file.ts'
import {
  consistencyProof,
  inclusionProof,
  verifyConsistency,
  verifyInclusion,
  verifySubtreeConsistency,
} from './proofs.ts'
import { encodeEntryBundle, parseTile, parseTilePath, readEntries, tileHashes, tilePath } from './tiles.ts'
import { leafHash, TreeBuilder } from './tree.ts'
import { encodeAddCheckpoint, parseAddCheckpoint } from './witness-protocol.ts'
import { verifyCheckpoint } from './witnessed.ts'

const root = 'vectors/tlog/'
const bytesOf = (name: string): Uint8Array => new Uint8Array(readFileSync(sharedPath(root + name)))
// biome-ignore lint/suspicious/noExplicitAny: vectors are looked at member by member.
const jsonOf = (name: string): any => JSON.parse(readFileSync(sharedPath(root + name), 'utf8'))
const hash = (text: string): Uint8Array => decodeBase64(text, 'vector')
const hashes = (texts: string[] | null | undefined): Uint8Array[] => (texts ?? []).map(hash)

function refused(run: () => unknown): boolean {
  try {
    run()
    return false
  } catch (error) {
    assert.ok(error instanceof LogError, String(error))
    return true
  }
}

sharedTest('agrees with every inclusion probe', `${root}merkle-probes/inclusion.json`, () => {
  const probes = jsonOf('merkle-probes/inclusion.json')
  assert.ok(probes.length >= 57)
  for (const probe of probes) {
    const run = () =>
      verifyInclusion({
        index: probe.leafIdx,
        size: probe.treeSize,
        leaf: hash(probe.leafHash ?? ''),
        path: hashes(probe.proof),
        root: hash(probe.root ?? ''),
      })
    assert.equal(refused(run), probe.wantErr, probe.path)
  }
})

sharedTest('agrees with every probe of a subtree', `${root}merkle-probes/subtreeconsistency.json`, () => {
  const probes = jsonOf('merkle-probes/subtreeconsistency.json')
  assert.ok(probes.length >= 60)
  for (const { start, end, size, root1, root2, proof, wantErr, path } of probes) {
    const roots = { subtreeRoot: hash(root1 ?? ''), root: hash(root2 ?? '') }
    const run = () => verifySubtreeConsistency({ start, end, size, ...roots, path: hashes(proof) })
    // Of nothing there is nothing to prove: draft-ietf-plants-merkle-tree-certs-03 §4.1 has no empty subtree.
    assert.equal(refused(run), start === end ? true : wantErr, path)
  }
})

sharedTest('agrees with every consistency probe', `${root}merkle-probes/consistency.json`, () => {
  const probes = jsonOf('merkle-probes/consistency.json')
  assert.ok(probes.length >= 50)
  for (const probe of probes) {
    const run = () =>
      verifyConsistency({
        oldSize: probe.size1,
        newSize: probe.size2,
        oldRoot: hash(probe.root1 ?? ''),
        newRoot: hash(probe.root2 ?? ''),
        path: hashes(probe.proof),
      })
    assert.equal(refused(run), probe.wantErr, probe.path)
  }
})

sharedTest('agrees with every signed note of the Go tests', `${root}signed-note/go-note.json`, () => {
  for (const { desc, noteBase64, knownVkeys, want, verified, unverified } of jsonOf('signed-note/go-note.json')) {
    const open = () => {
      const note = parseNote(decodeBase64(noteBase64, 'vector'))
      return { note, signatures: verifyNote(note, knownVkeys.map(parseVkey)) }
    }
    if (want === 'malformed') {
      assert.throws(open, { code: 'ERR_LOG_MALFORMED' }, desc)
    } else if (want === 'invalid signature') {
      assert.throws(open, { code: 'ERR_LOG_SIGNATURE' }, desc)
    } else {
      const { note, signatures } = open()
      assert.equal(signatures.length, verified, desc)
      assert.equal(note.signatures.length - signatures.length, unverified, desc)
    }
  }
})

sharedTest('verifies the notes of the specification and of sum.golang.org', `${root}signed-note`, () => {
  for (const name of ['signed-note/c2sp-example.json', 'signed-note/sumdb-checkpoint.json']) {
    const { vkey, note, origin } = jsonOf(name)
    const parsed = parseNote(encodeUtf8(note))
    assert.equal(verifyNote(parsed, [parseVkey(vkey)]).length, 1)
    assert.equal(decodeUtf8(encodeNote(parsed), 'note'), note)
    if (origin !== undefined) assert.equal(parseCheckpointText(parsed.text).origin, origin)
  }
})

const generated = `${root}generated/vectors.json`

sharedTest('grows the 700 roots of the generated log and fills its tiles', generated, () => {
  const vectors = jsonOf('generated/vectors.json')
  const tree = new TreeBuilder()
  const entries = generatedEntries(vectors.label)
  entries.forEach((entry, index) => {
    const leaf = leafHash(entry)
    assert.equal(encodeBase64(leaf), vectors.leafHashes[index])
    tree.append(leaf)
    assert.equal(encodeBase64(tree.root()), vectors.rootsBySize1toN[index])
  })
  const levels = levelsOf(entries)
  for (const { Path, SHA256, Size } of vectors.tiles) {
    const place = parseTilePath(Path.split(' ').at(-1))
    const first = place.index * 256
    const bytes =
      place.level === 'entries'
        ? encodeEntryBundle(entries.slice(first, first + place.width))
        : new Uint8Array(Buffer.concat(levels[place.level]!.slice(first, first + place.width)))
    assert.equal(bytes.length, Size, Path)
    assert.equal(encodeHex(sha256(bytes)), SHA256, Path)
  }
})

sharedTest('makes and verifies every generated proof', generated, async () => {
  const vectors = jsonOf('generated/vectors.json')
  const read = async (path: string) => bytesOf(`generated/log-700/${path}`)
  const rootOf = (size: number) => hash(vectors.rootsBySize1toN[size - 1])
  assert.equal(vectors.inclusion.length, 129)
  for (const { Size, Index, Path } of vectors.inclusion) {
    const path = await inclusionProof({ index: Index, size: Size, hashes: tileHashes(read, 700) })
    assert.deepEqual(path.map(encodeBase64), Path)
    verifyInclusion({ index: Index, size: Size, leaf: hash(vectors.leafHashes[Index]), path, root: rootOf(Size) })
  }
  assert.equal(vectors.consistency.length, 325)
  for (const { Old, New, Path } of vectors.consistency) {
    const path = await consistencyProof({ oldSize: Old, newSize: New, hashes: tileHashes(read, 700) })
    assert.deepEqual(path.map(encodeBase64), Path ?? [])
    verifyConsistency({ oldSize: Old, newSize: New, oldRoot: rootOf(Old), newRoot: rootOf(New), path })
  }
})

sharedTest('signs and cosigns the generated checkpoints to the byte', generated, () => {
  const vectors = jsonOf('generated/vectors.json')
  const log = noteSigner({
    name: vectors.origin,
    type: 'note',
    seed: new Secret(decodeHex(vectors.logSeedHex, 'seed')),
  })
  const witness = noteSigner({
    name: 'witness.example/shared-a',
    type: 'cosignature',
    seed: new Secret(decodeHex(vectors.witnessSeedHex, 'seed')),
  })
  const policy = parseLogPolicy(encodeUtf8(`log ${vectors.logVkey}\nwitness w ${vectors.witnessVkey}\nquorum w\n`))
  for (const { Size, Timestamp, Checkpoint, Cosigned } of vectors.checkpoints) {
    const note = parseNote(encodeUtf8(Checkpoint))
    const checkpoint = parseCheckpointText(note.text)
    assert.equal(checkpoint.size, Size)
    assert.equal(encodeCheckpointText(checkpoint), note.text)
    const signature = signNote(note.text, log)
    assert.equal(decodeUtf8(encodeNote({ text: note.text, signatures: [signature] }), 'note'), Checkpoint)
    const cosigned = encodeNote({
      text: note.text,
      signatures: [signature, cosignNote(note.text, witness, Timestamp)],
    })
    assert.equal(decodeUtf8(cosigned, 'note'), Cosigned)
    const witnessed = verifyCheckpoint(cosigned, policy)
    assert.deepEqual(witnessed.times, { earliest: Timestamp, latest: Timestamp })
    assert.throws(() => verifyCheckpoint(encodeUtf8(Checkpoint), policy), { code: 'ERR_LOG_QUORUM' })
  }
})

sharedTest('reads the generated proof files', generated, () => {
  const vectors = jsonOf('generated/vectors.json')
  const policy = parseLogPolicy(encodeUtf8(`log ${vectors.logVkey}\nwitness w ${vectors.witnessVkey}\nquorum w\n`))
  assert.equal(vectors.tlogProofs.length, 6)
  for (const { Index, Size, Entry, Proof } of vectors.tlogProofs) {
    const proof = parseProofFile(encodeUtf8(Proof))
    assert.equal(proof.index, Index)
    assert.equal(decodeUtf8(encodeProofFile(proof), 'proof'), Proof)
    const checkpoint = verifyCheckpoint(proof.checkpoint, policy)
    assert.equal(checkpoint.size, Size)
    const leaf = leafHash(decodeBase64(Entry, 'entry'))
    verifyInclusion({ index: Index, size: Size, leaf, path: proof.path, root: checkpoint.root })
  }
})

sharedTest('reads and writes every witness request', generated, () => {
  const texts: string[] = [
    ...jsonOf('generated/vectors.json').witness.map((exchange: { Request: string }) => exchange.Request),
    ...jsonOf('witness/litewitness.json').exchanges.map((exchange: { request: string }) => exchange.request),
    decodeUtf8(bytesOf('witness/c2sp-add-checkpoint-request.txt'), 'request'),
  ]
  for (const text of texts) {
    assert.equal(decodeUtf8(encodeAddCheckpoint(parseAddCheckpoint(encodeUtf8(text))), 'request'), text)
  }
})

sharedTest('verifies the checkpoints of the litewitness exchanges', `${root}witness/litewitness.json`, () => {
  const { logKeyEd25519Hex, origin, exchanges } = jsonOf('witness/litewitness.json')
  const key = noteKey({ name: origin, type: 'note', publicKey: decodeHex(logKeyEd25519Hex, 'key') })
  const open = (request: string) =>
    verifyNote(parseNote(parseAddCheckpoint(encodeUtf8(request)).checkpoint), [key]).length
  assert.equal(open(exchanges[0].request), 1)
  // Its last base64 letter has bits beyond the bytes: a second spelling of a signature that would verify.
  assert.throws(() => open(exchanges[1].request), { code: 'ERR_LOG_MALFORMED' })
  assert.equal(open(exchanges[2].request), 0)
})

sharedTest('reads the Tessera log at every size it published', `${root}tessera-log`, async () => {
  const read = async (path: string) => bytesOf(`tessera-log/${path}`)
  for (const name of ['checkpoint.2', 'checkpoint.8', 'checkpoint.10', 'checkpoint.14', 'checkpoint']) {
    const checkpoint = parseCheckpointText(parseNote(bytesOf(`tessera-log/${name}`)).text)
    const entries = await readEntries(read, { level: 'entries', index: 0, width: checkpoint.size })
    const tree = new TreeBuilder()
    for (const entry of entries) tree.append(leafHash(entry))
    assert.equal(encodeHex(tree.root()), encodeHex(checkpoint.root))
    for (let index = 0; index < checkpoint.size; index++) {
      const path = await inclusionProof({ index, size: checkpoint.size, hashes: tileHashes(read, checkpoint.size) })
      verifyInclusion({
        index,
        size: checkpoint.size,
        leaf: leafHash(entries[index]!),
        path,
        root: checkpoint.root,
      })
    }
  }
  const empty = parseCheckpointText(parseNote(bytesOf('tessera-log/checkpoint.0')).text)
  assert.equal(encodeHex(new TreeBuilder().root()), encodeHex(empty.root))
})

sharedTest('verifies the cosignatures of the Sunlight witness and mirror', `${root}sunlight/witness`, async () => {
  const log = '000de184301123b9278c086a7d9f68c9577e83872224c197058fd90784ea9706'
  const witness = parseVkey(jsonOf('sunlight/witness/witness.v0.json').verifier_keys[0])
  const note = parseNote(bytesOf(`sunlight/witness/${log}/checkpoint`))
  assert.equal(verifyNote(note, [witness])[0]?.time, 1_767_139_200)

  const mirror = parseVkey(jsonOf('sunlight/witness/mirror/mirror.v0.json').verifier_keys[0])
  const mirrored = parseNote(bytesOf(`sunlight/witness/mirror/${log}/checkpoint`))
  assert.equal(verifyNote(mirrored, [mirror]).length, 1)
  const checkpoint = parseCheckpointText(mirrored.text)
  const read = async (path: string) => bytesOf(`sunlight/witness/mirror/${log}/${path}`)
  const tree = new TreeBuilder()
  // The entry bundles there are not bundles; the tiles are real.
  for (const [path, width] of [
    ['tile/0/000', 256],
    ['tile/0/001.p/44', 44],
  ] as const) {
    for (const leaf of parseTile(await read(path), width)) tree.append(leaf)
  }
  assert.equal(tree.size, checkpoint.size)
  assert.equal(encodeHex(tree.root()), encodeHex(checkpoint.root))
  assert.equal(tilePath({ level: 1, index: 0, width: 1 }), 'tile/1/000.p/1')
})

function generatedEntries(label: string): Uint8Array[] {
  return Array.from({ length: 700 }, (_, index) =>
    encodeUtf8(`${label} entry ${index} ${'z'.repeat((index * 7) % 41)}`),
  )
}

/** Hashes by tile level. */
function levelsOf(entries: readonly Uint8Array[]): Uint8Array[][] {
  const levels: Uint8Array[][] = []
  const tree = new TreeBuilder()
  for (const entry of entries) {
    tree.append(leafHash(entry), (level, index, node) => {
      if (level % 8 !== 0) return
      levels[level / 8] ??= []
      levels[level / 8]![index] = node
    })
  }
  return levels
}
