import { ByteReader, concatBytes, encodeHex, equalBytes, FormatError } from '@cella/bytes'
import { verifySignature } from '@cella/primitives'
import type { CheckLog } from '../checks.ts'
import { EvidenceError, reading } from '../error.ts'
import { parseTcgEventLog } from '../event-log/parse.ts'
import { checkReplay, replayRegisters } from '../event-log/replay.ts'
import { type QuoteAlgorithm, type TpmHash, tpmHashNamed } from './algorithms.ts'
import { type PcrBank, parseTpmQuote, type TpmQuote } from './attest.ts'
import { parseTpmSignature, type TpmSignature } from './signature.ts'

/** A bank's PCR values by number. */
interface PcrValues {
  readonly hash: TpmHash
  readonly values: ReadonlyMap<number, Uint8Array>
}

/** What an event log proves of one bank. */
export interface ProvenLog {
  readonly hash: TpmHash
  /** PCRs whose value the log leads to. */
  readonly proven: readonly number[]
  /** PCRs that were extended and have no event in the log. */
  readonly unlogged: readonly number[]
  /** Firmware PCRs (0 to 7) that were quoted and not closed by a separator, or closed by one that reports an error. */
  readonly open: readonly number[]
  readonly startupLocality: number | null
}

/** A quote whose signature, PCR values and event log were checked. */
export interface VerifiedQuote {
  readonly algorithm: QuoteAlgorithm
  readonly quote: TpmQuote
  /** Empty where the evidence has none: then `quote.pcrDigest` is all that is known of the PCRs. */
  readonly banks: readonly PcrValues[]
  /** One for each bank that the log has digests of; empty where there is no log. */
  readonly logs: readonly ProvenLog[]
}

export interface QuoteParts {
  readonly quote: Uint8Array
  readonly signature: Uint8Array
  readonly pcrs: Uint8Array | undefined
  readonly eventLog: Uint8Array | undefined
}

/** Quote and signature, read and not yet verified. Throws EvidenceError. */
export interface ReadQuote {
  readonly bytes: Uint8Array
  readonly quote: TpmQuote
  readonly signature: TpmSignature
}

export function readQuote(parts: Pick<QuoteParts, 'quote' | 'signature'>): ReadQuote {
  // One copy for reading and for the signature: what is checked later is what was read.
  const bytes = Uint8Array.from(parts.quote)
  return reading(() => ({ bytes, quote: parseTpmQuote(bytes), signature: parseTpmSignature(parts.signature) }))
}

export async function isQuoteSignedBy({ bytes, signature }: ReadQuote, spki: Uint8Array): Promise<boolean> {
  try {
    return await verifySignature(signature.algorithm, spki, bytes, signature.signature)
  } catch {
    // A key that the platform can't read has signed nothing.
    return false
  }
}

/**
 * Checks PCR values and event log of a quote whose signature is checked. Throws EvidenceError: ERR_EVIDENCE_BINDING for
 * values of another digest, ERR_EVIDENCE_EVENT_LOG for a log that does not lead to them.
 */
export function verifyPcrs(
  read: ReadQuote,
  { pcrs, eventLog }: Pick<QuoteParts, 'pcrs' | 'eventLog'>,
  checks: CheckLog,
): VerifiedQuote {
  const { quote, signature } = read
  const base = { algorithm: signature.algorithm, quote }
  if (pcrs === undefined) {
    if (eventLog !== undefined) {
      throw new EvidenceError('ERR_EVIDENCE_MALFORMED', 'eventLog: needs the PCR values to be compared with; add pcrs')
    }
    checks.notApplicable('tpm-pcr-digest', 'the evidence has no PCR values')
    checks.notApplicable('tpm-event-log', 'the evidence has no event log')
    return { ...base, banks: [], logs: [] }
  }
  const values = Uint8Array.from(pcrs)
  const banks = reading(() => splitPcrs(values, quote.banks))
  // TPM 2.0 Library Part 3, TPM2_Quote: pcrDigest is made with the hash of the signing scheme.
  const digest = tpmHashNamed(signature.hash).of(values)
  if (!equalBytes(digest, quote.pcrDigest)) {
    throw new EvidenceError(
      'ERR_EVIDENCE_BINDING',
      `PCR values have the digest ${encodeHex(digest)}, the quote signs ${encodeHex(quote.pcrDigest)}; read the PCRs again until they agree`,
    )
  }
  checks.passed('tpm-pcr-digest', 'PCR values of the digest that is signed', encodeHex(digest))
  const logs = eventLog === undefined ? [] : proveLogs(eventLog, banks)
  if (eventLog === undefined) checks.notApplicable('tpm-event-log', 'the evidence has no event log')
  else {
    const found = logs.map(({ hash, proven }) => `${hash} PCR ${proven.join(', ')}`).join('; ')
    checks.passed('tpm-event-log', 'an event log that leads to the PCR values', found)
  }
  return { ...base, banks, logs }
}

function splitPcrs(values: Uint8Array, banks: readonly PcrBank[]): PcrValues[] {
  const reader = new ByteReader(values)
  const split = banks.map(({ hash, pcrs }) => {
    const { length } = tpmHashNamed(hash)
    return { hash, values: new Map(pcrs.map((pcr) => [pcr, reader.take(length, `pcrs: ${hash} PCR ${pcr}`)])) }
  })
  reader.end('pcrs')
  return split
}

function proveLogs(eventLog: Uint8Array, banks: readonly PcrValues[]): ProvenLog[] {
  const log = parseTcgEventLog(eventLog)
  const replayable = banks.filter(({ hash }) => log.algorithms.includes(hash))
  if (replayable.length === 0) {
    throw new EvidenceError(
      'ERR_EVIDENCE_EVENT_LOG',
      `event log has ${log.algorithms.join(', ')}, the quote ${banks.map(({ hash }) => hash).join(', ')}; quote a bank of the log`,
    )
  }
  return replayable.map(({ hash, values }) => {
    const replay = replayRegisters(log, hash)
    const { proven, unlogged } = checkReplay(replay, values)
    const open = [...values.keys()].filter((pcr) => pcr <= 7 && replay.separators.get(pcr) !== 'closed')
    return { hash, proven, unlogged, open, startupLocality: replay.startupLocality ?? null }
  })
}

/**
 * PCR values by number, put together as an entry carries them. `values` has them by bank; a bank or a PCR that the quote
 * selects and that is not there is refused, others are passed over. Throws FormatError.
 */
export function joinPcrs(quote: TpmQuote, values: (hash: TpmHash, pcr: number) => Uint8Array | undefined): Uint8Array {
  return concatBytes(
    ...quote.banks.flatMap(({ hash, pcrs }) =>
      pcrs.map((pcr) => {
        const value = values(hash, pcr)
        const { length } = tpmHashNamed(hash)
        if (value === undefined) throw new FormatError('pcrs', `lack ${hash} PCR ${pcr}, which the quote selects`)
        if (value.length !== length) throw new FormatError(`${hash} PCR ${pcr}`, `has ${value.length} bytes`)
        return value
      }),
    ),
  )
}
