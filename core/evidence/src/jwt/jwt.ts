import { decodeBase64url, encodeUtf8, FormatError } from '@cella/bytes'
import { verifySignature } from '@cella/primitives'
import { EvidenceError, reading } from '../error.ts'
import type { TeeName, TrustedIssuer } from '../roots.ts'
import { type JwsAlgorithm, jwsAlgorithms, schemes } from './algorithms.ts'
import { type JsonObject, optionalText, parseForeignJsonObject, requiredText } from './json.ts'
import { type JwksKey, jwksKeysFor } from './jwks.ts'

/** Characters of a token that are read at most. */
export const jwtCharactersMax = 131_072
const headerBytesMax = 16_384
const payloadBytesMax = 98_304
const signatureBytesMax = 1024
const keysTriedMax = 16

/** The parts of a JWS in compact serialization (RFC 7515 §7.1) whose payload is a JWT claims set. Nothing is verified. */
export interface Jwt {
  /** As the token says: not yet one that a caller allows. */
  readonly algorithm: string
  readonly kid: string | undefined
  readonly header: JsonObject
  readonly claims: JsonObject
  /** ASCII of `BASE64URL(header) . BASE64URL(payload)`. */
  readonly signed: Uint8Array
  readonly signature: Uint8Array
}

/** A token together with the fact that a trusted issuer signed it and that it is valid at the `now` it was judged at. */
export interface VerifiedJwt extends Jwt {
  readonly algorithm: JwsAlgorithm
  /** The issuer that the relying party trusts. */
  readonly issuer: TrustedIssuer
  /** From the issuers that match, never from the token. */
  readonly simulated: boolean
  /** Unix seconds, `undefined` where the token has none. `expiresAt` is the first second in which it is not valid. */
  readonly issuedAt: number | undefined
  readonly notBefore: number | undefined
  readonly expiresAt: number | undefined
}

export interface VerifyJwtOptions {
  readonly issuers: readonly TrustedIssuer[]
  /** Only issuers of this kind may have signed. */
  readonly tee: TeeName
  /** What tokens of this kind are signed by. Any other algorithm is refused, whatever keys there are for it. */
  readonly algorithms: readonly JwsAlgorithm[]
  /** Unix seconds. */
  readonly now: number
  /** Whether a token without `exp` is taken. */
  readonly expiry: 'required' | 'optional'
}

/**
 * Reads a token: three parts of unpadded base64url, header and payload JSON objects without doubled members, at most
 * 128 KiB. Throws FormatError; ERR_EVIDENCE_UNSIGNED for `alg: none`, ERR_EVIDENCE_UNSUPPORTED for `crit`.
 */
export function parseJwt(token: string): Jwt {
  if (token.length > jwtCharactersMax) {
    throw new FormatError('token', `has ${token.length} characters, at most ${jwtCharactersMax} are read`)
  }
  const parts = token.split('.', 4)
  const [protectedPart, payloadPart, signaturePart] = parts
  if (protectedPart === undefined || payloadPart === undefined || signaturePart === undefined || parts.length !== 3) {
    throw new FormatError('token', 'is not three parts with a dot between each')
  }
  const header = parseForeignJsonObject(decodeBase64url(protectedPart, 'token.header'), 'token.header', headerBytesMax)
  const claims = parseForeignJsonObject(decodeBase64url(payloadPart, 'token.payload'), 'token.payload', payloadBytesMax)
  const algorithm = requiredText(header, 'alg', 'token.header')
  if (/^none$/i.test(algorithm)) {
    throw new EvidenceError('ERR_EVIDENCE_UNSIGNED', `token.header.alg: is ${algorithm}, so nobody signed the token`)
  }
  // RFC 7515 §4.1.11: what `crit` names must be understood, and no extension is. RFC 7797 `b64` is one.
  if (Object.hasOwn(header, 'crit') || Object.hasOwn(header, 'b64')) {
    throw new EvidenceError('ERR_EVIDENCE_UNSUPPORTED', 'token.header: has crit or b64; no JWS extension is read here')
  }
  const signature = decodeBase64url(signaturePart, 'token.signature')
  if (signature.length > signatureBytesMax) {
    throw new FormatError('token.signature', `has ${signature.length} bytes, at most ${signatureBytesMax}`)
  }
  return {
    algorithm,
    kid: optionalText(header, 'kid', 'token.header'),
    header,
    claims,
    signed: encodeUtf8(`${protectedPart}.${payloadPart}`),
    signature,
  }
}

/**
 * Is this token of an issuer that the relying party trusts, and valid at `now`? The issuer is the one whose name is the
 * token's `iss` (a token without `iss` is of an issuer named by the empty string, if there is one), the keys are of its
 * JWKS alone: `jku`, `x5u`, `x5c` and `jwk` of the token are never followed, and a `jku` that points away from `iss` is
 * refused. What the claims say has not been judged. Throws EvidenceError.
 */
