import {
  canonicalJson,
  type Digest,
  decodeBase64url,
  decodeUtf8,
  encodeBase64url,
  encodeUtf8,
  FormatError,
  parseCanonicalJson,
} from '@cella/bytes'
import { digestOf, ed25519PublicKey, ed25519Sign, ed25519Verify, type KeyId, keyIdOf } from '@cella/primitives'
import { z } from 'zod'
import { grantSchema, keyCopySchema, manifestSchema } from './asset.ts'
import { attestationPolicySchema } from './attestation-policy.ts'
import {
  approvalSchema,
  contractSchema,
  decisionSchema,
  receiptSchema,
  secretDecisionSchema,
  workflowSchema,
} from './contract.ts'
import { DocumentError } from './error.ts'
import { invitationSchema } from './invitation.ts'
import { joinSchema } from './join.ts'
import { buildSchema, membershipSchema, organisationSchema, revocationSchema, termsSchema } from './organisation.ts'
import { requestSchema, responseSchema } from './request.ts'
import { sourceSchema } from './source.ts'

/** Largest document that is read, in bytes of its envelope. */
export const documentBytesMax = 262_144

export const documentSchemas = {
  'cella/organisation': organisationSchema,
  'cella/membership': membershipSchema,
  'cella/terms': termsSchema,
  'cella/build': buildSchema,
  'cella/revocation': revocationSchema,
  'cella/attestation-policy': attestationPolicySchema,
  'cella/invitation': invitationSchema,
  'cella/manifest': manifestSchema,
  'cella/grant': grantSchema,
  'cella/source': sourceSchema,
  'cella/key-copy': keyCopySchema,
  'cella/workflow': workflowSchema,
  'cella/contract': contractSchema,
  'cella/request': requestSchema,
  'cella/response': responseSchema,
  'cella/approval': approvalSchema,
  'cella/decision': decisionSchema,
  'cella/secret-decision': secretDecisionSchema,
  'cella/receipt': receiptSchema,
  'cella/join': joinSchema,
} as const

export type DocumentType = keyof typeof documentSchemas
export type Payload<Type extends DocumentType = DocumentType> = {
  [Name in Type]: z.infer<(typeof documentSchemas)[Name]>
}[Type]

/**
 * A document that was parsed but whose signatures were NOT checked yet. `digest` is SHA-256 over the exact payload
 * bytes, so two envelopes of one payload have one digest.
 */
export interface Document<Type extends DocumentType = DocumentType> {
  readonly type: Type
  readonly payload: Payload<Type>
  readonly digest: Digest
  /** The envelope: canonical JSON text of a JWS in general serialization (RFC 7515 §7.2.1). */
  readonly envelope: string
  /** In the order `signer`, then `cosigners`. */
  readonly signatures: readonly { readonly protected: string; readonly signature: string }[]
  readonly signers: readonly KeyId[]
}

declare const verified: unique symbol
/** A document whose every signature was checked against the public key of the named signer. */
export type SignedDocument<Type extends DocumentType = DocumentType> = Document<Type> & { readonly [verified]: true }

const envelopeSchema = z.strictObject({
  payload: z.string(),
  signatures: z
    .array(z.strictObject({ protected: z.string(), signature: z.string() }))
    .min(1)
    .max(16),
})

/**
 * Reads an envelope. Checks size, one accepted encoding at each layer, the schema of its type with no unknown member,
 * and that each protected header is exactly `{alg: Ed25519, kid: signer, typ: type}`. Does not check signatures.
 */
export function parseDocument(envelope: string): Document {
  try {
    return parse(envelope)
  } catch (cause) {
    if (cause instanceof FormatError) throw malformed(cause.message, cause)
    throw cause
  }
}

/** As `parseDocument`, and refuses any other type. */
export function parseDocumentOf<Type extends DocumentType>(type: Type, envelope: string): Document<Type> {
  const document = parseDocument(envelope)
  if (!isType(document, type)) throw malformed(`expected a document of type ${type}, got ${document.type}`)
  return document
}

/** Narrows a document to `type`. */
export function isType<Type extends DocumentType>(document: Document, type: Type): document is Document<Type> {
  return document.type === type
}

function parse(envelope: string): Document {
  if (envelope.length > documentBytesMax) {
    throw malformed(`has ${envelope.length} characters, at most ${documentBytesMax} are read`)
  }
  const outer = envelopeSchema.safeParse(parseCanonicalJson(encodeUtf8(envelope), 'document', documentBytesMax))
  if (!outer.success) throw malformed(`is not a JWS in general serialization: ${firstIssue(outer.error)}`)
  const payloadBytes = decodeBase64url(outer.data.payload, 'payload')
  const payload = readPayload(payloadBytes)
  const { type } = payload
  const signers = signersOf(payload)
  if (outer.data.signatures.length !== signers.length) {
    throw malformed(`${type}: names ${signers.length} signers and has ${outer.data.signatures.length} signatures`)
  }
  for (const [index, { protected: header, signature }] of outer.data.signatures.entries()) {
    if (decodeBase64url(signature, 'signature').length !== 64) throw malformed(`${type}: signature is not 64 bytes`)
    const expected = protectedHeader(payload.type, signers[index]!)
    const text = decodeUtf8(decodeBase64url(header, 'protected'), 'protected')
    if (text !== expected) {
      throw new DocumentError(
        'ERR_DOCUMENT_SIGNATURE',
        `${type}: the protected header of signature ${index} is not ${expected}`,
      )
    }
  }
  return {
    type: payload.type,
    payload,
    digest: digestOf(payloadBytes),
    envelope,
    signatures: outer.data.signatures,
    signers,
  }
}

