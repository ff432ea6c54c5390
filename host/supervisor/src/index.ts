export { SupervisorError, type SupervisorErrorCode } from './error.ts'
export { Installation, type InstallationOptions } from './installation.ts'
