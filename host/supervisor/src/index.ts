export { SupervisorError, type SupervisorErrorCode } from './error.ts'
export { Installation, type InstallationOptions } from './installation.ts'
export { withLogSigner } from './signer-alone.ts'
export { installSigner, type SignerFolder } from './signer-folder.ts'
