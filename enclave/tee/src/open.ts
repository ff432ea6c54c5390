import type { TeeDriver } from './driver.ts'
import { openSimulatedTee, type SimulatedTeeOptions } from './simulated/tee.ts'

/** Which TEE to open. Chosen in words by who starts the enclave, never by what happens to be there. */
export type TeeOptions = { readonly kind: 'simulated' } & SimulatedTeeOptions

/** Opens the TEE of this kind. Throws TeeError when it isn't there. */
export async function openTee(options: TeeOptions): Promise<TeeDriver> {
  switch (options.kind) {
    case 'simulated':
      return openSimulatedTee(options)
    default:
      options.kind satisfies never
      throw new TypeError(`kind: ${String((options as { kind: unknown }).kind)} is no TEE that is known here`)
  }
}
