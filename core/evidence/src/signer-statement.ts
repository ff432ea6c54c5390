import { canonicalJson, encodeUtf8, equalBytes, FormatError, type Json, parseCanonicalJson } from '@cella/bytes'
import { EvidenceError } from './error.ts'
import { type Evidence, evidenceJson } from './evidence.ts'
import { parseEvidenceJson } from './verify.ts'

const statementBytesMax = 1_048_576
const buildLengthMax = 200_000

/** What binds a log's key to the code that holds it. Flat, so that it can be shown as it is. */
export interface SignerBinding {
  readonly role: 'log-signer'
  /** The log's key, as C2SP writes it. */
  readonly vkey: string
  /** Of this statement among those on this key, from 0. */
  readonly number: number
  /** Digest of the statement before; null for the first, whose code made the key. */
  readonly previous: string | null
  /** Digest of what the host told the signer when it made the statement. */
  readonly configuration: string
  /** Id of the organisation whose Build documents say to which code the key may pass. */
  readonly builder: string
  /** HPKE public key to which the key was passed, base64url; null for the first. */
  readonly handover: string | null
}

/** Which code holds a log's key, by its own evidence. Nothing of it has been verified. */
export interface SignerStatement {
  readonly binding: SignerBinding
  readonly evidence: Evidence
  /** Envelope of the Build document that names the code. */
  readonly build: string
}

/** The one wire form, canonical JSON: docs/formats/log-signer.md. */
export function encodeSignerStatement({ binding, evidence, build }: SignerStatement): Uint8Array {
  return encodeUtf8(
    canonicalJson({
      binding: { ...binding },
      build,
      evidence: evidenceJson(evidence),
      type: 'cella/log-signer',
      version: 1,
    }),
  )
}

/** The inverse of `encodeSignerStatement`; one encoding is accepted. Throws ERR_EVIDENCE_MALFORMED. */
export function parseSignerStatement(bytes: Uint8Array): SignerStatement {
  let value: { binding?: { [name: string]: Json }; build?: Json; evidence?: Json } | null
  try {
    value = parseCanonicalJson(bytes, 'signer statement', statementBytesMax) as typeof value
  } catch (cause) {
    if (!(cause instanceof FormatError)) throw cause
    throw malformed(cause.message, cause)
  }
  const { vkey, number, previous, configuration, builder, handover } = value?.binding ?? {}
  const build = value?.build
  if (
    typeof vkey !== 'string' ||
    !isCount(number) ||
    !(previous === null || isDigest(previous)) ||
    (previous === null) !== (number === 0) ||
    !isDigest(configuration) ||
    !isDigest(builder) ||
    !(handover === null || typeof handover === 'string') ||
    (handover === null) !== (number === 0) ||
    typeof build !== 'string' ||
    build.length > buildLengthMax ||
    value?.evidence === undefined
  ) {
    throw malformed('a member is missing or has another form')
  }
  const binding = { role: 'log-signer', vkey, number, previous, configuration, builder, handover } as const
  const statement = { binding, build, evidence: parseEvidenceJson(value.evidence) }
  if (!equalBytes(encodeSignerStatement(statement), bytes)) throw malformed('has another form')
  return statement
}

function isCount(value: Json | undefined): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

function isDigest(value: Json | undefined): value is string {
  return typeof value === 'string' && /^[0-9a-f]{64}$/.test(value)
}

function malformed(problem: string, cause?: unknown): EvidenceError {
  return new EvidenceError('ERR_EVIDENCE_MALFORMED', `signer statement: ${problem}`, { cause })
}
