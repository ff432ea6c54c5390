import { encodeHex, encodeUtf8, FormatError } from '@cella/bytes'
import { type CborItem, cborArray, cborBytes, cborInteger, cborMap, cborText, decodeCbor } from '@cella/cbor'
import { spkiOfKey } from '../arm/key-forms.ts'
import { coseEc2KeyOf } from '../cose/key.ts'
import { EvidenceError } from '../error.ts'
import { type CorimMeasurement, corimTag, measurementOf } from './values.ts'

/** Which thing a statement is about (environment-map). Identifiers are in hexadecimal. */
interface CorimEnvironment {
  readonly classId: { readonly kind: 'oid' | 'uuid' | 'bytes'; readonly value: string } | null
  readonly vendor: string | null
  readonly model: string | null
  readonly layer: number | null
  readonly index: number | null
  readonly instance: string | null
}

/** A reference triple: each of the measurements is what its element has to be. */
export interface CorimReference {
  readonly environment: CorimEnvironment
  readonly measurements: readonly CorimMeasurement[]
}

/** An attest-key triple: the keys that such a thing signs with. */
export interface CorimAttestKey {
  readonly environment: CorimEnvironment
  /** DER SubjectPublicKeyInfo. */
  readonly keys: readonly Uint8Array[]
}

export interface Comid {
  readonly references: readonly CorimReference[]
  readonly attestKeys: readonly CorimAttestKey[]
  /** Kinds of triples that are there and say nothing about reference values, by their keys. */
  readonly passedOver: readonly string[]
}

const tripleCountMax = 4096
const triple = { reference: 0, attestKey: 3 } as const

/** Reads a concise-mid-tag (CoMID). Throws FormatError; ERR_EVIDENCE_UNSUPPORTED for what would narrow a reference. */
export function parseComid(bytes: Uint8Array, field: string): Comid {
  const comid = cborMap(decodeCbor(bytes, field, { bytesMax: 1_048_576, itemsMax: 65_536 }), field)
  cborMap(comid.get(1), `${field}.tag-identity`)
  const triples = cborMap(comid.get(4), `${field}.triples`, { min: 1 })
  const list = (key: number, name: string): readonly CborItem[] =>
    triples.has(key) ? cborArray(triples.get(key), `${field}.${name}`, { min: 1, max: tripleCountMax }) : []
  return {
    references: list(triple.reference, 'reference-triples').map((item, at) =>
      referenceOf(item, `${field}.reference-triples[${at}]`),
    ),
    attestKeys: list(triple.attestKey, 'attest-key-triples').map((item, at) =>
      attestKeyOf(item, `${field}.attest-key-triples[${at}]`),
    ),
    passedOver: [...triples.keys()]
      .filter((key) => key !== triple.reference && key !== triple.attestKey)
      .map((key) => `triples ${key}`),
  }
}

function referenceOf(item: CborItem, field: string): CorimReference {
  const [environment, measurements] = cborArray(item, field, { min: 2, max: 2 })
  return {
    environment: environmentOf(environment!, `${field}.environment`),
    measurements: cborArray(measurements, `${field}.claims`, { min: 1, max: tripleCountMax }).map((measurement, at) =>
      measurementOf(measurement, `${field}.claims[${at}]`),
    ),
  }
}

function attestKeyOf(item: CborItem, field: string): CorimAttestKey {
  // A third element would say under which condition the keys count.
  const [environment, keys] = cborArray(item, field, { min: 2, max: 2 })
  return {
    environment: environmentOf(environment!, `${field}.environment`),
    keys: cborArray(keys, `${field}.keys`, { min: 1, max: 16 }).map((key, at) => keyOf(key, `${field}.keys[${at}]`)),
  }
}

function keyOf(item: CborItem, field: string): Uint8Array {
  if (item.type === 'tag' && item.tag === corimTag.pkixKey) {
    return spkiOfKey(encodeUtf8(cborText(item.content, field, { max: 4096 })))
  }
  if (item.type === 'tag' && item.tag === corimTag.coseKey) return coseEc2KeyOf(item.content, field).spki
  throw new EvidenceError('ERR_EVIDENCE_UNSUPPORTED', `${field}: is no key in PEM (tag 554) or COSE (tag 558)`)
}

function environmentOf(item: CborItem, field: string): CorimEnvironment {
  const entries = cborMap(item, field, { min: 1 })
  for (const key of entries.keys()) {
    if (key !== 0 && key !== 1) {
      throw new EvidenceError('ERR_EVIDENCE_UNSUPPORTED', `${field}: has the member ${key}, which is not read here`)
    }
  }
  const known = entries.has(0) ? cborMap(entries.get(0), `${field}.class`, { min: 1 }) : undefined
  const text = (key: number): string | null =>
    known?.has(key) ? cborText(known.get(key), `${field}.class[${key}]`, { max: 256 }) : null
  const number = (key: number): number | null =>
    known?.has(key) ? cborInteger(known.get(key), `${field}.class[${key}]`) : null
  return {
    classId: known?.has(0) ? classIdOf(known.get(0)!, `${field}.class-id`) : null,
    vendor: text(1),
    model: text(2),
    layer: number(3),
    index: number(4),
    instance: entries.has(1) ? instanceOf(entries.get(1)!, `${field}.instance`) : null,
  }
}

function classIdOf(item: CborItem, field: string): NonNullable<CorimEnvironment['classId']> {
  const kinds = { [corimTag.oid]: 'oid', [corimTag.uuid]: 'uuid', [corimTag.bytes]: 'bytes' } as const
  const kind = item.type === 'tag' ? (kinds as { [tag: number]: 'oid' | 'uuid' | 'bytes' })[item.tag] : undefined
  if (item.type !== 'tag' || kind === undefined) throw new FormatError(field, 'is no OID, UUID or tagged bytes')
  const length = kind === 'uuid' ? { min: 16, max: 16 } : { min: 1, max: 256 }
  return { kind, value: encodeHex(cborBytes(item.content, field, length)) }
}

function instanceOf(item: CborItem, field: string): string {
  const tags: readonly number[] = [corimTag.ueid, corimTag.uuid, corimTag.bytes]
  if (item.type !== 'tag' || !tags.includes(item.tag)) {
    throw new EvidenceError('ERR_EVIDENCE_UNSUPPORTED', `${field}: is no UEID, UUID or tagged bytes`)
  }
  return encodeHex(cborBytes(item.content, field, { min: 1, max: 256 }))
}
