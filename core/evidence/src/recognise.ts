import { decodeBase64, decodeBase64url, decodeHex, encodeHex, type FormatError, type Json } from '@cella/bytes'
import { ccaEvidenceOf, psaEvidenceOf, recogniseArm } from './arm/readers.ts'
import { recogniseAzureContainerGroupJson, recogniseUvmEndorsement } from './azure/container-group/readers.ts'
import { maaEvidenceOf, recogniseMaa } from './azure/maa/family.ts'
import { azureVmEvidenceOfTrustee, recogniseAzureVm, recogniseAzureVmJson } from './azure/vm/readers.ts'
import { evidenceOfCmw, recogniseCmw } from './cmw/evidence.ts'
import { EvidenceError, reading } from './error.ts'
import type { Evidence, EvidenceEntry } from './evidence.ts'
import { ibmSeEvidenceOfTrustee, isPvattest, recogniseIbmSe } from './ibm-se/readers.ts'
import { intelEvidenceOfCertificate, recogniseRaTls } from './intel/ra-tls.ts'
import {
  intelEvidenceOf,
  intelEvidenceOfOpenEnclaveJson,
  intelEvidenceOfTrustee,
  recogniseIntelQuote,
} from './intel/readers.ts'
import { nitroEvidenceOf, nitroEvidenceOfDstack, nitroEvidenceOfNsmResponse } from './nitro/readers.ts'
import { nrasEvidenceOf, recogniseNras } from './nvidia/nras.ts'
import { nvidiaEvidenceOf, nvidiaEvidenceOfNvat, nvidiaEvidenceOfTrustee, recogniseNvidia } from './nvidia/readers.ts'
import type { SnpEvidenceEntry } from './sev-snp/entry.ts'
import { snpReportLength } from './sev-snp/report.ts'
import { snpEvidenceOfTrustee } from './sev-snp/trustee.ts'
import {
  isGoTpmTools,
  recogniseTpm,
  recogniseTpmJson,
  tpmEvidenceOfEnactTrust,
  tpmEvidenceOfGoAttestation,
  tpmEvidenceOfGoTpmTools,
  tpmEvidenceOfTrustee,
} from './tpm/readers.ts'
import { evidenceOfTsm, recogniseTsm } from './tsm.ts'
import { parseEvidence } from './verify.ts'
import { certificatesOf } from './x509/pem.ts'

/** A form in which the TEE itself or another tool writes evidence. */
interface Form {
  /** A name for people if bytes begin like this form, or JSON has its members. Cheap; nothing is verified. */
  readonly recognise: (bytes: Uint8Array, json: Json | undefined) => string | undefined
  /** `certificates` (PEM or DER) are what the form itself lacks. Throws EvidenceError. */
  readonly read: (bytes: Uint8Array, certificates: readonly Uint8Array[]) => readonly EvidenceEntry[]
}

const bytesMax = 4_194_304

