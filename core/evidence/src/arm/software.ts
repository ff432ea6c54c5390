import { encodeHex, FormatError, type Json } from '@cella/bytes'
import { type CborItem, type CborLength, cborArray, cborBytes, cborMap, cborText } from '@cella/cbor'

/** A measured piece of firmware. RFC 9783 §4.4.1; RMM specification A7.2.3.2.7. */
export interface ArmSoftware {
  /** Its role (`BL`, `SPE`, `RMM`), a hint; `null` where the token has none. */
  readonly type: string | null
  /** 32, 48 or 64 bytes in hexadecimal. */
  readonly measurement: string
  readonly version: string | null
  /** Digest of the key that signed it. */
  readonly signerId: string
  /** How it was measured: `sha-256`, or words of the maker. */
  readonly description: string | null
  readonly [name: string]: Json
}

const softwareCountMax = 64
const textLength: CborLength = { max: 256 }

/** A digest: 32, 48 or 64 bytes. */
export function hashOf(item: CborItem | undefined, field: string): Uint8Array {
  const hash = cborBytes(item, field)
  if (![32, 48, 64].includes(hash.length)) {
    throw new FormatError(field, `has ${hash.length} bytes, expected 32, 48 or 64`)
  }
  return hash
}

/** The list of software components: 1 to 64. Throws FormatError. */
export function softwareOf(item: CborItem | undefined, field: string): ArmSoftware[] {
  return cborArray(item, field, { min: 1, max: softwareCountMax }).map((component, at) => {
    const name = `${field}[${at}]`
    const members = cborMap(component, name)
    const text = (key: number, what: string): string | null =>
      members.has(key) ? cborText(members.get(key), `${name}.${what}`, textLength) : null
    return {
      type: text(1, 'type'),
      measurement: encodeHex(hashOf(members.get(2), `${name}.measurement`)),
      version: text(4, 'version'),
      signerId: encodeHex(hashOf(members.get(5), `${name}.signerId`)),
      description: text(6, 'description'),
    }
  })
}

/**
 * The measurements by type in lower case, after `prefix`; a component without a type that fits a name, or with one that
 * came before, is named by its place: `component3`.
 */
export function softwareMeasurements(software: readonly ArmSoftware[], prefix: string): Record<string, string> {
  const named = new Map<string, string>()
  software.forEach(({ type, measurement }, at) => {
    const name = `${prefix}${type?.toLowerCase()}`
    const fits = type !== null && /^[A-Za-z0-9_.-]{1,40}$/.test(type) && !named.has(name)
    named.set(fits ? name : `${prefix}component${at}`, measurement)
  })
  return Object.fromEntries(named)
}
