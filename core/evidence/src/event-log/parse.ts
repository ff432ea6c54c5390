import { ByteReader, encodeHex, encodeUtf8, equalBytes, FormatError } from '@cella/bytes'
import { reading } from '../error.ts'
import { type EventLog, eventType, type LogAlgorithm, type LoggedEvent, logAlgorithms } from './log.ts'

/** Logs of real machines have 20 to 100 KiB; a CCEL area has 64 or 256 KiB. */
const logBytesMax = 1_048_576
const eventCountMax = 8192
const algorithmCountMax = 8
/** A register index of "none", which EV_NO_ACTION events may have. */
const noRegister = 0xffffffff
const pcrMax = 23
const rtmrMax = 4
const specIdSignature = encodeUtf8('Spec ID Event03\0')

interface Format {
  readonly kind: EventLog['kind']
  readonly registerMin: number
  readonly registerMax: number
}

/**
 * Reads a TPM event log, crypto-agile (its first event is `Spec ID Event03`) or of the older form with SHA-1 digests
 * alone; at most 1 MiB and 8192 events, whole, nothing after the last one. Keeps a copy. TCG PC Client Platform Firmware
 * Profile §10.2. Throws EvidenceError.
 */
export function parseTcgEventLog(bytes: Uint8Array): EventLog {
  return reading(() => {
    const copy = capped(bytes)
    const reader = new ByteReader(copy)
    const tpm: Format = { kind: 'tpm', registerMin: 0, registerMax: pcrMax }
    const first = readLegacyEvent(reader, tpm)
    if (!isSpecId(first)) return { kind: 'tpm', algorithms: ['sha1'], events: readLegacyRest(first, reader, tpm) }
    const algorithms = readSpecId(first)
    return { kind: 'tpm', algorithms: names(algorithms), events: readEvents(reader, copy.length, algorithms, tpm) }
  })
}

/**
 * Reads the CC event log of a TDX guest (`/sys/firmware/acpi/tables/data/CCEL`): always crypto-agile, registers 1 to 4
 * for RTMR0 to RTMR3. The ACPI area is larger than the log: bytes after the last event are accepted when all of them
 * are 0xff, or all are zero. Same bounds as parseTcgEventLog. UEFI 2.10 §38.4.1. Throws EvidenceError.
 */
export function parseCcEventLog(bytes: Uint8Array): EventLog {
  return reading(() => {
    const copy = capped(bytes)
    const reader = new ByteReader(copy)
    const cc: Format = { kind: 'cc', registerMin: 1, registerMax: rtmrMax }
    const first = readLegacyEvent(reader, cc)
    if (!isSpecId(first)) throw new FormatError('CC event log', 'does not begin with the event Spec ID Event03')
    const algorithms = readSpecId(first)
    return { kind: 'cc', algorithms: names(algorithms), events: readEvents(reader, paddingStart(copy), algorithms, cc) }
  })
}

function capped(bytes: Uint8Array): Uint8Array {
  if (bytes.length > logBytesMax) {
    throw new FormatError('event log', `has ${bytes.length} bytes, at most ${logBytesMax} are read`)
  }
  return Uint8Array.from(bytes)
}

/** Where the run of equal bytes, 0xff or zero, begins that the area ends with. */
function paddingStart(bytes: Uint8Array): number {
  const filler = bytes.at(-1)
  if (filler !== 0xff && filler !== 0) return bytes.length
  let start = bytes.length
  while (start > 0 && bytes[start - 1] === filler) start--
  return start
}

// TCG_PCR_EVENT: pcrIndex u32, eventType u32, digest 20 (SHA-1), eventSize u32, event. All integers little-endian.
function readLegacyEvent(reader: ByteReader, format: Format): LoggedEvent {
  const register = reader.uint32le('event.pcrIndex')
  const type = reader.uint32le('event.eventType')
  checkRegister(register, type, format)
  const digest = reader.take(20, 'event.digest')
  const data = reader.take(reader.uint32le('event.eventSize'), 'event.event')
  return { register, type, digests: new Map([['sha1', digest]]), data }
}

function readLegacyRest(first: LoggedEvent, reader: ByteReader, format: Format): LoggedEvent[] {
  const events = [first]
  while (reader.remaining > 0) {
    checkCount(events)
    events.push(readLegacyEvent(reader, format))
  }
  return events
}

// TCG_PCR_EVENT2 (CC_EVENT alike): index u32, eventType u32, digest count u32, then as many of algorithm u16 and
// digest, eventSize u32, event.
function readEvents(
  reader: ByteReader,
  end: number,
  algorithms: ReadonlyMap<number, { name: LogAlgorithm; length: number }>,
  format: Format,
): LoggedEvent[] {
  const events: LoggedEvent[] = []
  // An event may itself end with bytes that look like padding, so `end` can lie before the true end of the last one.
  while (reader.remaining > 0 && reader.offset < end) {
    checkCount(events)
    const register = reader.uint32le('event.index')
    const type = reader.uint32le('event.eventType')
    checkRegister(register, type, format)
    const digests = readDigests(reader, algorithms)
    const data = reader.take(reader.uint32le('event.eventSize'), 'event.event')
    events.push({ register, type, digests, data })
  }
  return events
}

