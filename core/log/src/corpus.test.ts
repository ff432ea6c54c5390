import assert from 'node:assert/strict'
import { test } from 'node:test'
import { concatBytes, decodeUtf8, encodeHex, encodeUtf8 } from '@cella/bytes'
import { everyBend } from '../test/bend.ts'
import { leafOf, TestLog } from '../test/support.ts'
import {
  cosignNote,
  encodeAddCheckpoint,
  encodeCheckpointText,
  encodeCosignatures,
  encodeEntryBundle,
  encodeLeaf,
  encodeLogMemory,
  encodeLogPolicy,
  encodeNote,
  encodeProofFile,
  encodeSkey,
  encodeVkey,
  encodeWitnessSize,
  generateNoteSigner,
  LogError,
  LogView,
  makeProofFile,
  parseAddCheckpoint,
  parseCheckpointText,
  parseCosignatures,
  parseEntryBundle,
  parseLeaf,
  parseLogMemory,
  parseLogPolicy,
  parseNote,
  parseProofFile,
  parseSkey,
  parseTile,
  parseTilePath,
  parseVkey,
  parseWitnessSize,
  tilePath,
  verifyCheckpoint,
  verifyOfflineProof,
} from './index.ts'

// One spelling of everything: whatever is accepted is what its encoder writes. So every cut and every changed byte of a
// valid input is refused, or means something else and is the only way to say that.

const log = new TestLog(Array.from({ length: 5 }, (_, index) => leafOf(index)))
const mlDsa = generateNoteSigner({ name: 'witness.example/pq', type: 'cosignature', algorithm: 'ml-dsa-44' })
const view = new LogView({ policy: log.policy, read: log })
const checkpoint = await view.advance()
const proof = await makeProofFile({ checkpoint, index: 2, tile: (path) => log.tile(path), extra: Uint8Array.of(1, 2) })
const text = (bytes: Uint8Array): string => decodeUtf8(bytes, 'text')

interface Format {
  readonly name: string
  readonly valid: Uint8Array
  readonly again: (bytes: Uint8Array) => Uint8Array
}

const formats: Format[] = [
  { name: 'leaf', valid: leafOf(1), again: (bytes) => encodeLeaf(parseLeaf(bytes)) },
  { name: 'note', valid: log.signed(), again: (bytes) => encodeNote(parseNote(bytes)) },
  {
    name: 'checkpoint',
    valid: encodeUtf8(encodeCheckpointText({ ...checkpoint, extensions: ['an extension'] })),
    again: (bytes) => encodeUtf8(encodeCheckpointText(parseCheckpointText(text(bytes)))),
  },
  {
    name: 'verifier key',
    valid: encodeUtf8(encodeVkey(log.witness.key)),
    again: (bytes) => encodeUtf8(encodeVkey(parseVkey(text(bytes)))),
  },
  {
    name: 'signing key',
    valid: encodeUtf8(encodeSkey(log.witness)),
    again: (bytes) => encodeUtf8(encodeSkey(parseSkey(text(bytes)))),
  },
  { name: 'proof file', valid: proof, again: (bytes) => encodeProofFile(parseProofFile(bytes)) },
  {
    name: 'add-checkpoint',
    valid: encodeAddCheckpoint({ oldSize: 3, path: [checkpoint.root], checkpoint: checkpoint.bytes }),
    again: (bytes) => encodeAddCheckpoint(parseAddCheckpoint(bytes)),
  },
  {
    name: 'cosignatures',
    valid: encodeCosignatures([cosignNote(log.text(), log.witness, 5)]),
    again: (bytes) => encodeCosignatures(parseCosignatures(bytes)),
  },
  {
    name: 'witness size',
    valid: encodeWitnessSize(1234),
    again: (bytes) => encodeWitnessSize(parseWitnessSize(bytes)),
  },
  {
    name: 'log memory',
    valid: encodeLogMemory(view.memory()),
    again: (bytes) => encodeLogMemory(parseLogMemory(bytes)),
  },
  {
    name: 'tile path',
    valid: encodeUtf8('tile/1/x123/456.p/78'),
    again: (bytes) => encodeUtf8(tilePath(parseTilePath(text(bytes)))),
  },
  {
    name: 'entry bundle',
    valid: encodeEntryBundle([Uint8Array.of(1, 2, 3), new Uint8Array(0), Uint8Array.of(4)]),
    again: (bytes) => encodeEntryBundle(parseEntryBundle(bytes, 3)),
  },
  { name: 'tile', valid: new Uint8Array(96).fill(7), again: (bytes) => concatBytes(...parseTile(bytes, 3)) },
]

for (const { name, valid, again } of formats) {
  test(`${name}: every cut and every changed byte is refused, or its only spelling`, () => {
    assert.equal(encodeHex(again(valid)), encodeHex(valid))
    let refused = 0
    for (const bent of everyBend(valid)) {
      try {
        assert.equal(encodeHex(again(bent)), encodeHex(bent))
      } catch (error) {
        // A character that is no UTF-8 is refused before the parsers of text see it.
        if (!(error instanceof LogError) && (error as { name: string }).name !== 'FormatError') throw error
        refused += 1
      }
    }
    assert.ok(refused > 0, 'something was refused')
  })
}

test('a policy reads back from its text, and every cut of it is refused or has another quorum', () => {
  const valid = encodeUtf8(
    `log ${encodeVkey(log.signer.key)} https://log.example\nwitness w ${encodeVkey(log.witness.key)}\n` +
      'group g any w\nquorum g\n',
  )
  assert.equal(text(encodeLogPolicy(parseLogPolicy(valid))), text(valid).replace('any', '1'))
  for (const bent of everyBend(valid)) {
    try {
      const policy = parseLogPolicy(bent)
      assert.deepEqual(parseLogPolicy(encodeLogPolicy(policy)), policy)
    } catch (error) {
      assert.ok(error instanceof LogError, String(error))
    }
  }
})

test('no cut and no changed byte of a checkpoint or a proof file proves the same by another spelling', () => {
  for (const bent of everyBend(checkpoint.bytes)) assert.throws(() => verifyCheckpoint(bent, log.policy), LogError)
  const leaf = log.leaves[2]!
  const start = text(proof).indexOf('extra')
  const end = text(proof).indexOf('index')
  for (const bent of everyBend(proof)) {
    let accepted: Uint8Array
    try {
      verifyOfflineProof({ proofFile: bent, leaf, policy: log.policy })
      accepted = bent
    } catch (error) {
      assert.ok(error instanceof LogError, String(error))
      continue
    }
    // `extra` is not authenticated, and nothing here acts on it.
    assert.equal(text(accepted).slice(0, start), text(proof).slice(0, start))
    assert.equal(text(accepted).slice(text(accepted).indexOf('index')), text(proof).slice(end))
  }
})

test('no changed byte of an ML-DSA-44 cosignature line counts', () => {
  const note = encodeNote({ text: log.text(), signatures: [cosignNote(log.text(), mlDsa, 5)] })
  const policy = { ...log.policy, logs: [], witnesses: [{ name: 'pq', key: mlDsa.key, url: undefined }], quorum: 'pq' }
  for (let at = 0; at < note.length; at += 41) {
    const bent = note.with(at, note[at]! ^ 1)
    assert.throws(() => verifyCheckpoint(bent, { ...policy, logs: log.policy.logs }), LogError)
  }
})
