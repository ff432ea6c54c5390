import { decodeBase64url } from '@cella/bytes'
import type { SignedDocument } from '@cella/documents'
import { type KeyId, keyIdOf } from '@cella/primitives'
import { gather, membersOf, type Session } from '@cella/sdk'
import { CliError } from './error.ts'

/** A member of one's organisation by name, or by the start of the membership's digest; `all` looks at withdrawn ones too. */
export async function findMember(
  session: Session,
  which: string,
  { all = false }: { all?: boolean } = {},
): Promise<SignedDocument<'cella/membership'>> {
  const id = await session.organisation()
  const { documents } = await gather(session, { organisations: [id] })
  const own = documents.all('cella/membership').filter(({ payload }) => payload.organisation === id)
  const fits = ({ digest, payload }: SignedDocument<'cella/membership'>): boolean =>
    payload.name === which || (which.length >= 8 && digest.startsWith(which))
  const inForce = membersOf(documents, id).filter(fits)
  const found = inForce.length === 0 && all ? own.filter(fits) : inForce
  const accounts = new Set(found.map(({ payload }) => payload.signingKey))
  if (found.length === 1 || (all && accounts.size === 1)) return found[0]!
  throw new CliError(
    'ERR_REFUSED',
    found.length === 0 ? `“${which}” is no member` : `“${which}” fits ${found.length} members`,
    'cella org show lists them',
  )
}

/** The member's account: the id of its signing key. */
export function accountOf({ payload }: SignedDocument<'cella/membership'>): KeyId {
  return keyIdOf(decodeBase64url(payload.signingKey, 'signingKey'))
}
