import type { Json } from '@cella/bytes'
import type { EvidenceRole } from './evidence.ts'
import type { Boundary } from './policy.ts'
import type { TeeName } from './roots.ts'

/** How a vendor's collateral rates the firmware. Intel's words (PCS v4); other vendors' ratings are mapped onto them. */
export const tcbStatuses = [
  'UpToDate',
  'SWHardeningNeeded',
  'ConfigurationNeeded',
  'ConfigurationAndSWHardeningNeeded',
  'OutOfDate',
  'OutOfDateConfigurationNeeded',
  'Revoked',
] as const
export type TcbStatus = (typeof tcbStatuses)[number]

/** What genuine evidence says, the same for every TEE, as plain JSON throughout: byte strings in lower-case hexadecimal, absent things `null`. */
export interface Claims {
  readonly tee: TeeName
  readonly role: EvidenceRole
  /** `null` for a device that runs no code of ours (GPU) or evidence that protects none (a bare TPM). */
  readonly boundary: Boundary | null
  /** What names the measured code: SNP launch measurement, MRENCLAVE, MRTD, PCR0, realm initial measurement. */
  readonly measurement: string
  /** Every measured register by the vendor's name in lower case (`mrtd`, `rtmr0`, `pcr4`), `measurement` among them. */
  readonly measurements: { readonly [name: string]: string }
  readonly hostData: string | null
  /** The field that carries a binding or nonce, whole. */
  readonly reportData: string | null
  /** One chip or machine. */
  readonly platformId: string | null
  /** Cloud provider or signer of the code, where the evidence proves it. */
  readonly provider: string | null
  readonly tcb: {
    /** `null` where the vendor publishes no rating. */
    readonly status: TcbStatus | null
    readonly advisories: readonly string[]
    readonly levels: { readonly [name: string]: Json }
    /** When the matching level was defined, unix seconds. */
    readonly date: number | null
    /** Intel's tcbEvaluationDataNumber. */
    readonly evaluation: number | null
  }
  readonly debug: boolean
  readonly simulated: boolean
  /** What only this kind of hardware says. */
  readonly hardware: object
}
