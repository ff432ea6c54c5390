import { concatBytes, decodeUtf8, encodeBase64, encodeHex, encodeUtf8, FormatError, Secret } from '@cella/bytes'
import { CborTag, type CborValue, encodeCbor } from '@cella/cbor'
import { ed25519PublicKey, ed25519Sign, sha256 } from '@cella/primitives'
import type { FuzzTarget } from '@cella/testing/fuzz'
import {
  type AddEntries,
  AddEntriesReader,
  cosignNote,
  type EntryPackage,
  edgeLength,
  emptyRoot,
  encodeAddCheckpoint,
  encodeAddEntries,
  encodeCheckpointText,
  encodeCosignatures,
  encodeEntryBundle,
  encodeEntryPackage,
  encodeLeaf,
  encodeLogMemory,
  encodeLogPolicy,
  encodeMirrorInfo,
  encodeNote,
  encodeProofFile,
  encodeSignSubtree,
  encodeSkey,
  encodeSuccession,
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
  parseMirrorInfo,
  parseNote,
  parseProofFile,
  parseSignSubtree,
  parseSkey,
  parseSuccession,
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

import { type ProvenCcfEntry, receiptsOf, verifyCcfReceipt } from '../src/receipts/ccf.ts'
import {
  ccfStructure,
  inclusionLabel,
  issueCoseReceipt,
  parseCoseReceipt,
  receiptSignedBytes,
  rfc9162Structure,
} from '../src/receipts/cose.ts'
import { type ProvenRekorEntry, verifyRekorEntry } from '../src/receipts/rekor.ts'
import {
  makeConsistencyReceipt,
  makeInclusionReceipt,
  type ProvenConsistency,
  type ProvenInclusion,
  receiptKeyOf,
  verifyConsistencyReceipt,
  verifyInclusionReceipt,
} from '../src/receipts/rfc9162.ts'
import { type ProvenSigsumEntry, verifySigsumProof } from '../src/receipts/sigsum.ts'

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

const consistency = await makeConsistencyReceipt({
  signer: log,
  tree: { size: 2, root },
  oldSize: 1,
  hashes: async (places) => places.map(({ index }) => leafHash(index === 0 ? leaf : other)),
})

// Of other makers, with keys of our own: a statement in a CCF ledger, an entry of Rekor, a proof of Sigsum.
const seed = new Uint8Array(32).fill(7)
const publicKey = ed25519PublicKey(seed)
const statementParts: CborValue[] = [encodeCbor(new Map([[1, -7]])), new Map(), encodeUtf8('x'), new Uint8Array(64)]
const ccfLeaf: CborValue[] = [
  new Uint8Array(32).fill(1),
  'ce:2.17:00ff',
  sha256(encodeCbor(new CborTag(18, statementParts))),
]
const ccfSibling = new Uint8Array(32).fill(2)
const ccfRoot = sha256(
  concatBytes(
    ccfSibling,
    sha256(concatBytes(ccfLeaf[0] as Uint8Array, sha256(encodeUtf8('ce:2.17:00ff')), ccfLeaf[2] as Uint8Array)),
  ),
)
const ccfIssuer = {
  issuer: 'ledger.example',
  keyId: publicKey.slice(0, 4),
  structure: ccfStructure,
} as const
const ccfReceipt = issueCoseReceipt({
  ...ccfIssuer,
  label: inclusionLabel,
  proof: encodeCbor(
    new Map<number, CborValue>([
      [1, ccfLeaf],
      [2, [[true, ccfSibling]]],
    ]),
  ),
  root: ccfRoot,
  attached: false,
  signature: ed25519Sign(seed, receiptSignedBytes(ccfIssuer, ccfRoot)),
})
const spki = concatBytes(Uint8Array.fromHex('302a300506032b6570032100'), publicKey)
const ccfKey = { spki, issuer: 'ledger.example' }
const statementWith = (...receipts: Uint8Array[]): Uint8Array =>
  encodeCbor(new CborTag(18, statementParts.with(1, new Map([[394, receipts]]))))

const rekorBody = encodeUtf8('{"kind":"hashedrekord"}')
const rekorTree = new TreeBuilder()
for (const one of [rekorBody, other]) rekorTree.append(leafHash(one))
const rekorText = encodeCheckpointText({ origin: 'log.example/one', size: 2, root: rekorTree.root(), extensions: [] })
const rekorEntry = encodeUtf8(
  JSON.stringify({
    logIndex: '0',
    canonicalizedBody: encodeBase64(rekorBody),
    inclusionProof: {
      logIndex: '0',
      treeSize: '2',
      rootHash: encodeBase64(rekorTree.root()),
      hashes: [encodeBase64(leafHash(other))],
      checkpoint: {
        envelope: decodeUtf8(
          encodeNote({
            text: rekorText,
            signatures: [signNote(rekorText, log), cosignNote(rekorText, witness, 1_760_000_000)],
          }),
          'note',
        ),
      },
    },
  }),
)

const message = sha256(encodeUtf8('a file'))
const sigsumProof = sigsumProofOf(message)

function sigsumProofOf(of: Uint8Array): Uint8Array {
  const hex = (bytes: Uint8Array) => encodeHex(bytes)
  const checksum = sha256(of)
  const leafSignature = ed25519Sign(seed, concatBytes(encodeUtf8('sigsum.org/v1/tree-leaf\0'), checksum))
  const sibling = new Uint8Array(32).fill(8)
  const treeRoot = sha256(
    concatBytes(Uint8Array.of(1), sibling, leafHash(concatBytes(checksum, leafSignature, sha256(publicKey)))),
  )
  const keyHash = hex(sha256(log.key.publicKey))
  const checkpoint = `sigsum.org/v1/tree/${keyHash}\n2\n${encodeBase64(treeRoot)}\n`
  const cosigned = ed25519Sign(new Uint8Array(32).fill(2), encodeUtf8(`cosignature/v1\ntime 1760000000\n${checkpoint}`))
  const lines = [
    ...['version=2', `log=${keyHash}`, `leaf=${hex(sha256(publicKey))} ${hex(leafSignature)}`, ''],
    ...['size=2', `root_hash=${hex(treeRoot)}`],
    `signature=${hex(ed25519Sign(new Uint8Array(32).fill(1), encodeUtf8(checkpoint)))}`,
    ...[`cosignature=${hex(sha256(witness.key.publicKey))} 1760000000 ${hex(cosigned)}`, ''],
    ...['leaf_index=1', `node_hash=${hex(sibling)}`, ''],
  ]
  return encodeUtf8(lines.join('\n'))
}

// FormatError: of what is no UTF-8, which those who call never hand on.
const ours = { errors: [LogError, FormatError] }
const text =
  <Value>(run: (text: string) => Value) =>
  (bytes: Uint8Array): Value =>
    run(decodeUtf8(bytes, 'text'))

const upload = { origin: 'log.example/one', uploadStart: 0, uploadEnd: 2, ticket: new Uint8Array([1, 2]) }

/** A request of `add-entries` with one package of two entries. */
async function readUpload(bytes: Uint8Array): Promise<{ head: AddEntries; read: EntryPackage }> {
  const parts = async function* (): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < bytes.length; at += 50) yield bytes.subarray(at, at + 50)
  }
  const reader = new AddEntriesReader(parts())
  const head = await reader.head()
  const read = await reader.package(2)
  if (read === undefined || !(await reader.atEnd())) throw new LogError('ERR_LOG_MALFORMED', 'is no whole upload')
  return { head, read }
}

