import { concatBytes, encodeHex, encodeUtf8, equalBytes } from '@cella/bytes'
import { dangerousSha1, sha256, sha384, sha512 } from '@cella/primitives'
import { EvidenceError } from '../error.ts'
import { type EventLog, eventType, type LogAlgorithm, type LoggedEvent } from './log.ts'

const hashes: { readonly [Name in LogAlgorithm]?: (bytes: Uint8Array) => Uint8Array } = {
  sha1: dangerousSha1,
  sha256,
  sha384,
  sha512,
}
const localitySignature = encodeUtf8('StartupLocality\0')
/** What an error separator's digest covers in place of its data. Platform Firmware Profile §10.4.1, EV_SEPARATOR. */
const errorMark = Uint8Array.of(1, 0, 0, 0)
/** Registers that a dynamic launch resets: all ones until it has happened. */
const dynamicMin = 17
const dynamicMax = 22

export interface ReplayedRegisters {
  readonly kind: EventLog['kind']
  readonly algorithm: LogAlgorithm
  /** The value each register has after the log's events; one without events is absent. CC logs: 0 to 3 for RTMR0 to RTMR3. */
  readonly registers: ReadonlyMap<number, Uint8Array>
  /** Registers that an EV_SEPARATOR closed against the firmware, and whether it reported an error. */
  readonly separators: ReadonlyMap<number, 'closed' | 'error'>
  /** From the StartupLocality event: 0, 3 or 4. PCR 0 starts at this value. */
  readonly startupLocality: number | undefined
}

/**
 * Extends each event's digest into its register, all from zero. A TPM's PCR 0 starts at the locality of its
 * StartupLocality event, when there is one. Throws EvidenceError ERR_EVIDENCE_EVENT_LOG for an algorithm that the log has
 * no digests of, a second or late StartupLocality, and a separator whose digest is of neither its data nor an error;
 * ERR_EVIDENCE_UNSUPPORTED for SM3 and SHA-3.
 */
export function replayRegisters(log: EventLog, algorithm: LogAlgorithm): ReplayedRegisters {
  if (!log.algorithms.includes(algorithm)) {
    throw new EvidenceError(
      'ERR_EVIDENCE_EVENT_LOG',
      `event log has no ${algorithm} digests, only ${log.algorithms.join(', ')}; register values of one of these are needed`,
    )
  }
  const hash = hashOf(algorithm)
  const registers = new Map<number, Uint8Array>()
  const separators = new Map<number, 'closed' | 'error'>()
  let startupLocality: number | undefined
  for (const event of log.events) {
    if (event.type === eventType.noAction) {
      const locality = localityOf(log, event)
      if (locality === undefined) continue
      if (startupLocality !== undefined || registers.has(0)) {
        throw new EvidenceError('ERR_EVIDENCE_EVENT_LOG', 'StartupLocality comes twice or after an event of PCR 0')
      }
      startupLocality = locality
      continue
    }
    const digest = event.digests.get(algorithm)
    if (digest === undefined) throw new RangeError(`log: an event has no ${algorithm} digest`)
    const register = log.kind === 'cc' ? event.register - 1 : event.register
    const value = registers.get(register) ?? startValue(register, digest.length, startupLocality)
    registers.set(register, hash(concatBytes(value, digest)))
    if (event.type === eventType.separator) {
      const outcome = separatorOutcome(event, digest, hash)
      separators.set(register, separators.get(register) === 'error' ? 'error' : outcome)
    }
  }
  return { kind: log.kind, algorithm, registers, separators, startupLocality }
}

/**
 * Compares a replay with registers that a signature covers. Throws EvidenceError ERR_EVIDENCE_EVENT_LOG when one that
 * the log has events of differs, or when the log covers none of `signed`. Returns the registers that it proves, and
 * those that were extended though the log has no event of them (an OS may use some without writing here).
 */
export function checkReplay(
  replay: ReplayedRegisters,
  signed: ReadonlyMap<number, Uint8Array>,
): { proven: number[]; unlogged: number[] } {
  const proven: number[] = []
  const unlogged: number[] = []
  for (const [register, value] of signed) {
    const found = replay.registers.get(register)
    if (found === undefined) {
      if (!isInitial(replay.kind, register, value)) unlogged.push(register)
    } else if (equalBytes(found, value)) {
      proven.push(register)
    } else {
      const name = replay.kind === 'cc' ? `RTMR${register}` : `PCR ${register}`
      throw new EvidenceError(
        'ERR_EVIDENCE_EVENT_LOG',
        `${name} is ${encodeHex(value)}, the event log leads to ${encodeHex(found)} (${replay.algorithm}); collect log and registers together`,
      )
    }
  }
  if (proven.length === 0) {
    throw new EvidenceError('ERR_EVIDENCE_EVENT_LOG', 'event log has no event of any register that was signed')
  }
  return { proven, unlogged }
}

/**
 * The event's data, when its digest of `algorithm` is of exactly these data; `undefined` otherwise. The digest of other
 * events covers something else (a loaded image), so what their data say is not proven.
 */
export function measuredData(event: LoggedEvent, algorithm: LogAlgorithm): Uint8Array | undefined {
  const digest = event.digests.get(algorithm)
  return digest !== undefined && equalBytes(hashOf(algorithm)(event.data), digest) ? event.data : undefined
}

function hashOf(algorithm: LogAlgorithm): (bytes: Uint8Array) => Uint8Array {
  const hash = hashes[algorithm]
  if (hash === undefined) {
    throw new EvidenceError('ERR_EVIDENCE_UNSUPPORTED', `${algorithm} can't be computed here; use another bank`)
  }
  return hash
}

/** Locality of a StartupLocality event (16 bytes of text, then one byte); `undefined` for another event. */
function localityOf(log: EventLog, { register, data }: LoggedEvent): number | undefined {
  if (log.kind !== 'tpm' || register !== 0) return undefined
  if (!equalBytes(data.subarray(0, localitySignature.length), localitySignature)) return undefined
  const locality = data[localitySignature.length]
  if (data.length !== localitySignature.length + 1 || (locality !== 0 && locality !== 3 && locality !== 4)) {
    throw new EvidenceError('ERR_EVIDENCE_EVENT_LOG', 'StartupLocality event is not followed by one byte 0, 3 or 4')
  }
  return locality
}

function startValue(register: number, length: number, startupLocality: number | undefined): Uint8Array {
  const value = new Uint8Array(length)
  if (register === 0 && startupLocality !== undefined) value[length - 1] = startupLocality
  return value
}

function separatorOutcome(
  { register, data }: LoggedEvent,
  digest: Uint8Array,
  hash: (bytes: Uint8Array) => Uint8Array,
): 'closed' | 'error' {
  // The value 1 in the data is the error mark itself.
  if (equalBytes(hash(errorMark), digest)) return 'error'
  if (equalBytes(hash(data), digest)) return 'closed'
  throw new EvidenceError('ERR_EVIDENCE_EVENT_LOG', `separator of register ${register} has a digest of other data`)
}

function isInitial(kind: EventLog['kind'], register: number, value: Uint8Array): boolean {
  const dynamic = kind === 'tpm' && register >= dynamicMin && register <= dynamicMax
  return value.every((byte) => byte === 0) || (dynamic && value.every((byte) => byte === 0xff))
}
