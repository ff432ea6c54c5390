import { ByteReader, decodeBase64, decodeHex, FormatError, type Json } from '@cella/bytes'
import { reading } from '../error.ts'
import { isJsonObject, type JsonObject, jsonObject, parseForeignJsonObject, requiredText } from '../jwt/json.ts'
import { type TpmHash, tpmHashOf } from './algorithms.ts'
import { parseTpmQuote, pcrCount, type TpmQuote } from './attest.ts'
import type { TpmEvidenceEntry } from './entry.ts'
import { attestationKeyOf } from './keys.ts'
import { protobufFields } from './protobuf.ts'
import { joinPcrs } from './quote.ts'

const jsonBytesMax = 2_097_152
const protobufBytesMax = 2_097_152

/**
 * Evidence of the JSON that CoCo's attestation agent sends for `tpm`: `ak_public` (base64 of a DER SubjectPublicKeyInfo),
 * `tpm_quote` with `message`, `signature` (base64 of TPMS_ATTEST and TPMT_SIGNATURE) and `pcrs` (24 hexadecimal texts of
 * the SHA-256 bank). Throws EvidenceError.
 */
export function tpmEvidenceOfTrustee(json: Uint8Array): TpmEvidenceEntry {
  return reading(() => {
    const evidence = parseForeignJsonObject(json, 'evidence', jsonBytesMax)
    const parts = jsonObject(evidence.tpm_quote, 'tpm_quote')
    const quote = base64(parts, 'message', 'tpm_quote')
    const { pcrs } = parts
    if (!Array.isArray(pcrs) || pcrs.length > pcrCount) throw new FormatError('tpm_quote.pcrs', 'is not a list of PCRs')
    const values = pcrs.map((value, at) => decodeHex(text(value, `pcrs[${at}]`), `tpm_quote.pcrs[${at}]`))
    return {
      role: 'vtpm',
      format: 'tpm/1',
      quote,
      signature: base64(parts, 'signature', 'tpm_quote'),
      pcrs: joinPcrs(parseTpmQuote(quote), (hash, pcr) => (hash === 'sha256' ? values[pcr] : undefined)),
      key: base64(evidence, 'ak_public', 'evidence'),
    }
  })
}

/**
 * Evidence of go-tpm-tools' protobuf `attest.Attestation`: the quote of `bank`, the AK (refused unless it is a restricted
 * signing key), its certificates and the event log. Instance info, canonical event log and TEE attestation are not read.
 * Throws EvidenceError.
 */
export function tpmEvidenceOfGoTpmTools(bytes: Uint8Array, bank: TpmHash = 'sha256'): TpmEvidenceEntry {
  return reading(() => {
    if (bytes.length > protobufBytesMax) {
      throw new FormatError('attestation', `has ${bytes.length} bytes, at most ${protobufBytesMax} are read`)
    }
    const message = fieldsByNumber(bytes, 'attestation', { known: [1, 2, 3, 4, 5, 6, 7, 8, 9], repeated: [2, 7] })
    const quotes = (message.get(2) ?? []).map((value, at) => goTpmToolsQuote(asBytes(value, 'quotes'), `quotes[${at}]`))
    const found = quotes.filter(({ quote }) => quote.banks.length === 1 && quote.banks[0]!.hash === bank)
    const [chosen] = found
    if (chosen === undefined || found.length > 1) {
      throw new FormatError('quotes', `have ${found.length} of the bank ${bank}, expected one`)
    }
    const certificates = [...(message.get(6) ?? []), ...(message.get(7) ?? [])].map((value) =>
      asBytes(value, 'ak_cert'),
    )
    const log = single(message, 3, 'event_log')
    return {
      role: 'vtpm',
      format: 'tpm/1',
      quote: chosen.bytes,
      signature: chosen.signature,
      pcrs: chosen.pcrs,
      key: attestationKeyOf(required(single(message, 1, 'ak_pub'), 'ak_pub')),
      ...(certificates.length > 0 ? { certificates } : {}),
      ...(log ? { eventLog: log } : {}),
    }
  })
}

