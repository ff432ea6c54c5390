import {
  canonicalJson,
  decodeBase64url,
  encodeBase64url,
  encodeUtf8,
  FormatError,
  parseCanonicalJson,
} from '@cella/bytes'
import { ed25519PublicKey, ed25519Sign, ed25519Verify, type KeyId, keyIdOf } from '@cella/primitives'
import { z } from 'zod'
import {
  documentBytesMax,
  encodePayload,
  envelopeOf,
  type Payload,
  parseDocument,
  parsePayload,
  type SignedDocument,
  signersOf,
  signingInputOf,
} from './document.ts'
import { DocumentError } from './error.ts'
import { bytesField } from './fields.ts'

// A document whose signers are not in one place: they sign one after the other, each on a machine of their own.

const draftSchema = z.strictObject({
  format: z.literal('cella-draft/1'),
  /** As in the envelope: base64url of the payload's canonical JSON. */
  payload: z.string().max(documentBytesMax),
  /** Those who have signed: Ed25519 key, 32 bytes, and signature, 64 bytes. */
  signatures: z
    .array(z.strictObject({ key: bytesField({ exactly: 32 }), signature: bytesField({ exactly: 64 }) }))
    .max(16),
})

/** A document on its way to its signers. Every signature in it was checked. */
export interface Draft {
  readonly payload: Payload
  /** By the signer's key id; fewer than the payload names. */
  readonly signatures: ReadonlyMap<KeyId, { readonly key: string; readonly signature: string }>
}

/** Nobody has signed yet. Throws DocumentError for a payload that no reader would accept. */
export function makeDraft(payload: Payload): Draft {
  return { payload: parsePayload(encodePayload(payload)), signatures: new Map() }
}

/** With the signature of one more of those whom the payload names. Throws ERR_DOCUMENT_SIGNER for anyone else. */
export function signDraft({ payload, signatures }: Draft, seed: Uint8Array): Draft {
  const publicKey = ed25519PublicKey(seed)
  const signer = requireNamed(payload, publicKey)
  const signature = encodeBase64url(ed25519Sign(seed, signingInputOf(payload, signer)))
  return { payload, signatures: new Map([...signatures, [signer, { key: encodeBase64url(publicKey), signature }]]) }
}

/** Whose signatures are not there yet, in the payload's order. */
export function unsignedBy({ payload, signatures }: Draft): KeyId[] {
  return signersOf(payload).filter((signer) => !signatures.has(signer))
}

/** The document that all have signed. Throws ERR_DOCUMENT_SIGNER naming who has not. */
export function finishDraft(draft: Draft): SignedDocument {
  const missing = unsignedBy(draft)
  if (missing.length > 0) {
    throw new DocumentError(
      'ERR_DOCUMENT_SIGNER',
      `${draft.payload.type} still has to be signed by ${missing.join(', ')}`,
    )
  }
  const envelope = envelopeOf(draft.payload, (signer) => draft.signatures.get(signer)!.signature)
  return parseDocument(envelope) as SignedDocument
}

/** RFC 8785 JSON; signatures in the payload's order. */
export function encodeDraft({ payload, signatures }: Draft): string {
  return canonicalJson({
    format: 'cella-draft/1',
    payload: encodePayload(payload),
    signatures: signersOf(payload).flatMap((signer) => signatures.get(signer) ?? []),
  })
}

/** Reads a draft and checks every signature in it: docs/formats/documents.md. Throws DocumentError. */
export function parseDraft(text: string): Draft {
  if (text.length > documentBytesMax) {
    throw malformed(`has ${text.length} characters, at most ${documentBytesMax} are read`)
  }
  const parsed = draftSchema.safeParse(readJson(text))
  if (!parsed.success) {
    const issue = parsed.error.issues[0]
    throw malformed(`is none of cella-draft/1: ${issue?.path.join('.')} ${issue?.message}`)
  }
  const payload = parsePayload(parsed.data.payload)
  const signatures = new Map<KeyId, { key: string; signature: string }>()
  for (const { key, signature } of parsed.data.signatures) {
    const publicKey = decodeBase64url(key, 'key')
    const signer = requireNamed(payload, publicKey)
    if (signatures.has(signer)) throw malformed(`has two signatures of ${signer}`)
    if (!ed25519Verify(publicKey, signingInputOf(payload, signer), decodeBase64url(signature, 'signature'))) {
      throw new DocumentError('ERR_DOCUMENT_SIGNATURE', `the draft’s signature of ${signer} does not verify`)
    }
    signatures.set(signer, { key, signature })
  }
  return { payload, signatures }
}

function readJson(text: string): unknown {
  try {
    return parseCanonicalJson(encodeUtf8(text), 'draft', documentBytesMax)
  } catch (cause) {
    if (cause instanceof FormatError) throw malformed(cause.message, cause)
    throw cause
  }
}

function requireNamed(payload: Payload, publicKey: Uint8Array): KeyId {
  const signer = keyIdOf(publicKey)
  if (signersOf(payload).includes(signer)) return signer
  throw new DocumentError('ERR_DOCUMENT_SIGNER', `${payload.type} names no signer ${signer}`)
}

function malformed(problem: string, cause?: unknown): DocumentError {
  return new DocumentError('ERR_DOCUMENT_MALFORMED', `draft ${problem}`, { cause })
}
