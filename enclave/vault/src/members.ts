import { type Digest, decodeBase64url, encodeUtf8 } from '@cella/bytes'
import type { Role, SignedDocument } from '@cella/documents'
import { type EventReader, type MemberRequest, memberRequestBytes } from '@cella/events'
import { parseLogPolicy, verifyCheckpoint, type WitnessTimes } from '@cella/log'
import { ed25519Verify } from '@cella/primitives'
import { accountOf, type DocumentSet } from '@cella/release'
import { VaultError } from './error.ts'

/**
 * The membership under which a request is made: in the log, in force, with one of `roles`, of the account that signed.
 * Throws ERR_NOT_ENTITLED with one text for all causes but a document that is missing.
 */
export function requireMember(
  request: MemberRequest,
  signature: string,
  options: { documents: DocumentSet; checkpoint: Uint8Array; size: number; roles: readonly Role[] },
): SignedDocument<'cella/membership'> {
  const { documents, checkpoint, size, roles } = options
  const document = documents.find('cella/membership', request.membership)
  if (document === undefined) {
    throw new VaultError('ERR_DOCUMENT_MISSING', `membership ${request.membership} is not among the documents`)
  }
  const times = witnessedTimes(documents, request.organisation, checkpoint)
  const { payload } = document
  const key = decodeBase64url(payload.signingKey, 'signingKey')
  const isEntitled =
    payload.organisation === request.organisation &&
    roles.some((role) => standsAs(document, role, documents, size)) &&
    isInForce(payload, times) &&
    ed25519Verify(key, memberRequestBytes(request), decodeBase64url(signature, 'signature'))
  if (isEntitled) return document
  throw new VaultError(
    'ERR_NOT_ENTITLED',
    `the request is not of a member in force with the role ${roles.join(' or ')}`,
  )
}

/**
 * Who reads an organisation's events: its auditors and the regulators it took in; where it has none, its publishers.
 * In order of their digests, so that all vaults come to the same ones.
 */
export function readersOf(
  organisation: Digest,
  { documents, times, size }: { documents: DocumentSet; times: WitnessTimes | null; size: number },
): EventReader[] {
  if (times === null) return []
  const members = documents
    .all('cella/membership')
    .filter(({ payload }) => payload.organisation === organisation && isInForce(payload, times))
    .sort((a, b) => (a.digest < b.digest ? -1 : 1))
  const withRole = (roles: readonly Role[]) =>
    members.filter((document) => roles.some((role) => standsAs(document, role, documents, size)))
  const auditors = withRole(['auditor', 'regulator'])
  return (auditors.length > 0 ? auditors : withRole(['publisher'])).map(({ payload }) => ({
    publicKey: decodeBase64url(payload.hpkeKey, 'hpkeKey'),
  }))
}

function standsAs(
  document: SignedDocument<'cella/membership'>,
  role: Role,
  documents: DocumentSet,
  size: number,
): boolean {
  const { payload } = document
  return documents.membershipAt(payload.organisation, accountOf(payload), role, size)?.digest === document.digest
}

function isInForce(payload: { notBefore: number; notAfter: number }, times: WitnessTimes): boolean {
  return payload.notBefore <= times.earliest && times.latest <= payload.notAfter
}

/** What the witnesses of the organisation's own terms say that it is; what the host's witnesses say does not count. */
function witnessedTimes(documents: DocumentSet, organisation: Digest, checkpoint: Uint8Array): WitnessTimes {
  const { payload } = documents.terms(organisation)
  const { times } = verifyCheckpoint(checkpoint, parseLogPolicy(encodeUtf8(payload.log)))
  if (times !== undefined) return times
  throw new VaultError('ERR_NOT_ENTITLED', 'the organisation’s terms name no witnesses: nobody tells the time')
}
