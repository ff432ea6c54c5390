import { readFile, stat } from 'node:fs/promises'
import { z } from 'zod'
import { BlobError } from './error.ts'

const folderSchema = z.strictObject({ kind: z.literal('folder') })
const s3Schema = z.strictObject({
  kind: z.literal('s3'),
  /** Base address of the S3 API; paths follow it. */
  endpoint: z
    .string()
    .max(2048)
    .regex(/^https?:\/\/[^\s?#]+$/, 'is not an http or https URL without query'),
  bucket: z.string().min(3).max(63),
  region: z.string().min(1).max(100),
  prefix: z.string().max(200).default(''),
  accessKeyId: z.string().min(1).max(200),
  secretAccessKey: z.string().min(1).max(500),
})
/** Where ciphertext lies, as configurations say it: docs/manager.md. */
export const blobSettingsSchema = z.discriminatedUnion('kind', [folderSchema, s3Schema])
export type S3Settings = z.infer<typeof s3Schema>

/**
 * An S3 store from a file of its own, `{"kind": "s3", …}`. It holds a secret: one that others can read is refused. Throws
 * ERR_BLOB_SETTINGS, which repeats nothing of the file.
 */
export async function readS3Settings(path: string): Promise<S3Settings> {
  try {
    if (((await stat(path)).mode & 0o077) !== 0) throw unfit(path, 'can be read by others', 'chmod 600 FILE')
    return s3Schema.parse(JSON.parse(await readFile(path, 'utf8')))
  } catch (error) {
    if (error instanceof BlobError) throw error
    if (error instanceof z.ZodError) {
      const where = error.issues.map(({ path: at, code }) => `${at.join('.')} (${code})`).join(', ')
      throw unfit(path, `does not say where an S3 store is: ${where}`, 'its form is in docs/manager.md, `blobs`')
    }
    throw unfit(path, 'can’t be read as JSON', 'is it the right path?')
  }
}

/** Names an S3 store without what opens it. */
export function placeOfBlobs({ endpoint, bucket, prefix }: S3Settings): string {
  return `${endpoint.replace(/\/$/, '')}/${bucket}/${prefix}`
}

function unfit(path: string, problem: string, hint: string): BlobError {
  return new BlobError('ERR_BLOB_SETTINGS', `${path} ${problem}`, { hint })
}
