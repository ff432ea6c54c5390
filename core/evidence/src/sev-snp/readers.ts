import { ByteReader, encodeHex, FormatError } from '@cella/bytes'
import { EvidenceError, reading } from '../error.ts'
import { parseCertificate } from '../x509/certificate.ts'
import { certificatesOf } from '../x509/pem.ts'
import type { SnpEvidenceEntry } from './entry.ts'
import { snpReportLength } from './report.ts'

/** GHCB 2.x certificate table, GUIDs in their textual byte order. */
const tableRoles: Readonly<Record<string, 'leaf' | 'intermediate' | 'root'>> = {
  '63da758de6644564adc5f4b93be8accd': 'leaf', // VCEK
  a8074bc2a25a483eaae639c045a0b8a1: 'leaf', // VLEK
  '4ab7b379bbac4fe4a02f05aef327c782': 'intermediate', // ASK or ASVK
  c0b406a4a803495297433fb6014cd0ae: 'root', // ARK
}
const _tableEntryLength = 24
const tableEntryCountMax = 16
const tableBytesMax = 65_536

/**
 * Evidence of a raw report (1184 bytes) and certificates in any order, each part PEM text (of one or more) or one DER.
 * They are put in the order leaf, intermediate, root by their names; nothing is verified. Throws EvidenceError.
 */
export function snpEvidenceOf(report: Uint8Array, certificates: readonly Uint8Array[]): SnpEvidenceEntry {
  return reading(() => {
    if (report.length !== snpReportLength) {
      throw new FormatError('report', `has ${report.length} bytes, expected ${snpReportLength}`)
    }
    const ders = certificates.flatMap((part, at) => certificatesOf(part, `certificates[${at}]`))
    return { role: 'cpu', format: 'sev-snp/1', report: Uint8Array.from(report), certificates: inChainOrder(ders) }
  })
}

/**
 * Evidence of what Linux configfs-tsm gives (provider `sev_guest`): `outblob` is the report, `auxblob` the GHCB
 * certificate table. Certificates that the table lacks come from `extra` (PEM or DER). Throws EvidenceError.
 */
export function snpEvidenceOfTsm(
  outblob: Uint8Array,
  auxblob: Uint8Array,
  extra: readonly Uint8Array[] = [],
): SnpEvidenceEntry {
  return snpEvidenceOf(outblob, [...parseCertificateTable(auxblob), ...extra])
}

/**
 * The certificates of a GHCB table: entries of GUID (16 bytes), offset and length (u32 little-endian each) up to one of
 * zeros, then the data. Entries of other GUIDs are passed over; a doubled or overlapping one, or one that points out of
 * the table, is refused, and so is anything but zeros after the data. Throws EvidenceError.
 */
export function parseCertificateTable(table: Uint8Array): Uint8Array[] {
  return reading(() => {
    if (table.length > tableBytesMax) {
      throw new FormatError('certificate table', `has ${table.length} bytes, at most ${tableBytesMax}`)
    }
    const reader = new ByteReader(table)
    const entries: { guid: string; offset: number; length: number }[] = []
    for (;;) {
      const guid = encodeHex(reader.take(16, 'certificate table GUID'))
      const offset = reader.uint32le('certificate table offset')
      const length = reader.uint32le('certificate table length')
      if (/^0+$/.test(guid)) {
        if (offset !== 0 || length !== 0)
          throw new FormatError('certificate table', 'has a last entry that is not zero')
        break
      }
      if (entries.length === tableEntryCountMax) {
        throw new FormatError('certificate table', `has more than ${tableEntryCountMax} entries`)
      }
      if (entries.some((entry) => entry.guid === guid)) throw new FormatError('certificate table', 'has an entry twice')
      entries.push({ guid, offset, length })
    }
    let end = reader.offset
    for (const { offset, length } of [...entries].sort((a, b) => a.offset - b.offset)) {
      if (offset < end || length > table.length - offset) {
        throw new FormatError('certificate table', 'has an entry that overlaps another or leaves the table')
      }
      end = offset + length
    }
    // The kernel hands out whole pages.
    if (table.subarray(end).some((byte) => byte !== 0))
      throw new FormatError('certificate table', 'has more after its end')
    const known = entries.filter(({ guid }) => Object.hasOwn(tableRoles, guid))
    if (new Set(known.map(({ guid }) => tableRoles[guid])).size !== known.length) {
      throw new FormatError('certificate table', 'has both a VCEK and a VLEK')
    }
    return known.map(({ offset, length }) => table.slice(offset, offset + length))
  })
}

/** Leaf, intermediate, root: each but the last issued by the next, the last by itself. Tried by names alone. */
function inChainOrder(ders: readonly Uint8Array[]): Uint8Array[] {
  const rest = ders.map((der) => parseCertificate(der, 'certificate'))
  const name = (bytes: Uint8Array): string => encodeHex(bytes)
  const issuers = new Set(rest.map(({ issuer }) => name(issuer)))
  const leaves = rest.filter(({ subject }) => !issuers.has(name(subject)))
  const [leaf] = leaves
  const intermediate = leaf && rest.find(({ subject }) => name(subject) === name(leaf.issuer))
  const root = intermediate && rest.find(({ subject }) => name(subject) === name(intermediate.issuer))
  if (!leaf || !intermediate || !root || leaves.length !== 1 || rest.length !== 3) {
    throw new EvidenceError(
      'ERR_EVIDENCE_CHAIN',
      `certificates: the ${rest.length} given are not one VCEK or VLEK, its ASK or ASVK and its ARK; add what is missing`,
    )
  }
  return [leaf.der, intermediate.der, root.der]
}