export const fuzzTargets: readonly FuzzTarget[] = [
  { name: 'parseNote', seeds: [note], run: parseNote, encode: encodeNote, ...ours },
  {
    name: 'parseCheckpointText',
    seeds: [encodeUtf8(checkpointText)],
    run: text(parseCheckpointText),
    encode: (read: ReturnType<typeof parseCheckpointText>) => encodeUtf8(encodeCheckpointText(read)),
    ...ours,
  },
  {
    name: 'parseSuccession',
    seeds: [encodeSuccession({ from: { key: log.key, checkpoint: note }, to: { key: log.key } })],
    run: parseSuccession,
    encode: encodeSuccession,
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
    name: 'parseSignSubtree',
    seeds: [encodeSignSubtree({ start: 4, end: 6, root: emptyRoot(), path: [emptyRoot()], checkpoint: note })],
    run: parseSignSubtree,
    encode: encodeSignSubtree,
    ...ours,
  },
  {
    name: 'parseMirrorInfo',
    seeds: [encodeMirrorInfo({ size: 700, nextEntry: 256, ticket: note })],
    run: parseMirrorInfo,
    encode: encodeMirrorInfo,
    ...ours,
  },
  {
    name: 'AddEntriesReader',
    seeds: [concatBytes(encodeAddEntries(upload), encodeEntryPackage({ entries: [leaf, other], path: [emptyRoot()] }))],
    run: readUpload,
    encode: ({ head, read }: Awaited<ReturnType<typeof readUpload>>) =>
      concatBytes(encodeAddEntries(head), encodeEntryPackage(read)),
    ...ours,
  },
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
  {
    name: 'verifyConsistencyReceipt',
    seeds: [consistency],
    run: (bytes) => verifyConsistencyReceipt({ receipt: bytes, oldRoot: leafHash(leaf), key: key9162 }),
    meaning: ({ newRoot }: ProvenConsistency) => encodeHex(newRoot),
    ...ours,
  },
  {
    name: 'verifyCcfReceipt',
    seeds: [ccfReceipt],
    run: (bytes) => verifyCcfReceipt({ receipt: bytes, statement: statementWith(), key: ccfKey }),
    meaning: ({ root: hash, evidence }: ProvenCcfEntry) => `${evidence} ${encodeHex(hash)}`,
    ...ours,
  },
  {
    name: 'verifyCcfReceipt statement',
    seeds: [statementWith(ccfReceipt)],
    run: (bytes) => verifyCcfReceipt({ receipt: ccfReceipt, statement: bytes, key: ccfKey }),
    meaning: ({ root: hash, evidence }: ProvenCcfEntry) => `${evidence} ${encodeHex(hash)}`,
    ...ours,
  },
  { name: 'receiptsOf', seeds: [statementWith(ccfReceipt)], run: receiptsOf, ...ours },
  {
    name: 'verifyRekorEntry',
    seeds: [rekorEntry],
    run: (bytes) => verifyRekorEntry(bytes, policy),
    meaning: ({ index, body }: ProvenRekorEntry) => `${index} ${encodeHex(body)}`,
    ...ours,
  },
  {
    name: 'verifySigsumProof',
    seeds: [sigsumProof],
    run: (bytes) => verifySigsumProof({ proof: bytes, message, submitter: publicKey, policy }),
    meaning: ({ size, index }: ProvenSigsumEntry) => `${index} of ${size}`,
    ...ours,
  },
]
