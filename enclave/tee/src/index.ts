export { Challenges } from './challenges.ts'
export type { TeeDescription, TeeDriver, TeeKind } from './driver.ts'
export { TeeError, type TeeErrorCode } from './error.ts'
export { evidenceOf, type HardwareOptions, hardwareDrivers, openHardwareTee } from './hardware.ts'
export { type ConfidentialSpaceOptions, confidentialSpaceDriver } from './http/confidential-space.ts'
export { openTee, type TeeOptions } from './open.ts'
export { type ProbeReport, type ProbeResult, probeSources } from './probe.ts'
export { simulatedCollateral } from './simulated/collateral.ts'
export {
  readSimulatedLevels,
  type SimulatedLevels,
  type SimulatedRevocation,
  type SimulatedStep,
  type SimulatedVendor,
  stepSimulatedLevels,
} from './simulated/levels.ts'
export {
  type SimulatedLaunch,
  simulatedMeasurement,
  simulatedMeasurementHex,
  simulatedMrEnclave,
} from './simulated/measurement.ts'
export {
  type SimulatedFaults,
  type SimulatedTee,
  type SimulatedTeeOptions,
  simulatedTees,
} from './simulated/options.ts'
export { createSimulatedPlatform, type SimulatedRoot, simulatedRoot } from './simulated/platform.ts'
export type { SimulatedProduct } from './simulated/products.ts'
export { openSimulatedTee } from './simulated/tee.ts'
export { simulatedVendorRoots } from './simulated/vendors.ts'
export {
  type Attempt,
  type EvidencePiece,
  type EvidenceSource,
  type Probe,
  type SourceDriver,
  type SourceName,
  sourceNames,
} from './source.ts'
