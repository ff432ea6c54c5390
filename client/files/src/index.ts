export { type AtomicOptions, writeAtomically, writeFileAtomically } from './atomic-file.ts'
export { FilesError, type FilesErrorCode } from './error.ts'
export { openFile, type Progress, sealFile, type TransferOptions } from './sealed-files.ts'
