import type { Digest } from '@cella/bytes'
import { parseDocumentOf } from '@cella/documents'
import type { Kysely, Selectable } from 'kysely'
import type { DocumentsTable, Tables } from '../database/tables.ts'
import { ManagerError } from '../error.ts'
import { accepted, fitting, mentioning } from './bearing.ts'
import { keepLogged, type LoggedAt } from './logged.ts'
import { mentionsOf } from './mentions.ts'
import type { Locations } from './store.ts'

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
  const revisions = await tables
    .selectFrom('documents')
    .selectAll()
    .where('digest', 'in', (inner) =>
      inner
        .selectFrom('catalogue')
        .select('catalogue.digest')
        .where('owner', '=', organisation)
        .where('series', '=', series),
    )
    .orderBy('leaf_index', 'desc')
    .execute()
  const manifests = revisions
    .filter(({ envelope }) => {
      return revision === 'latest' || parseDocumentOf('cella/manifest', envelope).payload.revision === revision
    })
    .slice(0, revisionsMax)
  if (manifests.length === 0) throw new ManagerError('ERR_NOT_FOUND', `organisation ${organisation} has no ${series}`)
  const [grants, policies, basics] = await Promise.all([
    mentioning(tables, ['cella/grant', 'cella/join'], [organisation, ...manifests.map(({ digest }) => digest)]),
    ofType(tables, organisation, 'cella/attestation-policy'),
    accepted(tables, organisation),
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
export function keepSecretDecision(tables: Kysely<Tables>, given: LoggedAt & { document: string }): Promise<Digest> {
  const decision = parseDocumentOf('cella/secret-decision', given.document)
  return keepLogged(tables, decision, { at: given, kind: 'decision', about: mentionsOf(decision.payload) })
}
