import { decodeBase64url, encodeBase64url, encodeUtf8, FormatError, type Json } from '@cella/bytes'
import {
  type CborItem,
  type CborKey,
  CborTag,
  type CborValue,
  cborArray,
  cborBytes,
  cborInteger,
  cborText,
  decodeCbor,
  encodeCbor,
} from '@cella/cbor'
import { reading } from '../error.ts'
import { isJsonObject, parseForeignJson } from '../jwt/json.ts'
import { parseCertificate } from '../x509/certificate.ts'
import { DerReader, derTag } from '../x509/der.ts'

// RATS Conceptual Message Wrapper (draft-ietf-rats-msg-wrap-23): what carries evidence of any kind with a name for its kind.
// A wrapper protects nothing: what is inside has its own signature.

/** A message with its media type, or the number of a CoAP content format (CBOR alone). */
export interface CmwRecord {
  readonly kind: 'record'
  readonly type: string | number
  readonly value: Uint8Array
  /** Bits of what `value` holds, see `cmwIndicator`; `undefined` where the type says it all. */
  readonly indicator: number | undefined
}

/** The same in CBOR alone, its content format in a tag number. */
export interface CmwTag {
  readonly kind: 'tag'
  readonly type: number
  readonly value: Uint8Array
}

/** Several by label. */
export interface CmwCollection {
  readonly kind: 'collection'
  /** Absolute URI or dotted object identifier. */
  readonly type: string | undefined
  readonly items: ReadonlyMap<CborKey, Cmw>
}

export type Cmw = CmwRecord | CmwTag | CmwCollection

export const cmwIndicator = {
  referenceValues: 1,
  endorsements: 2,
  evidence: 4,
  attestationResults: 8,
  appraisalPolicy: 16,
} as const

