import type { TeeDriver } from './driver.ts'
import { type HardwareOptions, hardwareDrivers, openHardwareTee } from './hardware.ts'
import type { SimulatedTeeOptions } from './simulated/options.ts'
import { openSimulatedTee } from './simulated/tee.ts'
import type { SourceDriver } from './source.ts'

/**
 * Which TEE to open, in words. `hardware` takes what is found and never anything simulated; `simulated` takes the named
 * folder's and never looks for hardware.
 */
export type TeeOptions =
  | ({ readonly kind: 'simulated' } & SimulatedTeeOptions)
  | {
      readonly kind: 'hardware'
      readonly look?: HardwareOptions
      /** Drivers beside those in pure Node: of `@cella/tee/devices`. */
      readonly devices?: readonly SourceDriver[]
    }

/** Opens the TEE of this kind. Throws TeeError when it isn't there. */
export async function openTee(options: TeeOptions): Promise<TeeDriver> {
  switch (options.kind) {
    case 'simulated':
      return openSimulatedTee(options)
    case 'hardware':
      return openHardwareTee([...hardwareDrivers(options.look), ...(options.devices ?? [])])
    default:
      options satisfies never
      throw new TypeError(`kind: ${String((options as { kind: unknown }).kind)} is no TEE that is known here`)
  }
}
