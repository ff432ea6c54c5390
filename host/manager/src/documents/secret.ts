import { decodeBase64url, decodeHex, encodeBase64url } from '@cella/bytes'
import { parseDocumentOf } from '@cella/documents'
import { commitmentOf, parseLeaf } from '@cella/log'
import type { Kysely, Selectable } from 'kysely'
import type { DocumentsTable, Tables } from '../database/tables.ts'
import { ManagerError } from '../error.ts'
import { fitting, mentioning, ofOrganisations } from './bearing.ts'
import { type Locations, mentionsOf } from './store.ts'

type Row = Selectable<DocumentsTable>

/** All that may bear on a secret. The vault decides; what this selection lacks is a refusal there, never a release. */
export interface SecretBearing {
  readonly documents: readonly string[]
  readonly locations: Readonly<Record<string, Locations>>
}

/** Revisions of one series that are handed out. */
const revisionsMax = 64

/** Throws ERR_NOT_FOUND where the organisation has published nothing under that name. */
export async function bearingOnSecret(
  tables: Kysely<Tables>,
  wanted: { organisation: string; series: string; revision: number | 'latest' },
): Promise<SecretBearing> {
  const { organisation, series, revision } = wanted
  const manifests = (await ofType(tables, organisation, 'cella/manifest'))
    .filter((row) => {
      const { payload } = parseDocumentOf('cella/manifest', row.envelope)
      return payload.series === series && (revision === 'latest' || payload.revision === revision)
    })
    .slice(0, revisionsMax)
  if (manifests.length === 0) throw new ManagerError('ERR_NOT_FOUND', `organisation ${organisation} has no ${series}`)
  const [grants, policies, basics] = await Promise.all([
    mentioning(
      tables,
      ['cella/grant'],
      manifests.map(({ digest }) => digest),
    ),
    ofType(tables, organisation, 'cella/attestation-policy'),
    ofOrganisations(tables, [organisation]),
  ])
  const rows = new Map([...manifests, ...grants, ...policies, ...basics].map((row) => [row.digest, row]))
  return {
    documents: fitting([...rows.values()]).map(({ envelope }) => envelope),
    locations: Object.fromEntries(
      manifests.flatMap((row) => (row.locations === null ? [] : [[row.digest, row.locations]])),
    ),
  }
}

function ofType(tables: Kysely<Tables>, organisation: string, type: string): Promise<Row[]> {
  return tables
    .selectFrom('documents')
    .selectAll()
    .where('organisation', '=', organisation)
    .where('type', '=', type)
    .where('leaf_index', 'is not', null)
    .orderBy('leaf_index', 'desc')
    .limit(1000)
    .execute()
}

/** Keeps a vault's decision about a secret, which stands in the log already, for the secret's owner. */
export async function keepSecretDecision(
  tables: Kysely<Tables>,
  given: { document: string; salt: string; leaf: string; index: number },
): Promise<string> {
  const { payload, digest, envelope } = parseDocumentOf('cella/secret-decision', given.document)
  const salt = decodeBase64url(given.salt, 'salt')
  const leaf = parseLeaf(decodeBase64url(given.leaf, 'leaf'))
  const commitment = commitmentOf('decision', salt, decodeHex(digest, 'digest'))
  if (leaf.kind !== 'decision' || encodeBase64url(leaf.commitment) !== encodeBase64url(commitment)) {
    throw new ManagerError('ERR_REQUEST_MALFORMED', 'the leaf is of something else than the decision')
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
      })
      .onConflict((conflict) => conflict.doNothing())
      .executeTakeFirst()
    if (numInsertedOrUpdatedRows === 0n) return
    const about = [...mentionsOf(payload)].map((named) => ({ digest, about: named }))
    await transaction.insertInto('mentions').values(about).execute()
  })
  return digest
}
