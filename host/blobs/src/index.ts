export { BlobError, type BlobErrorCode } from './error.ts'
export { openFolderStore } from './folder.ts'
export { openS3Store, type S3Options } from './s3.ts'
export type { BlobInfo, BlobLimits, BlobStore, Upload, UploadPromise } from './store.ts'
