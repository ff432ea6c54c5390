import { encodeUtf8, equalBytes, FormatError, type Json } from '@cella/bytes'
import { type CborItem, cborBytes, cborInteger, cborMap, cborText, decodeCbor } from '@cella/cbor'
import { coseAlgorithms } from '../cose/algorithms.ts'
import { type CoseSign1, coseHeader, coseSign1Of, verifyCoseSign1 } from '../cose/sign1.ts'
import { EvidenceError, reading } from '../error.ts'
import type { EvidenceRole } from '../evidence.ts'
import type { Family, VerifiedEntry, VerifyContext } from '../family.ts'
import { type JwsAlgorithm, jwsAlgorithms } from '../jwt/algorithms.ts'
import { jwksKeysFor } from '../jwt/jwks.ts'
import { verifyJwt } from '../jwt/jwt.ts'
import type { TrustedIssuer } from '../roots.ts'
import { checkWindow } from '../x509/path.ts'
import { appraiseEar, checkEarPolicy, type EarPolicy } from './policy.ts'
import { type Ear, readEarCbor, readEarJson } from './result.ts'
import { earKey } from './spelling.ts'

export const earFormat = 'ear/1'
const tokenBytesMax = 131_072
const keysTriedMax = 16
/** CWT, RFC 8392 §6. */
const cwtTag = 61

/** An attestation result of another verifier: a JWT, or a CWT (COSE_Sign1). */
export interface EarEntry {
  readonly role: EvidenceRole
  readonly format: typeof earFormat
  /** ASCII of the JWT, or the CBOR of the CWT. */
  readonly token: Uint8Array
}

/** A result together with the fact that an issuer whom the relying party trusts signed it. Not yet acceptable to anyone. */
export interface VerifiedEar extends VerifiedEntry {
  readonly format: typeof earFormat
  readonly ear: Ear
  readonly issuer: TrustedIssuer
}

interface SignedEar {
  readonly ear: Ear
  readonly issuer: TrustedIssuer
  readonly simulated: boolean
  readonly notBefore: number
  /** First second in which it is not valid. */
  readonly expiresAt: number | undefined
}

/** The EAR part of docs/formats/attestation-results.md. Throws EvidenceError at the first check that fails. */
async function verifyEar(entry: EarEntry, context: VerifyContext): Promise<VerifiedEar> {
  const { checks, now } = context
  const token = Uint8Array.from(entry.token.subarray(0, tokenBytesMax + 1))
  if (token.length > tokenBytesMax) {
    throw new EvidenceError('ERR_EVIDENCE_MALFORMED', `token: has more than ${tokenBytesMax} bytes`)
  }
  const { ear, issuer, simulated, notBefore, expiresAt } = isJwt(token)
    ? await verifyJson(token, context)
    : await verifyCbor(token, context)
  checks.passed('ear-token', `signed by ${issuer.issuer || 'the nameless issuer'}`)
  checks.passed('ear-result', 'no status better than its claims', `${ear.submods.length} submodules`)
  return {
    format: earFormat,
    role: entry.role,
    claims: {
      tee: 'ear',
      role: entry.role,
      boundary: null,
      // A result names no code by its digest.
      measurement: '',
      measurements: {},
      hostData: null,
      reportData: ear.nonce,
      platformId: null,
      provider: null,
      tcb: { status: null, advisories: [], levels: {}, date: null, evaluation: null },
      debug: false,
      simulated,
      hardware: {
        issuer: issuer.issuer,
        profile: ear.profile,
        spelling: ear.spelling,
        issuedAt: ear.issuedAt,
        verifier: ear.verifier as Json,
        submods: ear.submods as unknown as Json,
      },
    },
    root: undefined,
    simulated,
    notBefore,
    notAfter: expiresAt === undefined ? Number.MAX_SAFE_INTEGER : expiresAt - 1,
    collateralIssuedAt: undefined,
    verifiedAt: now,
    ear,
    issuer,
  }
}

/** A CWT's first byte is an array's or a tag's, a JWT's that of `{"` in base64url. */
function isJwt(token: Uint8Array): boolean {
  return token[0] === 0x65
}

async function verifyJson(token: Uint8Array, { issuers, now }: VerifyContext): Promise<SignedEar> {
  if (token.some((byte) => byte > 0x7f)) throw new EvidenceError('ERR_EVIDENCE_MALFORMED', 'token: is not ASCII')
  const text = new TextDecoder().decode(token)
  const jwt = await verifyJwt(text, { issuers, tee: 'ear', algorithms: jwsAlgorithms, now, expiry: 'optional' })
  const ear = reading(() => readEarJson(jwt.claims))
  const notBefore = Math.max(ear.issuedAt, jwt.notBefore ?? 0)
  return { ear, issuer: jwt.issuer, simulated: jwt.simulated, notBefore, expiresAt: jwt.expiresAt }
}

