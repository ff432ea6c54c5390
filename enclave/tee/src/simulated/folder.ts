import type { KeyObject } from 'node:crypto'
import { link, lstat, mkdir, open, readFile, rename, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { decodeBase64url, encodeBase64url, encodeHex, FormatError, type Json } from '@cella/bytes'
import { randomBytes } from '@cella/primitives'
import { TeeError } from '../error.ts'
import { exportKey, importKey } from './keys.ts'

// The files of a simulated platform: canonical JSON in a folder that only its user can read.

/** A key that certifies others, and its own certificate, DER. */
export interface SimulatedIssuer {
  readonly key: KeyObject
  readonly certificate: Uint8Array
}

export function issuerJson({ key, certificate }: SimulatedIssuer): Json {
  return { key: encodeBase64url(exportKey(key)), certificate: encodeBase64url(certificate) }
}

/** The inverse of issuerJson. Throws FormatError, or what the key's reader throws. */
export function readIssuer(value: Json): SimulatedIssuer {
  const { key, certificate } = fields(value, ['certificate', 'key'])
  const pkcs8 = base64url(key!, 'key')
  try {
    return { key: importKey(pkcs8), certificate: base64url(certificate!, 'certificate') }
  } finally {
    pkcs8.fill(0)
  }
}

/** The members of an object with exactly these names, which are sorted. Throws FormatError. */
export function fields(value: Json, names: readonly string[]): Record<string, Json> {
  const found = typeof value === 'object' && value !== null ? Object.keys(value).sort() : []
  if (found.join() !== names.join()) throw new FormatError('platform', `has not the members ${names.join(', ')}`)
  return value as Record<string, Json>
}

export function base64url(value: Json, field: string): Uint8Array {
  if (typeof value !== 'string') throw new FormatError(field, 'is not text')
  return decodeBase64url(value, field)
}

/** What `parse` makes of a private file. Throws TeeError: absent, open to other users, or not as it was written. */
export async function readPrivate<T>(path: string, bytesMax: number, parse: (bytes: Uint8Array) => T): Promise<T> {
  let bytes: Uint8Array
  try {
    const status = await lstat(path)
    if (!status.isFile() || status.size > bytesMax) throw new TeeError('ERR_TEE_MALFORMED', `${path}: is no platform`)
    // Windows has no such bits.
    if (process.platform !== 'win32' && status.mode & 0o077) {
      throw new TeeError('ERR_TEE_UNAVAILABLE', `${path}: other users can read its keys; chmod 600 it`)
    }
    bytes = await readFile(path)
  } catch (cause) {
    if (cause instanceof TeeError) throw cause
    throw new TeeError('ERR_TEE_UNAVAILABLE', `${path}: can't be read; make the platform first`, { cause })
  }
  try {
    return parse(bytes)
  } catch (cause) {
    // The cause stays out: a key's reader may quote what it read.
    const problem = cause instanceof FormatError ? cause.message : 'holds a key that can’t be read'
    throw new TeeError('ERR_TEE_MALFORMED', `${path}: ${problem}`)
  } finally {
    bytes.fill(0)
  }
}

/** Whole or not at all, and never over another: false where the name was there first. Makes the folder (0700). */
export async function writeNew(path: string, text: string): Promise<boolean> {
  const temporary = await writeTemporary(path, text)
  try {
    // The name is linked only once the bytes are on the disk.
    await link(temporary, path)
    return true
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw new TeeError('ERR_TEE_UNAVAILABLE', `${path}: can't be written`, { cause })
  } finally {
    await unlink(temporary)
  }
}

/** Whole or not at all, over what was there. */
export async function writeOver(path: string, text: string): Promise<void> {
  await rename(await writeTemporary(path, text), path)
}

async function writeTemporary(path: string, text: string): Promise<string> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const temporary = join(dirname(path), `.${basename(path)}.${encodeHex(randomBytes(8))}`)
  const file = await open(temporary, 'wx', 0o600)
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
  return temporary
}

export async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  )
}
