export type KeystoreErrorCode =
  /** There is no keystore at the path, or it can't be read. */
  | 'ERR_KEYSTORE_UNAVAILABLE'
  /** A keystore is there already. */
  | 'ERR_KEYSTORE_EXISTS'
  /** File or folder can be read or changed by others. */
  | 'ERR_KEYSTORE_PERMISSIONS'
  /** Not a keystore of this version, or one with parameters out of bounds. */
  | 'ERR_KEYSTORE_MALFORMED'
  /** Wrong passphrase or altered file: one code for both. */
  | 'ERR_KEYSTORE_NOT_OPENED'
  /** The passphrase was changed since this keystore was opened. */
  | 'ERR_KEYSTORE_CHANGED'
  /** Another process is writing. */
  | 'ERR_KEYSTORE_LOCKED'
  | 'ERR_KEYSTORE_ENTRY_EXISTS'
  | 'ERR_KEYSTORE_ENTRY_ABSENT'
  | 'ERR_PASSPHRASE_WEAK'
  /** No terminal to ask on, or the descriptor can't be read. */
  | 'ERR_PASSPHRASE_UNAVAILABLE'
  | 'ERR_PASSPHRASE_CANCELLED'
  /** The two entries of a new passphrase differ. */
  | 'ERR_PASSPHRASE_DIFFERS'
  /** A share has a typing error, is cut, or is of another version. */
  | 'ERR_BACKUP_SHARE_MALFORMED'
  /** Fewer different shares than the threshold. */
  | 'ERR_BACKUP_TOO_FEW_SHARES'
  /** Shares of different backups. */
  | 'ERR_BACKUP_MIXED_SHARES'
  /** The shares fit by their labels, but what they combine to is not the backup's key. */
  | 'ERR_BACKUP_WRONG_SHARE'

/** A keystore, passphrase or backup can't be used. `code` is stable; `message` is for people and holds no secret. */
export class KeystoreError extends Error {
  readonly code: KeystoreErrorCode
  constructor(code: KeystoreErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'KeystoreError'
    this.code = code
  }
}
