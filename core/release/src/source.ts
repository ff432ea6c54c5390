import {
  concatBytes,
  type Digest,
  decodeBase64,
  decodeBase64url,
  decodeHex,
  decodeUtf8,
  encodeUtf8,
  equalBytes,
  FormatError,
} from '@cella/bytes'
import type { Source } from '@cella/documents'
import { digestOf, ecdsaSha256Verify, ed25519Verify } from '@cella/primitives'
import { z } from 'zod'
import type { DocumentSet } from './document-set.ts'
import { ReleaseError } from './error.ts'

// DSSE 1.0 (secure-systems-lab/dsse) around an in-toto Statement v1. Members that are not read here may be there: the formats
// are others', and say that readers ignore them.

const payloadType = 'application/vnd.in-toto+json'
const statementCharactersMax = 65_536

const envelopeSchema = z.object({
  payloadType: z.literal(payloadType),
  payload: z.string().min(1),
  signatures: z
    .array(z.object({ sig: z.string().min(1).max(1024) }))
    .min(1)
    .max(16),
})
const statementSchema = z.object({
  _type: z.literal('https://in-toto.io/Statement/v1'),
  subject: z
    .array(z.object({ digest: z.record(z.string().max(100), z.string().max(256)) }))
    .min(1)
    .max(1024),
  predicateType: z.string().min(1).max(1000),
})

/**
 * The type of the predicate of an in-toto statement that the key in `spki` (Ed25519, or ECDSA with SHA-256) signed about the file
 * with this SHA-256. Throws ReleaseError ERR_SOURCE_MALFORMED, ERR_SOURCE_SIGNATURE or ERR_SOURCE_SUBJECT.
 */
export function verifyStatement(statement: string, { spki, original }: { spki: Uint8Array; original: Digest }): string {
  if (statement.length > statementCharactersMax) throw malformed(`has ${statement.length} characters`)
  const envelope = read(envelopeSchema, statement, 'envelope')
  const payload = bytes(envelope.payload)
  // DSSE, protocol: PAE(type, body)
  const head = `DSSEv1 ${encodeUtf8(payloadType).length} ${payloadType} ${payload.length} `
  const message = concatBytes(encodeUtf8(head), payload)
  if (!envelope.signatures.some(({ sig }) => isSigned(spki, message, bytes(sig)))) {
    throw new ReleaseError('ERR_SOURCE_SIGNATURE', 'no signature of the statement is of the deliverer’s key')
  }
  let text: string
  try {
    text = decodeUtf8(payload, 'statement')
  } catch (cause) {
    if (!(cause instanceof FormatError)) throw cause
    throw malformed('is not UTF-8', cause)
  }
  const { subject, predicateType } = read(statementSchema, text, 'statement')
  if (!subject.some(({ digest }) => digest.sha256 === original)) {
    throw new ReleaseError('ERR_SOURCE_SUBJECT', `the statement is not about a file with SHA-256 ${original}`)
  }
  return predicateType
}

/**
 * Deliverers whose statements about an asset stand in the log and verify here: the SHA-256 of each one's key. A detached JWS is
 * not among them, for who has no file can't verify it.
 */
export function sourcesOf(documents: DocumentSet, manifest: { digest: Digest; organisation: Digest }): Digest[] {
  const keys = documents
    .all('cella/source')
    .filter(
      (source) =>
        source.payload.manifest === manifest.digest &&
        source.payload.organisation === manifest.organisation &&
        source.payload.form === 'in-toto' &&
        documents.counts(source) &&
        verifies(source.payload),
    )
    .map(({ payload }) => digestOf(decodeBase64url(payload.key, 'key')))
  return [...new Set(keys)].sort().slice(0, sourcesMax)
}

const sourcesMax = 32

function verifies({ statement, key, original }: Source): boolean {
  try {
    verifyStatement(statement, { spki: decodeBase64url(key, 'key'), original })
    return true
  } catch (error) {
    if (error instanceof ReleaseError) return false
    throw error
  }
}

// RFC 8410 §4: all of a DER SubjectPublicKeyInfo before the 32 bytes of an Ed25519 key.
const ed25519Prefix = decodeHex('302a300506032b6570032100', 'SPKI')

function isSigned(spki: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  const { length } = ed25519Prefix
  if (spki.length === length + 32 && equalBytes(spki.subarray(0, length), ed25519Prefix)) {
    return ed25519Verify(spki.subarray(length), message, signature)
  }
  return ecdsaSha256Verify(spki, message, signature)
}

function read<Value>(schema: z.ZodType<Value>, text: string, what: string): Value {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (cause) {
    throw malformed(`its ${what} is not JSON`, cause)
  }
  const parsed = schema.safeParse(json)
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]
  throw malformed(`its ${what}: ${issue?.path.join('.')} ${issue?.message}`)
}

function bytes(base64: string): Uint8Array {
  try {
    return decodeBase64(base64, 'base64')
  } catch (cause) {
    if (!(cause instanceof FormatError)) throw cause
    throw malformed('has something that is not base64', cause)
  }
}

function malformed(problem: string, cause?: unknown): ReleaseError {
  return new ReleaseError('ERR_SOURCE_MALFORMED', `the deliverer’s statement ${problem}`, { cause })
}
