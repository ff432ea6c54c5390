import { ByteReader, decodeBase64url, decodeHex, encodeUtf8, FormatError, type Json } from '@cella/bytes'
import { EvidenceError, reading } from '../../error.ts'
import { intelQuoteLength } from '../../intel/quote.ts'
import { isJsonObject, type JsonObject, jsonObject, parseForeignJsonObject, requiredText } from '../../jwt/json.ts'
import { parseTpmQuote, pcrCount } from '../../tpm/attest.ts'
import { joinPcrs } from '../../tpm/quote.ts'
import { rsassaSignature } from '../../tpm/signature.ts'
import { certificatesOf } from '../../x509/pem.ts'
import type { AzureVmEvidenceEntry } from './entry.ts'
import { parseHclReport } from './hcl.ts'

const jsonBytesMax = 262_144
const bincodeBytesMax = 8192

/** The parts as Azure's tools have them. */
export interface AzureVmParts {
  readonly hclReport: Uint8Array
  readonly quote: AzureTpmQuote
  /** SNP: PEM or DER, the VCEK first. */
  readonly certificates?: readonly Uint8Array[]
  readonly tdQuote?: Uint8Array
  readonly eventLog?: Uint8Array
}

/** A quote as `az-cvm-vtpm` has it. */
export interface AzureTpmQuote {
  /** TPMS_ATTEST. */
  readonly message: Uint8Array
  /** Bare RSASSA signature with SHA-256, 256 bytes. */
  readonly signature: Uint8Array
  /** SHA-256 bank, by number. */
  readonly pcrs: readonly Uint8Array[]
}

/** Evidence of its parts. Throws EvidenceError, for parts that don't fit the hardware of the HCL report too. */
export function azureVmEvidenceOf(parts: AzureVmParts): AzureVmEvidenceEntry {
  return reading(() => {
    const { kind } = parseHclReport(parts.hclReport)
    const { message, signature, pcrs } = parts.quote
    const ders = parts.certificates?.flatMap((part, at) => certificatesOf(part, `certificates[${at}]`))
    if (kind === 'tdx' && parts.tdQuote === undefined) {
      throw new FormatError('tdQuote', 'is missing: a TDREPORT proves nothing without it')
    }
    if (kind === 'sev-snp' && (ders === undefined || ders.length === 0)) {
      throw new FormatError('certificates', 'are missing: give the VCEK')
    }
    return {
      role: 'cpu',
      format: 'azure-vm/1',
      hclReport: Uint8Array.from(parts.hclReport),
      quote: Uint8Array.from(message),
      signature: rsassaSignature(signature),
      pcrs: joinPcrs(parseTpmQuote(message), (hash, pcr) => (hash === 'sha256' ? pcrs[pcr] : undefined)),
      // What Azure's IMDS puts after the quote is signed by nobody.
      ...(kind === 'sev-snp'
        ? { certificates: ders! }
        : { tdQuote: parts.tdQuote!.slice(0, intelQuoteLength(parts.tdQuote!)) }),
      ...(parts.eventLog ? { eventLog: Uint8Array.from(parts.eventLog) } : {}),
    }
  })
}

/**
 * Evidence of the JSON that CoCo's attestation agent sends for `az-snp-vtpm` and `az-tdx-vtpm`: the older form with byte
 * arrays (`report`, `quote`, `vcek` as PEM), and versions 1 and 2 with hexadecimal and base64url; also in the envelope
 * `{platform, evidence}` of attestation-rs. It brings the VCEK alone: ASK and ARK come from `extra` (PEM or DER) or, at
 * verification, from the endorsements. Throws EvidenceError.
 */
export function azureVmEvidenceOfTrustee(json: Uint8Array, extra: readonly Uint8Array[] = []): AzureVmEvidenceEntry {
  const parts = reading(() => {
    const outer = parseForeignJsonObject(json, 'evidence', jsonBytesMax)
    const evidence = isJsonObject(outer.evidence) ? envelope(outer) : outer
    return evidence.version === undefined ? partsOfV0(evidence) : partsOfV1(evidence)
  })
  const { certificates = [] } = parts
  return azureVmEvidenceOf(parts.tdQuote ? parts : { ...parts, certificates: [...certificates, ...extra] })
}

function envelope(outer: JsonObject): JsonObject {
  const { platform } = outer
  if (platform !== 'az-snp' && platform !== 'az-tdx') {
    throw new FormatError('platform', `is ${String(platform).slice(0, 40)}, expected az-snp or az-tdx`)
  }
  return jsonObject(outer.evidence, 'evidence')
}

function partsOfV0(evidence: JsonObject): AzureVmParts {
  const quote = jsonObject(evidence.quote, 'quote')
  const { pcrs } = quote
  return {
    hclReport: byteList(evidence.report, 'report'),
    quote: {
      message: byteList(quote.message, 'quote.message'),
      signature: byteList(quote.signature, 'quote.signature'),
      pcrs: pcrList(pcrs).map((pcr, at) => byteList(pcr, `quote.pcrs[${at}]`)),
    },
    ...(evidence.td_quote === undefined
      ? { certificates: [encodeUtf8(requiredText(evidence, 'vcek', 'evidence'))] }
      : { tdQuote: byteList(evidence.td_quote, 'td_quote') }),
  }
}