/** One digest for each algorithm of the Spec ID event, in any order. */
function readDigests(
  reader: ByteReader,
  algorithms: ReadonlyMap<number, { name: LogAlgorithm; length: number }>,
): Map<LogAlgorithm, Uint8Array> {
  const count = reader.uint32le('event.digests.count')
  if (count !== algorithms.size) {
    throw new FormatError('event.digests.count', `is ${count}, the log has ${algorithms.size} algorithms`)
  }
  const digests = new Map<LogAlgorithm, Uint8Array>()
  for (let at = 0; at < count; at++) {
    const id = reader.uint16le('event.digests.algorithm')
    const algorithm = algorithms.get(id)
    if (algorithm === undefined) throw new FormatError('event.digests.algorithm', `is ${id}, not one of the log's`)
    if (digests.has(algorithm.name)) throw new FormatError('event.digests', `has ${algorithm.name} twice`)
    digests.set(algorithm.name, reader.take(algorithm.length, `event.digests.${algorithm.name}`))
  }
  return digests
}

function isSpecId({ type, data }: LoggedEvent): boolean {
  return type === eventType.noAction && equalBytes(data.subarray(0, specIdSignature.length), specIdSignature)
}

// TCG_EfiSpecIDEvent: signature 16, platformClass u32, minor u8, major u8, errata u8, uintnSize u8, algorithm count u32,
// then as many of algorithm u16 and digest size u16, vendorInfoSize u8, vendorInfo.
function readSpecId(event: LoggedEvent): Map<number, { name: LogAlgorithm; length: number }> {
  for (const byte of event.digests.get('sha1') ?? []) {
    if (byte !== 0) throw new FormatError('Spec ID event', 'has a digest that is not zero')
  }
  const reader = new ByteReader(event.data)
  reader.take(specIdSignature.length, 'Spec ID event')
  const platformClass = reader.uint32le('platformClass')
  if (platformClass > 1)
    throw new FormatError('platformClass', `is ${platformClass}, expected 0 (client) or 1 (server)`)
  const [minor, major] = [reader.uint8('specVersionMinor'), reader.uint8('specVersionMajor')]
  reader.uint8('specErrata')
  if (major !== 2 || minor !== 0) throw new FormatError('specVersion', `is ${major}.${minor}, expected 2.0`)
  const uintnSize = reader.uint8('uintnSize')
  if (uintnSize !== 1 && uintnSize !== 2) throw new FormatError('uintnSize', `is ${uintnSize}, expected 1 or 2`)
  const count = reader.uint32le('numberOfAlgorithms')
  if (count < 1 || count > algorithmCountMax) {
    throw new FormatError('numberOfAlgorithms', `is ${count}, expected 1 to ${algorithmCountMax}`)
  }
  const algorithms = new Map<number, { name: LogAlgorithm; length: number }>()
  for (let at = 0; at < count; at++) {
    const id = reader.uint16le('algorithmId')
    const length = reader.uint16le('digestSize')
    const known = logAlgorithms[id]
    if (known === undefined) throw new FormatError('algorithmId', `is ${id}, which is no hash of the TCG registry`)
    if (length !== known.length) {
      throw new FormatError('digestSize', `is ${length} for ${known.name}, which has ${known.length} bytes`)
    }
    if (algorithms.has(id)) throw new FormatError('algorithmId', `names ${known.name} twice`)
    algorithms.set(id, known)
  }
  reader.take(reader.uint8('vendorInfoSize'), 'vendorInfo')
  reader.end('Spec ID event')
  return algorithms
}

function names(algorithms: ReadonlyMap<number, { name: LogAlgorithm }>): LogAlgorithm[] {
  return [...algorithms.values()].map(({ name }) => name)
}

function checkRegister(register: number, type: number, { registerMin, registerMax }: Format): void {
  if (type === eventType.noAction && register === noRegister) return
  // Some firmware writes CC events that were extended nowhere under index 0.
  const min = type === eventType.noAction ? 0 : registerMin
  if (register < min || register > registerMax) {
    throw new FormatError('event register', `is ${register}, expected ${registerMin} to ${registerMax}`)
  }
}

function checkCount(events: readonly LoggedEvent[]): void {
  if (events.length === eventCountMax) throw new FormatError('event log', `has more than ${eventCountMax} events`)
}

/** For detection: what the bytes look like, without reading them. */
export function recogniseEventLog(bytes: Uint8Array): string | undefined {
  if (bytes.length < 32 + specIdSignature.length) return undefined
  if (encodeHex(bytes.subarray(4, 8)) !== '03000000') return undefined
  if (!equalBytes(bytes.subarray(32, 32 + specIdSignature.length), specIdSignature)) return undefined
  return 'a TCG event log (TPM or CCEL), not evidence by itself'
}
