export { LogSigner } from './log-signer.ts'
export { createSignerServer } from './server.ts'
