export { sharedPath, sharedTest } from './shared.ts'
