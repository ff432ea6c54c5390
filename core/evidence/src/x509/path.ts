import { type Digest, encodeHex, equalBytes, FormatError } from '@cella/bytes'
import { digestOf } from '@cella/primitives'
import { EvidenceError } from '../error.ts'
import type { TeeName, TrustedRoot } from '../roots.ts'
import { basicConstraints, type Certificate, maySignCertificates } from './certificate.ts'
import { type Crl, isCrlOf } from './crl.ts'
import { isSignedBy } from './signature.ts'

const certificateCountMax = 8
const signatureCountMax = 32

export interface PathOptions {
  /** Whose root it has to be; a root of another TEE is not looked at. */
  readonly tee: TeeName
  readonly roots: readonly TrustedRoot[]
  /** Intermediates and roots in any order, useless ones among them. The root's certificate has to be there. */
  readonly pool: readonly Certificate[]
  /** Critical extensions that the caller reads itself, by dotted object identifier. */
  readonly criticalExtensions?: readonly string[]
  /** What the leaf is, for messages: `PCK certificate`. */
  readonly name: string
}

/** A chain whose signatures lead from the leaf to a trusted root. No time has been looked at, nor revocation. */
export interface CertificatePath {
  readonly name: string
  /** Leaf first, root last; at least two. */
  readonly certificates: readonly Certificate[]
  readonly root: TrustedRoot
}

/** What `judgePath` established of a path at one time. */
export interface JudgedPath {
  /** Unix seconds in which all certificates and the CRLs used are valid, both inclusive. */
  readonly notBefore: number
  readonly notAfter: number
  /** `not-checked` where no CRL was given for an issuer of the path. */
  readonly revocation: 'checked' | 'not-checked'
  /** thisUpdate of the oldest CRL that was used. */
  readonly collateralIssuedAt: number | undefined
}

/**
 * Builds the path of `leaf` by issuer names, whatever the order of the pool (RFC 5280 §6.1 without policies and name
 * constraints): every signature, CA flag, right to sign, path length, no unknown critical extension. Throws
 * EvidenceError: ERR_EVIDENCE_CHAIN where no path leads on, ERR_EVIDENCE_ROOT_UNKNOWN where it ends at a self-signed
 * key that no root names. The result holds at any time and may be kept by the caller.
 */
export async function buildPath(leaf: Certificate, options: PathOptions): Promise<CertificatePath> {
  const roots = options.roots.filter(({ tee }) => tee === options.tee)
  const search = { options, roots, signatures: 0, strangers: new Set<Digest>() }
  checkCriticalExtensions(leaf, options)
  const found = await extend([leaf], search)
  if (found) {
    for (const certificate of found.certificates.slice(0, -1)) checkSerial(certificate, options)
    return { name: options.name, ...found }
  }
  const [stranger] = search.strangers
  if (stranger !== undefined) {
    throw new EvidenceError(
      'ERR_EVIDENCE_ROOT_UNKNOWN',
      `${options.name}: chain ends at the key ${stranger}, which is no trusted root for ${options.tee}; add it to the terms if you trust it`,
    )
  }
  throw new EvidenceError(
    'ERR_EVIDENCE_CHAIN',
    `${options.name}: no chain of certificates leads from it to a root; give the missing intermediate or root`,
  )
}

interface Search {
  readonly options: PathOptions
  readonly roots: readonly TrustedRoot[]
  signatures: number
  /** Self-signed keys that were reached and are not trusted. */
  readonly strangers: Set<Digest>
}

async function extend(
  certificates: readonly Certificate[],
  search: Search,
): Promise<Omit<CertificatePath, 'name'> | undefined> {
  const last = certificates.at(-1)!
  for (const issuer of search.options.pool) {
    if (!equalBytes(issuer.subject, last.issuer) || certificates.some(({ spki }) => equalBytes(spki, issuer.spki)))
      continue
    if (++search.signatures > signatureCountMax) {
      throw new EvidenceError(
        'ERR_EVIDENCE_CHAIN',
        `${search.options.name}: over ${signatureCountMax} signatures to try`,
      )
    }
    if (!(await isSignedBy(last, issuer.spki, search.options.name))) continue
    checkIssuer(issuer, certificates, search.options)
    const path = [...certificates, issuer]
    const root = trustedRoot(issuer, search.roots)
    if (root) return { certificates: path, root }
    if (equalBytes(issuer.issuer, issuer.subject)) search.strangers.add(digestOf(issuer.spki))
    else if (path.length < certificateCountMax) {
      const found = await extend(path, search)
      if (found) return found
    }
  }
  return undefined
}

