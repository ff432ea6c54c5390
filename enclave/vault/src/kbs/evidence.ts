import { canonicalJson, encodeUtf8, FormatError, type Json } from '@cella/bytes'
import {
  azureVmEvidenceOfTrustee,
  ccaEvidenceOf,
  type Evidence,
  type EvidenceEntry,
  EvidenceError,
  intelEvidenceOfTrustee,
  snpEvidenceOfTrustee,
} from '@cella/evidence'
import { sha384 } from '@cella/primitives'
import { VaultError } from '../error.ts'
import type { TeeKey } from './messages.ts'

/** A TEE as guests of Confidential Containers name it. */
interface GuestTee {
  /** Reads the JSON that its attester emits. Throws EvidenceError. */
  readonly read: (json: Json) => EvidenceEntry
  /** Format of the entry: nobody gets to show another TEE's evidence than it said. */
  readonly format: string
  /** Bytes of the field that the digest of 48 bytes is padded to with zeros. */
  readonly fieldLength: 48 | 64
}

const bytesOf = (json: Json): Uint8Array => encodeUtf8(canonicalJson(json))
// The virtual TPM's qualifying data is as long as what was given.
const azureVm: GuestTee = {
  read: (json) => azureVmEvidenceOfTrustee(bytesOf(json)),
  format: 'azure-vm/1',
  fieldLength: 48,
}

const guestTees: { readonly [name: string]: GuestTee } = {
  snp: { read: (json) => snpEvidenceOfTrustee(bytesOf(json)), format: 'sev-snp/1', fieldLength: 64 },
  tdx: { read: (json) => intelEvidenceOfTrustee(bytesOf(json)), format: 'tdx/1', fieldLength: 64 },
  sgx: { read: (json) => intelEvidenceOfTrustee(bytesOf(json)), format: 'sgx/1', fieldLength: 64 },
  cca: { read: (json) => ccaEvidenceOf(ccaToken(json)), format: 'cca/1', fieldLength: 64 },
  // Two releases of the protocol's types spell these in two ways.
  azsnpvtpm: azureVm,
  'az-snp-vtpm': azureVm,
  aztdxvtpm: azureVm,
  'az-tdx-vtpm': azureVm,
}

/** Throws ERR_KBS_TEE for a TEE whose evidence is not verified here, `sample` among them: nobody signs it. */
export function guestTee(name: string): GuestTee {
  const tee = Object.hasOwn(guestTees, name) ? guestTees[name] : undefined
  if (tee === undefined) {
    const known = Object.keys(guestTees).join(', ')
    throw new VaultError('ERR_KBS_TEE', `evidence is taken of ${known}; rehearse with a simulated snp`)
  }
  return tee
}

/** Reads a guest's evidence; nothing is verified. Throws EvidenceError. */
export function guestEvidence(tee: GuestTee, json: Json): Evidence {
  const entry = tee.read(json)
  if (entry.format !== tee.format) {
    throw new EvidenceError('ERR_EVIDENCE_MALFORMED', `is of ${entry.format}, and the session is for ${tee.format}`)
  }
  return { entries: [entry] }
}

/**
 * What the evidence has to carry: SHA-384 over RFC 8785 JSON of key, nonce and the text of the additional evidence, with
 * zeros behind it.
 */
export function guestReportData(tee: GuestTee, said: { key: TeeKey; nonce: string; additional: string }): Uint8Array {
  const runtimeData = { 'additional-evidence': said.additional, nonce: said.nonce, 'tee-pubkey': said.key }
  const field = new Uint8Array(tee.fieldLength)
  field.set(sha384(bytesOf(runtimeData)))
  return field
}

function ccaToken(json: Json): Uint8Array {
  const token = typeof json === 'object' && json !== null && 'token' in json ? json.token : undefined
  const isBytes =
    Array.isArray(token) &&
    token.every((byte) => Number.isInteger(byte) && (byte as number) >= 0 && (byte as number) < 256)
  if (!isBytes) {
    const cause = new FormatError('token', 'is not a list of bytes')
    throw new EvidenceError('ERR_EVIDENCE_MALFORMED', cause.message, { cause })
  }
  return Uint8Array.from(token as number[])
}
