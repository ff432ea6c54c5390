import { BlobError } from './error.ts'

/** Does what asks the disk: whatever goes wrong there is ERR_BLOB_UNAVAILABLE. */
export async function onDisk<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (cause) {
    throw cause instanceof BlobError || cause instanceof RangeError ? cause : unavailable(cause)
  }
}

export function unavailable(cause: unknown): BlobError {
  const what = isCode(cause, 'ENOSPC') ? 'the disk is full' : 'the store’s folder can’t be read or written'
  return new BlobError('ERR_BLOB_UNAVAILABLE', `${what}; see the cause and try again`, { cause })
}

export function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
