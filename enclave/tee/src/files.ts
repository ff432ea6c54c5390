import { constants } from 'node:fs'
import { access, open } from 'node:fs/promises'
import { concatBytes } from '@cella/bytes'
import { TeeError } from './error.ts'
import type { Attempt } from './source.ts'

/** The error number's name (`ENOENT`), or the message of an error without one. */
export function errorName(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  return code ?? message
}

/** Whether `path` can be opened so; what was found goes into `attempts`. */
export async function lookAt(path: string, mode: 'r' | 'rw', attempts: Attempt[]): Promise<boolean> {
  try {
    await access(path, mode === 'r' ? constants.R_OK : constants.R_OK | constants.W_OK)
    attempts.push({ what: path, found: 'there' })
    return true
  } catch (error) {
    attempts.push({ what: path, found: errorName(error) })
    return false
  }
}

/**
 * Reads to the end in one opening. A kernel's file has no size that could be asked for, so short reads are joined until
 * one gives nothing. Throws TeeError ERR_TEE_MALFORMED past `bytesMax`; errors of the file system as they come.
 */
export async function readWhole(path: string, bytesMax: number): Promise<Uint8Array> {
  const file = await open(path, 'r')
  try {
    const parts: Uint8Array[] = []
    for (let length = 0; ; ) {
      const { bytesRead, buffer } = await file.read(new Uint8Array(16_384), 0, 16_384, null)
      if (bytesRead === 0) return concatBytes(...parts)
      length += bytesRead
      if (length > bytesMax) throw new TeeError('ERR_TEE_MALFORMED', `${path}: has more than ${bytesMax} bytes`)
      parts.push(buffer.subarray(0, bytesRead))
    }
  } finally {
    await file.close()
  }
}

/** Writes `bytes` in one call: a kernel's attribute takes a value whole or not at all. */
export async function writeOnce(path: string, bytes: Uint8Array): Promise<void> {
  // No O_CREAT: an attribute that is not there must not become a file.
  const file = await open(path, constants.O_WRONLY)
  try {
    const { bytesWritten } = await file.write(bytes, 0, bytes.length, null)
    if (bytesWritten !== bytes.length) {
      throw new TeeError('ERR_TEE_REFUSED', `${path}: took ${bytesWritten} of ${bytes.length} bytes`)
    }
  } finally {
    await file.close()
  }
}

/**
 * The outcome of `work`, or TeeError ERR_TEE_TIMEOUT after `timeoutMs`. A call into the kernel can't be taken back: it
 * goes on unheard.
 */
export async function within<T>(timeoutMs: number, what: string, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new TeeError('ERR_TEE_TIMEOUT', `${what}: no answer within ${timeoutMs} ms`)),
      timeoutMs,
    )
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
    // Whoever waits no longer must not be told as an unhandled rejection either.
    work.catch(() => undefined)
  }
}