/** Whether these bytes begin as that protobuf does: with the public area of a key, RSA or ECC, under SHA-256. */
export function isGoTpmTools(bytes: Uint8Array): boolean {
  if (bytes[0] !== 0x0a) return false
  const at = bytes[1]! < 0x80 ? 2 : 3
  const [high, low, algorithmHigh, algorithmLow] = bytes.subarray(at, at + 4)
  return high === 0 && (low === 0x01 || low === 0x23) && algorithmHigh === 0 && algorithmLow === 0x0b
}

// tpm.Quote: 1 quote, 2 raw_sig, 3 pcrs {1 hash, 2 map of number and value}.
function goTpmToolsQuote(
  bytes: Uint8Array,
  field: string,
): { bytes: Uint8Array; quote: TpmQuote; signature: Uint8Array; pcrs: Uint8Array } {
  const message = fieldsByNumber(bytes, field, { known: [1, 2, 3], repeated: [] })
  const attest = required(single(message, 1, `${field}.quote`), `${field}.quote`)
  const list = fieldsByNumber(required(single(message, 3, `${field}.pcrs`), `${field}.pcrs`), `${field}.pcrs`, {
    known: [1, 2],
    repeated: [2],
  })
  const id = list.get(1)?.[0]
  if (typeof id !== 'number') throw new FormatError(`${field}.pcrs.hash`, 'is missing')
  const { name } = tpmHashOf(id, `${field}.pcrs.hash`)
  const values = new Map<number, Uint8Array>()
  for (const entry of list.get(2) ?? []) {
    const pair = fieldsByNumber(asBytes(entry, `${field}.pcrs`), `${field}.pcrs`, { known: [1, 2], repeated: [] })
    // proto3 leaves out the number 0.
    const pcr = pair.get(1)?.[0] ?? 0
    if (typeof pcr !== 'number' || pcr >= pcrCount || values.has(pcr)) {
      throw new FormatError(`${field}.pcrs`, 'has a PCR twice or one above 23')
    }
    values.set(pcr, required(single(pair, 2, `${field}.pcrs`), `${field}.pcrs`))
  }
  const quote = parseTpmQuote(attest)
  return {
    bytes: attest,
    quote,
    signature: required(single(message, 2, `${field}.raw_sig`), `${field}.raw_sig`),
    pcrs: joinPcrs(quote, (hash, pcr) => (hash === name ? values.get(pcr) : undefined)),
  }
}

type Values = ReadonlyMap<number, readonly (number | Uint8Array)[]>

function fieldsByNumber(
  bytes: Uint8Array,
  field: string,
  { known, repeated }: { known: readonly number[]; repeated: readonly number[] },
): Values {
  const values = new Map<number, (number | Uint8Array)[]>()
  for (const { number, value } of protobufFields(bytes, field, 64)) {
    if (!known.includes(number)) throw new FormatError(field, `has the protobuf field ${number}, which is not known`)
    const before = values.get(number) ?? []
    if (before.length > 0 && !repeated.includes(number)) throw new FormatError(field, `has field ${number} twice`)
    values.set(number, [...before, value])
  }
  return values
}

function single(values: Values, number: number, field: string): Uint8Array | undefined {
  const value = values.get(number)?.[0]
  return value === undefined ? undefined : asBytes(value, field)
}

function asBytes(value: number | Uint8Array, field: string): Uint8Array {
  if (typeof value === 'number') throw new FormatError(field, 'is a number, expected bytes')
  return Uint8Array.from(value)
}

function required(value: Uint8Array | undefined, field: string): Uint8Array {
  if (value === undefined) throw new FormatError(field, 'is missing')
  return value
}

/** crypto.Hash of Go's standard library. */
const goHashes: Readonly<Record<number, TpmHash>> = { 3: 'sha1', 5: 'sha256', 6: 'sha384', 7: 'sha512' }

/**
 * Evidence of the JSON dump of go-attestation's attest-tool: AK (refused unless it is a restricted signing key), quote,
 * PCRs and event log. Throws EvidenceError.
 */
