import { type Digest, equalBytes, FormatError } from '@cella/bytes'
import { digestOf } from '@cella/primitives'
import { EvidenceError, reading } from '../error.ts'
import type { VerifiedEntry, VerifyContext } from '../family.ts'
import type { TrustedRoot } from '../roots.ts'
import { type Certificate, mayUseKeyFor, parseCertificate } from '../x509/certificate.ts'
import { crlsOf } from '../x509/crl.ts'
import { DerReader, derOid, derTag } from '../x509/der.ts'
import { verifyPath } from '../x509/path.ts'
import { type TpmClaims, tpmClaims } from './claims.ts'
import type { TpmEvidenceEntry } from './entry.ts'
import { isQuoteSignedBy, readQuote, type VerifiedQuote, verifyPcrs } from './quote.ts'

/** A genuine quote of a key that the relying party trusts, by its digest or by a certificate. */
export interface VerifiedTpm extends VerifiedEntry, VerifiedQuote {
  readonly format: 'tpm/1'
  readonly claims: TpmClaims
  readonly root: TrustedRoot
}

/** A key that signs quotes, and how long what vouches for it holds. */
interface TrustedKey {
  readonly spki: Uint8Array
  readonly root: TrustedRoot
  readonly notBefore: number
  readonly notAfter: number
  readonly collateralIssuedAt: number | undefined
}

/** 9999-12-31T23:59:59Z, X.509's "no end". RFC 5280 §4.1.2.5. */
const forever = 253_402_300_799
// TCG Credential Profiles: certificate of an endorsement key, and of an attestation key. Google certifies the keys that
// its virtual TPMs quote with as the former.
const tpmKeyPurposes = [derOid('2.23.133.8.1'), derOid('2.23.133.8.3')]
const endorsedKeyCountMax = 32

/** The checklist of docs/formats/evidence-tpm.md. Throws EvidenceError at the first thing that fails. */
export async function verifyTpm(entry: TpmEvidenceEntry, context: VerifyContext): Promise<VerifiedTpm> {
  const { checks } = context
  const read = readQuote(entry)
  checks.passed('tpm-quote', 'a quote that the TPM made itself (TPM_GENERATED)')
  const keys = await trustedKeys(entry, context)
  let key: TrustedKey | undefined
  for (const candidate of keys) {
    if (await isQuoteSignedBy(read, candidate.spki)) {
      key = candidate
      break
    }
  }
  if (key === undefined) {
    throw new EvidenceError('ERR_EVIDENCE_SIGNATURE', 'quote is not signed by its attestation key')
  }
  checks.passed('tpm-signature', 'a quote signed by its attestation key', read.signature.algorithm)
  const verified = verifyPcrs(read, { pcrs: entry.pcrs, eventLog: entry.eventLog }, checks)
  const { root, spki, notBefore, notAfter, collateralIssuedAt } = key
  return {
    format: 'tpm/1',
    role: entry.role,
    ...verified,
    claims: tpmClaims(verified, { role: entry.role, simulated: root.simulated, spki }),
    root,
    simulated: root.simulated,
    notBefore,
    notAfter,
    collateralIssuedAt,
    verifiedAt: context.now,
  }
}

/**
 * The keys that may have signed: the entry's, or those among the endorsements where the entry brings none. All of them
 * are trusted. Throws ERR_EVIDENCE_ROOT_UNKNOWN where there is none, and what verifyPath throws.
 */
