import { type Digest, decodeBase64url, decodeHex, encodeUtf8, equalBytes } from '@cella/bytes'
import { type DocumentType, type Payload, type SignedDocument, signDocument } from '@cella/documents'
import {
  commitmentOf,
  type LeafKind,
  LogError,
  type LogPolicy,
  publishedTag,
  revokedTag,
  verifyOfflineProof,
} from '@cella/log'
import { randomBytes } from '@cella/primitives'
import { SdkError } from './error.ts'
import { logPolicyFor } from './home/anchors.ts'
import type { SigningKey } from './keys.ts'
import type { Locations } from './manager/answers.ts'
import type { Session } from './session.ts'

/** A document that is in the log, as a proof showed. */
export interface Logged<Type extends DocumentType = DocumentType> {
  readonly document: SignedDocument<Type>
  readonly index: number
}

/**
 * Signs, keeps a copy with the salt in the home, submits, and verifies by one's own log policy that the answer's proofs
 * show the document (and, for a revocation, the withdrawal) in the log.
 */
export async function submitDocument<Type extends DocumentType>(
  session: Session,
  payload: Payload<Type>,
  options: { signers: readonly SigningKey[]; locations?: Locations },
): Promise<Logged<Type>> {
  const document = await signDocument<Type>(
    payload,
    options.signers.map(({ seed }) => seed.expose()),
  )
  return submitSigned(session, document, options.locations)
}

/** As `submitDocument`, of what others may have signed. */
export async function submitSigned<Type extends DocumentType>(
  session: Session,
  document: SignedDocument<Type>,
  locations?: Locations,
): Promise<Logged<Type>> {
  const salt = randomBytes(32)
  // Kept first: who loses the answer can submit the same document with the same salt again.
  await session.home.saveDocument(document.envelope, salt)
  const policy = logPolicyFor(await session.anchors(), (await session.info()).log.origin)
  const answer = await session.manager.submit(document.envelope, salt, locations)
  const body = decodeHex(document.digest, 'digest')
  if (answer.digest !== document.digest) {
    throw new SdkError(
      'ERR_PROOF_INVALID',
      `the manager answers about ${answer.digest}, submitted was ${document.digest}`,
    )
  }
  checkProof(answer, { kind: 'document', salt, body, tag: publishedTag(document.digest), policy })
  if (document.payload.type === 'cella/revocation') {
    const { subject } = document.payload
    if (answer.revoked === undefined) {
      throw new SdkError('ERR_PROOF_INVALID', `the manager shows no proof that ${subject} is withdrawn`)
    }
    checkProof(answer.revoked, { kind: 'revocation', salt, body, tag: revokedTag(subject), policy })
  }
  return { document, index: answer.index }
}

/** Throws ERR_PROOF_INVALID unless the proof shows this very leaf at this index in a log that the policy names. */
function checkProof(
  answer: { index: number; leaf: string; proof: string },
  expected: { kind: LeafKind; salt: Uint8Array; body: Uint8Array; tag: Uint8Array; policy: LogPolicy },
): void {
  const wrong = (problem: string, cause?: unknown): SdkError =>
    new SdkError('ERR_PROOF_INVALID', `the manager’s proof for index ${answer.index} is wrong: ${problem}`, {
      cause,
      hint: 'what you submitted may not be in the log; submit it again, and ask the operator',
    })
  try {
    const leaf = decodeBase64url(answer.leaf, 'leaf')
    const entry = verifyOfflineProof({ proofFile: encodeUtf8(answer.proof), leaf, policy: expected.policy })
    if (entry.index !== answer.index) throw wrong(`it is for index ${entry.index}`)
    const commitment = commitmentOf(expected.kind, expected.salt, expected.body)
    const same =
      entry.leaf.kind === expected.kind &&
      equalBytes(entry.leaf.commitment, commitment) &&
      equalBytes(entry.leaf.tag, expected.tag)
    if (!same) throw wrong('the leaf is of something else')
  } catch (error) {
    if (error instanceof LogError) throw wrong(error.message, error)
    throw error
  }
}

/** Withdraws `subject`, signed by the account, or by the organisation's roots where `signers` says so. */
export async function revokeDocument(
  session: Session,
  options: {
    subject: Digest
    reason: string
    replacement?: Digest | null
    organisation: Digest
    signers: readonly SigningKey[]
  },
): Promise<Logged<'cella/revocation'>> {
  const [first, ...others] = options.signers
  return submitDocument<'cella/revocation'>(
    session,
    {
      type: 'cella/revocation',
      version: 1,
      organisation: options.organisation,
      signer: first!.keyId,
      cosigners: others.map(({ keyId }) => keyId),
      subject: options.subject,
      replacement: options.replacement ?? null,
      reason: options.reason,
      issuedAt: session.now(),
    },
    { signers: options.signers },
  )
}
