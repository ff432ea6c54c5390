import { decodeBase64, decodeHex, decodeUtf8, encodeUtf8, FormatError, type Json } from '@cella/bytes'
import type { Endorsement } from '../endorsements.ts'
import { reading } from '../error.ts'
import { parsePemCertificates } from '../x509/pem.ts'
import type { SgxEvidenceEntry, TdxEvidenceEntry } from './entry.ts'
import { hexOf, objectOf, parseJson } from './json.ts'
import { openEnclaveHeaderLength, openEnclaveQuote } from './open-enclave.ts'
import { intelQuoteLength, quoteBytesMax } from './quote.ts'

const textBytesMax = 4_194_304
const collateralBytesMax = 2_097_152

/**
 * Evidence of a quote as drivers hand it out: configfs-tsm (`outblob`), Gramine (`/dev/attestation/quote`), Azure, GCP,
 * and Open Enclave's report or evidence with its header. Buffers are often longer than the quote: what follows it is
 * signed by nobody and cut off. `eventLog` is the CC event log of a TD. Throws EvidenceError; nothing is verified.
 */
export function intelEvidenceOf(bytes: Uint8Array, eventLog?: Uint8Array): SgxEvidenceEntry | TdxEvidenceEntry {
  return reading(() => {
    const whole = openEnclaveQuote(bytes).quote
    const quote = whole.slice(0, intelQuoteLength(whole))
    // TEE type: intelQuoteLength has read it as 0 or 0x81.
    if (quote[4] === 0) {
      if (eventLog !== undefined) throw new FormatError('eventLog', 'is given for an SGX enclave, which has none')
      return { role: 'cpu', format: 'sgx/1', quote }
    }
    const log = eventLog === undefined ? {} : { eventLog: Uint8Array.from(eventLog) }
    return { role: 'cpu', format: 'tdx/1', quote, ...log }
  })
}

/** `intelEvidenceOf` for a quote as text: hexadecimal in either case, or base64 with padding; white space at its ends. */
export function intelEvidenceOfText(text: string, eventLog?: Uint8Array): SgxEvidenceEntry | TdxEvidenceEntry {
  return intelEvidenceOf(
    reading(() => bytesOfText(text, 'quote')),
    eventLog,
  )
}

/**
 * Evidence of the JSON that CoCo's attestation agent sends for `tdx` and `sgx`: `{"quote": base64, "cc_eventlog":
 * base64 or null}`; at most 4 MiB. Other members are passed over. Throws EvidenceError; nothing is verified.
 */
export function intelEvidenceOfTrustee(json: Uint8Array): SgxEvidenceEntry | TdxEvidenceEntry {
  return reading(() => {
    if (json.length > textBytesMax)
      throw new FormatError('evidence', `has ${json.length} bytes, at most ${textBytesMax}`)
    const evidence = objectOf(parseJson(decodeUtf8(json, 'evidence'), 'evidence'), 'evidence')
    const quote = base64Of(evidence.quote, 'quote')
    const log = evidence.cc_eventlog
    return intelEvidenceOf(quote, log === undefined || log === null ? undefined : base64Of(log, 'cc_eventlog'))
  })
}

/**
 * Endorsements of the collateral JSON that Intel's quote verification library and its ports use
 * (`{tcb_info, tcb_info_signature, tcb_info_issuer_chain, qe_identity, …, root_ca_crl, pck_crl, pck_crl_issuer_chain}`,
 * CRLs in hexadecimal, chains in PEM); at most 2 MiB. Throws EvidenceError; nothing is verified.
 */
export function intelEndorsementsOf(json: Uint8Array): Endorsement[] {
  return reading(() => {
    if (json.length > collateralBytesMax) {
      throw new FormatError('collateral', `has ${json.length} bytes, at most ${collateralBytesMax}`)
    }
    const collateral = objectOf(parseJson(decodeUtf8(json, 'collateral'), 'collateral'), 'collateral')
    const text = (name: string): string => longText(collateral[name], name)
    const signed = (member: string, name: string): Uint8Array =>
      encodeUtf8(
        `{"${member}":${text(name)},"signature":"${hexOf(collateral[`${name}_signature`], 64, `${name}_signature`)}"}`,
      )
    const chains = ['pck_crl_issuer_chain', 'tcb_info_issuer_chain', 'qe_identity_issuer_chain'] as const
    const certificates = new Map<string, Uint8Array>()
    for (const name of chains) {
      for (const der of parsePemCertificates(text(name), name)) certificates.set(der.toHex(), der)
    }
    return [
      ...[...certificates.values()].map((content) => ({ kind: 'certificate', content }) as const),
      ...(['root_ca_crl', 'pck_crl'] as const).map(
        (name) => ({ kind: 'crl', content: decodeHex(text(name).toLowerCase(), name) }) as const,
      ),
      { kind: 'tcb-info', content: signed('tcbInfo', 'tcb_info') },
      { kind: 'enclave-identity', content: signed('enclaveIdentity', 'qe_identity') },
    ]
  })
}

/** Evidence of JSON in which Open Enclave's samples have the report as `QuoteHex`. Throws EvidenceError. */
export function intelEvidenceOfOpenEnclaveJson(json: Uint8Array): SgxEvidenceEntry | TdxEvidenceEntry {
  return reading(() => {
    if (json.length > collateralBytesMax) {
      throw new FormatError('evidence', `has ${json.length} bytes, at most ${collateralBytesMax} are read`)
    }
    const evidence = objectOf(parseJson(decodeUtf8(json, 'evidence'), 'evidence'), 'evidence')
    return intelEvidenceOf(decodeHex(longText(evidence.QuoteHex, 'QuoteHex').toLowerCase(), 'QuoteHex'))
  })
}

/** For detection: what the bytes look like, read up to their TEE type. */
export function recogniseIntelQuote(bytes: Uint8Array): string | undefined {
  if (bytes.length < 64) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const header = openEnclaveHeaderLength(bytes)
  if (header !== undefined) {
    const inner = recogniseIntelQuote(bytes.subarray(header))
    return inner && `Open Enclave’s ${header === 16 ? 'report' : 'evidence'} with ${inner}`
  }
  const version = view.getUint16(0, true)
  const tee = view.getUint32(4, true)
  if (view.getUint16(2, true) > 3) return undefined
  if (tee === 0 && (version === 3 || version === 5)) return `an SGX quote v${version}`
  if (tee === 0x81 && (version === 4 || version === 5)) return `a TDX quote v${version}`
  return undefined
}

function bytesOfText(text: string, field: string): Uint8Array {
  if (text.length > quoteBytesMax * 2 + 16) throw new FormatError(field, `has ${text.length} characters`)
  const trimmed = text.trim()
  return /^[0-9A-Fa-f]*$/.test(trimmed) ? decodeHex(trimmed.toLowerCase(), field) : decodeBase64(trimmed, field)
}

function base64Of(value: Json | undefined, field: string): Uint8Array {
  return decodeBase64(longText(value, field), field)
}

function longText(value: Json | undefined, field: string): string {
  if (typeof value !== 'string') throw new FormatError(field, 'is not text')
  return value
}
