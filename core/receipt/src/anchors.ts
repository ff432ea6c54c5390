import type { Digest } from '@cella/bytes'
import type { Terms } from '@cella/documents'
import type { LogPolicy } from '@cella/log'

/** What the verifier believes beforehand. None of it may come from the receipt or from who delivered it. */
export interface Anchors {
  /** Organisations by id, each under the name by which the verifier knows it. */
  readonly organisations: readonly { readonly id: Digest; readonly name: string }[]
  /** Logs with their witnesses and quorum, and which of these witnesses the verifier holds for independent. */
  readonly logs: readonly { readonly policy: LogPolicy; readonly independentWitnesses: readonly string[] }[]
  /** Roots of TEEs; whether one stands for a simulated TEE is the verifier's word too. */
  readonly roots: readonly Terms['roots'][number][]
  /** The verifier's clock, seconds since 1970: a receipt from the future is refused. */
  readonly now: number
}
