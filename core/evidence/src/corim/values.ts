import { encodeHex, FormatError } from '@cella/bytes'
import {
  type CborItem,
  type CborKey,
  cborArray,
  cborBytes,
  cborInteger,
  cborMap,
  cborText,
  shownKey,
} from '@cella/cbor'
import { EvidenceError } from '../error.ts'

/** By the names of the IANA registry "Named Information Hash Algorithm". */
export interface CorimDigest {
  readonly algorithm: string
  /** Lower-case hexadecimal. */
  readonly value: string
}

/** What a measured element has to be (measurement-map of draft-ietf-rats-corim). Absent values are `null` or empty. */
export interface CorimMeasurement {
  /** The element's key: text or a number as it is, a UUID or OID in hexadecimal; `null` for none. */
  readonly key: string | null
  readonly version: string | null
  readonly svn: { readonly value: number; readonly minimum: boolean } | null
  readonly digests: readonly CorimDigest[]
  /** Hexadecimal. */
  readonly rawValue: string | null
  readonly name: string | null
  /** Digests or ids of keys that signed the element, in hexadecimal. */
  readonly cryptoKeys: readonly string[]
  /** By register: a number as text, or a name. */
  readonly registers: { readonly [register: string]: readonly CorimDigest[] }
}

export const corimTag = {
  time: 1,
  uri: 32,
  uuid: 37,
  oid: 111,
  unsigned: 501,
  comid: 506,
  ueid: 550,
  svn: 552,
  minimumSvn: 553,
  pkixKey: 554,
  coseKey: 558,
  bytes: 560,
} as const

// Identifiers and lengths of the algorithms that evidence is measured with. RFC 6920 §9.4, RFC 9393.
const algorithms: readonly (readonly [id: number, name: string, length: number])[] = [
  [1, 'sha-256', 32],
  [7, 'sha-384', 48],
  [8, 'sha-512', 64],
]

const valueKey = {
  version: 0,
  svn: 1,
  digests: 2,
  rawValue: 4,
  name: 11,
  cryptoKeys: 13,
  registers: 14,
} as const
const knownValues: readonly CborKey[] = Object.values(valueKey)

/**
 * Reads a measurement-map. A value of a kind that is not read here is ERR_EVIDENCE_UNSUPPORTED, and so is
 * `authorized-by`: leaving it out would accept what the author did not mean to.
 */
export function measurementOf(item: CborItem, field: string): CorimMeasurement {
  const entries = cborMap(item, field)
  refuseUnread(entries, [0, 1], field)
  const values = cborMap(entries.get(1), `${field}.mval`, { min: 1 })
  refuseUnread(values, knownValues, `${field}.mval`)
  const optional = <T>(key: number, read: (value: CborItem) => T): T | null =>
    values.has(key) ? read(values.get(key)!) : null
  return {
    key: entries.has(0) ? elementKeyOf(entries.get(0)!, `${field}.mkey`) : null,
    version: optional(valueKey.version, (value) => versionOf(value, `${field}.version`)),
    svn: optional(valueKey.svn, (value) => svnOf(value, `${field}.svn`)),
    digests: optional(valueKey.digests, (value) => digestsOf(value, `${field}.digests`)) ?? [],
    rawValue: optional(valueKey.rawValue, (value) =>
      encodeHex(taggedBytes(value, corimTag.bytes, `${field}.raw-value`)),
    ),
    name: optional(valueKey.name, (value) => cborText(value, `${field}.name`, { min: 1, max: 256 })),
    cryptoKeys:
      optional(valueKey.cryptoKeys, (value) =>
        cborArray(value, `${field}.cryptokeys`, { min: 1, max: 16 }).map((key, at) =>
          encodeHex(taggedBytes(key, corimTag.bytes, `${field}.cryptokeys[${at}]`)),
        ),
      ) ?? [],
    registers: optional(valueKey.registers, (value) => registersOf(value, `${field}.integrity-registers`)) ?? {},
  }
}

function refuseUnread(entries: ReadonlyMap<CborKey, CborItem>, known: readonly CborKey[], field: string): void {
  for (const key of entries.keys()) {
    if (!known.includes(key)) {
      throw new EvidenceError(
        'ERR_EVIDENCE_UNSUPPORTED',
        `${field}: has the member ${shownKey(key)}, which is not read here and could narrow what is meant`,
      )
    }
  }
}

function elementKeyOf(item: CborItem, field: string): string {
  if (item.type === 'tag') {
    return encodeHex(taggedBytes(item, item.tag === corimTag.oid ? corimTag.oid : corimTag.uuid, field))
  }
  return item.type === 'text' ? cborText(item, field, { min: 1, max: 256 }) : String(cborInteger(item, field))
}

function versionOf(item: CborItem, field: string): string {
  const entries = cborMap(item, field)
  // The scheme says how versions are ordered; equality needs none.
  refuseUnread(entries, [0, 1], field)
  return cborText(entries.get(0), field, { max: 256 })
}

function svnOf(item: CborItem, field: string): { value: number; minimum: boolean } {
  if (item.type !== 'tag') return { value: cborInteger(item, field), minimum: false }
  if (item.tag !== corimTag.svn && item.tag !== corimTag.minimumSvn) {
    throw new FormatError(field, `has CBOR tag ${item.tag}, expected ${corimTag.svn} or ${corimTag.minimumSvn}`)
  }
  return { value: cborInteger(item.content, field), minimum: item.tag === corimTag.minimumSvn }
}

function digestsOf(item: CborItem, field: string): CorimDigest[] {
  return cborArray(item, field, { min: 1, max: 16 }).map((digest, at) => {
    const name = `${field}[${at}]`
    const [algorithm, value] = cborArray(digest, name, { min: 2, max: 2 })
    const known = algorithms.find(([id, text]) =>
      algorithm?.type === 'text' ? algorithm.value === text : algorithm?.type === 'integer' && algorithm.value === id,
    )
    // Others can't be in evidence that is read here, so they match nothing; but their form is looked at.
    const length = known ? { min: known[2], max: known[2] } : { min: 1, max: 64 }
    const bytes = cborBytes(value, name, length)
    if (known === undefined && algorithm?.type !== 'text' && algorithm?.type !== 'integer') {
      throw new FormatError(name, 'has no algorithm')
    }
    return { algorithm: known?.[1] ?? 'other', value: encodeHex(bytes) }
  })
}

function registersOf(item: CborItem, field: string): Record<string, CorimDigest[]> {
  const entries = cborMap(item, field, { min: 1, max: 64 })
  return Object.fromEntries(
    [...entries].map(([register, digests]) => [String(register), digestsOf(digests, `${field}.${shownKey(register)}`)]),
  )
}

/** The byte string inside `tag`. */
function taggedBytes(item: CborItem, tag: number, field: string): Uint8Array {
  if (item.type !== 'tag' || item.tag !== tag) {
    throw new EvidenceError(
      'ERR_EVIDENCE_UNSUPPORTED',
      `${field}: is ${item.type === 'tag' ? `CBOR tag ${item.tag}` : `a CBOR ${item.type}`}; read is tag ${tag}`,
    )
  }
  return cborBytes(item.content, field, { min: 1, max: 4096 })
}
