import { concatBytes, type Digest, uint32Bytes } from '@cella/bytes'
import { digestOf, verifySignature } from '@cella/primitives'
import type { Endorsements } from '../endorsements.ts'
import { EvidenceError, reading } from '../error.ts'
import type { TrustedRoot } from '../roots.ts'
import { type Certificate, mayUseKeyFor, parseCertificate } from '../x509/certificate.ts'
import { buildPath, type CertificatePath, timeText } from '../x509/path.ts'
import { type EnclaveIdentity, parseEnclaveIdentity } from './enclave-identity.ts'
import type { SignedJson } from './json.ts'
import { intelNames, isIntelName, latestFirst } from './pck.ts'
import { parseTcbInfo, type TcbInfo } from './tcb-info.ts'

/** What Intel publishes, read and not verified, one set for each set of endorsements. */
export interface IntelCollateral {
  readonly certificates: readonly Certificate[]
  /** Names `certificates`, for caches. */
  readonly certificatesDigest: Digest
  readonly tcbInfos: readonly SignedJson<TcbInfo>[]
  readonly identities: readonly SignedJson<EnclaveIdentity>[]
}

const parsed = new WeakMap<Endorsements, IntelCollateral>()

/** ERR_EVIDENCE_COLLATERAL_INVALID for a certificate, TCB info or identity that is malformed. */
export function intelCollateralOf(endorsements: Endorsements): IntelCollateral {
  const known = parsed.get(endorsements)
  if (known) return known
  const certificates = endorsements.all('certificate')
  const collateral = collateralReading(() => ({
    certificates: certificates.map(({ content }, at) => parseCertificate(content, `certificate[${at}]`)),
    certificatesDigest: digestOf(
      concatBytes(...certificates.flatMap(({ content }) => [uint32Bytes(content.length), content])),
    ),
    tcbInfos: endorsements.all('tcb-info').map(({ content }, at) => parseTcbInfo(content, `tcb-info[${at}]`)),
    identities: endorsements
      .all('enclave-identity')
      .map(({ content }, at) => parseEnclaveIdentity(content, `enclave-identity[${at}]`)),
  }))
  parsed.set(endorsements, collateral)
  return collateral
}

function collateralReading<T>(read: () => T): T {
  try {
    return reading(read)
  } catch (cause) {
    if (!(cause instanceof EvidenceError)) throw cause
    throw new EvidenceError('ERR_EVIDENCE_COLLATERAL_INVALID', cause.message, { cause })
  }
}

interface Statement {
  /** Unix seconds, both inclusive. */
  readonly issuedAt: number
  readonly nextUpdate: number
  readonly evaluation: number
}

/**
 * The statement that is in force at `now`; of several the one of the highest evaluation number, then the newest.
 * `undefined` for an empty list. Throws ERR_EVIDENCE_COLLATERAL_EXPIRED where none of them is in force.
 */
export function inForce<Of extends Statement>(
  statements: readonly SignedJson<Of>[],
  now: number,
  name: string,
): SignedJson<Of> | undefined {
  let best: SignedJson<Of> | undefined
  let newest: Of | undefined
  for (const candidate of statements) {
    const { statement } = candidate
    if (newest === undefined || statement.issuedAt > newest.issuedAt) newest = statement
    if (now < statement.issuedAt || now > statement.nextUpdate) continue
    const evaluation = statement.evaluation - (best?.statement.evaluation ?? -1)
    if (best === undefined || evaluation > 0 || (evaluation === 0 && statement.issuedAt > best.statement.issuedAt)) {
      best = candidate
    }
  }
  if (best !== undefined || newest === undefined) return best
  const past = now > newest.nextUpdate
  throw new EvidenceError(
    'ERR_EVIDENCE_COLLATERAL_EXPIRED',
    `${name}: ${
      past ? `was due to be replaced at ${timeText(newest.nextUpdate)}` : `is of ${timeText(newest.issuedAt)}`
    }, now is ${timeText(now)}; ${past ? 'fetch a fresh one' : 'give one of that time, or check the clock'}`,
  )
}

// What was verified is remembered with the parsed statement, by the root that its signer has to end at.
const signers = new WeakMap<SignedJson<unknown>, Map<string, CertificatePath>>()
const signerCountMax = 16

/**
 * The path of the TCB signing certificate that signed the statement, which has to end at `root`: a root that vouches for
 * other platforms says nothing of this one. Verified once for each statement and root. No time is looked at. Throws
 * ERR_EVIDENCE_COLLATERAL_MISSING where no signing certificate was given, ERR_EVIDENCE_COLLATERAL_INVALID where none of
 * them signed, and what `buildPath` throws.
 */
export async function signerOf(
  item: SignedJson<unknown>,
  options: { collateral: IntelCollateral; root: TrustedRoot; name: string },
): Promise<CertificatePath> {
  const { collateral, root, name } = options
  const key = `${root.tee} ${root.simulated} ${root.spki} ${collateral.certificatesDigest}`
  const known = signers.get(item)?.get(key)
  if (known) return known
  const candidates = collateral.certificates.filter(
    (certificate) =>
      isIntelName(certificate.subject, intelNames.tcbSigning) && mayUseKeyFor(certificate, 'digitalSignature'),
  )
  if (candidates.length === 0) {
    throw new EvidenceError(
      'ERR_EVIDENCE_COLLATERAL_MISSING',
      `${name}: its signing certificate (${intelNames.tcbSigning}) was not given; it comes in a header of the answer`,
    )
  }
  for (const signer of candidates) {
    if (!(await isSigned(item, signer.spki))) continue
    const path = await buildPath(signer, {
      tee: root.tee,
      roots: [root],
      pool: latestFirst(collateral.certificates),
      name: intelNames.tcbSigning,
    })
    if (path.certificates.length !== 2) {
      throw new EvidenceError('ERR_EVIDENCE_CHAIN', `${intelNames.tcbSigning}: is not issued by the root itself`)
    }
    const paths = signers.get(item) ?? new Map<string, CertificatePath>()
    if (paths.size >= signerCountMax) paths.clear()
    signers.set(item, paths.set(key, path))
    return path
  }
  throw new EvidenceError(
    'ERR_EVIDENCE_COLLATERAL_INVALID',
    `${name}: is not signed by any ${intelNames.tcbSigning} certificate that was given; fetch both again`,
  )
}

async function isSigned({ signed, signature }: SignedJson<unknown>, spki: Uint8Array): Promise<boolean> {
  try {
    return await verifySignature('ecdsa-p256-sha256', spki, signed, signature)
  } catch {
    // A key that the platform can't read has signed nothing.
    return false
  }
}
