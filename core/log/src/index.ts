export { type Checkpoint, encodeCheckpointText, parseCheckpointText } from './checkpoint.ts'
export {
  encodeSkey,
  encodeVkey,
  generateNoteSigner,
  isKeyName,
  type NoteAlgorithm,
  type NoteKey,
  type NoteKeyOptions,
  type NoteKeyType,
  type NoteSigner,
  noteKey,
  noteSigner,
  parseSkey,
  parseVkey,
} from './keys.ts'
export {
  commitmentLength,
  commitmentOf,
  encodeLeaf,
  equalLeaves,
  type Leaf,
  type LeafKind,
  leafLength,
  parseLeaf,
  publishedTag,
  randomTag,
  revokedTag,
  streamTag,
  tagLength,
} from './leaf.ts'
export { LeafStore } from './leaf-store.ts'
export { LogCopy, type MirrorStore } from './log-copy.ts'
export { LogError, type LogErrorCode } from './log-error.ts'
export {
  type CopyReport,
  checkCopy,
  type MirrorOptions,
  type MirrorSigner,
  mirrorLog,
  mirrorPrefix,
  timeToSign,
} from './mirror.ts'
export {
  type AddEntries,
  AddEntriesReader,
  type EntryPackage,
  encodeAddEntries,
  encodeEntryPackage,
  encodeMirrorInfo,
  type MirrorInfo,
  mirrorInfoType,
  type PackageRange,
  packageRanges,
  packagesMax,
  parseMirrorInfo,
} from './mirror-protocol.ts'
export {
  type CosignedSubtree,
  cosignNote,
  cosignSubtree,
  encodeNote,
  encodeSignatureLine,
  type Note,
  type NoteSignature,
  parseNote,
  signNote,
  type VerifiedSignature,
  verifyNote,
  verifySubtree,
} from './note.ts'
export {
  encodeLogPolicy,
  evaluateQuorum,
  type LogPolicy,
  type PolicyGroup,
  type PolicyLog,
  type PolicyWitness,
  parseLogPolicy,
  type QuorumResult,
} from './policy.ts'
export { encodeProofFile, type ProofFile, parseProofFile } from './proof-file.ts'
export {
  consistencyProof,
  edgePlaces,
  type HashReader,
  inclusionProof,
  isSubtree,
  type NodePlace,
  type Subtree,
  subtreeConsistencyProof,
  verifyConsistency,
  verifyInclusion,
  verifySubtreeConsistency,
} from './proofs.ts'
export { isProvenEntry, makeProofFile, type ProvenEntry, proveEntry, verifyOfflineProof } from './proven-entry.ts'
export { type MirrorAnswer, type PostToMirror, type PushOptions, pushLog } from './push.ts'
export { type ProvenCcfEntry, receiptsOf, verifyCcfReceipt } from './receipts/ccf.ts'
export type { ReceiptKey } from './receipts/cose.ts'
export { type ProvenRekorEntry, verifyRekorEntry } from './receipts/rekor.ts'
export {
  inclusionReceiptOf,
  makeConsistencyReceipt,
  makeInclusionReceipt,
  type ProvenConsistency,
  type ProvenInclusion,
  receiptKeyOf,
  signReceiptRoot,
  verifyConsistencyReceipt,
  verifyInclusionReceipt,
} from './receipts/rfc9162.ts'
export { type ProvenSigsumEntry, verifySigsumProof } from './receipts/sigsum.ts'
export { signerLeaf, signerTag, signStreamProtocol } from './signer-entry.ts'
export {
  encodeSuccession,
  parseSuccession,
  type Succession,
  successionLeaf,
  type VerifiedSuccession,
  verifySuccession,
} from './succession.ts'
export { verifySuccessor } from './successor.ts'
export { type TagIndex, TagStream } from './tag-stream.ts'
export {
  encodeEntryBundle,
  parseEntryBundle,
  parseTile,
  parseTilePath,
  partialTiles,
  readEntries,
  type TilePlace,
  type TileReader,
  tileHashes,
  tileOf,
  tilePath,
  tileWidth,
} from './tiles.ts'
export { edgeLength, emptyRoot, foldEdge, leafHash, nodeHash, TreeBuilder } from './tree.ts'
export {
  encodeLogMemory,
  type LogMemory,
  type LogNews,
  type LogReader,
  LogView,
  parseLogMemory,
} from './view.ts'
export {
  type AddCheckpoint,
  addCheckpointBytesMax,
  encodeAddCheckpoint,
  encodeCosignatures,
  encodeSignSubtree,
  encodeWitnessSize,
  parseAddCheckpoint,
  parseCosignatures,
  parseSignSubtree,
  parseWitnessSize,
  type SignSubtree,
  witnessSizeType,
} from './witness-protocol.ts'
export {
  addSignatures,
  isWitnessedCheckpoint,
  verifyCheckpoint,
  type WitnessedCheckpoint,
  type WitnessTimes,
} from './witnessed.ts'
