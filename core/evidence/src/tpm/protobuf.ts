import { ByteReader, FormatError } from '@cella/bytes'

/** A field of a protobuf message: a varint or a length-delimited value. The other wire types are not read. */
export interface ProtobufField {
  readonly number: number
  readonly value: number | Uint8Array
}

/**
 * The fields of a protobuf message in their order, at most `countMax`. Refused: groups and fixed-width fields, varints
 * above 2⁵³−1 or not in their shortest form, anything cut off. Throws FormatError.
 */
export function protobufFields(bytes: Uint8Array, field: string, countMax: number): ProtobufField[] {
  const reader = new ByteReader(bytes)
  const fields: ProtobufField[] = []
  while (reader.remaining > 0) {
    if (fields.length === countMax) throw new FormatError(field, `has more than ${countMax} protobuf fields`)
    const tag = varint(reader, field)
    const number = Math.floor(tag / 8)
    const wireType = tag % 8
    if (number < 1 || number > 536_870_911) throw new FormatError(field, `has the protobuf field number ${number}`)
    if (wireType === 0) fields.push({ number, value: varint(reader, field) })
    else if (wireType === 2) fields.push({ number, value: reader.take(varint(reader, field), field) })
    else throw new FormatError(field, `has a protobuf field of wire type ${wireType}, which is not read`)
  }
  return fields
}

function varint(reader: ByteReader, field: string): number {
  let value = 0
  for (let shift = 0; shift < 56; shift += 7) {
    const byte = reader.uint8(field)
    value += (byte & 0x7f) * 2 ** shift
    if (byte < 0x80) {
      if (byte === 0 && shift > 0) throw new FormatError(field, 'has a varint that is not in its shortest form')
      if (!Number.isSafeInteger(value)) break
      return value
    }
  }
  throw new FormatError(field, 'has a varint above 2^53')
}
