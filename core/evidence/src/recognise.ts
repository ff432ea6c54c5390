import { decodeBase64, decodeBase64url, decodeHex, encodeHex, type FormatError } from '@cella/bytes'
import { EvidenceError, reading } from './error.ts'
import type { Evidence, EvidenceEntry } from './evidence.ts'
import { intelEvidenceOf, intelEvidenceOfTrustee, recogniseIntelQuote } from './intel/readers.ts'
import { nitroEvidenceOf, nitroEvidenceOfDstack, nitroEvidenceOfNsmResponse } from './nitro/readers.ts'
import { snpReportLength } from './sev-snp/report.ts'
import { snpEvidenceOfTrustee } from './sev-snp/trustee.ts'
import { parseEvidence } from './verify.ts'
import { certificatesOf } from './x509/pem.ts'

/** A form in which the TEE itself or another tool writes evidence. */
interface Form {
  /** For people. */
  readonly name: string
  /** Whether bytes begin like this form, or JSON has its members. Cheap; nothing is verified. */
  readonly looks: (bytes: Uint8Array, json: JsonObject | undefined) => boolean
  /** `certificates` (PEM or DER) are what the form itself lacks. Throws EvidenceError. */
  readonly read: (bytes: Uint8Array, certificates: readonly Uint8Array[]) => readonly EvidenceEntry[]
}
type JsonObject = { readonly [name: string]: unknown }

const bytesMax = 4_194_304

const forms: readonly Form[] = [
  {
    name: 'an AMD SEV-SNP report',
    looks: (bytes) => bytes.length === snpReportLength && bytes[0]! >= 2 && bytes[0]! <= 9 && isZero(bytes, 1, 4),
    read: (bytes, certificates) => [
      {
        role: 'cpu',
        format: 'sev-snp/1',
        report: bytes,
        certificates: reading(() => dersOf(certificates)),
      } as EvidenceEntry,
    ],
  },
  {
    name: 'AMD SEV-SNP evidence of a Confidential Containers guest',
    looks: (_, json) => json?.attestation_report !== undefined,
    read: (bytes, certificates) => [snpEvidenceOfTrustee(bytes, certificates)],
  },
  {
    name: 'an AWS Nitro attestation document',
    // COSE_Sign1, with or without its tag; protected header {1: -35}.
    looks: (bytes) => startsWith(bytes, '8444a1013822') || startsWith(bytes, 'd28444a1013822'),
    read: (bytes) => [nitroEvidenceOf(bytes)],
  },
  {
    name: 'an Intel SGX or TDX quote',
    looks: (bytes) => recogniseIntelQuote(bytes) !== undefined,
    read: (bytes) => [intelEvidenceOf(bytes)],
  },
  {
    name: 'Intel SGX or TDX evidence of a Confidential Containers guest',
    looks: (_, json) => json?.quote !== undefined && json.hcl_report === undefined,
    read: (bytes) => [intelEvidenceOfTrustee(bytes)],
  },
  {
    name: 'an answer of the AWS Nitro security module',
    // {"Attestation": …}
    looks: (bytes) => startsWith(bytes, 'a16b4174746573746174696f6e'),
    read: (bytes) => [nitroEvidenceOfNsmResponse(bytes)],
  },
  {
    name: 'a dstack attestation of AWS Nitro',
    looks: (bytes) => bytes[0] === 0 && contains(bytes, '8444a1013822', 8),
    read: (bytes) => [nitroEvidenceOfDstack(bytes)],
  },
]

/** Evidence that was read from bytes of any form that is known, with the form's name for people. */
export interface RecognisedEvidence {
  readonly form: string
  readonly evidence: Evidence
}

/**
 * Reads evidence whatever wrote it: Cella's wire form, a bare report, quote, token or document, the JSON of other
 * attestation tools, each also as hexadecimal or base64 text. What could be two things is not guessed at: the first form
 * in a fixed order takes it, and verification decides. Throws EvidenceError: ERR_EVIDENCE_FORMAT_UNKNOWN, or the
 * form's own error, whose message then starts with the form's name.
 */
