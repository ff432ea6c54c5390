import { type Digest, decodeBase64url, decodeHex, encodeBase64url } from '@cella/bytes'
import { parseDocumentOf } from '@cella/documents'
import { commitmentOf, parseLeaf } from '@cella/log'
import type { Kysely } from 'kysely'
import type { Tables } from '../database/tables.ts'
import { ManagerError } from '../error.ts'
import { accepted, fitting, mentioning } from './bearing.ts'

/** Documents by which a vault may appraise another for this organisation: its terms, the builds that they name, and their makers. */
export async function bearingOnTerms(tables: Kysely<Tables>, organisation: Digest): Promise<string[]> {
  const [basics, joins] = await Promise.all([
    accepted(tables, organisation),
    mentioning(tables, ['cella/join'], [organisation]),
  ])
  const rows = new Map([...basics, ...joins].map((row) => [row.digest, row]))
  return fitting([...rows.values()]).map(({ envelope }) => envelope)
}

/** Keeps what two vaults signed and logged, for whoever judges what the second of them does from then on. */
export async function keepJoin(
  tables: Kysely<Tables>,
  given: { document: string; salt: string; leaf: string; index: number },
): Promise<Digest> {
  const { payload, digest, envelope } = parseDocumentOf('cella/join', given.document)
  const salt = decodeBase64url(given.salt, 'salt')
  const leaf = parseLeaf(decodeBase64url(given.leaf, 'leaf'))
  const commitment = commitmentOf('document', salt, decodeHex(digest, 'digest'))
  if (leaf.kind !== 'document' || encodeBase64url(leaf.commitment) !== encodeBase64url(commitment)) {
    throw new ManagerError('ERR_REQUEST_MALFORMED', 'the leaf is of something else than the join')
  }
  await tables.transaction().execute(async (transaction) => {
    const { numInsertedOrUpdatedRows } = await transaction
      .insertInto('documents')
      .values({
        digest,
        type: payload.type,
        organisation: payload.organisation,
        signer: payload.signer,
        envelope,
        salt: given.salt,
        leaf: given.leaf,
        leaf_index: given.index,
        restricted: false,
      })
      .onConflict((conflict) => conflict.doNothing())
      .executeTakeFirst()
    if (numInsertedOrUpdatedRows === 0n) return
    // Found by whose it is, and by the terms that it rests on.
    const about = [payload.owner, payload.terms].map((named) => ({ digest, about: named }))
    await transaction.insertInto('mentions').values(about).execute()
  })
  return digest
}
