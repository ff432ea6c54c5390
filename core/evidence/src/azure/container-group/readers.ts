import { decodeBase64, decodeHex, encodeUtf8, FormatError, type Json } from '@cella/bytes'
import { reading } from '../../error.ts'
import { isJsonObject, parseForeignJsonObject, requiredText } from '../../jwt/json.ts'
import { snpEvidenceOf } from '../../sev-snp/readers.ts'
import type { AzureContainerGroupEvidenceEntry } from './entry.ts'

const textLengthMax = 1_500_000
const thimBytesMax = 65_536

/** What a container of the group has at hand. */
export interface AzureContainerGroupParts {
  /** 1184 bytes, of `/dev/sev-guest` or the sidecar. */
  readonly report: Uint8Array
  /** THIM's JSON (`vcekCert`, `certificateChain`), or PEM, or DER. */
  readonly certificates: readonly Uint8Array[]
  /** Bytes of the Rego text. */
  readonly policy?: Uint8Array
  /** COSE_Sign1. */
  readonly uvmEndorsement?: Uint8Array
}

/** Evidence of its parts. Throws EvidenceError; nothing is verified. */
export function azureContainerGroupEvidenceOf(parts: AzureContainerGroupParts): AzureContainerGroupEvidenceEntry {
  const pems = reading(() => parts.certificates.flatMap((part) => (part[0] === 0x7b ? thimCertificates(part) : [part])))
  const { report, certificates } = snpEvidenceOf(parts.report, pems)
  return {
    role: 'container-group',
    format: 'azure-container-group/1',
    report,
    certificates,
    ...(parts.policy ? { policy: Uint8Array.from(parts.policy) } : {}),
    ...(parts.uvmEndorsement ? { uvmEndorsement: Uint8Array.from(parts.uvmEndorsement) } : {}),
  }
}

/** Texts as the sidecar and the files in `$UVM_SECURITY_CONTEXT_DIR` have them; white space at their ends is cut off. */
export interface AzureContainerGroupTexts {
  /** `report` of the sidecar's `/attest/raw`: hexadecimal. */
  readonly report: string
  /** `host-amd-cert-base64`: base64 of THIM's JSON. */
  readonly hostAmdCert: string
  /** `security-policy-base64`. */
  readonly securityPolicy: string
  /** `reference-info-base64`; an old host has none. */
  readonly referenceInfo?: string
}

/** Evidence of the sidecar's answer and the files of the security context. Throws EvidenceError; nothing is verified. */
export function azureContainerGroupEvidenceOfTexts(texts: AzureContainerGroupTexts): AzureContainerGroupEvidenceEntry {
  const parts = reading(() => ({
    report: decodeHex(trimmed(texts.report, 'report').toLowerCase(), 'report'),
    certificates: [decodeBase64(trimmed(texts.hostAmdCert, 'host-amd-cert'), 'host-amd-cert')],
    policy: decodeBase64(trimmed(texts.securityPolicy, 'security-policy'), 'security-policy'),
    ...(texts.referenceInfo === undefined
      ? {}
      : { uvmEndorsement: decodeBase64(trimmed(texts.referenceInfo, 'reference-info'), 'reference-info') }),
  }))
  return azureContainerGroupEvidenceOf(parts)
}

/** VCEK, then ASK and ARK, as PEM. Throws FormatError. */
function thimCertificates(json: Uint8Array): Uint8Array[] {
  const object = parseForeignJsonObject(json, 'THIM certificates', thimBytesMax)
  return ['vcekCert', 'certificateChain'].map((name) => encodeUtf8(requiredText(object, name, 'THIM certificates')))
}

function trimmed(text: string, field: string): string {
  if (text.length > textLengthMax) throw new FormatError(field, `has ${text.length} characters`)
  return text.trim()
}

/** For detection: what JSON that was read already looks like. */
export function recogniseAzureContainerGroupJson(value: Json): string | undefined {
  if (!isJsonObject(value)) return undefined
  if (typeof value.vcekCert === 'string' && typeof value.certificateChain === 'string') {
    return 'THIM host certificates of Azure, not evidence by themselves'
  }
  return undefined
}

/** The same for bytes. */
export function recogniseUvmEndorsement(bytes: Uint8Array): string | undefined {
  // COSE_Sign1 with its tag, protected headers of two-byte length that begin with PS384.
  const head = bytes.subarray(0, 9).toHex()
  if (!head.startsWith('d28459') || bytes.length < 64) return undefined
  const text = new TextDecoder('latin1').decode(bytes.subarray(0, 16_384))
  return text.includes('did:x509:0:') && text.includes('feed')
    ? 'a UVM endorsement (reference info) of an Azure container group, not evidence by itself'
    : undefined
}
