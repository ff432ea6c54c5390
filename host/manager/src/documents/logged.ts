import { type Digest, decodeBase64url, decodeHex, encodeBase64url } from '@cella/bytes'
import type { Document } from '@cella/documents'
import { commitmentOf, type Leaf, parseLeaf } from '@cella/log'
import type { Kysely } from 'kysely'
import type { Tables } from '../database/tables.ts'
import { ManagerError } from '../error.ts'
import { keepRestrictions, restrictionsOf } from './catalogue.ts'

/** Where a document stands in the log that an enclave put there itself. */
export interface LoggedAt {
  readonly salt: string
  readonly leaf: string
  readonly index: number
}

/**
 * Keeps a document that an enclave logged, once, so that it is found by what it is `about`. Throws ERR_REQUEST_MALFORMED
 * where the leaf is of something else.
 */
export async function keepLogged(
  tables: Kysely<Tables>,
  document: Document<'cella/join' | 'cella/secret-decision'>,
  { at, kind, about }: { at: LoggedAt; kind: Leaf['kind']; about: Iterable<string> },
): Promise<Digest> {
  const { payload, digest, envelope } = document
  const salt = decodeBase64url(at.salt, 'salt')
  const leaf = parseLeaf(decodeBase64url(at.leaf, 'leaf'))
  const commitment = commitmentOf(kind, salt, decodeHex(digest, 'digest'))
  if (leaf.kind !== kind || encodeBase64url(leaf.commitment) !== encodeBase64url(commitment)) {
    throw new ManagerError('ERR_REQUEST_MALFORMED', `the leaf is of something else than the ${payload.type}`)
  }
  const restrictions = await restrictionsOf(tables, document)
  await tables.transaction().execute(async (transaction) => {
    const { numInsertedOrUpdatedRows } = await transaction
      .insertInto('documents')
      .values({
        digest,
        type: payload.type,
        organisation: payload.organisation,
        signer: payload.signer,
        envelope,
        salt: at.salt,
        leaf: at.leaf,
        leaf_index: at.index,
        restricted: restrictions.length > 0,
      })
      .onConflict((conflict) => conflict.doNothing())
      .executeTakeFirst()
    if (numInsertedOrUpdatedRows === 0n) return
    await keepRestrictions(transaction, digest, restrictions)
    await transaction
      .insertInto('mentions')
      .values([...about].map((named) => ({ digest, about: named })))
      .execute()
  })
  return digest
}
