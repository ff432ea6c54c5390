import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { type Digest, decodeHex, decodeUtf8, encodeHex, encodeUtf8, Secret } from '@cella/bytes'
import { sha256 } from '@cella/primitives'
import {
  commitmentOf,
  cosignNote,
  encodeAddEntries,
  encodeCheckpointText,
  encodeEntryPackage,
  encodeLeaf,
  encodeMirrorInfo,
  encodeNote,
  encodeProofFile,
  encodeSignSubtree,
  encodeVkey,
  leafHash,
  makeConsistencyReceipt,
  makeInclusionReceipt,
  noteSigner,
  parseLogPolicy,
  parseVkey,
  publishedTag,
  receiptKeyOf,
  revokedTag,
  signerLeaf,
  signerTag,
  signNote,
  streamTag,
  TreeBuilder,
  verifyConsistencyReceipt,
  verifyInclusionReceipt,
  verifyOfflineProof,
  verifySubtreeConsistency,
} from './index.ts'

const filled = (value: number): Uint8Array => new Uint8Array(32).fill(value)

test('the vector of docs/formats/log.md is what this code makes and verifies', async () => {
  const document = readFileSync(new URL('../../../docs/formats/log.md', import.meta.url), 'utf8')
  const vector = JSON.parse(/```json\n(.*?)```/s.exec(document)![1]!) as Record<string, string>
  const digest = vector.digest as Digest
  const body = encodeUtf8(vector.body!)
  const streamKey = filled(0x22)
  const leaves = [
    encodeLeaf({
      kind: 'document',
      commitment: commitmentOf('document', filled(0x11), body),
      tag: publishedTag(digest),
    }),
    encodeLeaf({ kind: 'state', commitment: commitmentOf('state', filled(0x11), body), tag: streamTag(streamKey, 1) }),
  ] as const
  const log = noteSigner({ name: 'log.example/one', type: 'note', seed: new Secret(filled(0x33)) })
  const witness = noteSigner({ name: 'witness.example/w', type: 'cosignature', seed: new Secret(filled(0x44)) })
  const tree = new TreeBuilder()
  for (const leaf of leaves) tree.append(leafHash(leaf))
  const text = encodeCheckpointText({ origin: log.key.name, size: 2, root: tree.root(), extensions: [] })
  const checkpoint = encodeNote({ text, signatures: [signNote(text, log), cosignNote(text, witness, 1_760_000_000)] })
  const pq = noteSigner({
    name: 'witness.example/w',
    type: 'cosignature',
    algorithm: 'ml-dsa-44',
    seed: new Secret(filled(0x55)),
  })
  const root = tree.root()
  const hashes = async (places: readonly { index: number }[]) => places.map(({ index }) => leafHash(leaves[index]!))
  const receipt = await makeInclusionReceipt({ signer: log, tree: { size: 2, root }, index: 0, hashes })
  const consistency = await makeConsistencyReceipt({ signer: log, tree: { size: 2, root }, oldSize: 1, hashes })
  const proof = encodeProofFile({ extra: undefined, index: 0, path: [leafHash(leaves[1])], checkpoint })
  const upload = [
    encodeAddEntries({ origin: log.key.name, uploadStart: 1, uploadEnd: 2, ticket: encodeUtf8('t') }),
    encodeEntryPackage({ entries: [leaves[1]], path: [] }),
  ]
  const subtree = { start: 1, end: 2, root: leafHash(leaves[1]), path: [leafHash(leaves[0])], checkpoint }
  verifySubtreeConsistency({ ...subtree, size: 2, subtreeRoot: subtree.root, root })
  assert.deepEqual(vector, {
    body: vector.body,
    digest,
    commitment: encodeHex(commitmentOf('document', filled(0x11), body)),
    publishedTag: encodeHex(publishedTag(digest)),
    revokedTag: encodeHex(revokedTag(digest)),
    streamTag0: encodeHex(streamTag(streamKey, 0)),
    streamTag1: encodeHex(streamTag(streamKey, 1)),
    leaf0: encodeHex(leaves[0]),
    leaf1: encodeHex(leaves[1]),
    leafHash0: encodeHex(leafHash(leaves[0])),
    root: encodeHex(tree.root()),
    policy: `log ${encodeVkey(log.key)}\nwitness w ${encodeVkey(witness.key)}\nquorum w\n`,
    proof: decodeUtf8(proof, 'proof'),
    mlDsaVkeySha256: encodeHex(sha256(encodeUtf8(encodeVkey(pq.key)))),
    mlDsaKeyId: pq.key.id,
    inclusionReceipt: encodeHex(receipt),
    consistencyReceipt: encodeHex(consistency),
    addEntries: upload.map(encodeHex).join(''),
    mirrorInfo: decodeUtf8(encodeMirrorInfo({ size: 2, nextEntry: 1, ticket: encodeUtf8('t') }), 'info'),
    signSubtree: decodeUtf8(encodeSignSubtree(subtree), 'sign-subtree'),
  })
  const policy = parseLogPolicy(encodeUtf8(vector.policy!))
  const entry = verifyOfflineProof({
    proofFile: encodeUtf8(vector.proof!),
    leaf: decodeHex(vector.leaf0!, 'leaf'),
    policy,
  })
  const key = receiptKeyOf(log.key)
  const leaf = leafHash(leaves[0])
  const included = { receipt: decodeHex(vector.inclusionReceipt!, 'receipt'), leaf, key }
  assert.deepEqual(await verifyInclusionReceipt(included), { size: 2, index: 0, root })
  const continued = { receipt: decodeHex(vector.consistencyReceipt!, 'receipt'), oldRoot: leaf, key }
  assert.deepEqual(await verifyConsistencyReceipt(continued), { oldSize: 1, newSize: 2, newRoot: root })
  assert.deepEqual(entry.times, { earliest: 1_760_000_000, latest: 1_760_000_000 })
})

test('the vector of docs/formats/log-signer.md is what this code makes', () => {
  const document = readFileSync(new URL('../../../docs/formats/log-signer.md', import.meta.url), 'utf8')
  const vector = JSON.parse(/```json\n(.*?)```/s.exec(document)![1]!) as Record<string, string>
  const key = parseVkey(vector.vkey!)
  assert.deepEqual([signerTag(key, 0), signerTag(key, 1), signerLeaf(key, 0, encodeUtf8('{}'))].map(encodeHex), [
    vector.tag0,
    vector.tag1,
    vector.leaf0,
  ])
})
