import { ByteReader, FormatError } from '@cella/bytes'

/** EV_NO_ACTION. */
const noAction = 3
const algorithmCountMax = 8
const digestCountMax = 8
const eventCountMax = 4096

/**
 * The events of a CC event log (TCG PC Client Platform Firmware Profile §10.2, UEFI §38.4.1) without the unused rest of
 * its area, which is all ones. The Spec ID event says how long each digest is. Throws FormatError.
 */
export function usedPartOfEventLog(area: Uint8Array): Uint8Array {
  const reader = new ByteReader(area)
  reader.take(4, 'first event index')
  if (reader.uint32le('first event type') !== noAction) throw new FormatError('event log', 'has no Spec ID event')
  reader.take(20, 'first event digest')
  const lengths = digestLengths(reader.take(reader.uint32le('Spec ID event size'), 'Spec ID event'))
  for (let count = 0; reader.remaining >= 4 && !restIsUnused(area, reader.offset); count++) {
    if (count === eventCountMax) throw new FormatError('event log', `has more than ${eventCountMax} events`)
    reader.take(8, 'event index and type')
    const digests = reader.uint32le('digest count')
    if (digests > digestCountMax) throw new FormatError('event log', `has an event with ${digests} digests`)
    for (let at = 0; at < digests; at++) {
      const length = lengths.get(reader.uint16le('digest algorithm'))
      if (length === undefined) throw new FormatError('event log', 'has a digest of an unannounced algorithm')
      reader.take(length, 'digest')
    }
    reader.take(reader.uint32le('event size'), 'event')
  }
  return area.slice(0, reader.offset)
}

function digestLengths(event: Uint8Array): Map<number, number> {
  const reader = new ByteReader(event)
  reader.take(24, 'Spec ID event header')
  const count = reader.uint32le('algorithm count')
  if (count > algorithmCountMax) throw new FormatError('Spec ID event', `has ${count} algorithms`)
  const lengths = new Map<number, number>()
  for (let at = 0; at < count; at++) lengths.set(reader.uint16le('algorithm'), reader.uint16le('digest length'))
  return lengths
}

/** A log ends where a register index of all ones begins, or of all zeros with type zero in a zeroed area. */
function restIsUnused(area: Uint8Array, offset: number): boolean {
  const next = area.subarray(offset, offset + 8)
  return next.subarray(0, 4).every((byte) => byte === 0xff) || next.every((byte) => byte === 0)
}