async function verifyCbor(token: Uint8Array, context: VerifyContext): Promise<SignedEar> {
  const { message, claims } = reading(() => {
    const item = decodeCbor(token, 'token', { bytesMax: tokenBytesMax })
    const message = coseSign1Of(item.type === 'tag' && item.tag === cwtTag ? item.content : item, 'token')
    return { message, claims: decodeCbor(message.payload, 'token.payload', { bytesMax: tokenBytesMax }) }
  })
  const signers = await signersOf(message, claims, context)
  const [first] = signers
  if (first === undefined) {
    throw new EvidenceError('ERR_EVIDENCE_SIGNATURE', 'token.signature: is of none of its issuer’s keys')
  }
  const { ear, notBefore, expiresAt } = reading(() => {
    const map = cborMap(claims, 'token.payload')
    const [from, until] = [map.get(earKey.notBefore), map.get(earKey.expiry)]
    const ear = readEarCbor(claims)
    return {
      ear,
      notBefore: Math.max(ear.issuedAt, from === undefined ? 0 : cborInteger(from, 'token.payload.nbf')),
      expiresAt: until === undefined ? undefined : cborInteger(until, 'token.payload.exp'),
    }
  })
  checkWindow({ notBefore, notAfter: (expiresAt ?? Number.POSITIVE_INFINITY) - 1 }, context.now, 'token')
  const issuer = signers.find(({ simulated }) => simulated) ?? first
  return { ear, issuer, simulated: issuer.simulated, notBefore, expiresAt }
}

/** As verifyJwt has it: the issuer by name, its keys by `kid` and algorithm, from its JWKS alone. */
async function signersOf(message: CoseSign1, claims: CborItem, { issuers }: VerifyContext): Promise<TrustedIssuer[]> {
  const { name, kid, algorithm } = reading(() => {
    const iss = cborMap(claims, 'token.payload').get(earKey.issuer)
    const kid = message.protected.get(coseHeader.keyId) ?? message.unprotected.get(coseHeader.keyId)
    const name = iss === undefined ? '' : cborText(iss, 'token.payload.iss', { min: 1, max: 256 })
    const found = coseAlgorithms.get(message.algorithm)?.name
    const algorithm = jwsAlgorithms.find((one) => one === found)
    if (algorithm === undefined) throw new FormatError('token.protected.alg', 'is not one that is read here')
    return { name, kid: kid === undefined ? undefined : cborBytes(kid, 'token.kid', { min: 1, max: 256 }), algorithm }
  })
  const trusted = issuers.filter(({ tee, issuer }) => tee === 'ear' && issuer === name)
  if (trusted.length === 0) {
    const shown = name.replace(/[^\x20-\x7e]/g, '?').slice(0, 80) || 'missing'
    throw new EvidenceError(
      'ERR_EVIDENCE_ISSUER_UNKNOWN',
      `token.payload.iss: ${shown}, which is no trusted issuer of ear tokens; add it with its keys if you trust it`,
    )
  }
  const pairs = trusted.flatMap((issuer) =>
    reading(() => keysOf(issuer, kid, algorithm)).map((spki) => [issuer, spki] as const),
  )
  if (pairs.length > keysTriedMax) {
    throw new EvidenceError(
      'ERR_EVIDENCE_SIGNATURE',
      `token.kid: fits ${pairs.length} keys, at most ${keysTriedMax} are tried`,
    )
  }
  const signers: TrustedIssuer[] = []
  for (const [issuer, spki] of pairs) if (await verifyCoseSign1(message, spki)) signers.push(issuer)
  return signers
}

/** A COSE key id is bytes; a JWK's is text, whose UTF-8 they have to be. */
function keysOf(issuer: TrustedIssuer, kid: Uint8Array | undefined, algorithm: JwsAlgorithm): Uint8Array[] {
  return jwksKeysFor(issuer.jwks, undefined, algorithm)
    .filter((key) => kid === undefined || (key.kid !== undefined && equalBytes(encodeUtf8(key.kid), kid)))
    .map(({ spki }) => spki)
}

/** EAT attestation results (EAR) of other verifiers, by a TrustedIssuer of `ear`. */
export const earFamily: Family<typeof earFormat, EarEntry, VerifiedEar, EarPolicy> = {
  format: earFormat,
  tee: 'ear',
  fields: { token: 'bytes' },
  verify: verifyEar,
  checkPolicy: checkEarPolicy,
  appraise: appraiseEar,
}

/** Evidence of a token, JWT text or CWT bytes, as it came. Nothing is verified. */
export function earEvidenceOf(token: string | Uint8Array, role: EvidenceRole = 'cpu'): EarEntry {
  const bytes = reading(() => (typeof token === 'string' ? encodeUtf8(token.trim()) : Uint8Array.from(token)))
  return { role, format: earFormat, token: bytes }
}
