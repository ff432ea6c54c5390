export { AuditBatcher, type Recorded } from './audit-batcher.ts'
export { BatchFolder, type BatchStore } from './batch-folder.ts'
export { EventLogError, type EventLogErrorCode } from './error.ts'
export { type EventDraft, EventLog, type EventLogParts, type Placed } from './event-log.ts'
