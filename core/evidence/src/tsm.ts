import { decodeBase64url, FormatError, type Json } from '@cella/bytes'
import { cborBytes, cborMap, cborOnly, cborText, decodeCbor } from '@cella/cbor'
import { ccaEvidenceOf } from './arm/readers.ts'
import { EvidenceError, reading } from './error.ts'
import type { EvidenceEntry } from './evidence.ts'
import { intelEvidenceOf } from './intel/readers.ts'
import { isJsonObject, parseForeignJsonObject, requiredText } from './jwt/json.ts'
import { snpEvidenceOf, snpEvidenceOfTsm } from './sev-snp/readers.ts'

// What agents make of a directory of Linux configfs-tsm: {provider, outblob, auxblob}, in JSON (base64url) or CBOR.

const bytesMax = 262_144
const members = ['auxblob', 'outblob', 'provider'] as const

export function recogniseTsm(bytes: Uint8Array, json: Json | undefined): string | undefined {
  const found =
    json === undefined
      ? bytes[0] === 0xa3 && new TextDecoder('latin1').decode(bytes.subarray(1, 200)).startsWith('gauxblob')
      : isJsonObject(json) && Object.hasOwn(json, 'outblob') && Object.hasOwn(json, 'provider')
  return found ? 'a report of Linux configfs-tsm' : undefined
}

/** Evidence of such a report; `certificates` (PEM or DER) are those that its own table lacks. Throws EvidenceError. */
export function evidenceOfTsm(bytes: Uint8Array, certificates: readonly Uint8Array[]): EvidenceEntry {
  const { provider, outblob, auxblob } = reading(() => (bytes[0] === 0x7b ? ofJson(bytes) : ofCbor(bytes)))
  switch (provider.trimEnd()) {
    case 'sev_guest':
      return auxblob.length === 0
        ? snpEvidenceOf(outblob, certificates)
        : snpEvidenceOfTsm(outblob, auxblob, certificates)
    case 'tdx_guest':
      return intelEvidenceOf(outblob)
    case 'arm_cca_guest':
      return ccaEvidenceOf(outblob)
    default:
      throw new EvidenceError('ERR_EVIDENCE_UNSUPPORTED', 'provider: is not sev_guest, tdx_guest or arm_cca_guest')
  }
}

interface Report {
  readonly provider: string
  readonly outblob: Uint8Array
  readonly auxblob: Uint8Array
}

function ofJson(bytes: Uint8Array): Report {
  const report = parseForeignJsonObject(bytes, 'report', bytesMax)
  const unknown = Object.keys(report).find((name) => !members.some((known) => known === name))
  if (unknown !== undefined) throw new FormatError('report', 'has a member that is not known')
  const auxblob = Object.hasOwn(report, 'auxblob') ? requiredText(report, 'auxblob', 'report') : ''
  return {
    provider: requiredText(report, 'provider', 'report'),
    outblob: decodeBase64url(requiredText(report, 'outblob', 'report'), 'report.outblob'),
    auxblob: decodeBase64url(auxblob, 'report.auxblob'),
  }
}

function ofCbor(bytes: Uint8Array): Report {
  const report = cborMap(decodeCbor(bytes, 'report', { bytesMax }), 'report')
  cborOnly(report, members, 'report')
  return {
    provider: cborText(report.get('provider'), 'report.provider'),
    outblob: cborBytes(report.get('outblob'), 'report.outblob').slice(),
    auxblob: cborBytes(report.get('auxblob'), 'report.auxblob').slice(),
  }
}
