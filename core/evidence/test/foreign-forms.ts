import { concatBytes, encodeBase64, encodeBase64url, encodeHex, encodeUtf8, type Json } from '@cella/bytes'
import { encodeCbor } from '@cella/cbor'
import { parseSnpReport } from '../src/sev-snp/report.ts'
import { join, u32 } from './event-log.ts'

// The forms in which other tools write evidence, from its parts.

const json = (value: Json): Uint8Array => encodeUtf8(JSON.stringify(value))
const hash32 = (pcrs: Uint8Array, pcr: number): Uint8Array => pcrs.subarray(pcr * 32, pcr * 32 + 32)

/** Big-endian. */
function be(length: number, value: number): Uint8Array {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setUint32(0, value)
  return bytes.slice(4 - length)
}

export function pemOf(...ders: readonly Uint8Array[]): Uint8Array {
  const blocks = ders.map((der) => {
    const lines = encodeBase64(der).match(/.{1,64}/g)!
    return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`
  })
  return encodeUtf8(blocks.join(''))
}

/** Of Linux configfs-tsm: GUIDs of ARK, ASK and VCEK. */
export function tsmTable(certificates: readonly Uint8Array[]): Uint8Array {
  const guids = [
    '63da758de6644564adc5f4b93be8accd',
    '4ab7b379bbac4fe4a02f05aef327c782',
    'c0b406a4a803495297433fb6014cd0ae',
  ]
  let offset = (certificates.length + 1) * 24
  const heads = certificates.map((data, at) => {
    const head = join(Uint8Array.fromHex(guids[at]!), u32(offset), u32(data.length))
    offset += data.length
    return head
  })
  return concatBytes(...heads, new Uint8Array(24), ...certificates)
}

/** Of Confidential Containers for `snp`. */
export function snpTrustee(report: Uint8Array, certificates: readonly Uint8Array[]): Uint8Array {
  const read = parseSnpReport(report)
  const view = new DataView(report.buffer, report.byteOffset)
  const list = (from: number, length: number): Json => [...report.subarray(from, from + length)]
  const tcb = (at: number): Json => ({
    fmc: null,
    bootloader: report[at]!,
    tee: report[at + 1]!,
    snp: report[at + 6]!,
    microcode: report[at + 7]!,
  })
  const { current, committed } = read
  return json({
    attestation_report: {
      version: read.version,
      guest_svn: read.guestSvn,
      policy: Number(view.getBigUint64(8, true)),
      family_id: list(0x10, 16),
      image_id: list(0x20, 16),
      vmpl: read.vmpl,
      sig_algo: view.getUint32(0x34, true),
      current_tcb: tcb(0x38),
      plat_info: Number(view.getBigUint64(0x40, true)),
      key_info: view.getUint32(0x48, true),
      report_data: list(0x50, 64),
      measurement: list(0x90, 48),
      host_data: list(0xc0, 32),
      id_key_digest: list(0xe0, 48),
      author_key_digest: list(0x110, 48),
      report_id: list(0x140, 32),
      report_id_ma: list(0x160, 32),
      reported_tcb: tcb(0x180),
      cpuid_fam_id: report[0x188]!,
      cpuid_mod_id: report[0x189]!,
      cpuid_step: report[0x18a]!,
      chip_id: list(0x1a0, 64),
      committed_tcb: tcb(0x1e0),
      current: { ...current },
      committed: { ...committed },
      launch_tcb: tcb(0x1f0),
      launch_mit_vector: Number(read.launchMitigation),
      current_mit_vector: Number(read.currentMitigation),
      signature: { r: list(0x2a0, 72), s: list(0x2e8, 72) },
    },
    cert_chain: certificates.map((der) => ({ cert_type: 'VCEK', data: [...der] })),
  })
}

/** A compact integer of SCALE below 2³⁰ that needs four bytes. */
const scaleLength = (value: number): Uint8Array =>
  value < 64
    ? Uint8Array.of(value * 4)
    : value < 16_384
      ? Uint8Array.of(((value * 4) & 0xff) | 1, value >> 6)
      : u32(value * 4 + 2)

export function nitroDstack(document: Uint8Array): Uint8Array {
  const event = join(scaleLength(3), encodeUtf8('app'), scaleLength(2), Uint8Array.of(1, 2))
  const rest = [scaleLength(1), event, new Uint8Array(64), scaleLength(2), encodeUtf8('{}')]
  return join(Uint8Array.of(0, 2), scaleLength(document.length), document, ...rest)
}

export function nitroNsm(document: Uint8Array): Uint8Array {
  return encodeCbor(new Map([['Attestation', new Map([['document', document]])]]))
}

export const intelTrustee = (quote: Uint8Array, log: Uint8Array): Uint8Array =>
  json({ quote: encodeBase64(quote), cc_eventlog: encodeBase64(log) })

/** Open Enclave's header before a quote. */
export const openEnclave = (quote: Uint8Array): Uint8Array => join(u32(1), u32(2), u32(quote.length), u32(0), quote)

/** And its newer one, of evidence that is a quote alone. */
export const openEnclaveEvidence = (quote: Uint8Array): Uint8Array =>
  join(u32(3), Uint8Array.fromHex('1923d91e12d24c72b22025cd8dace871'), u32(0), u32(quote.length), u32(0), quote)

interface Quote {
  readonly quote: Uint8Array
  readonly signature: Uint8Array
}

export interface TpmParts extends Quote {
  /** Of all 24 PCRs of SHA-256. */
  readonly pcrs: Uint8Array
  /** SubjectPublicKeyInfo, P-256. */
  readonly key: Uint8Array
}

const all = Array.from({ length: 24 }, (_, pcr) => pcr)

export const tpmTrustee = ({ quote, signature, pcrs, key }: TpmParts): Uint8Array =>
  json({
    ak_public: encodeBase64(key),
    tpm_quote: {
      message: encodeBase64(quote),
      signature: encodeBase64(signature),
      pcrs: all.map((pcr) => encodeHex(hash32(pcrs, pcr))),
    },
  })

/** TPMT_PUBLIC of a restricted P-256 signing key. */
export function tpmPublic(spki: Uint8Array): Uint8Array {
  const head = [
    be(2, 0x23),
    be(2, 11),
    be(4, 0x0005_0072),
    be(2, 0),
    be(2, 0x10),
    be(2, 0x18),
    be(2, 11),
    be(2, 3),
    be(2, 0x10),
  ]
  return join(...head, be(2, 32), spki.slice(-64, -32), be(2, 32), spki.slice(-32))
}

export const goAttestation = ({ quote, signature, pcrs, key }: TpmParts, log: Uint8Array): Uint8Array =>
  json({
    AK: { Public: encodeBase64(tpmPublic(key)) },
    Quote: { Quote: encodeBase64(quote), Signature: encodeBase64(signature) },
    Log: {
      PCRs: all.map((Index) => ({ Index, DigestAlg: 5, Digest: encodeBase64(hash32(pcrs, Index)) })),
      Raw: encodeBase64(log),
    },
  })

function varint(value: number): Uint8Array {
  return value < 128 ? Uint8Array.of(value) : Uint8Array.of((value & 0x7f) | 0x80, ...varint(value >> 7))
}
const field = (number: number, value: Uint8Array): Uint8Array =>
  join(varint(number * 8 + 2), varint(value.length), value)
const scalar = (number: number, value: number): Uint8Array => join(varint(number * 8), varint(value))

export function goTpmTools({ quote, signature, pcrs, key }: TpmParts, log: Uint8Array): Uint8Array {
  const values = all.map((pcr) => field(2, join(scalar(1, pcr), field(2, hash32(pcrs, pcr)))))
  const message = join(field(1, quote), field(2, signature), field(3, join(scalar(1, 11), ...values)))
  return join(field(1, tpmPublic(key)), field(2, message), field(3, log))
}

export const enactTrust = ({ quote, signature }: Quote): Uint8Array =>
  join(new Uint8Array(16).fill(7), be(2, quote.length), quote, signature)

export interface AzureParts extends Quote {
  readonly hclReport: Uint8Array
  readonly pcrs: Uint8Array
}

export function azureTrustee(
  { hclReport, quote, signature, pcrs }: AzureParts,
  more: { readonly tdQuote?: Uint8Array; readonly vcek?: Uint8Array },
): Uint8Array {
  const { tdQuote, vcek } = more
  return json({
    version: 1,
    tpm_quote: {
      // Without the head of its TPMT_SIGNATURE.
      signature: encodeHex(signature.subarray(6)),
      message: encodeHex(quote),
      pcrs: all.map((pcr) => encodeHex(hash32(pcrs, pcr))),
    },
    hcl_report: encodeBase64url(hclReport),
    ...(tdQuote ? { td_quote: encodeBase64url(tdQuote) } : {}),
    ...(vcek ? { vcek: encodeBase64url(vcek) } : {}),
  })
}

export const thim = ([vcek, ...chain]: readonly Uint8Array[]): Uint8Array =>
  json({
    vcekCert: new TextDecoder().decode(pemOf(vcek!)),
    certificateChain: new TextDecoder().decode(pemOf(...chain)),
  })

export const nvidiaNvat = (report: Uint8Array, certificates: readonly Uint8Array[]): Uint8Array =>
  json([{ arch: 'HOPPER', evidence: encodeBase64(report), certificate: encodeBase64(pemOf(...certificates)) }])

export const nvidiaTrustee = (report: Uint8Array, certificates: readonly Uint8Array[]): Uint8Array =>
  json({
    device_evidence_list: [
      {
        arch: 'HOPPER',
        uuid: 'GPU-0',
        evidence: encodeBase64(report),
        certificate: encodeBase64(pemOf(...certificates)),
      },
    ],
  })

export function ibmSeTrustee(): Uint8Array {
  const part = (length: number, value: number): string => encodeBase64(new Uint8Array(length).fill(value))
  return json({
    measurement: part(64, 1),
    image_hdr_tags: part(208, 2),
    cuid: part(16, 3),
    user_data: part(64, 4),
    additional_data: part(64, 5),
  })
}

/** A report of Linux configfs-tsm as CBOR and as JSON. */
export const tsmReports = (outblob: Uint8Array, auxblob: Uint8Array): Uint8Array[] => [
  encodeCbor(
    new Map<string, string | Uint8Array>([
      ['auxblob', auxblob],
      ['outblob', outblob],
      ['provider', 'sev_guest\n'],
    ]),
  ),
  json({ auxblob: encodeBase64url(auxblob), outblob: encodeBase64url(outblob), provider: 'sev_guest\n' }),
]
