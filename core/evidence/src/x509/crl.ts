import { encodeHex, equalBytes, FormatError } from '@cella/bytes'
import type { Endorsements } from '../endorsements.ts'
import { EvidenceError, reading } from '../error.ts'
import { bitString, type Certificate, type Extension, mayUseKeyFor, parseExtensions } from './certificate.ts'
import { checkInteger, DerReader, derTag, smallInteger } from './der.ts'
import { isSignedBy } from './signature.ts'
import { parseTime } from './time.ts'

/** Real lists of TEE vendors have less than 100 KiB. */
const crlBytesMax = 1_048_576
const revokedCountMax = 50_000

interface RevokedCertificate {
  /** Unix seconds. */
  readonly at: number
  /** CRLReason (RFC 5280 §5.3.1): 6 is certificateHold; `undefined` when the entry gives none. */
  readonly reason: number | undefined
}

/** A certificate revocation list, version 2 (RFC 5280 §5.1), complete and direct. Nothing about it has been verified. */
export interface Crl {
  readonly tbs: Uint8Array
  readonly signatureAlgorithm: Uint8Array
  readonly signature: Uint8Array
  /** DER of the Name. */
  readonly issuer: Uint8Array
  /** Unix seconds, both inclusive. */
  readonly thisUpdate: number
  readonly nextUpdate: number
  /** By serial number in lower-case hexadecimal, as the contents of its INTEGER. */
  readonly revoked: ReadonlyMap<string, RevokedCertificate>
}

const reasonCodeOid = '2.5.29.21'
// Key identifier and number; CRL entries: reason and invalidity date. None changes what the list means.
const plainExtensions = new Set(['2.5.29.35', '2.5.29.20', reasonCodeOid, '2.5.29.24'])

/**
 * Reads a DER CRL, whole and nothing after it; at most 1 MiB and 50 000 entries. Refused: version 1, no nextUpdate,
 * delta and indirect lists and any critical extension. Throws FormatError. Checks no signature.
 */
export function parseCrl(bytes: Uint8Array, field: string): Crl {
  if (bytes.length > crlBytesMax) throw new FormatError(field, `has ${bytes.length} bytes, at most ${crlBytesMax}`)
  const outer = new DerReader(Uint8Array.from(bytes))
  const list = outer.enter(derTag.sequence, field)
  outer.end(field)
  const tbs = list.element(derTag.sequence, `${field}.tbsCertList`)
  const signatureAlgorithm = list.element(derTag.sequence, `${field}.signatureAlgorithm`)
  const signature = bitString(list.contents(derTag.bitString, `${field}.signature`), `${field}.signature`)
  list.end(field)

  const body = new DerReader(tbs).enter(derTag.sequence, field)
  const version = smallInteger(body.contents(derTag.integer, `${field}.version`), `${field}.version`)
  if (version !== 1) throw new FormatError(`${field}.version`, `is v${version + 1}, expected v2`)
  if (!equalBytes(body.element(derTag.sequence, `${field}.signature`), signatureAlgorithm)) {
    throw new FormatError(field, 'names two signature algorithms')
  }
  const issuer = body.element(derTag.sequence, `${field}.issuer`)
  const thisUpdate = parseTime(body, `${field}.thisUpdate`)
  const nextUpdate = parseTime(body, `${field}.nextUpdate`)
  const revoked = body.nextTag === derTag.sequence ? parseRevoked(body, `${field}.revokedCertificates`) : new Map()
  if (!body.done) {
    const wrapper = body.enter(derTag.context0, `${field}.crlExtensions`)
    const extensions = parseExtensions(wrapper.enter(derTag.sequence, `${field}.crlExtensions`), field)
    wrapper.end(`${field}.crlExtensions`)
    refuseUnknown(extensions, field)
  }
  body.end(`${field}.tbsCertList`)
  return { tbs, signatureAlgorithm, signature, issuer, thisUpdate, nextUpdate, revoked }
}

function parseRevoked(body: DerReader, field: string): Map<string, RevokedCertificate> {
  const revoked = new Map<string, RevokedCertificate>()
  const list = body.enter(derTag.sequence, field)
  while (!list.done) {
    if (revoked.size === revokedCountMax) throw new FormatError(field, `are more than ${revokedCountMax}`)
    const entry = list.enter(derTag.sequence, field)
    const serial = entry.contents(derTag.integer, field)
    checkInteger(serial, field)
    const at = parseTime(entry, field)
    let reason: number | undefined
    if (!entry.done) {
      const extensions = parseExtensions(entry.enter(derTag.sequence, field), field)
      refuseUnknown(extensions, field)
      const extension = extensions.get(reasonCodeOid)
      if (extension) {
        const reader = new DerReader(extension.value)
        reason = smallInteger(reader.contents(derTag.enumerated, `${field}.reasonCode`), `${field}.reasonCode`)
        reader.end(`${field}.reasonCode`)
      }
    }
    entry.end(field)
    revoked.set(encodeHex(serial), { at, reason })
  }
  return revoked
}

function refuseUnknown(extensions: ReadonlyMap<string, Extension>, field: string): void {
  for (const [oid, { critical }] of extensions) {
    // An issuing distribution point or a delta indicator (critical by RFC 5280) would narrow what the list speaks of.
    if (critical && !plainExtensions.has(oid))
      throw new FormatError(`${field} extension ${oid}`, 'is critical and not known')
  }
}

const parsed = new WeakMap<Endorsements, readonly Crl[]>()

/** The CRLs among `endorsements`; read once for each set. ERR_EVIDENCE_COLLATERAL_INVALID for one that is malformed. */
export function crlsOf(endorsements: Endorsements): readonly Crl[] {
  const known = parsed.get(endorsements)
  if (known) return known
  let crls: readonly Crl[]
  try {
    crls = endorsements.all('crl').map(({ content }, at) => reading(() => parseCrl(content, `crl[${at}]`)))
  } catch (cause) {
    if (!(cause instanceof EvidenceError)) throw cause
    throw new EvidenceError('ERR_EVIDENCE_COLLATERAL_INVALID', cause.message, { cause })
  }
  parsed.set(endorsements, crls)
  return crls
}

const signers = new WeakMap<Crl, string>()

/** Whether `crl` is of `issuer`: its name, its key, and that key's right to sign CRLs. A signature is verified once. */
export async function isCrlOf(crl: Crl, issuer: Certificate): Promise<boolean> {
  if (!equalBytes(crl.issuer, issuer.subject) || !mayUseKeyFor(issuer, 'cRLSign')) return false
  const key = encodeHex(issuer.spki)
  if (signers.get(crl) === key) return true
  const genuine = await isSignedBy(crl, issuer.spki, 'CRL')
  if (genuine) signers.set(crl, key)
  return genuine
}
