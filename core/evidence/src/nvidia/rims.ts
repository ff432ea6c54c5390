import type { SpdmMeasurement } from './report.ts'

/** Reference values of one release of firmware: a reference integrity manifest (RIM) whose signature was verified. */
export interface VerifiedRim {
  /** `GH100`. */
  readonly product: string
  /** Driver or VBIOS version that it is for. */
  readonly version: string
  /** By the RIM's own index, from 0; only the active ones. Each has its acceptable values. */
  readonly measurements: ReadonlyMap<number, readonly Uint8Array[]>
  /** From the root that its signer's chain ended at. */
  readonly simulated: boolean
  /** Unix seconds in which its signer's chain is valid, both inclusive. */
  readonly notBefore: number
  readonly notAfter: number
  readonly collateralIssuedAt: number | undefined
}

/** Which manifests a report is compared with. */
export interface WantedRims {
  readonly product: string
  /** Of the driver and the VBIOS, in any case of letters. */
  readonly versions: readonly string[]
}

/** A measurement of the report that is not what a manifest lists. */
export interface RimMismatch {
  /** The RIM's index. */
  readonly index: number
  readonly source: 'driver' | 'vbios'
  readonly found: Uint8Array | undefined
}

/** The RIM's index of the measurement that the video decoder owns; it counts only where the decoder is on. */
const nvdec0Index = 35

/**
 * Compares the report with the manifests of its driver and its VBIOS, each index that they list as active. RIMs count
 * from 0, SPDM from 1. An index that both manifests list is a mismatch, since nobody says which one holds.
 */
export function compareMeasurements(
  measurements: readonly SpdmMeasurement[],
  rims: { readonly driver: VerifiedRim | undefined; readonly vbios: VerifiedRim },
  nvdec0: 'enabled' | 'disabled' | null,
): RimMismatch[] {
  const found = new Map(measurements.map(({ index, value }) => [index - 1, value]))
  return (['driver', 'vbios'] as const).flatMap((source) =>
    [...(rims[source]?.measurements ?? [])].flatMap(([index, accepted]): RimMismatch[] => {
      if (index === nvdec0Index && nvdec0 === 'disabled') return []
      const value = found.get(index)
      const doubled = source === 'vbios' && rims.driver?.measurements.has(index) === true
      const equal = value !== undefined && accepted.some((one) => sameBytes(one, value))
      return equal && !doubled ? [] : [{ index, source, found: value }]
    }),
  )
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at])
}
