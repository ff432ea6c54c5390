import { canonicalJson, decodeBase64url, encodeUtf8, FormatError, type Json, parseCanonicalJson } from '@cella/bytes'
import { bytesField, documentBytesMax } from '@cella/documents'
import { leafLength } from '@cella/log'
import { logSignersShownMax } from '@cella/release'
import { z } from 'zod'
import { ReceiptError } from './error.ts'
import { signerProofSchema } from './signer-proof.ts'

/** Largest bundle that is read, in bytes. */
export const receiptBytesMax = 33_554_432

const envelope = z.string().min(1).max(documentBytesMax)

/** Where a leaf stands: its 64 bytes, and a tlog-proof text. */
const placeSchema = z.strictObject({
  leaf: bytesField({ exactly: leafLength }),
  proof: z.string().min(1).max(1_000_000),
})
/** A document with its place, found by its tag. */
const publishedSchema = z.strictObject({ document: envelope, ...placeSchema.shape })
export type PublishedDocument = z.infer<typeof publishedSchema>
/** A statement of an enclave with its place: the leaf commits to its digest with `salt`, 32 bytes. */
const committedSchema = z.strictObject({ ...publishedSchema.shape, salt: bytesField({ exactly: 32 }) })
export type CommittedDocument = z.infer<typeof committedSchema>

const json: z.ZodType<Json> = z.json() as z.ZodType<Json>
const enclaveSchema = z.strictObject({ binding: z.record(z.string().max(100), json), evidence: json })
export type EnclaveStatement = z.infer<typeof enclaveSchema>

const bundleSchema = z.strictObject({
  format: z.literal('cella-receipt/1'),
  receipt: committedSchema,
  decisions: z.array(committedSchema).min(1).max(128),
  /** Everything that the run relied on: contract, manifests, grants, approvals, organisations, memberships, terms, builds. */
  documents: z.array(publishedSchema).min(1).max(2048),
  evidence: z.strictObject({ worker: enclaveSchema, vaults: z.array(enclaveSchema).min(1).max(8) }),
  /** Which code holds the log's key, oldest first: the newest statements under the checkpoint. Older bundles have none. */
  logSigners: z.array(signerProofSchema).min(1).max(logSignersShownMax).optional(),
})
export type ReceiptBundle = z.infer<typeof bundleSchema>

/**
 * Reads a bundle: canonical JSON of at most 32 MiB, no unknown member, every length right. Nothing in it is verified.
 * Throws ReceiptError.
 */
export function parseReceiptBundle(bytes: Uint8Array): ReceiptBundle {
  let value: Json
  try {
    value = parseCanonicalJson(bytes, 'receipt', receiptBytesMax)
  } catch (cause) {
    if (!(cause instanceof FormatError)) throw cause
    throw malformed(cause.message, cause)
  }
  return checked(value)
}

/** The inverse of `parseReceiptBundle`; refuses what it would refuse. */
export function encodeReceiptBundle(bundle: ReceiptBundle): Uint8Array {
  return encodeUtf8(canonicalJson(checked(bundle)))
}

function checked(value: unknown): ReceiptBundle {
  const parsed = bundleSchema.safeParse(value)
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]
  throw malformed(`receipt: ${issue?.path.join('.') || 'it'}: ${issue?.message ?? 'is not a receipt bundle'}`)
}

function malformed(problem: string, cause?: unknown): ReceiptError {
  return new ReceiptError(
    'ERR_RECEIPT_MALFORMED',
    `${problem}; a receipt is the file that \`cella receipt show --output FILE\` writes`,
    { cause },
  )
}

/** Raw bytes of a field that the schema has checked. */
export function bytesOf(text: string): Uint8Array {
  return decodeBase64url(text, 'bytes')
}
