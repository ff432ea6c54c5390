export { asDek, type Dek, dekLength, generateDek } from './dek.ts'
export {
  asWrappedDek,
  backupInfo,
  type EnvelopeInfo,
  eventInfo,
  grantInfo,
  keyCopyInfo,
  logKeyInfo,
  outputInfo,
  reasonsInfo,
  releaseInfo,
  secretReasonsInfo,
  streamKeyInfo,
  unwrapDek,
  type WrappedDek,
  wrapDek,
  wrappedDekLength,
} from './envelope.ts'
export { SealError, type SealErrorCode } from './error.ts'
export {
  chunkSizeLog2Default,
  chunkSizeLog2Max,
  chunkSizeLog2Min,
  type Header,
  headerLength,
  type Layout,
  layoutOfPlaintext,
  layoutOfSealed,
  parseHeader,
  sealedChunkLength,
  sealedChunkOffset,
} from './header.ts'
export { ChunkOpener, type OpenOptions } from './opener.ts'
export { ChunkSealer, type Sealed, type SealedFileId, type SealOptions } from './sealer.ts'
export { combineDek, type DekShare, splitDek } from './shares.ts'
export { openBytes, openRange, openStream, type SealingStream, sealBytes, sealedSize, sealStream } from './stream.ts'
export { inclusionProof, leafHash, TreeHasher, verifyInclusion } from './tree.ts'
