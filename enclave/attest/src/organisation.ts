import { type Digest, decodeBase64url } from '@cella/bytes'
import {
  type Document,
  type Organisation,
  parseDocumentOf,
  type SignedDocument,
  verifyDocument,
} from '@cella/documents'
import { type KeyId, keyIdOf } from '@cella/primitives'
import { AttestError } from './error.ts'

export const revisionsMax = 64

/** An organisation as its own documents show it: each revision signed by the root keys of the one before. */
export interface KnownOrganisation {
  /** Digest of revision 1. */
  readonly id: Digest
  /** From revision 1 on, none left out. */
  readonly revisions: readonly SignedDocument<'cella/organisation'>[]
}

/**
 * Verifies the revisions of an organisation, 1 first. Nobody vouches for revision 1 but itself: its digest is the id, and
 * whoever relies on the organisation knows that. Throws DocumentError, ERR_ORGANISATION_CHAIN, ERR_DOCUMENT_NOT_ENTITLED.
 */
export async function verifyOrganisation(envelopes: readonly string[]): Promise<KnownOrganisation> {
  if (envelopes.length === 0 || envelopes.length > revisionsMax) {
    throw chain(`has ${envelopes.length} revisions, expected 1 to ${revisionsMax}`)
  }
  const revisions: SignedDocument<'cella/organisation'>[] = []
  for (const envelope of envelopes) {
    const document = parseDocumentOf('cella/organisation', envelope)
    const { payload } = document
    const previous = revisions.at(-1)
    if (payload.revision !== revisions.length + 1) {
      throw chain(
        `revision ${payload.revision} stands where ${revisions.length + 1} is expected; give all, the first first`,
      )
    }
    if (payload.previous !== (previous?.digest ?? null)) {
      throw chain(`revision ${payload.revision} does not name the one before by its digest`)
    }
    if (payload.organisation !== (revisions[0]?.digest ?? null)) {
      throw chain(`revision ${payload.revision} is of another organisation`)
    }
    revisions.push(await verifyRootSigned(document, previous?.payload ?? payload))
  }
  return { id: revisions[0]!.digest, revisions }
}

/** Verifies that at least the threshold of the organisation's root keys, and nobody else, signed `document`. */
export async function verifyRootSigned<Type extends 'cella/organisation' | 'cella/attestation-policy'>(
  document: Document<Type>,
  organisation: Organisation,
): Promise<SignedDocument<Type>> {
  const roots = rootsOf(organisation)
  if (document.signers.length < organisation.threshold || !document.signers.every((signer) => roots.has(signer))) {
    throw new AttestError(
      'ERR_DOCUMENT_NOT_ENTITLED',
      `${document.type} ${document.digest}: ${document.signers.length} signed, needed are ${organisation.threshold} root keys of the organisation and nobody else`,
    )
  }
  return verifyDocument(document, (signer) => roots.get(signer))
}

/** Whether `signers` could sign for the organisation as it is now. */
export function mayStillSign(signers: readonly KeyId[], { revisions }: KnownOrganisation): boolean {
  const newest = revisions.at(-1)!.payload
  const roots = rootsOf(newest)
  return signers.length >= newest.threshold && signers.every((signer) => roots.has(signer))
}

/**
 * The longer of two accounts of one organisation, where one continues the other. Throws ERR_ORGANISATION_CHAIN where they
 * part: its root keys signed two different revisions, and nobody here can tell which is meant.
 */
export function newerOf(known: KnownOrganisation, given: KnownOrganisation): KnownOrganisation {
  const [longer, shorter] = known.revisions.length >= given.revisions.length ? [known, given] : [given, known]
  const parts = shorter.revisions.findIndex(({ digest }, at) => digest !== longer.revisions[at]!.digest)
  if (parts >= 0) throw chain(`revision ${parts + 1} is another document than the one that is known here`)
  return longer
}

function rootsOf(organisation: Organisation): ReadonlyMap<KeyId, Uint8Array> {
  return new Map(
    organisation.rootKeys.map((text) => decodeBase64url(text, 'rootKeys')).map((key) => [keyIdOf(key), key]),
  )
}

function chain(problem: string): AttestError {
  return new AttestError('ERR_ORGANISATION_CHAIN', `organisation: ${problem}`)
}
