import { encodeHex } from '@cella/bytes'
import { digestOf } from '@cella/primitives'
import type { Claims } from '../claims.ts'
import type { EvidenceRole } from '../evidence.ts'
import type { QuoteAlgorithm, TpmHash } from './algorithms.ts'
import type { PcrBank } from './attest.ts'
import type { ProvenLog, VerifiedQuote } from './quote.ts'

/** What only a TPM says. 64-bit numbers are text, because JSON numbers don't hold them. */
export interface TpmHardware {
  readonly signatureAlgorithm: QuoteAlgorithm
  readonly nameAlgorithm: TpmHash | null
  readonly qualifiedSigner: string
  readonly pcrBanks: readonly PcrBank[]
  readonly pcrDigest: string
  readonly clock: string
  readonly resetCount: number
  readonly restartCount: number
  readonly clockSafe: boolean
  readonly firmwareVersion: string
  readonly eventLogs: readonly ProvenLog[]
}

export interface TpmClaims extends Claims {
  readonly tee: 'tpm'
  readonly hardware: TpmHardware
}

/** What a genuine quote says. The boundary is null: a TPM measures a machine and separates nothing from its host. */
export function tpmClaims(
  verified: VerifiedQuote,
  { role, simulated, spki }: { role: EvidenceRole; simulated: boolean; spki: Uint8Array },
): TpmClaims {
  const measurement = encodeHex(verified.quote.pcrDigest)
  return {
    tee: 'tpm',
    role,
    boundary: null,
    measurement,
    measurements: { 'pcr-digest': measurement, ...pcrMeasurements(verified) },
    hostData: null,
    reportData: quoteReportData(verified),
    platformId: digestOf(spki),
    provider: null,
    tcb: {
      status: null,
      advisories: [],
      levels: { firmwareVersion: firmwareText(verified.quote.firmwareVersion) },
      date: null,
      evaluation: null,
    },
    debug: false,
    simulated,
    hardware: quoteHardware(verified),
  }
}

/** The qualifying data; null where the quote was asked for without any. */
export function quoteReportData({ quote }: VerifiedQuote): string | null {
  return quote.extraData.length === 0 ? null : encodeHex(quote.extraData)
}

/** `pcr4` and so on, `sha1-pcr4` where the quote is of several banks. */
export function pcrMeasurements({ banks }: VerifiedQuote): { readonly [name: string]: string } {
  return Object.fromEntries(
    banks.flatMap(({ hash, values }) =>
      [...values].map(([pcr, value]) => [banks.length > 1 ? `${hash}-pcr${pcr}` : `pcr${pcr}`, encodeHex(value)]),
    ),
  )
}

export function quoteHardware({ algorithm, quote, logs }: VerifiedQuote): TpmHardware {
  return {
    signatureAlgorithm: algorithm,
    nameAlgorithm: quote.nameAlgorithm ?? null,
    qualifiedSigner: encodeHex(quote.qualifiedSigner),
    pcrBanks: quote.banks,
    pcrDigest: encodeHex(quote.pcrDigest),
    clock: quote.clock.toString(),
    resetCount: quote.resetCount,
    restartCount: quote.restartCount,
    clockSafe: quote.safe,
    firmwareVersion: firmwareText(quote.firmwareVersion),
    eventLogs: logs,
  }
}

/** 16 hexadecimal digits, so that texts compare as the numbers do. */
export function firmwareText(version: bigint): string {
  return version.toString(16).padStart(16, '0')
}
