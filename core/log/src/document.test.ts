import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { type Digest, decodeHex, decodeUtf8, encodeHex, encodeUtf8, Secret } from '@cella/bytes'
import {
  commitmentOf,
  cosignNote,
  encodeCheckpointText,
  encodeLeaf,
  encodeNote,
  encodeProofFile,
  encodeVkey,
  leafHash,
  noteSigner,
  parseLogPolicy,
  publishedTag,
  revokedTag,
  signNote,
  streamTag,
  TreeBuilder,
  verifyOfflineProof,
} from './index.ts'

const filled = (value: number): Uint8Array => new Uint8Array(32).fill(value)

test('the vector of docs/formats/log.md is what this code makes and verifies', () => {
  const document = readFileSync(new URL('../../../docs/formats/log.md', import.meta.url), 'utf8')
  const vector = JSON.parse(/```json\n(.*?)```/s.exec(document)![1]!) as Record<string, string>
  const digest = vector.digest as Digest
  const body = encodeUtf8(vector.body!)
  const key = filled(0x22)
  const leaves = [
    encodeLeaf({
      kind: 'document',
      commitment: commitmentOf('document', filled(0x11), body),
      tag: publishedTag(digest),
    }),
    encodeLeaf({ kind: 'state', commitment: commitmentOf('state', filled(0x11), body), tag: streamTag(key, 1) }),
  ] as const
  const log = noteSigner({ name: 'log.example/one', type: 'note', seed: new Secret(filled(0x33)) })
  const witness = noteSigner({ name: 'witness.example/w', type: 'cosignature', seed: new Secret(filled(0x44)) })
  const tree = new TreeBuilder()
  for (const leaf of leaves) tree.append(leafHash(leaf))
  const text = encodeCheckpointText({ origin: log.key.name, size: 2, root: tree.root(), extensions: [] })
  const checkpoint = encodeNote({ text, signatures: [signNote(text, log), cosignNote(text, witness, 1_760_000_000)] })
  const proof = encodeProofFile({ extra: undefined, index: 0, path: [leafHash(leaves[1])], checkpoint })
  assert.deepEqual(vector, {
    body: vector.body,
    digest,
    commitment: encodeHex(commitmentOf('document', filled(0x11), body)),
    publishedTag: encodeHex(publishedTag(digest)),
    revokedTag: encodeHex(revokedTag(digest)),
    streamTag0: encodeHex(streamTag(key, 0)),
    streamTag1: encodeHex(streamTag(key, 1)),
    leaf0: encodeHex(leaves[0]),
    leaf1: encodeHex(leaves[1]),
    leafHash0: encodeHex(leafHash(leaves[0])),
    root: encodeHex(tree.root()),
    policy: `log ${encodeVkey(log.key)}\nwitness w ${encodeVkey(witness.key)}\nquorum w\n`,
    proof: decodeUtf8(proof, 'proof'),
  })
  const policy = parseLogPolicy(encodeUtf8(vector.policy!))
  const entry = verifyOfflineProof({
    proofFile: encodeUtf8(vector.proof!),
    leaf: decodeHex(vector.leaf0!, 'leaf'),
    policy,
  })
  assert.deepEqual(entry.times, { earliest: 1_760_000_000, latest: 1_760_000_000 })
})
