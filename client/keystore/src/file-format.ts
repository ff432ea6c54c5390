import { argon2 } from 'node:crypto'
import { promisify } from 'node:util'
import { ByteReader, concatBytes, encodeUtf8, equalBytes, type Secret, uint32Bytes } from '@cella/bytes'
import { aesGcmOpen, aesGcmSeal, randomBytes } from '@cella/primitives'
import { entriesBytesMax } from './entries.ts'
import { KeystoreError } from './error.ts'

// cella-keystore/1; integers big-endian. Bytes 0 to 55 are the AEAD's additional data.
//   0  16  "cella-keystore/1" (ASCII)
//  16   4  Argon2id memory in KiB
//  20   4  Argon2id passes
//  24   4  Argon2id parallelism
//  28  16  Argon2id salt, random for each passphrase
//  44  12  AES-256-GCM nonce, random for each write
//  56   n  ciphertext of the entries
//      16  tag
const magic = encodeUtf8('cella-keystore/1')
const headerLength = 56
const fileBytesMax = headerLength + entriesBytesMax + 16

/** Argon2id (RFC 9106). */
export interface KdfParameters {
  readonly memoryKib: number
  readonly passes: number
  readonly parallelism: number
}

/** RFC 9106 §4, second recommended option, with 64 MiB; the least that a keystore may have. */
export const kdfFloor: KdfParameters = { memoryKib: 65_536, passes: 3, parallelism: 1 }
// What a file may ask of the machine that opens it: 2 GiB.
const kdfCeiling: KdfParameters = { memoryKib: 2 ** 21, passes: 64, parallelism: 16 }
// For tests only: Argon2id's own least, RFC 9106 §3.1.
const kdfTestFloor: KdfParameters = { memoryKib: 8, passes: 1, parallelism: 1 }

/** A passphrase's key, with what it was made from: kept so that a write needs no second derivation. */
export interface FileKey {
  readonly kdf: KdfParameters
  readonly salt: Uint8Array
  readonly key: Secret
}

export function checkKdf(kdf: KdfParameters, testOnlyAllowWeakKdf: boolean): void {
  const floor = testOnlyAllowWeakKdf ? kdfTestFloor : kdfFloor
  for (const name of ['memoryKib', 'passes', 'parallelism'] as const) {
    const value = kdf[name]
    if (!Number.isInteger(value) || value < floor[name] || value > kdfCeiling[name]) {
      throw new KeystoreError(
        'ERR_KEYSTORE_MALFORMED',
        `Argon2id ${name} is ${value}, outside of ${floor[name]} to ${kdfCeiling[name]}`,
      )
    }
  }
}

export function newSalt(): Uint8Array {
  return randomBytes(16)
}

/** 32 bytes. Runs off the main thread. */
export async function deriveKey(passphrase: Secret, salt: Uint8Array, kdf: KdfParameters): Promise<Uint8Array> {
  return promisify(argon2)('argon2id', {
    message: passphrase.expose(),
    nonce: salt,
    memory: kdf.memoryKib,
    passes: kdf.passes,
    parallelism: kdf.parallelism,
    tagLength: 32,
  })
}

export function encodeFile(fileKey: FileKey, entries: Uint8Array): Uint8Array {
  const { kdf } = fileKey
  const nonce = randomBytes(12)
  const numbers = [kdf.memoryKib, kdf.passes, kdf.parallelism].map(uint32Bytes)
  const header = concatBytes(magic, ...numbers, fileKey.salt, nonce)
  return concatBytes(header, aesGcmSeal(fileKey.key.expose(), nonce, header, entries))
}

export interface ParsedFile {
  readonly header: Uint8Array
  readonly kdf: KdfParameters
  readonly salt: Uint8Array
  readonly nonce: Uint8Array
  readonly sealed: Uint8Array
}

/** Throws KeystoreError ERR_KEYSTORE_MALFORMED. Nothing is authenticated yet. */
export function parseFile(bytes: Uint8Array, testOnlyAllowWeakKdf: boolean): ParsedFile {
  if (bytes.length < headerLength + 16 || bytes.length > fileBytesMax) {
    throw new KeystoreError('ERR_KEYSTORE_MALFORMED', `a keystore does not have ${bytes.length} bytes`)
  }
  const reader = new ByteReader(bytes)
  if (!equalBytes(reader.take(magic.length, 'magic'), magic)) {
    throw new KeystoreError('ERR_KEYSTORE_MALFORMED', 'not a keystore, or one of another version')
  }
  const memoryKib = reader.uint32('memory')
  const passes = reader.uint32('passes')
  const parallelism = reader.uint32('parallelism')
  const kdf = { memoryKib, passes, parallelism }
  checkKdf(kdf, testOnlyAllowWeakKdf)
  const salt = reader.take(16, 'salt').slice()
  const nonce = reader.take(12, 'nonce').slice()
  const sealed = reader.take(reader.remaining, 'entries').slice()
  return { header: bytes.slice(0, headerLength), kdf, salt, nonce, sealed }
}

/** The encoded entries; throws KeystoreError ERR_KEYSTORE_NOT_OPENED. */
export function decryptFile(file: ParsedFile, key: Uint8Array): Uint8Array {
  const entries = aesGcmOpen(key, file.nonce, file.header, file.sealed)
  if (entries === undefined) {
    throw new KeystoreError('ERR_KEYSTORE_NOT_OPENED', 'the passphrase is wrong, or the keystore was altered')
  }
  return entries
}