export function tpmEvidenceOfGoAttestation(json: Uint8Array): TpmEvidenceEntry {
  return reading(() => {
    const dump = parseForeignJsonObject(json, 'dump', jsonBytesMax)
    const parts = jsonObject(dump.Quote, 'Quote')
    const log = jsonObject(dump.Log, 'Log')
    const quote = base64(parts, 'Quote', 'Quote')
    if (!Array.isArray(log.PCRs) || log.PCRs.length > 4 * pcrCount)
      throw new FormatError('Log.PCRs', 'is not a list of PCRs')
    const values = new Map<string, Uint8Array>()
    log.PCRs.forEach((value, at) => {
      const pcr = jsonObject(value, `Log.PCRs[${at}]`)
      const name = `${goHashes[Number(pcr.DigestAlg)]} ${String(pcr.Index)}`
      if (values.has(name)) throw new FormatError(`Log.PCRs[${at}]`, 'is there twice')
      values.set(name, base64(pcr, 'Digest', `Log.PCRs[${at}]`))
    })
    return {
      role: 'vtpm',
      format: 'tpm/1',
      quote,
      signature: base64(parts, 'Signature', 'Quote'),
      pcrs: joinPcrs(parseTpmQuote(quote), (hash, pcr) => values.get(`${hash} ${pcr}`)),
      key: attestationKeyOf(base64(jsonObject(dump.AK, 'AK'), 'Public', 'AK')),
      eventLog: base64(log, 'Raw', 'Log'),
    }
  })
}

/** An EnactTrust token and the device that it names. */
export interface EnactTrustToken {
  /** UUID, as text. The key of the device is known by it, so look it up and give it as an endorsement or a member. */
  readonly nodeId: string
  readonly entry: TpmEvidenceEntry
}

/**
 * Evidence of an EnactTrust TPM token: node id (16 bytes), size of the attestation (2 bytes, big-endian), TPMS_ATTEST,
 * TPMT_SIGNATURE up to the end. It has neither PCR values nor key: `key` is the device's, DER, or comes as an
 * endorsement. Throws EvidenceError.
 */
export function tpmEvidenceOfEnactTrust(token: Uint8Array, key?: Uint8Array): EnactTrustToken {
  return reading(() => {
    if (token.length > 4096) throw new FormatError('token', `has ${token.length} bytes, at most 4096 are read`)
    const reader = new ByteReader(token)
    const id = reader.take(16, 'node id').toHex()
    const quote = Uint8Array.from(reader.take(reader.uint16('attestation'), 'attestation'))
    const signature = Uint8Array.from(reader.take(reader.remaining, 'signature'))
    parseTpmQuote(quote)
    const nodeId = [id.slice(0, 8), id.slice(8, 12), id.slice(12, 16), id.slice(16, 20), id.slice(20)].join('-')
    return { nodeId, entry: { role: 'vtpm', format: 'tpm/1', quote, signature, ...(key ? { key } : {}) } }
  })
}

/** For detection: what the bytes look like, without reading them. */
export function recogniseTpm(bytes: Uint8Array): string | undefined {
  const [a, b, c, d, high, low] = bytes
  if (a === 0xff && b === 0x54 && c === 0x43 && d === 0x47) {
    return high === 0x80 && low === 0x18
      ? 'a TPM quote (TPMS_ATTEST) without its signature'
      : 'a TPM attestation structure (TPMS_ATTEST) that is no quote'
  }
  if (bytes[18] === 0xff && bytes[19] === 0x54 && bytes[20] === 0x43 && bytes[21] === 0x47)
    return 'an EnactTrust TPM token'
  return undefined
}

/** The same for JSON that was read already. */
export function recogniseTpmJson(value: Json): string | undefined {
  if (!isJsonObject(value)) return undefined
  if (typeof value.ak_public === 'string' && isJsonObject(value.tpm_quote))
    return 'CoCo’s TPM evidence (ak_public, tpm_quote)'
  if (isJsonObject(value.AK) && isJsonObject(value.Quote) && isJsonObject(value.Log))
    return 'a go-attestation dump of a TPM'
  return undefined
}

function base64(object: JsonObject, name: string, field: string): Uint8Array {
  return decodeBase64(requiredText(object, name, field), `${field}.${name}`)
}

function text(value: Json, field: string): string {
  if (typeof value !== 'string') throw new FormatError(field, 'is not text')
  return value
}