const bytesMax = 4_194_304
const depthMax = 4
const itemCountMax = 64
const indicatorMax = 31
const typeKey = '__cmwc_t'
// RFC 6838 §4.2, with parameters.
const mediaType = /^[A-Za-z0-9][\w!#$&^.+-]{0,126}\/[A-Za-z0-9][\w!#$&^.+-]{0,126}(?:; *[\x20-\x7e]{1,500})?$/
const collectionType = /^(?:[A-Za-z][A-Za-z0-9+.-]*:[\x21-\x7e]{1,500}|[0-2](?:\.(?:0|[1-9][0-9]{0,9})){1,32})$/

/** Reads a wrapper in JSON or CBOR, which its first byte tells, whole and nothing after it. Throws EvidenceError. */
export function parseCmw(bytes: Uint8Array): Cmw {
  return reading(() => {
    const [first] = bytes
    if (first === 0x5b || first === 0x7b) return ofJson(parseForeignJson(bytes, 'cmw', bytesMax), 0)
    return ofCbor(decodeCbor(bytes, 'cmw', { bytesMax, indefinite: 'allowed' }), 0)
  })
}

/** The same for a JSON value, as the claim `cmw` of a token has it. */
export function parseCmwJson(value: Json): Cmw {
  return reading(() => ofJson(value, 0))
}

/** The wrapper in the extension of a certificate (id-pe 35), which is not verified; `undefined` where it has none. */
export function cmwOfCertificate(der: Uint8Array): Cmw | undefined {
  return reading(() => {
    const extension = parseCertificate(der, 'certificate').extensions.get('1.3.6.1.5.5.7.1.35')
    if (extension === undefined) return undefined
    const choice = new DerReader(extension.value)
    const isJson = choice.nextTag === derTag.utf8String
    const content = choice.contents(isJson ? derTag.utf8String : derTag.octetString, 'certificate CMW')
    choice.end('certificate CMW')
    return isJson
      ? ofJson(parseForeignJson(content, 'cmw', bytesMax), 0)
      : ofCbor(decodeCbor(content, 'cmw', { bytesMax }), 0)
  })
}

/** The inverse of parseCmw. RangeError for what JSON can't carry: content formats by number, labels that are numbers. */
export function encodeCmw(cmw: Cmw, form: 'json' | 'cbor'): Uint8Array {
  return form === 'json' ? encodeUtf8(JSON.stringify(jsonOf(cmw))) : encodeCbor(cborOf(cmw))
}

function ofJson(value: Json, depth: number): Cmw {
  if (Array.isArray(value)) {
    const [type, content, indicator] = value
    if (value.length < 2 || value.length > 3)
      throw new FormatError('cmw', `has ${value.length} elements, expected 2 or 3`)
    if (typeof type !== 'string' || typeof content !== 'string') throw new FormatError('cmw', 'is not type and value')
    return recordOf(type, decodeBase64url(content, 'cmw value'), indicator)
  }
  if (!isJsonObject(value)) throw new FormatError('cmw', 'is neither an array nor an object')
  return collectionOf(Object.entries(value), depth, ofJson, (type) => type)
}

function ofCbor(item: CborItem, depth: number): Cmw {
  if (item.type === 'tag') {
    return { kind: 'tag', type: contentFormatOf(item.tag), value: cborBytes(item.content, 'cmw value').slice() }
  }
  if (item.type === 'array') {
    const [type, content, indicator] = cborArray(item, 'cmw', { min: 2, max: 3 })
    const named = type?.type === 'integer' ? cborInteger(type, 'cmw type', { max: 65_535 }) : cborText(type, 'cmw type')
    return recordOf(
      named,
      cborBytes(content, 'cmw value').slice(),
      indicator && cborInteger(indicator, 'cmw indicator'),
    )
  }
  if (item.type !== 'map') throw new FormatError('cmw', `is a CBOR ${item.type}`)
  return collectionOf([...item.entries], depth, ofCbor, (type) => cborText(type, typeKey))
}

function recordOf(type: string | number, value: Uint8Array, indicator: Json | undefined): CmwRecord {
  if (typeof type === 'string' && !mediaType.test(type)) throw new FormatError('cmw type', 'is no media type')
  if (indicator === undefined) return { kind: 'record', type, value, indicator }
  if (!Number.isInteger(indicator) || Number(indicator) < 1 || Number(indicator) > indicatorMax) {
    throw new FormatError('cmw indicator', `is not from 1 to ${indicatorMax}`)
  }
  return { kind: 'record', type, value, indicator: Number(indicator) }
}

function collectionOf<Item>(
  members: readonly (readonly [CborKey, Item])[],
  depth: number,
  read: (item: Item, depth: number) => Cmw,
  textOf: (item: Item) => unknown,
): CmwCollection {
  if (depth === depthMax) throw new FormatError('cmw', `is nested deeper than ${depthMax}`)
  let type: string | undefined
  const items = new Map<CborKey, Cmw>()
  for (const [label, item] of members) {
    if (label !== typeKey) {
      items.set(label, read(item, depth + 1))
      continue
    }
    const text = textOf(item)
    if (typeof text !== 'string' || !collectionType.test(text)) {
      throw new FormatError(typeKey, 'is neither an absolute URI nor an object identifier')
    }
    type = text
  }
  if (items.size === 0 || items.size > itemCountMax) {
    throw new FormatError('cmw', `has ${items.size} items, expected 1 to ${itemCountMax}`)
  }
  return { kind: 'collection', type, items }
}

function jsonOf(cmw: Cmw): Json {
  switch (cmw.kind) {
    case 'record': {
      if (typeof cmw.type === 'number') throw new RangeError('cmw type: JSON has no content formats')
      const record = [cmw.type, encodeBase64url(cmw.value)]
      return cmw.indicator === undefined ? record : [...record, cmw.indicator]
    }
    case 'tag':
      throw new RangeError('cmw: JSON has no tags')
    case 'collection': {
      const members = [...cmw.items].map(([label, item]): [string, Json] => {
        if (typeof label !== 'string') throw new RangeError('cmw label: JSON has text alone')
        return [label, jsonOf(item)]
      })
      return Object.fromEntries(cmw.type === undefined ? members : [[typeKey, cmw.type], ...members])
    }
  }
}

function cborOf(cmw: Cmw): CborValue {
  switch (cmw.kind) {
    case 'record': {
      const record = [cmw.type, cmw.value]
      return cmw.indicator === undefined ? record : [...record, cmw.indicator]
    }
    case 'tag':
      return new CborTag(tagOf(cmw.type), cmw.value)
    case 'collection': {
      const items = [...cmw.items].map(([label, item]) => [label, cborOf(item)] as const)
      return new Map<CborKey, CborValue>(cmw.type === undefined ? items : [[typeKey, cmw.type], ...items])
    }
  }
}

// The bytes "ct" and two more from 1 to 255 each. RFC 9277 appendix B.
const tagBase = 0x63740000
const contentFormatMax = 255 * 255 - 1

function tagOf(contentFormat: number): number {
  if (!Number.isInteger(contentFormat) || contentFormat < 0 || contentFormat > contentFormatMax) {
    throw new RangeError(`cmw type: content format ${contentFormat} has no tag`)
  }
  return tagBase + (Math.floor(contentFormat / 255) + 1) * 256 + (contentFormat % 255) + 1
}

function contentFormatOf(tag: number): number {
  const [high, low] = [Math.floor((tag - tagBase) / 256) - 1, ((tag - tagBase) & 0xff) - 1]
  if (high < 0 || high > 254 || low < 0)
    throw new FormatError('cmw', `has the tag ${tag}, which is no content format’s`)
  return high * 255 + low
}

/** Whether these bytes begin like a wrapper in CBOR: an array or map of wrappers, or a content format's tag. */
export function startsLikeCborCmw(bytes: Uint8Array): boolean {
  const [first = 0, second = 0] = bytes
  if (first === 0xda) return second === 0x63 && bytes[2] === 0x74
  // An array of two or three whose type is a number or text; a map whose first label leads to one of these or a tag.
  return first === 0x82 || first === 0x83 || first === 0x9f || (first > 0xa0 && first <= 0xbf)
}
