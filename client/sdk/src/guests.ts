import type { Payload, SignedDocument } from '@cella/documents'
import { gather } from './documents.ts'
import { SdkError } from './error.ts'
import { ownRoots, signedBy } from './roots.ts'
import type { Session } from './session.ts'
import { type Logged, revokeDocument, submitDocument } from './submit.ts'

type Policy = Payload<'cella/attestation-policy'>

/** What guests of secrets are appraised by, without what every document has. */
export type GuestPolicyDraft = Pick<Policy, 'name' | 'notBefore' | 'notAfter' | 'roots' | 'policy'>

/** The organisation's own attestation policies in force in the log, by name. */
export async function guestPolicies(session: Session): Promise<SignedDocument<'cella/attestation-policy'>[]> {
  const organisation = await session.organisation()
  const { documents } = await gather(session, { organisations: [organisation] })
  return documents
    .all('cella/attestation-policy')
    .filter((document) => document.payload.organisation === organisation && documents.counts(document))
    .sort((a, b) => (a.payload.name < b.payload.name ? -1 : 1) || a.payload.revision - b.payload.revision)
}

/**
 * Puts a policy into the log, by which vaults appraise guests that ask for secrets naming it. The revision before is
 * withdrawn after, so that a guest which it accepted and this one doesn't gets nothing more.
 */
export async function publishGuestPolicy(
  session: Session,
  draft: GuestPolicyDraft,
): Promise<Logged<'cella/attestation-policy'>> {
  const organisation = await session.organisation()
  const signers = await ownRoots(session)
  const { documents } = await gather(session, { organisations: [organisation] })
  const known = documents
    .all('cella/attestation-policy')
    .filter(({ payload }) => payload.organisation === organisation && payload.name === draft.name)
  const published = await submitDocument<'cella/attestation-policy'>(
    session,
    {
      type: 'cella/attestation-policy',
      version: 1,
      organisation,
      ...signedBy(signers),
      ...draft,
      revision: Math.max(0, ...known.map(({ payload }) => payload.revision)) + 1,
      // A guest's evidence is over its session's nonce and its key, always.
      freshness: 'binding',
      issuers: [],
    },
    { signers },
  )
  for (const old of known.filter((document) => documents.counts(document))) {
    const reason = `replaced by revision ${published.document.payload.revision}`
    const replacement = published.document.digest
    await revokeDocument(session, { subject: old.digest, replacement, reason, organisation, signers })
  }
  return published
}

/** Withdraws a policy: no guest gets a secret that names it. Throws ERR_NAME_UNKNOWN where none is in force. */
export async function revokeGuestPolicy(
  session: Session,
  { name, reason }: { name: string; reason: string },
): Promise<Logged<'cella/revocation'>[]> {
  const organisation = await session.organisation()
  const found = (await guestPolicies(session)).filter(({ payload }) => payload.name === name)
  if (found.length === 0) {
    throw new SdkError('ERR_NAME_UNKNOWN', `there is no attestation policy “${name}” in force`, {
      hint: 'cella guests list',
    })
  }
  const signers = await ownRoots(session)
  const revoked: Logged<'cella/revocation'>[] = []
  for (const { digest } of found) {
    revoked.push(await revokeDocument(session, { subject: digest, reason, organisation, signers }))
  }
  return revoked
}
