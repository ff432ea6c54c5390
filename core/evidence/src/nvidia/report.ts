import { ByteReader, FormatError } from '@cella/bytes'

/** Real ones have 2 to 5 KiB. */
const reportBytesMax = 16_384
const requestLength = 37
const signatureLength = 96
const measurementCountMax = 254
const measurementBytesMax = 64
const opaqueBytesMax = 4096
const opaqueFieldCountMax = 64

// DMTF DSP0274 1.1: version 1.1, codes of GET_MEASUREMENTS and MEASUREMENTS.
const spdmVersion = 0x11
const getMeasurements = 0xe0
const measurementsCode = 0x60
const signatureRequested = 0x01
const allMeasurements = 0xff
const dmtfSpecification = 0x01

/** One block of the measurement record (DSP0274 §10.11.1, DMTF measurement specification). */
export interface SpdmMeasurement {
  /** From 1. */
  readonly index: number
  /** DMTFSpecMeasurementValueType: 1 is mutable firmware, 3 is hardware configuration … */
  readonly type: number
  readonly value: Uint8Array
}

/** An NVIDIA attestation report: the SPDM request ‖ response. Nothing about it has been verified. */
export interface SpdmReport {
  /** Of the request: what the verifier asked with. 32 bytes. */
  readonly nonce: Uint8Array
  /** Of the response: the device's own. 32 bytes. */
  readonly deviceNonce: Uint8Array
  /** By index, ascending. */
  readonly measurements: readonly SpdmMeasurement[]
  /** NVIDIA's opaque fields by their type. */
  readonly opaque: ReadonlyMap<number, Uint8Array>
  /** What the signature covers: request ‖ response without its signature. */
  readonly signed: Uint8Array
  /** ECDSA P-384, r ‖ s, big-endian, 96 bytes. */
  readonly signature: Uint8Array
}

/**
 * Reads GET_MEASUREMENTS ‖ MEASUREMENTS of SPDM 1.1 (DMTF DSP0274), 16 KiB at most, integers little-endian:
 *
 *   request   version 0x11, code 0xe0, 0x01 (signed), 0xff (all), nonce 32, slot 1
 *   response  version 0x11, code 0x60, 2 reserved or slot, block count 1, record length 3, record,
 *             nonce 32, opaque length 2, opaque data, signature 96
 *
 * The signature is found by the lengths. One byte of zero after it is dropped: some driver releases hand it out, and it
 * is not signed. Keeps copies. Throws FormatError.
 */
export function parseSpdmReport(bytes: Uint8Array): SpdmReport {
  if (bytes.length > reportBytesMax) {
    throw new FormatError('report', `has ${bytes.length} bytes, at most ${reportBytesMax} are read`)
  }
  const whole = Uint8Array.from(bytes)
  const reader = new ByteReader(whole)
  expect(reader, 'request.version', spdmVersion)
  expect(reader, 'request.code', getMeasurements)
  expect(reader, 'request.param1', signatureRequested)
  expect(reader, 'request.param2', allMeasurements)
  const nonce = reader.take(32, 'request.nonce')
  const slot = reader.uint8('request.slot')
  if (slot > 7) throw new FormatError('request.slot', `is ${slot}, expected 0 to 7`)

  expect(reader, 'response.version', spdmVersion)
  expect(reader, 'response.code', measurementsCode)
  expect(reader, 'response.param1', 0)
  expect(reader, 'response.param2', slot)
  const count = reader.uint8('response.blockCount')
  const recordLength = reader.uint16le('response.recordLength') + (reader.uint8('response.recordLength') << 16)
  const measurements = parseRecord(reader.take(recordLength, 'response.record'), count)
  const deviceNonce = reader.take(32, 'response.nonce')
  const opaqueLength = reader.uint16le('response.opaqueLength')
  if (opaqueLength > opaqueBytesMax) {
    throw new FormatError('response.opaqueLength', `is ${opaqueLength}, at most ${opaqueBytesMax}`)
  }
  const opaque = parseOpaque(reader.take(opaqueLength, 'response.opaque'))
  const signed = whole.subarray(0, reader.offset)
  const signature = reader.take(signatureLength, 'response.signature')
  if (reader.remaining === 1) expect(reader, 'byte after the signature', 0)
  reader.end('report')
  return { nonce, deviceNonce, measurements, opaque, signed, signature }
}

/** Whether `bytes` begin as such a report, for naming a format. */
export function isSpdmReport(bytes: Uint8Array): boolean {
  const head = [spdmVersion, getMeasurements, signatureRequested, allMeasurements]
  return (
    bytes.length > requestLength + 1 &&
    head.every((byte, at) => bytes[at] === byte) &&
    bytes[requestLength] === spdmVersion &&
    bytes[requestLength + 1] === measurementsCode
  )
}

function expect(reader: ByteReader, field: string, value: number): void {
  const found = reader.uint8(field)
  if (found !== value) throw new FormatError(field, `is ${found}, expected ${value}`)
}

function parseRecord(record: Uint8Array, count: number): SpdmMeasurement[] {
  if (count === 0 || count > measurementCountMax) {
    throw new FormatError('response.blockCount', `is ${count}, expected 1 to ${measurementCountMax}`)
  }
  const reader = new ByteReader(record)
  const measurements: SpdmMeasurement[] = []
  for (let number = 1; number <= count; number++) {
    const field = `measurement block ${number}`
    const index = reader.uint8(`${field} index`)
    if (index <= (measurements.at(-1)?.index ?? 0))
      throw new FormatError(field, `has index ${index}, not an ascending one`)
    expect(reader, `${field} specification`, dmtfSpecification)
    const size = reader.uint16le(`${field} size`)
    const type = reader.uint8(`${field} value type`)
    const length = reader.uint16le(`${field} value size`)
    if (length === 0 || length > measurementBytesMax || length !== size - 3) {
      throw new FormatError(field, `has a value of ${length} bytes in a block of ${size}`)
    }
    // Bit 7 would say that the value is raw data and no digest.
    if (type > 0x7f) throw new FormatError(field, 'is raw data, expected a digest')
    measurements.push({ index, type, value: reader.take(length, field) })
  }
  reader.end('response.record')
  return measurements
}

function parseOpaque(bytes: Uint8Array): Map<number, Uint8Array> {
  const fields = new Map<number, Uint8Array>()
  const reader = new ByteReader(bytes)
  while (reader.remaining > 0) {
    if (fields.size === opaqueFieldCountMax)
      throw new FormatError('opaque data', `has over ${opaqueFieldCountMax} fields`)
    const type = reader.uint16le('opaque field type')
    const length = reader.uint16le(`opaque field ${type} length`)
    if (fields.has(type)) throw new FormatError(`opaque field ${type}`, 'occurs twice')
    fields.set(type, reader.take(length, `opaque field ${type}`))
  }
  return fields
}
