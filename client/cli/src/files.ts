import { readFile } from 'node:fs/promises'
import { writeFileAtomically } from '@cella/files'
import { CliError } from './error.ts'

const textBytesMax = 4 * 1024 * 1024

/** A file of at most 4 MiB of UTF-8. Throws ERR_FILE. */
export async function readTextFile(path: string): Promise<string> {
  const bytes = await readBytesFile(path, textBytesMax)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw new CliError('ERR_FILE', `${path} is not UTF-8 text`, undefined, { cause })
  }
}

/** A file of at most `bytesMax` bytes. Throws ERR_FILE. */
export async function readBytesFile(path: string, bytesMax: number): Promise<Uint8Array> {
  let bytes: Uint8Array
  try {
    bytes = await readFile(path)
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code ?? 'unknown reason'
    throw new CliError('ERR_FILE', `${path} can't be read (${reason})`, 'is it the right path?', { cause })
  }
  if (bytes.length > bytesMax) throw new CliError('ERR_FILE', `${path} has more than ${bytesMax} bytes`)
  return bytes
}

/** The JSON value in a file. Throws ERR_FILE. What it holds is the caller's to check. */
export async function readJsonFile(path: string): Promise<unknown> {
  const text = await readTextFile(path)
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new CliError('ERR_FILE', `${path} is not JSON: ${(cause as Error).message}`, undefined, { cause })
  }
}

/** Writes a file that appears only when whole. Throws ERR_FILE: it is there already, or why it can't be written. */
export async function writeNewFile(
  path: string,
  contents: Uint8Array | string,
  options: { readonly overwrite?: boolean; readonly mode?: number; readonly hint: string },
): Promise<void> {
  const bytes = typeof contents === 'string' ? new TextEncoder().encode(contents) : contents
  const { hint, ...rest } = options
  try {
    await writeFileAtomically(path, bytes, rest)
  } catch (cause) {
    const { code, cause: system } = cause as { code?: string; cause?: { code?: string } }
    if (code === 'ERR_FILES_TARGET_EXISTS') throw new CliError('ERR_FILE', `${path} is there already`, hint, { cause })
    const reason = system?.code ?? 'unknown reason'
    const what = reasons[reason] ?? 'check the path and that you may write it'
    throw new CliError('ERR_FILE', `${path} can't be written (${reason})`, what, { cause })
  }
}

const reasons: Record<string, string> = {
  ENOSPC: 'the disk is full: make room, or choose another one',
  EDQUOT: 'your share of the disk is used up: make room, or choose another one',
  EROFS: 'the disk is read-only: choose another one',
}