// The more telling a form's beginning, the earlier it stands.
const forms: readonly Form[] = [
  {
    recognise: recogniseIbmSe,
    read: (bytes, more) => (isPvattest(bytes) ? pvattestAlone(bytes, more) : [ibmSeEvidenceOfTrustee(bytes)]),
  },
  { recognise: recogniseTsm, read: (bytes, certificates) => [evidenceOfTsm(bytes, certificates)] },
  {
    recognise: named(
      'an AMD SEV-SNP report',
      (bytes) => bytes.length === snpReportLength && bytes[0]! >= 2 && bytes[0]! <= 9 && isZero(bytes, 1, 4),
    ),
    read: (bytes, certificates) => {
      const ders = reading(() => certificates.flatMap((part, at) => certificatesOf(part, `certificates[${at}]`)))
      const entry: SnpEvidenceEntry = { role: 'cpu', format: 'sev-snp/1', report: bytes, certificates: ders }
      return [entry]
    },
  },
  { recognise: recogniseIntelQuote, read: (bytes) => [intelEvidenceOf(bytes)] },
  { recognise: recogniseRaTls, read: (bytes) => [intelEvidenceOfCertificate(bytes)] },
  { recognise: recogniseAzureVm, read: incomplete('give the JSON of the guest’s agent, which has the TPM quote too') },
  {
    recognise: named(
      'an AWS Nitro attestation document',
      // COSE_Sign1, with or without its tag; protected header {1: -35}.
      (bytes) => startsWith(bytes, '8444a1013822') || startsWith(bytes, 'd28444a1013822'),
    ),
    read: (bytes) => [nitroEvidenceOf(bytes)],
  },
  {
    // {"Attestation": …}
    recognise: named('an answer of the AWS Nitro security module', (bytes) =>
      startsWith(bytes, 'a16b4174746573746174696f6e'),
    ),
    read: (bytes) => [nitroEvidenceOfNsmResponse(bytes)],
  },
  {
    recognise: named(
      'a dstack attestation of AWS Nitro',
      (bytes) => bytes[0] === 0 && contains(bytes, '8444a1013822', 8),
    ),
    read: (bytes) => [nitroEvidenceOfDstack(bytes)],
  },
  { recognise: recogniseNvidia, read: (bytes, certificates) => [nvidiaEvidenceOf(bytes, certificates)] },
  {
    recognise: (bytes) => {
      const name = recogniseTpm(bytes)
      return name?.includes('EnactTrust') ? name : undefined
    },
    read: (bytes) => [tpmEvidenceOfEnactTrust(bytes).entry],
  },
  {
    recognise: recogniseTpm,
    read: incomplete('give its signature, PCR values and key with it, as an agent’s JSON has'),
  },
  {
    recognise: recogniseUvmEndorsement,
    read: incomplete('give it with the report and the policy of its container group'),
  },
  {
    recognise: (bytes) => {
      const name = recogniseArm(bytes)
      return name?.includes('CCA') ? name : undefined
    },
    read: (bytes) => [ccaEvidenceOf(bytes)],
  },
  { recognise: recogniseArm, read: (bytes) => [psaEvidenceOf(bytes)] },
  {
    recognise: (bytes) => (bytes[0] === 0x65 ? recogniseMaa(latin1(bytes).trim()) : undefined),
    read: (bytes) => [maaEvidenceOf(bytes)],
  },
  { recognise: recogniseNras, read: (bytes) => [nrasEvidenceOf(latin1(bytes))] },
  {
    recognise: (_, json) => (json === undefined ? undefined : recogniseAzureVmJson(json)),
    read: (bytes, more) => [azureVmEvidenceOfTrustee(bytes, more)],
  },
  {
    recognise: (_, json) => (json === undefined ? undefined : recogniseAzureContainerGroupJson(json)),
    read: incomplete('give the report, the policy and the UVM endorsement of the container group'),
  },
  {
    recognise: (_, json) => (hasMember(json, 'ak_public') ? recogniseTpmJson(json!) : undefined),
    read: (bytes) => [tpmEvidenceOfTrustee(bytes)],
  },
  {
    recognise: (_, json) => (json === undefined ? undefined : recogniseTpmJson(json)),
    read: (bytes) => [tpmEvidenceOfGoAttestation(bytes)],
  },
  {
    recognise: (_, json) =>
      hasMember(json, 'device_evidence_list') ? 'NVIDIA evidence of a Confidential Containers guest' : undefined,
    read: (bytes) => nvidiaEvidenceOfTrustee(bytes),
  },
  {
    recognise: (_, json) =>
      Array.isArray(json) && hasMember(json[0], 'evidence') && hasMember(json[0], 'certificate')
        ? 'evidence of NVIDIA’s attestation SDK'
        : undefined,
    read: (bytes) => nvidiaEvidenceOfNvat(bytes),
  },
  {
    recognise: (_, json) =>
      hasMember(json, 'attestation_report') && hasMember(json, 'cert_chain') && isHygon(json)
        ? 'a Hygon CSV report'
        : undefined,
    read: incomplete(
      'it is signed with SM2 over SM3, for which no library is kept and audited well enough to rely on, so it can’t be verified here',
    ),
  },
  {
    // A report of AMD's has its fields by name, one of Hygon's its bytes.
    recognise: (_, json) =>
      hasMember(json, 'attestation_report') ? 'AMD SEV-SNP evidence of a Confidential Containers guest' : undefined,
    read: (bytes, certificates) => [snpEvidenceOfTrustee(bytes, certificates)],
  },
  {
    recognise: (_, json) =>
      hasMember(json, 'QuoteHex') ? 'Open Enclave evidence with its quote in hexadecimal' : undefined,
    read: (bytes) => [intelEvidenceOfOpenEnclaveJson(bytes)],
  },
  {
    recognise: (bytes) => (isGoTpmTools(bytes) ? 'an attestation of go-tpm-tools' : undefined),
    read: (bytes) => [tpmEvidenceOfGoTpmTools(bytes, 'sha256')],
  },
  {
    recognise: (_, json) =>
      hasMember(json, 'quote') ? 'Intel SGX or TDX evidence of a Confidential Containers guest' : undefined,
    read: (bytes) => [intelEvidenceOfTrustee(bytes)],
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
  const found =
    recogniseWrapper(bytes, certificates) ?? recogniseBytes(bytes, certificates) ?? recogniseText(bytes, certificates)
  if (found) return found
  throw new EvidenceError(
    'ERR_EVIDENCE_FORMAT_UNKNOWN',
    `these ${bytes.length} bytes are no form of evidence that is known; give the report, quote, document or token as the TEE or its agent returned it`,
  )
}

/** A wrapper around any of the others; none inside another, beside those that a collection nests. */
function recogniseWrapper(bytes: Uint8Array, certificates: readonly Uint8Array[]): RecognisedEvidence | undefined {
  const cmw = recogniseCmw(bytes, jsonOf(bytes))
  if (cmw === undefined) return undefined
  const names: string[] = []
  const evidence = evidenceOfCmw(cmw, (value) => {
    const found = recogniseBytes(value, certificates)
    if (found === undefined) {
      const problem = `these ${value.length} bytes are no form of evidence that is known`
      throw new EvidenceError('ERR_EVIDENCE_FORMAT_UNKNOWN', problem)
    }
    names.push(found.form)
    return found.evidence
  })
  return { form: `a RATS wrapper (CMW) of ${names.join(' and ')}`, evidence }
}

function recogniseBytes(bytes: Uint8Array, certificates: readonly Uint8Array[]): RecognisedEvidence | undefined {
  if (startsLikeOurs(bytes)) return { form: 'Cella evidence', evidence: parseEvidence(bytes) }
  const json = jsonOf(bytes)
  for (const { recognise, read } of forms) {
    const name = recognise(bytes, json)
    if (name === undefined) continue
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

/** Of bytes that are a JSON object or list. Only to tell forms apart: their readers read again, strictly. */
function jsonOf(bytes: Uint8Array): Json | undefined {
  const start = bytes.find((byte) => byte !== 0x20 && !isSpace(byte))
  if (start !== 0x7b && start !== 0x5b) return undefined
  try {
    return JSON.parse(new TextDecoder().decode(bytes)) as Json
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

function named(name: string, looks: (bytes: Uint8Array) => boolean): Form['recognise'] {
  return (bytes) => (looks(bytes) ? name : undefined)
}

/** What is told by its name and says nothing alone. */
function incomplete(advice: string): Form['read'] {
  return () => {
    throw new EvidenceError('ERR_EVIDENCE_UNSUPPORTED', advice)
  }
}

const pvattestAlone = incomplete(
  'it lacks the tags of the image’s header, which the measurement covers; give the JSON of the guest’s agent, or the parts as an ibm-se/1 entry',
)

function hasMember(json: Json | undefined, name: string): boolean {
  return typeof json === 'object' && json !== null && !Array.isArray(json) && Object.hasOwn(json, name)
}

/** Its report is its bytes, where one of AMD's has fields by name. */
function isHygon(json: Json | undefined): boolean {
  return hasMember((json as { readonly attestation_report: Json }).attestation_report, 'data')
}

function latin1(bytes: Uint8Array): string {
  return new TextDecoder('latin1').decode(bytes)
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