async function trustedKeys(entry: TpmEvidenceEntry, context: VerifyContext): Promise<TrustedKey[]> {
  const { checks } = context
  const certificates = (entry.certificates ?? []).map((der, at) =>
    reading(() => parseCertificate(der, `certificates[${at}]`)),
  )
  const [leaf, ...issuers] = certificates
  if (leaf && entry.key && !equalBytes(leaf.spki, entry.key)) {
    throw new EvidenceError(
      'ERR_EVIDENCE_BINDING',
      'certificates[0] is of another key than the entry’s attestation key',
    )
  }
  const own = leaf?.spki ?? entry.key
  const endorsed = context.endorsements.all('public-key').slice(0, endorsedKeyCountMax)
  const candidates = own ? [own] : endorsed.map(({ content }) => content)
  const named = candidates.flatMap((spki) => {
    const root = rootOf(spki, context.roots)
    return root ? [{ spki, root, notBefore: 0, notAfter: forever, collateralIssuedAt: undefined }] : []
  })
  if (named.length > 0) {
    checks.passed(
      'tpm-key',
      'an attestation key that is trusted by its digest',
      named.map(({ root }) => root.spki).join(', '),
    )
    checks.notApplicable('tpm-certificate', 'the key is trusted by its digest')
    return named
  }
  if (leaf) return [await certifiedKey(leaf, issuers, context)]
  const digests = candidates.map((spki) => digestOf(spki))
  throw new EvidenceError(
    'ERR_EVIDENCE_ROOT_UNKNOWN',
    digests.length === 0
      ? 'the entry names no attestation key and none is among the endorsements; add it as a public key'
      : `attestation key ${digests.join(', ')} is not trusted for tpm and has no certificate; add its digest to the terms if you know whose it is`,
  )
}

async function certifiedKey(
  leaf: Certificate,
  issuers: readonly Certificate[],
  { roots, endorsements, now, checks }: VerifyContext,
): Promise<TrustedKey> {
  const more = endorsements.all('certificate').flatMap(({ content }) => readable(content))
  inChain(() => checkPurpose(leaf))
  const path = await verifyPath(leaf, {
    tee: 'tpm',
    roots,
    pool: [...issuers, ...more],
    name: 'AK certificate',
    now,
    crls: crlsOf(endorsements),
    revocation: 'if-given',
  })
  checks.passed('tpm-certificate', 'an AK certificate whose chain ends at a trusted root', `root ${path.root.spki}`)
  if (path.revocation === 'checked') checks.passed('tpm-revocation', 'no certificate of the chain revoked')
  else checks.notApplicable('tpm-revocation', 'a revocation list of the chain was not given')
  const { root, notBefore, notAfter, collateralIssuedAt } = path
  return { spki: leaf.spki, root, notBefore, notAfter, collateralIssuedAt }
}

/** A certificate of a TPM's key that signs. One for an endorsement key that decrypts says nothing about quotes. */
function checkPurpose(leaf: Certificate): void {
  if (!mayUseKeyFor(leaf, 'digitalSignature')) {
    throw new FormatError('AK certificate', 'is of a key that may not sign: an endorsement key can’t quote')
  }
  const extension = leaf.extensions.get('2.5.29.37')
  if (extension === undefined) throw new FormatError('AK certificate', 'does not say that its key is a TPM’s')
  const outer = new DerReader(extension.value)
  const list = outer.enter(derTag.sequence, 'extKeyUsage')
  outer.end('extKeyUsage')
  let found = false
  while (!list.done) {
    const purpose = list.element(derTag.oid, 'extKeyUsage')
    found ||= tpmKeyPurposes.some((known) => equalBytes(known, purpose))
  }
  if (!found) throw new FormatError('AK certificate', 'is for another purpose than a TPM’s key')
}

/** The root that names this key. One key listed as real and as simulated: doubt goes against it. */
function rootOf(spki: Uint8Array, roots: readonly TrustedRoot[]): TrustedRoot | undefined {
  const digest: Digest = digestOf(spki)
  const found = roots.filter((root) => root.tee === 'tpm' && root.spki === digest)
  return found.find(({ simulated }) => simulated) ?? found[0]
}

function inChain(check: () => void): void {
  try {
    check()
  } catch (cause) {
    if (cause instanceof FormatError) throw new EvidenceError('ERR_EVIDENCE_CHAIN', cause.message, { cause })
    throw cause
  }
}

/** A certificate of the store, or nothing where it is not of a kind that is read: then it is no issuer of ours. */
function readable(content: Uint8Array): Certificate[] {
  try {
    return [parseCertificate(content, 'certificate')]
  } catch (cause) {
    if (cause instanceof FormatError) return []
    throw cause
  }
}
