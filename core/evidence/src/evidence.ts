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
import { EvidenceError, reading } from './error.ts'

/** Bytes of encoded evidence that are read at most. */
export const evidenceBytesMax = 65_536
const entryCountMax = 8
const certificateCountMax = 8

export type EvidenceRole = 'cpu' | 'gpu' | 'vtpm' | 'container-group'
const roles: readonly string[] = ['cpu', 'gpu', 'vtpm', 'container-group'] satisfies EvidenceRole[]

/** An AMD SEV-SNP report with its certificates: VCEK or VLEK, ASK or ASVK, ARK, each DER. */
export interface SnpEvidenceEntry {
  readonly role: EvidenceRole
  readonly format: 'sev-snp/1'
  /** 1184 bytes. */
  readonly report: Uint8Array
  readonly certificates: readonly Uint8Array[]
}

/** One kind per format. Another TEE joins with its own. */
export type EvidenceEntry = SnpEvidenceEntry

/** What a TEE says about itself: a non-empty list, judged together. Nothing about it has been verified. */
export interface Evidence {
  readonly entries: readonly EvidenceEntry[]
}

/** The one wire form: RFC 8785 JSON, see docs/formats/evidence.md. */
export function encodeEvidence(evidence: Evidence): Uint8Array<ArrayBuffer> {
  return encodeUtf8(canonicalJson(evidenceJson(evidence)))
}

/** The same as a JSON value, to be a member of a larger document. */
export function evidenceJson(evidence: Evidence): Json {
  return {
    entries: evidence.entries.map(({ role, format, report, certificates }) => ({
      role,
      format,
      report: encodeBase64url(report),
      certificates: certificates.map(encodeBase64url),
    })),
  }
}

/** SHA-256 over the wire form. */
export function evidenceDigest(evidence: Evidence): Digest {
  return digestOf(encodeEvidence(evidence))
}

/**
 * Reads the wire form: canonical JSON of at most 64 KiB, unknown members refused. Throws EvidenceError. The report and
 * the certificates are not looked into: `verifyEvidence` does.
 */
export function parseEvidence(bytes: Uint8Array): Evidence {
  return reading(() => readEvidence(parseCanonicalJson(bytes, 'evidence', evidenceBytesMax)))
}

/** parseEvidence for a JSON value that was read as part of a larger document. */
export function parseEvidenceJson(value: Json): Evidence {
  // Measured again: the larger document may have had a larger cap.
  return parseEvidence(reading(() => encodeUtf8(canonicalJson(value))))
}

function readEvidence(value: Json): Evidence {
  const { entries } = members(value, ['entries'], 'evidence')
  return { entries: list(entries, entryCountMax, 'entries').map((entry, at) => readEntry(entry, `entries[${at}]`)) }
}

function readEntry(value: Json, field: string): EvidenceEntry {
  const format = isObject(value) ? value.format : undefined
  if (typeof format === 'string' && format !== 'sev-snp/1') {
    throw new EvidenceError('ERR_EVIDENCE_FORMAT_UNKNOWN', `${field}.format: is not one that is read here: sev-snp/1`)
  }
  const entry = members(value, ['certificates', 'format', 'report', 'role'], field)
  if (typeof format !== 'string') throw new FormatError(`${field}.format`, 'is not text')
  if (typeof entry.role !== 'string' || !roles.includes(entry.role)) {
    throw new FormatError(`${field}.role`, `is not one of ${roles.join(', ')}`)
  }
  return {
    role: entry.role as EvidenceRole,
    format: 'sev-snp/1',
    report: base64url(entry.report, `${field}.report`),
    certificates: list(entry.certificates, certificateCountMax, `${field}.certificates`).map((certificate, at) =>
      base64url(certificate, `${field}.certificates[${at}]`),
    ),
  }
}

function isObject(value: Json | undefined): value is { readonly [name: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function members<Name extends string>(
  value: Json,
  names: readonly Name[],
  field: string,
): Record<Name, Json | undefined> {
  if (!isObject(value)) throw new FormatError(field, 'is not a JSON object')
  const found = Object.keys(value)
  const unknown = found.find((name) => !names.includes(name as Name))
  if (unknown !== undefined) throw new FormatError(field, 'has a member that is not known')
  const missing = names.find((name) => !found.includes(name))
  if (missing !== undefined) throw new FormatError(`${field}.${missing}`, 'is missing')
  return value as Record<Name, Json>
}

function list(value: Json | undefined, countMax: number, field: string): readonly Json[] {
  if (!Array.isArray(value)) throw new FormatError(field, 'is not a list')
  if (value.length === 0 || value.length > countMax) {
    throw new FormatError(field, `has ${value.length} items, expected 1 to ${countMax}`)
  }
  return value
}

function base64url(value: Json | undefined, field: string): Uint8Array {
  if (typeof value !== 'string') throw new FormatError(field, 'is not text')
  return decodeBase64url(value, field)
}
