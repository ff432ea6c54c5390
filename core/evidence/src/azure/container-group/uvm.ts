import { decodeHex, FormatError } from '@cella/bytes'
import { type CborItem, cborInteger, cborText } from '@cella/cbor'
import { coseHeader, coseX5chain, parseCoseSign1, verifyCoseSign1 } from '../../cose/sign1.ts'
import { EvidenceError, reading } from '../../error.ts'
import type { VerifyContext } from '../../family.ts'
import { parseForeignJsonObject, requiredText } from '../../jwt/json.ts'
import type { TrustedRoot } from '../../roots.ts'
import { parseCertificate } from '../../x509/certificate.ts'
import { crlsOf } from '../../x509/crl.ts'
import { buildPath, checkNotRevoked, judgePath, timeText } from '../../x509/path.ts'
import { checkDidX509, parseDidX509 } from './did-x509.ts'

const uvmBytesMax = 65_536
const payloadBytesMax = 4096
const signingTimeLabel = 'signingtime'

/** Microsoft's signed word on a utility VM image. */
export interface UvmEndorsement {
  /** The `did:x509` that signed it. */
  readonly issuer: string
  /** What line of images it belongs to: `ContainerPlat-AMD-UVM`. */
  readonly feed: string
  readonly svn: number
  /** 48 bytes, the launch measurement that it speaks of. */
  readonly measurement: Uint8Array
  /** Unix seconds, as its signer says; `null` where it doesn't. */
  readonly signedAt: number | null
  readonly root: TrustedRoot
  /** When the oldest revocation list that was used was issued. */
  readonly collateralIssuedAt: number | undefined
}

/**
 * Verifies a UVM endorsement: COSE_Sign1 with a certificate chain in its protected header, whose root is trusted for
 * `azure-container-group` and which its issuer (`did:x509`) names. Signing certificates live a year and what they signed
 * does not end with them, so the chain is judged at the signing time in the protected header, or at `now` where there is
 * none; revocation at `now`. Whether issuer, feed and SVN are acceptable is the policy's. Throws EvidenceError.
 */
export async function verifyUvmEndorsement(bytes: Uint8Array, context: VerifyContext): Promise<UvmEndorsement> {
  const { roots, now, checks } = context
  const message = reading(() => parseCoseSign1(Uint8Array.from(bytes), 'UVM endorsement', { bytesMax: uvmBytesMax }))
  const header = (label: string): string =>
    reading(() => cborText(message.protected.get(label), `UVM endorsement ${label}`))
  const issuer = header('iss')
  const feed = header('feed')
  const did = reading(() => parseDidX509(issuer))
  const signedAt = reading(() => signingTime(message.protected.get(signingTimeLabel)))
  if (signedAt !== null && signedAt > now) {
    throw new EvidenceError(
      'ERR_EVIDENCE_NOT_YET_VALID',
      `UVM endorsement was signed at ${timeText(signedAt)}, now is ${timeText(now)}; check the clock`,
    )
  }
  // Only a chain that the signature covers: the issuer's name is about it.
  const chain = reading(() => coseX5chain({ protected: message.protected, unprotected: new Map() }, 'UVM endorsement'))
  const [leaf, ...pool] = chain.map((der, at) => reading(() => parseCertificate(der, `x5chain[${at}]`)))
  if (leaf === undefined) {
    throw new EvidenceError(
      'ERR_EVIDENCE_CHAIN',
      `UVM endorsement has no certificates in its protected header (${coseHeader.x5chain})`,
    )
  }
  const name = 'UVM signing certificate'
  const path = await buildPath(leaf, { tee: 'azure-container-group', roots, pool, name })
  reading(() => checkDidX509(did, path.certificates))
  await judgePath(path, { now: signedAt ?? now, crls: [], revocation: 'if-given' })
  const collateralIssuedAt = await checkRevocation(path.certificates, context)
  if (collateralIssuedAt === undefined)
    checks.notApplicable('azure-uvm-revocation', 'no revocation list of the chain was given')
  else checks.passed('azure-uvm-revocation', 'no certificate of the chain on the lists given')
  checks.passed('azure-uvm-chain', `a chain of ${issuer} to a trusted root`, `root ${path.root.spki}`)
  if (!(await verifyCoseSign1(message, leaf.spki))) {
    throw new EvidenceError('ERR_EVIDENCE_SIGNATURE', 'UVM endorsement is not signed by its certificate')
  }
  const { measurement, svn } = reading(() => parsePayload(message.payload))
  checks.passed('azure-uvm-signature', 'a UVM endorsement signed by its certificate', `${feed}, SVN ${svn}`)
  return { issuer, feed, svn, measurement, signedAt, root: path.root, collateralIssuedAt }
}

type Chain = Parameters<typeof checkDidX509>[1]

async function checkRevocation(chain: Chain, { now, endorsements }: VerifyContext): Promise<number | undefined> {
  const crls = crlsOf(endorsements)
  let oldest: number | undefined
  for (let at = 0; at + 1 < chain.length; at++) {
    const crl = await checkNotRevoked(chain[at]!, chain[at + 1]!, {
      now,
      crls,
      name: `UVM signing chain, certificate ${at}`,
    })
    if (crl) oldest = Math.min(oldest ?? crl.thisUpdate, crl.thisUpdate)
  }
  return oldest
}

// RFC 8949 §3.4.2: tag 1, seconds since 1970.
function signingTime(item: CborItem | undefined): number | null {
  if (item === undefined) return null
  if (item.type !== 'tag' || item.tag !== 1) throw new FormatError('UVM endorsement signingtime', 'is not tag 1')
  return cborInteger(item.content, 'UVM endorsement signingtime', { min: 0, max: 253_402_300_799 })
}

// JSON: x-ms-sevsnpvm-launchmeasurement (hexadecimal), x-ms-sevsnpvm-guestsvn (decimal, as text).
function parsePayload(payload: Uint8Array): { measurement: Uint8Array; svn: number } {
  const field = 'UVM endorsement payload'
  const object = parseForeignJsonObject(payload, field, payloadBytesMax)
  const measurement = decodeHex(requiredText(object, 'x-ms-sevsnpvm-launchmeasurement', field), field)
  if (measurement.length !== 48) throw new FormatError(field, `has a measurement of ${measurement.length} bytes`)
  const svn = requiredText(object, 'x-ms-sevsnpvm-guestsvn', field)
  if (!/^(?:0|[1-9][0-9]{0,8})$/.test(svn)) throw new FormatError(`${field} guestsvn`, 'is not a decimal number')
  return { measurement, svn: Number(svn) }
}