function readPayload(bytes: Uint8Array): Payload {
  const json = parseCanonicalJson(bytes, 'payload', documentBytesMax)
  const type = typeof json === 'object' && json !== null && 'type' in json ? json.type : undefined
  if (typeof type !== 'string' || !Object.hasOwn(documentSchemas, type)) {
    throw malformed('its payload has no known "type"')
  }
  const result = documentSchemas[type as DocumentType].safeParse(json)
  if (!result.success) throw malformed(`${type}: ${firstIssue(result.error)}`)
  return result.data as Payload
}

/** The payload in an envelope’s member of that name, by its schema. Throws DocumentError. */
export function parsePayload(encoded: string): Payload {
  try {
    return readPayload(decodeBase64url(encoded, 'payload'))
  } catch (cause) {
    if (cause instanceof FormatError) throw malformed(cause.message, cause)
    throw cause
  }
}

/** Base64url of the canonical JSON that is signed and hashed. */
export function encodePayload(payload: Payload): string {
  return encodeBase64url(encodeUtf8(canonicalJson(payload)))
}

/** Who signs: `signer`, then `cosigners`. */
export function signersOf(payload: Payload): readonly KeyId[] {
  const signers = 'cosigners' in payload ? [payload.signer, ...payload.cosigners] : [payload.signer]
  // Each once, so that one key can't count twice towards a threshold.
  if (new Set(signers).size !== signers.length) throw malformed(`${payload.type}: names a signer twice`)
  return signers
}

function protectedHeader(type: DocumentType, signer: KeyId): string {
  return canonicalJson({ alg: 'Ed25519', kid: signer, typ: type })
}

/** What is signed: RFC 7515 §5.1, step 5. Both parts are base64url already. */
function signingInput(header: string, payload: string): Uint8Array {
  return encodeUtf8(`${header}.${payload}`)
}

/** What this signer signs of a payload. */
export function signingInputOf(payload: Payload, signer: KeyId): Uint8Array {
  return signingInput(encodedHeader(payload.type, signer), encodePayload(payload))
}

function encodedHeader(type: DocumentType, signer: KeyId): string {
  return encodeBase64url(encodeUtf8(protectedHeader(type, signer)))
}

/** The envelope of a payload with the signatures (base64url) of all whom it names. */
export function envelopeOf(payload: Payload, signatureOf: (signer: KeyId) => string): string {
  const signatures = signersOf(payload).map((signer) => ({
    protected: encodedHeader(payload.type, signer),
    signature: signatureOf(signer),
  }))
  return canonicalJson({ payload: encodePayload(payload), signatures })
}

/** Seeds are looked up by key id: a document is signed by everyone it names, at once. */
export async function signDocument<Type extends DocumentType>(
  payload: Payload<Type>,
  seeds: readonly Uint8Array[],
): Promise<SignedDocument<Type>> {
  const keys = new Map<KeyId, Uint8Array>(seeds.map((seed) => [keyIdOf(ed25519PublicKey(seed)), seed]))
  const envelope = envelopeOf(payload, (signer) => {
    const seed = keys.get(signer)
    if (seed === undefined) throw new TypeError(`signDocument: no seed for signer ${signer}`)
    return encodeBase64url(ed25519Sign(seed, signingInputOf(payload, signer)))
  })
  // Read back through the strict reader, so that nothing is signed that nobody would accept.
  return parseDocument(envelope) as SignedDocument<Type>
}

/**
 * Checks every signature against the public key that `keyOf` knows for its signer (32 bytes). Whether that signer was
 * entitled to sign is not decided here. Throws DocumentError.
 */
export async function verifyDocument<Type extends DocumentType>(
  document: Document<Type>,
  keyOf: (signer: KeyId) => Uint8Array | undefined,
): Promise<SignedDocument<Type>> {
  const payload = (JSON.parse(document.envelope) as { payload: string }).payload
  for (const [index, { protected: header, signature }] of document.signatures.entries()) {
    const signer = document.signers[index]!
    const publicKey = keyOf(signer)
    if (publicKey === undefined || keyIdOf(publicKey) !== signer) {
      throw new DocumentError('ERR_DOCUMENT_SIGNER', `${document.type} ${document.digest}: signer ${signer} is unknown`)
    }
    // The reader has seen to it that the header names this algorithm and no other.
    if (!ed25519Verify(publicKey, signingInput(header, payload), decodeBase64url(signature, 'signature'))) {
      throw new DocumentError(
        'ERR_DOCUMENT_SIGNATURE',
        `${document.type} ${document.digest}: the signature of ${signer} does not verify`,
      )
    }
  }
  return document as SignedDocument<Type>
}

function malformed(problem: string, cause?: unknown): DocumentError {
  return new DocumentError('ERR_DOCUMENT_MALFORMED', `document ${problem}`, { cause })
}

function firstIssue(error: z.ZodError): string {
  const issue = error.issues[0]
  return issue === undefined ? 'is not valid' : `${issue.path.join('.') || 'payload'}: ${issue.message}`
}
