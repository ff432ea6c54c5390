export { type AdmissionLimits, type AdmittedModule, admitModule, injectorVersion } from './admit.ts'
export type { SandboxStatus } from './program-end.ts'
export type { Tier } from './runner-process.ts'
export {
  type Budgets,
  createSandbox,
  type Diagnostics,
  type Isolation,
  moduleBytesMax,
  type Sandbox,
  type SandboxInput,
  type SandboxJob,
  type SandboxOptions,
  type SandboxResult,
} from './sandbox.ts'
export { SandboxError, type SandboxErrorCode } from './sandbox-error.ts'
