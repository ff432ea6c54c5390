import { readFile } from 'node:fs/promises'
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
