import { argon2 } from 'node:crypto'
import { promisify } from 'node:util'
import { concatBytes, decodeBase64url, encodeBase64url, encodeHex, encodeUtf8, type Secret } from '@cella/bytes'
import {
  aesGcmOpen,
  aesGcmSeal,
  deriveHpkeKeyPair,
  hkdfSha256,
  hpkePublicKeyLength,
  randomBytes,
} from '@cella/primitives'
import { asDek, backupInfo, type Dek, unwrapDek, wrapDek } from '@cella/seal'
import { z } from 'zod'
import { BackupError } from './error.ts'

// A repository has one secret of 32 bytes, of which the keys of all that lies in it are derived. It lies in the
// installation's data folder, so that backups need nobody's presence, and in the repository wrapped for each who may
// restore: under a passphrase, or to the public key of a recipient.

const base64url = z
  .string()
  .max(4096)
  .regex(/^[A-Za-z0-9_-]+$/)
export const lockSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('passphrase'),
    /** Argon2id, RFC 9106. The bounds are what a file may ask of the machine that opens it. */
    memoryKib: z
      .int()
      .min(65_536)
      .max(2 ** 21),
    passes: z.int().min(3).max(64),
    parallelism: z.int().min(1).max(16),
    salt: base64url,
    nonce: base64url,
    wrapped: base64url,
  }),
  z.strictObject({ kind: z.literal('recipient'), publicKey: base64url, wrapped: base64url }),
])
/** The secret wrapped for one who may restore. */
export type Lock = z.infer<typeof lockSchema>

/** Who opens: somebody's passphrase, or the 32 bytes of a recipient's key. */
export type Opener = { readonly passphrase: Secret } | { readonly seed: Uint8Array }

// RFC 9106 §4, second recommended option.
const kdf = { memoryKib: 65_536, passes: 3, parallelism: 1 }
const secretLabel = 'cella-backup-key/1 '
const publicLabel = 'cella-backup-recipient/1 '

/** 32 hexadecimal digits by which a repository is told from others; says nothing about the secret. */
export function repositoryId(secret: Dek): string {
  return encodeHex(derived(secret, 'cella/v1/backup/id', new Uint8Array(0)).subarray(0, 16))
}

/** 32 bytes for one purpose, and one name within it. */
export function derived(secret: Dek, purpose: string, name: Uint8Array): Uint8Array {
  return hkdfSha256({ ikm: secret, salt: name, info: concatBytes(encodeUtf8(purpose), Uint8Array.of(0)), length: 32 })
}

export async function lockForPassphrase(secret: Dek, passphrase: Secret): Promise<Lock> {
  const salt = randomBytes(16)
  const nonce = randomBytes(12)
  const key = await passphraseKey(passphrase, { ...kdf, salt })
  const wrapped = aesGcmSeal(key, nonce, encodeUtf8(repositoryId(secret)), secret)
  const [text, nonceText, wrappedText] = [salt, nonce, wrapped].map(encodeBase64url) as [string, string, string]
  return { kind: 'passphrase', ...kdf, salt: text, nonce: nonceText, wrapped: wrappedText }
}

/** `recipient` is the line of a recipient's public key. */
export async function lockForRecipient(secret: Dek, recipient: string): Promise<Lock> {
  const publicKey = parseLine(recipient, publicLabel, hpkePublicKeyLength)
  const info = backupInfo({ repository: repositoryId(secret) })
  const wrapped = await wrapDek({ dek: secret, recipientPublicKey: publicKey, info })
  return { kind: 'recipient', publicKey: encodeBase64url(publicKey), wrapped: encodeBase64url(wrapped) }
}

/** The secret of the repository `id`. Throws ERR_BACKUP_KEY, alike for every cause. */
export async function openLocks(locks: readonly Lock[], id: string, opener: Opener): Promise<Dek> {
  for (const lock of locks) {
    const secret = await openLock(lock, id, opener)
    if (secret !== undefined && repositoryId(secret) === id) return secret
  }
  const what = 'passphrase' in opener ? 'passphrase' : 'key'
  throw new BackupError('ERR_BACKUP_KEY', `the ${what} does not open this backup`, {
    hint: 'repository.json in its folder says whether a passphrase or whose key does',
  })
}

async function openLock(lock: Lock, id: string, opener: Opener): Promise<Dek | undefined> {
  const wrapped = decodeBase64url(lock.wrapped, 'wrapped')
  if (lock.kind === 'passphrase' && 'passphrase' in opener) {
    const key = await passphraseKey(opener.passphrase, { ...lock, salt: decodeBase64url(lock.salt, 'salt') })
    const opened = aesGcmOpen(key, decodeBase64url(lock.nonce, 'nonce'), encodeUtf8(id), wrapped)
    return opened && asDek(opened)
  }
  if (lock.kind === 'recipient' && 'seed' in opener) {
    const { privateKey } = await deriveHpkeKeyPair(opener.seed)
    return unwrapDek({ wrapped, recipientPrivateKey: privateKey, info: backupInfo({ repository: id }) }).catch(
      () => undefined,
    )
  }
  return undefined
}

/** A recipient's key: the line to keep away from the machine, and the line to give to it. */
export async function makeRecipient(): Promise<{ secretLine: string; publicLine: string }> {
  const seed = randomBytes(32)
  const { publicKey } = await deriveHpkeKeyPair(seed)
  return {
    secretLine: secretLabel + encodeBase64url(seed),
    publicLine: publicLabel + encodeBase64url(publicKey),
  }
}

/** The seed in a recipient's secret line. */
export function parseSecretLine(line: string): Uint8Array {
  return parseLine(line, secretLabel, 32)
}

function parseLine(line: string, label: string, length: number): Uint8Array {
  const text = line.trim()
  try {
    const bytes = decodeBase64url(text.startsWith(label) ? text.slice(label.length) : '', 'key')
    if (bytes.length === length) return bytes
  } catch {
    // Said below: the parser's own message may quote a key.
  }
  throw new BackupError('ERR_BACKUP_KEY', `the file is no key of the form ${label}…`, {
    hint: 'cella backup keygen makes a pair',
  })
}

function passphraseKey(
  passphrase: Secret,
  parameters: { memoryKib: number; passes: number; parallelism: number; salt: Uint8Array },
): Promise<Uint8Array> {
  return promisify(argon2)('argon2id', {
    message: passphrase.expose(),
    nonce: parameters.salt,
    memory: parameters.memoryKib,
    passes: parameters.passes,
    parallelism: parameters.parallelism,
    tagLength: 32,
  })
}