/** The root that names this key. One key listed as real and as simulated: doubt goes against it. */
function trustedRoot(certificate: Certificate, roots: readonly TrustedRoot[]): TrustedRoot | undefined {
  if (roots.length === 0) return undefined
  const spki = digestOf(certificate.spki)
  const found = roots.filter((root) => root.spki === spki)
  return found.find(({ simulated }) => simulated) ?? found[0]
}

/** RFC 5280 §4.1.2.2. A list of revoked certificates names them by it. */
function checkSerial({ serial }: Certificate, { name }: PathOptions): void {
  if ((serial[0]! & 0x80) !== 0 || serial.every((byte) => byte === 0)) {
    throw new EvidenceError('ERR_EVIDENCE_CHAIN', `${name}: has a certificate whose serial number is not positive`)
  }
}

function checkIssuer(issuer: Certificate, below: readonly Certificate[], options: PathOptions): void {
  try {
    const constraints = basicConstraints(issuer)
    if (constraints?.ca !== true) throw new FormatError(options.name, 'has an issuer that is not a CA')
    if (!maySignCertificates(issuer))
      throw new FormatError(options.name, 'has an issuer that may not sign certificates')
    // Intermediates below it; self-issued ones don't count, and the leaf neither. RFC 5280 §4.2.1.9.
    const intermediates = below.slice(1).filter(({ subject, issuer }) => !equalBytes(subject, issuer)).length
    if (constraints.pathLength !== undefined && intermediates > constraints.pathLength) {
      throw new FormatError(options.name, `has a chain longer than an issuer allows (${constraints.pathLength})`)
    }
    checkCriticalExtensions(issuer, options)
  } catch (cause) {
    if (cause instanceof FormatError) throw new EvidenceError('ERR_EVIDENCE_CHAIN', cause.message, { cause })
    throw cause
  }
}

// basicConstraints, keyUsage, extended key usage (for the caller to judge), subject alternative name, policies.
const knownExtensions = ['2.5.29.19', '2.5.29.15', '2.5.29.37', '2.5.29.17', '2.5.29.32']

function checkCriticalExtensions(certificate: Certificate, options: PathOptions): void {
  for (const [oid, { critical }] of certificate.extensions) {
    if (critical && !knownExtensions.includes(oid) && !options.criticalExtensions?.includes(oid)) {
      throw new EvidenceError('ERR_EVIDENCE_CHAIN', `${options.name}: critical extension ${oid} is not known`)
    }
  }
}

/**
 * Judges a path at `now` (unix seconds): the validity of each certificate, and each but the root against the CRL of its
 * issuer. `revocation: 'required'` refuses a path for which a CRL is missing (ERR_EVIDENCE_COLLATERAL_MISSING). Throws
 * ERR_EVIDENCE_EXPIRED, ERR_EVIDENCE_NOT_YET_VALID, ERR_EVIDENCE_REVOKED, ERR_EVIDENCE_COLLATERAL_EXPIRED.
 */
