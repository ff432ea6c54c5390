import { decodeBase64, decodeHex, decodeUtf8, FormatError, type Json } from '@cella/bytes'
import { reading } from '../error.ts'
import { jsonObject, optionalText, parseForeignJson, requiredText } from '../jwt/json.ts'
import { certificatesOf, parsePemCertificates } from '../x509/pem.ts'
import { isSpdmReport, parseSpdmReport } from './report.ts'
import { type NvidiaEntry, nvidiaFormat } from './verify.ts'

const jsonBytesMax = 524_288
const textBytesMax = 65_536
const deviceCountMax = 16

/**
 * Evidence of a raw report (SPDM request ‖ response) and the certificates of its key, PEM text or DER each, the
 * device's first. Nothing is verified. Throws EvidenceError.
 */
export function nvidiaEvidenceOf(report: Uint8Array, certificates: readonly Uint8Array[]): NvidiaEntry {
  return reading(() => {
    parseSpdmReport(report)
    const ders = certificates.flatMap((part, at) => certificatesOf(part, `certificates[${at}]`))
    return { role: 'gpu', format: nvidiaFormat, report: Uint8Array.from(report), certificates: ders }
  })
}

/** Evidence of nvtrust's files: the report as hexadecimal text and the chain as PEM text. Throws EvidenceError. */
export function nvidiaEvidenceOfNvtrust(report: Uint8Array, chain: Uint8Array): NvidiaEntry {
  return reading(() => {
    if (report.length > textBytesMax)
      throw new FormatError('report', `has ${report.length} bytes, at most ${textBytesMax}`)
    return nvidiaEvidenceOf(decodeHex(decodeUtf8(report, 'report').trim().toLowerCase(), 'report'), [chain])
  })
}

/**
 * Evidence of the JSON that NVIDIA's attestation SDK (NVAT) collects: a list of `{arch, nonce, evidence, certificate}`,
 * report and PEM chain in base64. The nonce of each must be the one that its report was asked with. Several devices of
 * one machine give several entries. Throws EvidenceError.
 */
export function nvidiaEvidenceOfNvat(json: Uint8Array): NvidiaEntry[] {
  return reading(() => devices(parseForeignJson(json, 'evidence', jsonBytesMax), 'evidence'))
}

/** Evidence of CoCo's guest components: `{device_evidence_list: [{arch, uuid, evidence, certificate}]}`. */
export function nvidiaEvidenceOfTrustee(json: Uint8Array): NvidiaEntry[] {
  return reading(() => {
    const evidence = jsonObject(parseForeignJson(json, 'evidence', jsonBytesMax), 'evidence')
    return devices(evidence.device_evidence_list, 'evidence.device_evidence_list')
  })
}

function devices(list: Json | undefined, field: string): NvidiaEntry[] {
  if (!Array.isArray(list) || list.length === 0 || list.length > deviceCountMax) {
    throw new FormatError(field, `is not a list of 1 to ${deviceCountMax} devices`)
  }
  return list.map((value: Json, at) => {
    const name = `${field}[${at}]`
    const device = jsonObject(value, name)
    const report = decodeBase64(requiredText(device, 'evidence', name), `${name}.evidence`)
    const chain = decodeUtf8(decodeBase64(requiredText(device, 'certificate', name), `${name}.certificate`), name)
    const nonce = optionalText(device, 'nonce', name)
    const asked = parseSpdmReport(report).nonce
    if (nonce !== undefined && nonce.toLowerCase() !== asked.toHex()) {
      throw new FormatError(`${name}.nonce`, 'is not the one that its report was asked with')
    }
    return {
      role: 'gpu',
      format: nvidiaFormat,
      report,
      certificates: parsePemCertificates(chain, `${name}.certificate`),
    }
  })
}

/** Names bytes that look like this format, without verifying them. */
export function recogniseNvidia(bytes: Uint8Array): string | undefined {
  return isSpdmReport(bytes) ? 'an NVIDIA attestation report (SPDM 1.1 measurements)' : undefined
}
