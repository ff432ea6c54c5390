import { type Digest, decodeBase64url, FormatError, type Json } from '@cella/bytes'
import { digestField, nameField } from '@cella/documents'
import { parseForeignJson } from '@cella/evidence'
import { z } from 'zod'
import { VaultError } from '../error.ts'

// The messages of the key broker protocol of Confidential Containers, 0.4.0, as its clients spell them.

/** The one version that is spoken, as its own server demands. */
const kbsVersion = '0.4.0'

/** Evidence with its event log; a wire form of evidence has no more either. */
export const kbsBytesMax = 1_048_576

const json: z.ZodType<Json> = z.json() as z.ZodType<Json>

const authSchema = z.strictObject({
  version: z.string().max(100),
  tee: z.string().max(40),
  /** Whatever it says, SHA-384 is hashed with: the client's default where the answer names nothing else. */
  'extra-params': json,
})

function coordinate(length: number): z.ZodType<string> {
  return z.string().refine((text) => isBytes(text, length), 'is not a coordinate of the curve')
}

const curves = { 'P-256': 32, 'P-521': 66 } as const
const ecKey = (crv: keyof typeof curves) =>
  z.strictObject({
    kty: z.literal('EC'),
    crv: z.literal(crv),
    alg: z.literal('ECDH-ES+A256KW'),
    x: coordinate(curves[crv]),
    y: coordinate(curves[crv]),
  })

const teeKeySchema = z.union([
  ecKey('P-256'),
  ecKey('P-521'),
  z.strictObject({
    kty: z.literal('RSA'),
    alg: z.literal('RSA-OAEP-256'),
    /** 2048 to 8192 bits, no leading zeros. */
    n: z.string().regex(/^[A-Za-z0-9_-]{342,1366}$/),
    e: z.literal('AQAB'),
  }),
])
/** The guest's public key, as a JWK: what a secret is encrypted to. */
export type TeeKey = z.infer<typeof teeKeySchema>

const attestSchema = z.strictObject({
  /** TOML of the guest's own. Its digest is in the evidence's host data, by which policies judge; it is not read here. */
  'init-data': z.union([z.null(), z.strictObject({ format: z.string().max(40), body: z.string() })]).optional(),
  'runtime-data': z.strictObject({ nonce: z.string().max(200), 'tee-pubkey': json }),
  'tee-evidence': z.strictObject({
    primary_evidence: json,
    /** Of devices: bound like the rest, and not looked at. */
    additional_evidence: z.string(),
  }),
})

export interface AuthMessage {
  readonly version: string
  readonly tee: string
}

export interface AttestMessage {
  readonly nonce: string
  readonly key: TeeKey
  readonly primary: Json
  readonly additional: string
}

/** Throws ERR_REQUEST_MALFORMED, ERR_KBS_VERSION. */
export function readAuth(body: Uint8Array): AuthMessage {
  const { version, tee } = read(authSchema, body)
  if (version !== kbsVersion) {
    throw new VaultError('ERR_KBS_VERSION', `protocol version ${kbsVersion} is spoken here, not another`)
  }
  return { version, tee }
}

/** Throws ERR_REQUEST_MALFORMED, ERR_KBS_RUNTIME_DATA. */
export function readAttest(body: Uint8Array): AttestMessage {
  const message = read(attestSchema, body)
  const { nonce, 'tee-pubkey': key } = message['runtime-data']
  const parsed = teeKeySchema.safeParse(key)
  if (!parsed.success) {
    throw new VaultError(
      'ERR_KBS_RUNTIME_DATA',
      'tee-pubkey is no P-256 or P-521 key for ECDH-ES+A256KW and no RSA key for RSA-OAEP-256',
    )
  }
  const { primary_evidence: primary, additional_evidence: additional } = message['tee-evidence']
  return { nonce, key: parsed.data, primary, additional }
}

/** What a guest asks for: `resource/ORGANISATION/SERIES/REVISION`, the last one a number or `latest`. */
export interface SecretPath {
  readonly organisation: Digest
  readonly series: string
  readonly revision: number | 'latest'
}

/** `undefined` for what names no secret. */
export function readSecretPath(segments: readonly string[]): SecretPath | undefined {
  const [organisation, series, tag, ...more] = segments
  const id = digestField.safeParse(organisation)
  if (!id.success || !nameField.safeParse(series).success || tag === undefined || more.length > 0) return undefined
  if (tag !== 'latest' && !/^[1-9][0-9]{0,6}$/.test(tag)) return undefined
  return { organisation: id.data, series: series!, revision: tag === 'latest' ? tag : Number(tag) }
}

function read<Shape>(schema: z.ZodType<Shape>, body: Uint8Array): Shape {
  let value: Json
  try {
    // Strict where clients are not: a member that stands twice could be read in two ways.
    value = parseForeignJson(body, 'request', kbsBytesMax)
  } catch (cause) {
    if (!(cause instanceof FormatError)) throw cause
    throw new VaultError('ERR_REQUEST_MALFORMED', cause.message, { cause })
  }
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]
  throw new VaultError('ERR_REQUEST_MALFORMED', `request.${issue?.path.join('.')}: ${issue?.message}`)
}

function isBytes(text: string, length: number): boolean {
  try {
    return decodeBase64url(text, 'bytes').length === length
  } catch {
    return false
  }
}