export async function judgePath(
  path: CertificatePath,
  { now, crls, revocation }: { now: number; crls: readonly Crl[]; revocation: 'required' | 'if-given' },
): Promise<JudgedPath> {
  const { certificates, name } = path
  let notBefore = Number.NEGATIVE_INFINITY
  let notAfter = Number.POSITIVE_INFINITY
  certificates.forEach((certificate, at) => {
    checkWindow(certificate, now, at === 0 ? name : `${name}, issuer ${at}`)
    notBefore = Math.max(notBefore, certificate.notBefore)
    notAfter = Math.min(notAfter, certificate.notAfter)
  })
  let checked = true
  let collateralIssuedAt: number | undefined
  for (let at = 0; at + 1 < certificates.length; at++) {
    const crl = await checkNotRevoked(certificates[at]!, certificates[at + 1]!, {
      now,
      crls,
      name: at === 0 ? name : `${name}, issuer ${at}`,
    })
    if (crl === undefined) {
      if (revocation === 'required') {
        throw new EvidenceError(
          'ERR_EVIDENCE_COLLATERAL_MISSING',
          `${name}: the revocation list of its issuer ${at + 1} was not given; fetch it`,
        )
      }
      checked = false
      continue
    }
    notBefore = Math.max(notBefore, crl.thisUpdate)
    notAfter = Math.min(notAfter, crl.nextUpdate)
    collateralIssuedAt = Math.min(collateralIssuedAt ?? crl.thisUpdate, crl.thisUpdate)
  }
  return { notBefore, notAfter, revocation: checked ? 'checked' : 'not-checked', collateralIssuedAt }
}

/** buildPath and judgePath in one. */
export async function verifyPath(
  leaf: Certificate,
  options: PathOptions & { now: number; crls: readonly Crl[]; revocation: 'required' | 'if-given' },
): Promise<CertificatePath & JudgedPath> {
  const path = await buildPath(leaf, options)
  return { ...path, ...(await judgePath(path, options)) }
}

/** Throws ERR_EVIDENCE_EXPIRED or ERR_EVIDENCE_NOT_YET_VALID, saying when and what to do. */
export function checkWindow(window: { notBefore: number; notAfter: number }, now: number, name: string): void {
  if (!Number.isFinite(now)) throw new RangeError(`now: ${now}`)
  if (now > window.notAfter) {
    throw new EvidenceError(
      'ERR_EVIDENCE_EXPIRED',
      `${name} expired at ${timeText(window.notAfter)}, now is ${timeText(now)}; fetch a fresh one`,
    )
  }
  if (now < window.notBefore) {
    throw new EvidenceError(
      'ERR_EVIDENCE_NOT_YET_VALID',
      `${name} is valid from ${timeText(window.notBefore)}, now is ${timeText(now)}; check the clock`,
    )
  }
}

/**
 * Judges one certificate against the newest list of its issuer, which is returned; `undefined` when none was given.
 * Throws ERR_EVIDENCE_REVOKED, ERR_EVIDENCE_COLLATERAL_EXPIRED.
 */
export async function checkNotRevoked(
  certificate: Certificate,
  issuer: Certificate,
  options: { now: number; crls: readonly Crl[]; name: string },
): Promise<Crl | undefined> {
  const crl = await currentCrl(issuer, options)
  const entry = crl?.revoked.get(encodeHex(certificate.serial))
  if (entry === undefined) return crl
  const hold = entry.reason === 6 ? 'put on hold' : 'revoked'
  throw new EvidenceError('ERR_EVIDENCE_REVOKED', `${options.name} was ${hold} by its issuer at ${timeText(entry.at)}`)
}

/** The newest list of `issuer` that is in force; a list that is not, where there is no other, is an error. */
async function currentCrl(
  issuer: Certificate,
  { now, crls, name }: { now: number; crls: readonly Crl[]; name: string },
): Promise<Crl | undefined> {
  let newest: Crl | undefined
  let future: Crl | undefined
  for (const crl of crls) {
    if (newest && crl.thisUpdate <= newest.thisUpdate) continue
    if (!(await isCrlOf(crl, issuer))) continue
    if (crl.thisUpdate <= now) newest = crl
    else future = crl
  }
  if (newest === undefined && future) {
    throw new EvidenceError(
      'ERR_EVIDENCE_COLLATERAL_EXPIRED',
      `${name}: the revocation list of its issuer is of ${timeText(future.thisUpdate)}, now is ${timeText(now)}; check the clock`,
    )
  }
  if (newest && newest.nextUpdate < now) {
    throw new EvidenceError(
      'ERR_EVIDENCE_COLLATERAL_EXPIRED',
      `${name}: the newest revocation list of its issuer was due to be replaced at ${timeText(newest.nextUpdate)}, now is ${timeText(now)}; fetch a fresh one`,
    )
  }
  return newest
}

/** Unix seconds as ISO 8601. */
export function timeText(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace('.000', '')
}
