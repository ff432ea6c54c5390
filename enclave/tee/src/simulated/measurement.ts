import { canonicalJson, concatBytes, type Digest, encodeHex, encodeUtf8 } from '@cella/bytes'
import { sha256, sha384 } from '@cella/primitives'

/** What a simulated launch measures: everything that decides how the process behaves. */
export interface SimulatedLaunch {
  /** SHA-256 of the Node binary. */
  readonly nodeDigest: Digest
  /** SHA-256 of the one file that it runs. */
  readonly bundleDigest: Digest
  /** Node's options and the bundle's arguments, in their order, without the two paths. */
  readonly commandLine: readonly string[]
}

/**
 * The launch measurement of a simulated TEE, 48 bytes: SHA-384("cella/v1/simulated-launch" ‖ RFC 8785 JSON of
 * `{node, bundle, arguments}`). A Build document lists it in hexadecimal.
 */
export function simulatedMeasurement(launch: SimulatedLaunch): Uint8Array {
  return sha384(launchBytes(launch))
}

/** What an SGX enclave has instead, 32 bytes: SHA-256 over the same. */
export function simulatedMrEnclave(launch: SimulatedLaunch): Uint8Array {
  return sha256(launchBytes(launch))
}

/** simulatedMeasurement in lower-case hexadecimal, 96 digits. */
export function simulatedMeasurementHex(launch: SimulatedLaunch): string {
  return encodeHex(simulatedMeasurement(launch))
}

function launchBytes({ nodeDigest, bundleDigest, commandLine }: SimulatedLaunch): Uint8Array {
  const launch = canonicalJson({ node: nodeDigest, bundle: bundleDigest, arguments: commandLine })
  return concatBytes(encodeUtf8('cella/v1/simulated-launch'), encodeUtf8(launch))
}
