export { commandLine } from './command-line.ts'
export { threadCpuMs, treeCpuSeconds } from './cpu-time.ts'
export type { Figure } from './figure.ts'
export { sharedPath, sharedTest } from './shared.ts'