export function recogniseEvidence(bytes: Uint8Array, certificates: readonly Uint8Array[] = []): RecognisedEvidence {
  if (bytes.length > bytesMax) {
    throw new EvidenceError(
      'ERR_EVIDENCE_MALFORMED',
      `evidence has ${bytes.length} bytes, at most ${bytesMax} are read`,
    )
  }
  const found = recogniseBytes(bytes, certificates) ?? recogniseText(bytes, certificates)
  if (found) return found
  throw new EvidenceError(
    'ERR_EVIDENCE_FORMAT_UNKNOWN',
    `these ${bytes.length} bytes are no form of evidence that is known; give the report, quote, document or token as the TEE or its agent returned it`,
  )
}

function recogniseBytes(bytes: Uint8Array, certificates: readonly Uint8Array[]): RecognisedEvidence | undefined {
  if (startsLikeOurs(bytes)) return { form: 'Cella evidence', evidence: parseEvidence(bytes) }
  const json = jsonOf(bytes)
  for (const { name, looks, read } of forms) {
    if (!looks(bytes, json)) continue
    try {
      return { form: name, evidence: { entries: read(bytes, certificates) } }
    } catch (error) {
      if (!(error instanceof EvidenceError)) throw error
      throw new EvidenceError(error.code, `${name}: ${error.message}`, { cause: error })
    }
  }
  return undefined
}

/** Canonical JSON sorts its members, so that the first one tells. */
function startsLikeOurs(bytes: Uint8Array): boolean {
  const start = String.fromCharCode(...bytes.subarray(0, 16))
  return start.startsWith('{"entries":') || start.startsWith('{"endorsements":')
}

/** Of bytes that are a JSON object. Only to tell forms apart: their readers read again, strictly. */
function jsonOf(bytes: Uint8Array): JsonObject | undefined {
  if (bytes[0] !== 0x7b) return undefined
  try {
    return JSON.parse(new TextDecoder().decode(bytes)) as JsonObject
  } catch {
    return undefined
  }
}

// Longer texts are binary forms by then.
const textBytesMax = 1_048_576

function recogniseText(bytes: Uint8Array, certificates: readonly Uint8Array[]): RecognisedEvidence | undefined {
  if (bytes.length > textBytesMax || bytes.some((byte) => byte > 0x7e || (byte < 0x20 && !isSpace(byte))))
    return undefined
  const text = new TextDecoder().decode(bytes).replaceAll(/\s+/g, '')
  const encodings: readonly (readonly [string, RegExp, (text: string, field: string) => Uint8Array])[] = [
    [
      'hexadecimal',
      /^(?:0x)?(?:[0-9a-fA-F]{2})+$/,
      (hex, field) => decodeHex(hex.replace(/^0x/, '').toLowerCase(), field),
    ],
    ['base64', /^[A-Za-z0-9+/]+=*$/, decodeBase64],
    ['base64url', /^[A-Za-z0-9_-]+$/, decodeBase64url],
  ]
  for (const [encoding, pattern, decode] of encodings) {
    if (!pattern.test(text)) continue
    let decoded: Uint8Array
    try {
      decoded = decode(text, 'evidence')
    } catch (error) {
      if ((error as FormatError).name === 'FormatError') continue
      throw error
    }
    const found = recogniseBytes(decoded, certificates)
    if (found) return { ...found, form: `${found.form} in ${encoding}` }
  }
  return undefined
}

function isSpace(byte: number): boolean {
  return byte === 0x09 || byte === 0x0a || byte === 0x0d
}

/** DER of certificates that are PEM text, of one or more, or DER each. */
function dersOf(certificates: readonly Uint8Array[]): Uint8Array[] {
  return certificates.flatMap((part, at) => certificatesOf(part, `certificates[${at}]`))
}

function startsWith(bytes: Uint8Array, hex: string): boolean {
  return encodeHex(bytes.subarray(0, hex.length / 2)) === hex
}

/** Whether `hex` begins within the first `within` bytes. */
function contains(bytes: Uint8Array, hex: string, within: number): boolean {
  const at = encodeHex(bytes.subarray(0, within + hex.length / 2)).indexOf(hex)
  return at >= 0 && at % 2 === 0
}

function isZero(bytes: Uint8Array, from: number, to: number): boolean {
  return bytes.subarray(from, to).every((byte) => byte === 0)
}
