export { createBackup, restoreBackup } from './backup.ts'
export type { KeyEntry, KeyKind } from './entries.ts'
export { KeystoreError, type KeystoreErrorCode } from './error.ts'
export { type KdfParameters, kdfFloor } from './file-format.ts'
export {
  type CreateKeystoreOptions,
  createKeystore,
  type Keystore,
  type KeystoreOptions,
  openKeystore,
} from './keystore.ts'
export { type PassphraseSource, readPassphrase, type TerminalInput } from './passphrase.ts'
