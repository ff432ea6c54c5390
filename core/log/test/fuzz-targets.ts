import { concatBytes, decodeUtf8, encodeHex, encodeUtf8, FormatError, Secret } from '@cella/bytes'
import type { FuzzTarget } from '@cella/testing/fuzz'
import {
  cosignNote,
  edgeLength,
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
  LogError,
  leafHash,
  noteSigner,
  type ProvenEntry,
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
  signNote,
  TreeBuilder,
  tilePath,
  verifyCheckpoint,
  verifyOfflineProof,
  type WitnessedCheckpoint,
} from '../src/index.ts'

import { inclusionLabel, parseCoseReceipt, rfc9162Structure } from '../src/receipts/cose.ts'
import {
  makeInclusionReceipt,
  type ProvenInclusion,
  receiptKeyOf,
  verifyInclusionReceipt,
} from '../src/receipts/rfc9162.ts'

// Every function of this package that takes hostile bytes. A new one needs a line here: test/fuzz.test.ts looks for it.

const key = (name: string, type: 'note' | 'cosignature', seed: number) =>
  noteSigner({ name, type, seed: new Secret(new Uint8Array(32).fill(seed)) })
const log = key('log.example/one', 'note', 1)
const witness = key('witness.example/w', 'cosignature', 2)
const policyText = encodeUtf8(
  `log ${encodeVkey(log.key)}\nwitness w ${encodeVkey(witness.key)}\ngroup q all w\nquorum q\n`,
)
const policy = parseLogPolicy(policyText)

// A log of two leaves: the path of each is the other's hash.
const leaf = encodeLeaf({ kind: 'state', commitment: new Uint8Array(32).fill(3), tag: new Uint8Array(16).fill(4) })
const other = encodeLeaf({ kind: 'document', commitment: new Uint8Array(32).fill(5), tag: new Uint8Array(16).fill(6) })
const tree = new TreeBuilder()
for (const one of [leaf, other]) tree.append(leafHash(one))
const root = tree.root()
const checkpointText = encodeCheckpointText({ origin: 'log.example/one', size: 2, root, extensions: ['more'] })
const signatures = [signNote(checkpointText, log), cosignNote(checkpointText, witness, 1_760_000_000)]
const note = encodeNote({ text: checkpointText, signatures })
const proofFile = encodeProofFile({ extra: encodeUtf8('x'), index: 0, path: [leafHash(other)], checkpoint: note })
const request = encodeAddCheckpoint({ oldSize: 1, path: [leafHash(other)], checkpoint: note })
const hashes = concatBytes(leafHash(leaf), leafHash(other))
const memory = encodeLogMemory({
  origin: 'log.example/one',
  size: 2,
  root,
  edge: [root].slice(0, edgeLength(2)),
})

const key9162 = receiptKeyOf(log.key)
const receipt = await makeInclusionReceipt({
  signer: log,
  tree: { size: 2, root },
  index: 0,
  hashes: async (places) => places.map(({ index }) => leafHash(index === 0 ? leaf : other)),
})

// FormatError: of what is no UTF-8, which those who call never hand on.
const ours = { errors: [LogError, FormatError] }
const text =
  <Value>(run: (text: string) => Value) =>
  (bytes: Uint8Array): Value =>
    run(decodeUtf8(bytes, 'text'))

export const fuzzTargets: readonly FuzzTarget[] = [
  { name: 'parseNote', seeds: [note], run: parseNote, encode: encodeNote, ...ours },
  {
    name: 'parseCheckpointText',
    seeds: [encodeUtf8(checkpointText)],
    run: text(parseCheckpointText),
    encode: (read: ReturnType<typeof parseCheckpointText>) => encodeUtf8(encodeCheckpointText(read)),
    ...ours,
  },
  { name: 'parseLeaf', seeds: [leaf, other], run: parseLeaf, encode: encodeLeaf, ...ours },
  { name: 'parseTile', seeds: [hashes], run: (bytes) => parseTile(bytes, 2), ...ours },
  {
    name: 'parseEntryBundle',
    seeds: [encodeEntryBundle([leaf, other])],
    run: (bytes) => parseEntryBundle(bytes, 2),
    encode: encodeEntryBundle,
    ...ours,
  },
  {
    name: 'parseTilePath',
    seeds: ['tile/entries/x001/234', 'tile/2/000.p/7'].map(encodeUtf8),
    run: text(parseTilePath),
    encode: (place: ReturnType<typeof parseTilePath>) => encodeUtf8(tilePath(place)),
    ...ours,
  },
  {
    name: 'parseVkey',
    seeds: [log, witness].map((signer) => encodeUtf8(encodeVkey(signer.key))),
    run: text(parseVkey),
    encode: (read: ReturnType<typeof parseVkey>) => encodeUtf8(encodeVkey(read)),
    ...ours,
  },
  {
    name: 'parseSkey',
    seeds: [encodeUtf8(encodeSkey(log))],
    run: text(parseSkey),
    encode: (read: ReturnType<typeof parseSkey>) => encodeUtf8(encodeSkey(read)),
    ...ours,
  },
  { name: 'parseLogPolicy', seeds: [policyText, encodeLogPolicy(policy)], run: parseLogPolicy, ...ours },
  { name: 'parseProofFile', seeds: [proofFile], run: parseProofFile, encode: encodeProofFile, ...ours },
  { name: 'parseAddCheckpoint', seeds: [request], run: parseAddCheckpoint, encode: encodeAddCheckpoint, ...ours },
  {
    name: 'parseCosignatures',
    seeds: [encodeCosignatures(signatures.slice(1))],
    run: parseCosignatures,
    encode: encodeCosignatures,
    ...ours,
  },
  {
    name: 'parseWitnessSize',
    seeds: [encodeWitnessSize(123_456)],
    run: parseWitnessSize,
    encode: encodeWitnessSize,
    ...ours,
  },
  { name: 'parseLogMemory', seeds: [memory], run: parseLogMemory, encode: encodeLogMemory, ...ours },
  {
    name: 'verifyCheckpoint',
    seeds: [note],
    run: (bytes) => verifyCheckpoint(bytes, policy),
    meaning: ({ size, root: hash, origin }: WitnessedCheckpoint) => `${origin} ${size} ${encodeHex(hash)}`,
    ...ours,
  },
  {
    name: 'verifyOfflineProof',
    seeds: [proofFile],
    run: (bytes) => verifyOfflineProof({ proofFile: bytes, leaf, policy }),
    meaning: ({ index, size }: ProvenEntry) => `${index} of ${size}`,
    ...ours,
  },
  {
    name: 'parseCoseReceipt',
    seeds: [receipt],
    run: (bytes) => parseCoseReceipt(bytes, rfc9162Structure, inclusionLabel),
    ...ours,
  },
  {
    name: 'verifyInclusionReceipt',
    seeds: [receipt],
    run: (bytes) => verifyInclusionReceipt({ receipt: bytes, leaf: leafHash(leaf), key: key9162 }),
    meaning: ({ index, size, root: hash }: ProvenInclusion) => `${index} of ${size} ${encodeHex(hash)}`,
    ...ours,
  },
]