function partsOfV1(evidence: JsonObject): AzureVmParts {
  if (evidence.version !== 1 && evidence.version !== 2) {
    throw new EvidenceError('ERR_EVIDENCE_UNSUPPORTED', 'evidence.version: versions 1 and 2 are read')
  }
  return {
    hclReport: base64url(evidence, 'hcl_report'),
    quote: quoteOfJson(jsonObject(evidence.tpm_quote, 'tpm_quote')),
    ...(evidence.td_quote === undefined
      ? { certificates: [base64url(evidence, 'vcek')] }
      : { tdQuote: base64url(evidence, 'td_quote') }),
  }
}

/** `tpm_quote` of version 1: hexadecimal `message`, `signature` and `pcrs`. Throws FormatError. */
export function quoteOfJson(quote: JsonObject): AzureTpmQuote {
  const hex = (name: string): Uint8Array => decodeHex(requiredText(quote, name, 'tpm_quote'), `tpm_quote.${name}`)
  return {
    message: hex('message'),
    signature: hex('signature'),
    pcrs: pcrList(quote.pcrs).map((pcr, at) => {
      if (typeof pcr !== 'string') throw new FormatError(`tpm_quote.pcrs[${at}]`, 'is not text')
      return decodeHex(pcr, `tpm_quote.pcrs[${at}]`)
    }),
  }
}

/**
 * A quote that `az-cvm-vtpm` wrote with bincode: signature, message and PCRs, each after its count (u64 little-endian),
 * each PCR 32 bytes. Throws EvidenceError.
 */
export function quoteOfBincode(bytes: Uint8Array): AzureTpmQuote {
  return reading(() => {
    if (bytes.length > bincodeBytesMax) throw new FormatError('quote', `has ${bytes.length} bytes`)
    const reader = new ByteReader(Uint8Array.from(bytes))
    const count = (field: string): number => {
      const value = reader.uint64le(field)
      if (value > BigInt(bincodeBytesMax)) throw new FormatError(field, `is ${value}`)
      return Number(value)
    }
    const signature = reader.take(count('signature'), 'signature')
    const message = reader.take(count('message'), 'message')
    const pcrs = count('pcrs')
    if (pcrs > pcrCount) throw new FormatError('pcrs', `are ${pcrs}, at most ${pcrCount}`)
    const values = Array.from({ length: pcrs }, (_, at) => reader.take(32, `pcrs[${at}]`))
    reader.end('quote')
    return { signature, message, pcrs: values }
  })
}

/** For detection: what the bytes look like, without reading them. */
export function recogniseAzureVm(bytes: Uint8Array): string | undefined {
  const [h, c, l, a] = bytes
  if (h !== 0x48 || c !== 0x43 || l !== 0x4c || a !== 0x41 || bytes.length < 1236) return undefined
  if (bytes[1224] === 4) return 'an Azure vTPM HCL report with a TDREPORT, not a TDX quote'
  return 'an Azure vTPM HCL report, not a bare SNP report'
}

/** The same for JSON that was read already. */
export function recogniseAzureVmJson(value: Json): string | undefined {
  if (!isJsonObject(value)) return undefined
  if (isJsonObject(value.evidence) && (value.platform === 'az-snp' || value.platform === 'az-tdx')) {
    return 'attestation-rs evidence of an Azure confidential VM'
  }
  const older = Array.isArray(value.report) && isJsonObject(value.quote)
  if (older || (typeof value.hcl_report === 'string' && isJsonObject(value.tpm_quote))) {
    return `CoCo’s evidence of an Azure confidential VM (${value.td_quote === undefined ? 'az-snp-vtpm' : 'az-tdx-vtpm'})`
  }
  return undefined
}

function pcrList(value: Json | undefined): readonly Json[] {
  if (!Array.isArray(value) || value.length > pcrCount)
    throw new FormatError('pcrs', `are not a list of at most ${pcrCount}`)
  return value
}

function base64url(object: JsonObject, name: string): Uint8Array {
  // Older writers pad.
  return decodeBase64url(requiredText(object, name, 'evidence').replace(/={1,2}$/, ''), `evidence.${name}`)
}

function byteList(value: Json | undefined, field: string): Uint8Array {
  if (!Array.isArray(value) || value.length > 32_768) throw new FormatError(field, 'is not a list of bytes')
  return Uint8Array.from(value, (byte, at) => {
    if (typeof byte !== 'number' || !Number.isInteger(byte) || byte < 0 || byte > 255) {
      throw new FormatError(`${field}[${at}]`, 'is not a byte')
    }
    return byte
  })
}