export async function verifyJwt(token: string, options: VerifyJwtOptions): Promise<VerifiedJwt> {
  const { now, algorithms } = options
  if (!Number.isFinite(now)) throw new RangeError(`now: ${now}`)
  const jwt = reading(() => parseJwt(token))
  const algorithm = jwsAlgorithms.find((name) => name === jwt.algorithm && algorithms.includes(name))
  if (algorithm === undefined) {
    throw new EvidenceError(
      'ERR_EVIDENCE_SIGNATURE',
      `token.header.alg: is ${shown(jwt.algorithm)}, expected one of ${algorithms.join(', ')}`,
    )
  }
  const { signatureLength } = schemes[algorithm]
  if (signatureLength !== undefined && jwt.signature.length !== signatureLength) {
    throw new EvidenceError(
      'ERR_EVIDENCE_SIGNATURE',
      `token.signature: has ${jwt.signature.length} bytes, ${algorithm} has ${signatureLength}`,
    )
  }
  const issuers = trustedIssuersOf(jwt, options)
  const signers = await signersOf(jwt, algorithm, issuers)
  const [first] = signers
  if (first === undefined) {
    throw new EvidenceError('ERR_EVIDENCE_SIGNATURE', 'token.signature: is of none of its issuer’s keys')
  }
  const times = reading(() => timesOf(jwt.claims))
  checkTimes(times, options)
  // One key listed as real and as simulated: doubt goes against it.
  const issuer = signers.find(({ simulated }) => simulated) ?? first
  return { ...jwt, algorithm, issuer, simulated: issuer.simulated, ...times }
}

function trustedIssuersOf(jwt: Jwt, { issuers, tee }: VerifyJwtOptions): TrustedIssuer[] {
  const name = reading(() => optionalText(jwt.claims, 'iss', 'token.payload'))
  if (name === '') throw new EvidenceError('ERR_EVIDENCE_MALFORMED', 'token.payload.iss: is empty')
  const jku = reading(() => optionalText(jwt.header, 'jku', 'token.header'))
  if (jku !== undefined && (name === undefined || originOf(jku) === undefined || originOf(jku) !== originOf(name))) {
    throw new EvidenceError(
      'ERR_EVIDENCE_ISSUER_UNKNOWN',
      `token.header.jku: points to ${shown(jku)}, which is no place of its issuer ${shown(name ?? 'none')}`,
    )
  }
  const trusted = issuers.filter((issuer) => issuer.tee === tee && issuer.issuer === (name ?? ''))
  if (trusted.length === 0) {
    throw new EvidenceError(
      'ERR_EVIDENCE_ISSUER_UNKNOWN',
      `token.payload.iss: ${name === undefined ? 'is missing' : shown(name)}, which is no trusted issuer of ${tee} tokens; add it with its keys if you trust it`,
    )
  }
  return trusted
}

function originOf(address: string): string | undefined {
  const url = URL.parse(address)
  return url?.protocol === 'https:' && url.username === '' && url.password === '' ? url.origin : undefined
}

/** Every given issuer one of whose keys signed the token. */
async function signersOf(
  jwt: Jwt,
  algorithm: JwsAlgorithm,
  issuers: readonly TrustedIssuer[],
): Promise<TrustedIssuer[]> {
  const pairs = issuers.flatMap((issuer): [TrustedIssuer, JwksKey][] => {
    const keys = reading(() => jwksKeysFor(issuer.jwks, jwt.kid, algorithm))
    return keys.map((key) => [issuer, key])
  })
  if (pairs.length === 0) {
    throw new EvidenceError(
      'ERR_EVIDENCE_SIGNATURE',
      `token.header.kid: ${jwt.kid === undefined ? 'is missing' : shown(jwt.kid)}, and its issuer's JWKS has no ${algorithm} key for it; fetch the JWKS again`,
    )
  }
  if (pairs.length > keysTriedMax) {
    throw new EvidenceError(
      'ERR_EVIDENCE_SIGNATURE',
      `token.header.kid: fits ${pairs.length} keys, at most ${keysTriedMax} are tried; give fewer`,
    )
  }
  const signers: TrustedIssuer[] = []
  for (const [issuer, { spki }] of pairs) {
    if (await verifySignature(schemes[algorithm].verifies, spki, jwt.signed, jwt.signature)) signers.push(issuer)
  }
  return signers
}

type Times = Pick<VerifiedJwt, 'issuedAt' | 'notBefore' | 'expiresAt'>

function timesOf(claims: JsonObject): Times {
  return { issuedAt: time(claims, 'iat'), notBefore: time(claims, 'nbf'), expiresAt: time(claims, 'exp') }
}

function time(claims: JsonObject, name: string): number | undefined {
  const value = Object.hasOwn(claims, name) ? claims[name] : undefined
  if (value === undefined) return undefined
  // RFC 7519 §2 lets NumericDate have a fraction; no issuer writes one, and rounding would need a direction.
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
    throw new FormatError(`token.payload.${name}`, 'is not a whole number of seconds')
  }
  return value
}

function checkTimes({ issuedAt, notBefore, expiresAt }: Times, { now, expiry }: VerifyJwtOptions): void {
  if (expiresAt === undefined && expiry === 'required') {
    throw new EvidenceError('ERR_EVIDENCE_MALFORMED', 'token.payload.exp: is missing')
  }
  const from = Math.max(issuedAt ?? 0, notBefore ?? 0)
  if (now < from) {
    throw new EvidenceError(
      'ERR_EVIDENCE_NOT_YET_VALID',
      `token is valid from ${instant(from)}, now is ${instant(now)}; check the clock`,
    )
  }
  // RFC 7519 §4.1.4: not on the second of `exp` either.
  if (expiresAt !== undefined && now >= expiresAt) {
    throw new EvidenceError(
      'ERR_EVIDENCE_EXPIRED',
      `token expired at ${instant(expiresAt)}, now is ${instant(now)}; get a fresh one`,
    )
  }
}

function instant(seconds: number): string {
  const milliseconds = seconds * 1000
  return Math.abs(milliseconds) <= 8.64e15 ? new Date(milliseconds).toISOString() : `second ${seconds}`
}

/** A token's own text in a message: short, and without characters that a terminal would act on. */
function shown(text: string): string {
  const safe = text.replace(/[^\x20-\x7e]/g, '?')
  return safe.length > 80 ? `${safe.slice(0, 80)}…` : safe
}
