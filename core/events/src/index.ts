export {
  auditStream,
  leavesOf,
  type StreamAudit,
  type StreamEntry,
  type StreamProblem,
  type StreamProblemCode,
  type UnfinishedRelease,
  unfinishedReleases,
} from './audit.ts'
export {
  type AuditBatch,
  batchDisclosed,
  batchFields,
  batchProver,
  batchRecordsMax,
  encodeRecordProof,
  makeAuditBatch,
  parseRecordProof,
  type RecordProof,
  recordBytesMax,
  type VerifiedRecord,
  verifyRecordProof,
} from './batch.ts'
export { openAuditBatch, sealAuditBatch } from './batch-file.ts'
export {
  commitmentOfBody,
  type EventBody,
  type EventField,
  type EventPlace,
  encodeEventBody,
  makeEventBody,
  parseEventBody,
  placeOf,
  valuesOf,
} from './body.ts'
export { bodiesMax, encodeSealedBodies, parseSealedBodies, type SealedBody } from './body-list.ts'
export {
  type Disclosure,
  encodeDisclosure,
  leafOfBody,
  makeDisclosure,
  parseDisclosure,
  type VerifiedDisclosure,
  verifyDisclosure,
} from './disclosure.ts'
export { EventError, type EventErrorCode } from './error.ts'
export {
  encodeStreamExport,
  makeStreamExport,
  parseStreamExport,
  type StreamExport,
  type VerifiedExport,
  verifyStreamExport,
} from './export.ts'
export { type MemberRequest, memberRequestBytes } from './member-request.ts'
export { type Reading, readingSchema, signReading, verifyReading } from './reading.ts'
export { type FoundLeaf, type LeafRange, type Scan, scanStream } from './scan.ts'
export { type EventReader, openEventBody, sealEventBody } from './sealed-body.ts'
export {
  type StreamKeyStatement,
  signStreamKey,
  streamKeyStatementSchema,
  verifyStreamKey,
} from './stream-key.ts'
