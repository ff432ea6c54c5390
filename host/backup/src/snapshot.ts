import { decodeUtf8 } from '@cella/bytes'
import { z } from 'zod'
import { BackupError } from './error.ts'

const piece = z.string().regex(/^[0-9a-f]{64}$/)
const contents = {
  size: z.int().min(0),
  /** SHA-256 over all its bytes, 64 hexadecimal digits. */
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  pieces: z.array(piece),
}
/** A path below the data folder that can't leave it. */
const path = z
  .string()
  .min(1)
  .max(1000)
  .refine((text) => text.split('/').every((part) => /^[A-Za-z0-9_-][A-Za-z0-9_.-]*$/.test(part)))

const snapshotSchema = z.strictObject({
  format: z.literal('cella-backup-snapshot/1'),
  name: z.string(),
  /** Seconds since 1970 at which the database stood still for it. */
  at: z.int().min(0),
  log: z.strictObject({ origin: z.string(), vkey: z.string(), size: z.int().min(0) }),
  database: z.strictObject({
    /** The steps of its schema. */
    migrations: z.array(z.string()),
    /** Rows in the text form of COPY, compressed by Zstandard. */
    tables: z.array(z.strictObject({ name: z.string(), columns: z.array(z.string()), ...contents })),
  }),
  files: z.array(z.strictObject({ path, mode: z.int().min(0).max(0o777), ...contents })),
})
/** What one backup consists of. */
export type Snapshot = z.infer<typeof snapshotSchema>
/** A file's contents: the pieces one after the other. */
export type Contents = Pick<Snapshot['files'][number], 'size' | 'sha256' | 'pieces'>
export type FileEntry = Snapshot['files'][number]

/** Throws ERR_BACKUP_MALFORMED. */
export function parseSnapshot(bytes: Uint8Array): Snapshot {
  try {
    return snapshotSchema.parse(JSON.parse(decodeUtf8(bytes, 'snapshot')))
  } catch (cause) {
    throw new BackupError('ERR_BACKUP_MALFORMED', 'the list of a backup is not what this release writes', { cause })
  }
}
