import {
  ByteReader,
  concatBytes,
  decodeBase64url,
  encodeBase64url,
  encodeHex,
  encodeUtf8,
  equalBytes,
} from '@cella/bytes'
import { aesGcmOpen, aesGcmSeal, hkdfSha256, randomBytes, sha256 } from '@cella/primitives'
import { combine, split } from 'shamir-secret-sharing'
import { encodeEntries, type KeyEntry, parseEntries } from './entries.ts'
import { KeystoreError } from './error.ts'
import type { Keystore } from './keystore.ts'

// cella-share/1: text "cella-share/1." and base64url, white space anywhere, of
//   0   1  number of the share, 1 to count
//   1   1  count of shares
//   2   1  threshold
//   3  16  set: random, the same in all shares of a backup
//  19  32  check value of the backup key
//  51  32  Shamir share of the backup key: y bytes
//  83   1  its x coordinate
//  84   n  AES-256-GCM of the entries under a key derived from the backup key, the same in all shares
//      16  tag
//       8  checksum: first bytes of SHA-256 of all that comes before
const prefix = 'cella-share/1.'
const headLength = 84
const checksumLength = 8
const shareTextMax = 32 * 2 ** 20
const lineLength = 76
// The key is used once: it is derived from a fresh random one for each backup.
const nonce = new Uint8Array(12)

interface Share {
  readonly count: number
  readonly threshold: number
  readonly set: Uint8Array
  readonly check: Uint8Array
  readonly keyShare: Uint8Array
  readonly sealed: Uint8Array
}

/**
 * `shares` texts of which any `threshold` give back all keys of the keystore, and fewer say nothing about them. 2 to 255 of
 * each. Shares are as secret as their number says: keep them apart.
 */
export async function createBackup(
  keystore: Keystore,
  options: { shares: number; threshold: number },
): Promise<string[]> {
  const { shares: count, threshold } = options
  for (const value of [count, threshold]) {
    if (!Number.isInteger(value) || value < 2 || value > 255)
      throw new RangeError('shares and threshold: from 2 to 255')
  }
  if (threshold > count) throw new RangeError(`threshold ${threshold} is more than the ${count} shares`)
  const backupKey = randomBytes(32)
  const set = randomBytes(16)
  const common = concatBytes(Uint8Array.of(count, threshold), set)
  const check = derive(backupKey, common, 'check')
  const head = concatBytes(common, check)
  const entries = encodeEntries(keystore.entries())
  const sealed = aesGcmSeal(derive(backupKey, common, 'key'), nonce, head, entries)
  entries.fill(0)
  const keyShares = await split(backupKey, count, threshold)
  backupKey.fill(0)
  return keyShares.map((keyShare, index) => {
    const body = concatBytes(Uint8Array.of(index + 1), head, keyShare, sealed)
    const encoded = prefix + encodeBase64url(concatBytes(body, sha256(body).subarray(0, checksumLength)))
    return encoded.replaceAll(new RegExp(`.{${lineLength}}`, 'g'), '$&\n')
  })
}

/**
 * The keys that `shares` were made of. The same share given twice counts once. Throws KeystoreError ERR_BACKUP_…: a typing
 * error, too few shares, shares of different backups, and a share that is false although well-formed.
 */
export async function restoreBackup(shares: readonly string[]): Promise<KeyEntry[]> {
  const parsed = shares.map(parseShare)
  const first = parsed[0]
  if (first === undefined) throw new KeystoreError('ERR_BACKUP_TOO_FEW_SHARES', 'no share was given')
  for (const share of parsed) {
    const same = equalBytes(headOf(share), headOf(first)) && equalBytes(share.sealed, first.sealed)
    if (!same) throw new KeystoreError('ERR_BACKUP_MIXED_SHARES', 'the shares belong to different backups')
  }
  const different = [...new Map(parsed.map(({ keyShare }) => [encodeHex(keyShare), keyShare])).values()]
  if (new Set(different.map((keyShare) => keyShare.at(-1))).size !== different.length) throw wrongShare()
  if (different.length < first.threshold) {
    throw new KeystoreError(
      'ERR_BACKUP_TOO_FEW_SHARES',
      `${different.length} different shares were given, ${first.threshold} are needed`,
    )
  }
  const backupKey = await combine(different)
  try {
    const common = commonOf(first)
    if (!equalBytes(derive(backupKey, common, 'check'), first.check)) throw wrongShare()
    const entries = aesGcmOpen(derive(backupKey, common, 'key'), nonce, headOf(first), first.sealed)
    if (entries === undefined) throw wrongShare()
    return parseEntries(entries)
  } finally {
    backupKey.fill(0)
  }
}

function parseShare(text: string): Share {
  if (text.length > shareTextMax) throw malformed('is too long')
  const compact = text.replaceAll(/[ \t\r\n]+/g, '')
  if (!compact.startsWith(prefix)) throw malformed(`does not begin with ${prefix}`)
  let bytes: Uint8Array
  try {
    bytes = decodeBase64url(compact.slice(prefix.length), 'share')
  } catch {
    throw malformed('has a character that does not belong there')
  }
  if (bytes.length < headLength + 16 + checksumLength) throw malformed('is cut')
  const body = bytes.subarray(0, -checksumLength)
  if (!equalBytes(sha256(body).subarray(0, checksumLength), bytes.subarray(-checksumLength))) {
    throw malformed('has a typing error: its checksum is wrong')
  }
  const reader = new ByteReader(body)
  const number = reader.uint8('number')
  const count = reader.uint8('count')
  const threshold = reader.uint8('threshold')
  const set = reader.take(16, 'set').slice()
  const check = reader.take(32, 'check').slice()
  const keyShare = reader.take(33, 'key share').slice()
  const sealed = reader.take(reader.remaining, 'entries').slice()
  if (number < 1 || number > count || threshold < 2 || threshold > count || keyShare[32] === 0) {
    throw malformed('has numbers out of range')
  }
  return { count, threshold, set, check, keyShare, sealed }
}

function commonOf(share: Share): Uint8Array {
  return concatBytes(Uint8Array.of(share.count, share.threshold), share.set)
}

function headOf(share: Share): Uint8Array {
  return concatBytes(commonOf(share), share.check)
}

function derive(backupKey: Uint8Array, salt: Uint8Array, use: 'check' | 'key'): Uint8Array {
  return hkdfSha256({ ikm: backupKey, salt, info: encodeUtf8(`cella/v1/backup/${use}`), length: 32 })
}

function malformed(problem: string): KeystoreError {
  return new KeystoreError('ERR_BACKUP_SHARE_MALFORMED', `a share ${problem}; compare it with its paper or file`)
}

function wrongShare(): KeystoreError {
  return new KeystoreError('ERR_BACKUP_WRONG_SHARE', 'at least one share is false; try again with other shares')
}
