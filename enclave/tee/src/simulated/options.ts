import type { SnpTcb } from '@cella/evidence/sev-snp-issue'
import type { SimulatedLaunch } from './measurement.ts'

/** The kinds of hardware that can be simulated, each in its vendor's own format. */
export const simulatedTees = ['sev-snp', 'tdx', 'sgx', 'nitro'] as const
export type SimulatedTee = (typeof simulatedTees)[number]

export interface SimulatedTeeOptions {
  /** Where `createSimulatedPlatform` put the platform. */
  readonly folder: string
  readonly measured: SimulatedLaunch
  /** SEV-SNP when absent. */
  readonly tee?: SimulatedTee
  /** 32 bytes that the launcher sets; zeros when absent. Nitro has no such field. */
  readonly hostData?: Uint8Array
  /** How this guest or machine differs from a sound one, to see it refused. */
  readonly simulate?: SimulatedFaults
  /** Unix seconds by the simulated hardware's clock; the host's when absent. */
  readonly now?: () => number
}

export interface SimulatedFaults {
  /** The host may read the guest's memory. */
  readonly debug?: boolean
  /** SNP: another patch level, in the components of the platform's product. */
  readonly tcb?: SnpTcb
  /** SNP: another machine: 64 bytes, of Turin only the first 8 set. */
  readonly chipId?: Uint8Array
  /** SNP: privilege level, 0 to 3. */
  readonly vmpl?: number
  /** SNP: the memory was not checked for aliases. */
  readonly withoutAliasCheck?: boolean
  /** TDX and SGX: evidence travels without Intel's collateral. */
  readonly withoutCollateral?: boolean
}

/** A copy of 64 bytes; RangeError for another length. */
export function sizedReportData(reportData: Uint8Array): Uint8Array {
  if (reportData.length !== 64) throw new RangeError(`reportData: has ${reportData.length} bytes, expected 64`)
  return Uint8Array.from(reportData)
}
