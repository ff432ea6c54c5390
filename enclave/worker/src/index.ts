export { attemptRun, type Outcome } from './attempt.ts'
export { WorkerError, type WorkerErrorCode } from './error.ts'
export type { WorkerParts } from './parts.ts'
export { WorkerLog } from './worker-log.ts'
