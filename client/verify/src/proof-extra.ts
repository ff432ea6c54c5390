import {
  canonicalJson,
  type Digest,
  decodeBase64url,
  decodeHex,
  encodeBase64url,
  encodeUtf8,
  equalBytes,
  FormatError,
  parseCanonicalJson,
} from '@cella/bytes'
import { bytesField, type DocumentType, parseDocument } from '@cella/documents'
import { commitmentOf, leafLength, parseLeaf, publishedTag } from '@cella/log'
import { encodeSignerProof, parseSignerProof, type SignerProof, signerProofSchema } from '@cella/receipt'
import { z } from 'zod'

// In the `extra` line of a .tlog-proof of ours, so that one file holds all that is needed to judge it: canonical JSON
// {"document": ENVELOPE, "format": "cella-proof/1", "leaf": BASE64URL, "salt": BASE64URL, "signer": {"index", "path",
// "statement"}}; document and salt go together and may be absent, and so may signer. Nothing of it is authenticated but by the leaf, which the proof is of.

const extraBytesMax = 1_048_576

/** What a proof file of ours holds beside the proof. */
export interface ProofExtra {
  /** 64 bytes. */
  readonly leaf: Uint8Array
  /** The document that the leaf commits to with this salt. */
  readonly document: { readonly envelope: string; readonly salt: Uint8Array } | undefined
  /** The newest statement on the code that holds the log's key, with its place under the same checkpoint. */
  readonly signer?: SignerProof | undefined
}

const schema = z
  .strictObject({
    document: z.string().max(extraBytesMax).optional(),
    format: z.literal('cella-proof/1'),
    leaf: bytesField({ exactly: leafLength }),
    salt: bytesField({ exactly: 32 }).optional(),
    signer: signerProofSchema.optional(),
  })
  .refine(({ document, salt }) => (document === undefined) === (salt === undefined), 'a document goes with its salt')

export function encodeProofExtra({ leaf, document, signer }: ProofExtra): Uint8Array {
  return encodeUtf8(
    canonicalJson({
      format: 'cella-proof/1',
      leaf: encodeBase64url(leaf),
      ...(document && { document: document.envelope, salt: encodeBase64url(document.salt) }),
      ...(signer && { signer: encodeSignerProof(signer) }),
    }),
  )
}

/** The inverse of `encodeProofExtra`; nothing is verified. Throws FormatError. */
export function parseProofExtra(bytes: Uint8Array): ProofExtra {
  const parsed = schema.safeParse(parseCanonicalJson(bytes, 'extra', extraBytesMax))
  if (!parsed.success) throw new FormatError('extra', parsed.error.issues[0]?.message ?? 'is not valid')
  const { leaf, document, salt, signer } = parsed.data
  return {
    leaf: decodeBase64url(leaf, 'leaf'),
    document: document === undefined ? undefined : { envelope: document, salt: decodeBase64url(salt ?? '', 'salt') },
    ...(signer && { signer: parseSignerProof(signer) }),
  }
}

/** The document that a leaf is of. Throws FormatError or DocumentError; `problem` says why it is of another. */
export function documentOfLeaf(
  leaf: Uint8Array,
  document: NonNullable<ProofExtra['document']>,
): {
  digest: Digest
  type: DocumentType
  problem: string | undefined
} {
  const { digest, payload } = parseDocument(document.envelope)
  const { kind, commitment, tag } = parseLeaf(leaf)
  const isOwn =
    kind === 'document' &&
    equalBytes(tag, publishedTag(digest)) &&
    equalBytes(commitment, commitmentOf('document', document.salt, decodeHex(digest, 'digest')))
  return { digest, type: payload.type, problem: isOwn ? undefined : 'the entry is not of the document in the file' }
}
