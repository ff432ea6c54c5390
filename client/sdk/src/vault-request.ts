import { encodeBase64url } from '@cella/bytes'
import type { Role } from '@cella/documents'
import { type MemberRequest, memberRequestBytes } from '@cella/events'
import { ed25519Sign } from '@cella/primitives'
import { accountOf } from '@cella/release'
import { SdkError } from './error.ts'
import type { Session } from './session.ts'
import { appraiseVault, gatherTerms } from './vaults.ts'

/** What is sent to a vault that one's own terms accept, signed by the account under a membership with one of `roles`. */
export async function memberRequest(
  session: Session,
  options: Pick<MemberRequest, 'call' | 'vault'> & {
    readonly roles: readonly Role[]
    /** What else is signed. */
    readonly more?: Pick<MemberRequest, 'entries' | 'grants' | 'last'>
    /** Envelopes to send beside those that show the membership. */
    readonly envelopes?: readonly string[]
  },
) {
  const { call, vault, roles, more, envelopes = [] } = options
  const organisation = await session.organisation()
  const keys = await session.keys()
  const { terms, documents } = await gatherTerms(session, organisation)
  await appraiseVault(session, { vault, organisation, terms: terms.payload, documents })
  const membership = documents
    .all('cella/membership')
    .find(
      (document) =>
        document.payload.organisation === organisation &&
        accountOf(document.payload) === keys.account.keyId &&
        roles.some((role) => document.payload.roles.includes(role)) &&
        documents.counts(document),
    )
  if (membership === undefined) {
    throw new SdkError('ERR_PROFILE_INCOMPLETE', `this account is no ${roles.join(' or ')} of its organisation`, {
      hint: 'a holder of root keys takes it in: cella org member add CARD --role …',
    })
  }
  const nonce = await session.manager.vaultNonce(vault)
  const request: MemberRequest = {
    call,
    membership: membership.digest,
    nonce,
    organisation,
    vault,
    ...more,
  }
  const needed = (['cella/organisation', 'cella/membership', 'cella/terms'] as const).flatMap((type) =>
    documents.all(type).filter((document) => (document.payload.organisation ?? document.digest) === organisation),
  )
  return {
    organisation,
    membership,
    sent: {
      organisation,
      membership: membership.digest,
      documents: [...new Set([...needed.map(({ envelope }) => envelope), ...envelopes])],
      nonce,
      signature: encodeBase64url(ed25519Sign(keys.account.seed.expose(), memberRequestBytes(request))),
    },
  }
}
