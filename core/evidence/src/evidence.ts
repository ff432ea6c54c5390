import {
  canonicalJson,
  type Digest,
  decodeBase64url,
  encodeBase64url,
  encodeUtf8,
  FormatError,
  type Json,
  parseCanonicalJson,
} from '@cella/bytes'
import { digestOf } from '@cella/primitives'
import { type Endorsement, endorsementKinds } from './endorsements.ts'
import { EvidenceError, reading } from './error.ts'
import type { EntryFields } from './family.ts'

/** Bytes of encoded evidence that are read at most. */
export const evidenceBytesMax = 1_048_576
const entryCountMax = 8
const listCountMax = 8
const endorsementCountMax = 32

export type EvidenceRole = 'cpu' | 'gpu' | 'vtpm' | 'container-group'
const roles: readonly EvidenceRole[] = ['cpu', 'gpu', 'vtpm', 'container-group']

/** What one device or service says. A format's own members are its family's; see docs/formats/evidence.md. */
export interface EvidenceEntry {
  readonly role: EvidenceRole
  readonly format: string
}

/** What a TEE says about itself: a non-empty list, judged together. Nothing about it has been verified. */
export interface Evidence {
  readonly entries: readonly EvidenceEntry[]
  /** Certificates, revocation lists and other collateral that travel along; untrusted like the rest. */
  readonly endorsements?: readonly Endorsement[]
}

/** The one wire form: RFC 8785 JSON, see docs/formats/evidence.md. */
export function encodeEvidence(evidence: Evidence): Uint8Array<ArrayBuffer> {
  return encodeUtf8(canonicalJson(evidenceJson(evidence)))
}

/** The same as a JSON value, to be a member of a larger document. */
export function evidenceJson({ entries, endorsements = [] }: Evidence): Json {
  const members = { entries: entries.map((entry) => entryJson(entry)) }
  if (endorsements.length === 0) return members
  return {
    ...members,
    endorsements: endorsements.map(({ kind, content }) => ({ kind, content: encodeBase64url(content) })),
  }
}

/** One entry as it stands in the wire form. */
export function entryJson(entry: EvidenceEntry): { readonly [name: string]: Json } {
  const written = (value: unknown): Json => {
    if (value instanceof Uint8Array) return encodeBase64url(value)
    if (Array.isArray(value)) return value.map(written)
    return value as Json
  }
  return Object.fromEntries(
    Object.entries(entry)
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => [name, written(value)]),
  )
}

/** SHA-256 over the wire form. */
export function evidenceDigest(evidence: Evidence): Digest {
  return digestOf(encodeEvidence(evidence))
}

/** The wire members of each format that a reader knows. */
export type EvidenceFormats = { readonly [format: string]: EntryFields }

/**
 * Reads the wire form: canonical JSON of at most 1 MiB, unknown members refused. Throws EvidenceError. Reports,
 * certificates and tokens are not looked into: verification does.
 */
export function readEvidence(bytes: Uint8Array, formats: EvidenceFormats): Evidence {
  return reading(() => {
    const value = parseCanonicalJson(bytes, 'evidence', evidenceBytesMax)
    const { entries, endorsements } = members(value, ['entries'], ['endorsements'], 'evidence')
    const read = list(entries, entryCountMax, 'entries').map((entry, at) => readEntry(entry, formats, `entries[${at}]`))
    if (endorsements === undefined) return { entries: read }
    const all = list(endorsements, endorsementCountMax, 'endorsements')
    return { entries: read, endorsements: all.map((item, at) => readEndorsement(item, `endorsements[${at}]`)) }
  })
}

/** readEvidence for a JSON value that was read as part of a larger document. */
export function readEvidenceJson(value: Json, formats: EvidenceFormats): Evidence {
  // Measured again: the larger document may have had a larger cap.
  return readEvidence(
    reading(() => encodeUtf8(canonicalJson(value))),
    formats,
  )
}

function readEndorsement(value: Json, field: string): Endorsement {
  const { kind, content } = members(value, ['content', 'kind'], [], field)
  const known = endorsementKinds.find((name) => name === kind)
  if (known === undefined) throw new FormatError(`${field}.kind`, `is not one of ${endorsementKinds.join(', ')}`)
  return { kind: known, content: base64url(content, `${field}.content`) }
}

function readEntry(value: Json, formats: EvidenceFormats, field: string): EvidenceEntry {
  const format = isObject(value) ? value.format : undefined
  if (typeof format !== 'string') {
    members(value, ['format'], undefined, field)
    throw new FormatError(`${field}.format`, 'is not text')
  }
  const fields = Object.hasOwn(formats, format) ? formats[format] : undefined
  if (fields === undefined) {
    const known = Object.keys(formats).join(', ')
    throw new EvidenceError('ERR_EVIDENCE_FORMAT_UNKNOWN', `${field}.format: is not one that is read here: ${known}`)
  }
  const names = Object.keys(fields)
  const optional = names.filter((name) => name.endsWith('?')).map((name) => name.slice(0, -1))
  const needed = names.filter((name) => !name.endsWith('?'))
  const entry = members(value, ['format', 'role', ...needed], optional, field)
  const role = roles.find((known) => known === entry.role)
  if (role === undefined) throw new FormatError(`${field}.role`, `is not one of ${roles.join(', ')}`)
  const read = Object.entries(fields).flatMap(([name, kind]) => {
    const plain = name.endsWith('?') ? name.slice(0, -1) : name
    const given = entry[plain]
    return given === undefined ? [] : [[plain, readMember(given, kind, `${field}.${plain}`)] as const]
  })
  return { role, format, ...Object.fromEntries(read) }
}

function readMember(value: Json, kind: EntryFields[string], field: string): unknown {
  switch (kind) {
    case 'bytes':
      return base64url(value, field)
    case 'bytes[]':
      return list(value, listCountMax, field, 0).map((item, at) => base64url(item, `${field}[${at}]`))
    case 'text':
      if (typeof value !== 'string') throw new FormatError(field, 'is not text')
      return value
    case 'json':
      return value
  }
}

function isObject(value: Json | undefined): value is { readonly [name: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The members of an object: each of `needed`, some of `optional` (`undefined`: whatever there is), no others. */
function members(
  value: Json,
  needed: readonly string[],
  optional: readonly string[] | undefined,
  field: string,
): { readonly [name: string]: Json | undefined } {
  if (!isObject(value)) throw new FormatError(field, 'is not a JSON object')
  const found = Object.keys(value)
  if (optional && found.some((name) => !needed.includes(name) && !optional.includes(name))) {
    throw new FormatError(field, 'has a member that is not known')
  }
  const missing = needed.find((name) => !found.includes(name))
  if (missing !== undefined) throw new FormatError(`${field}.${missing}`, 'is missing')
  return value
}

function list(value: Json | undefined, countMax: number, field: string, countMin = 1): readonly Json[] {
  if (!Array.isArray(value)) throw new FormatError(field, 'is not a list')
  if (value.length < countMin || value.length > countMax) {
    throw new FormatError(field, `has ${value.length} items, expected ${countMin} to ${countMax}`)
  }
  return value
}

function base64url(value: Json | undefined, field: string): Uint8Array {
  if (typeof value !== 'string') throw new FormatError(field, 'is not text')
  return decodeBase64url(value, field)
}
