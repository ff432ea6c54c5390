import { type Document, isType, type Payload, parseDocumentOf } from '@cella/documents'
import { type Kysely, type RawBuilder, type Selectable, sql, type Transaction } from 'kysely'
import type { DocumentsTable, Tables } from '../database/tables.ts'
import { mentionsOf } from './mentions.ts'

// Who finds which asset. A courtesy of the operator's among its clients: the operator itself sees every manifest, and what
// an asset's key is released for is decided by its policy alone.
//
// Each manifest has a row for each of its readers, and every query reads the rows of its caller's readers: what is not for
// the caller is never touched, so its presence shows neither in an answer nor in the time that it takes.

/** For all accounts. */
const everyone = '*'
/** For all who name the asset. */
const whoNamesIt = '?'

type Row = Selectable<DocumentsTable>
type Manifest = Payload<'cella/manifest'>

function readersOf({ organisation, catalogue }: Manifest): readonly string[] {
  const audience = catalogue?.audience ?? 'everyone'
  if (audience === 'everyone') return [everyone]
  if (audience === 'unlisted') return [organisation, whoNamesIt]
  return audience === 'private' ? [organisation] : [...new Set([organisation, ...audience])]
}

function isRestricted(manifest: Manifest): boolean {
  return readersOf(manifest)[0] !== everyone
}

/** Rows of a manifest that stands in the log at `index`. */
export function catalogueRows(digest: string, manifest: Manifest, index: number) {
  const { organisation, series, kind, title, catalogue } = manifest
  const words = wordsOf([series, title, catalogue?.description ?? '', ...(catalogue?.tags ?? [])].join(' '))
  return readersOf(manifest).map((reader) => ({
    reader,
    leaf_index: index,
    owner: organisation,
    series,
    kind,
    digest,
    tags: [...(catalogue?.tags ?? [])],
    words: sql<string>`to_tsvector('simple', ${words.join(' ')})`,
  }))
}

/** Keeps the catalogue with the log: a manifest enters it, and a withdrawal marks what it withdraws. */
export async function addToCatalogue(transaction: Transaction<Tables>, row: Row): Promise<void> {
  if (row.type === 'cella/manifest') {
    const { payload } = parseDocumentOf('cella/manifest', row.envelope)
    await transaction
      .insertInto('catalogue')
      .values(catalogueRows(row.digest, payload, row.leaf_index ?? 0))
      .execute()
  }
  if (row.subject !== null) {
    await transaction.updateTable('catalogue').set({ withdrawn: true }).where('digest', '=', row.subject).execute()
  }
}

/** Restricted manifests that a document tells of: itself, or those of what it names. */
export async function restrictionsOf(tables: Kysely<Tables>, document: Document): Promise<string[]> {
  // Of the revision before, a manifest says a digest and no more.
  if (isType(document, 'cella/manifest')) return isRestricted(document.payload) ? [document.digest] : []
  const named = [...mentionsOf(document.payload)]
  const series = isType(document, 'cella/workflow')
    ? document.payload.steps.flatMap(({ program, inputs }) => [program, ...inputs])
    : []
  if (named.length === 0 && series.length === 0) return []
  const rows = await tables
    .selectFrom('restrictions')
    .select('manifest')
    .distinct()
    .where(({ or, eb, exists, selectFrom }) =>
      or([
        eb('restrictions.digest', 'in', named.length === 0 ? [''] : named),
        ...series.map((name) =>
          exists(
            selectFrom('catalogue')
              .select('catalogue.digest')
              .where('owner', '=', name.organisation)
              .where('series', '=', name.series)
              .where('reader', '=', name.organisation)
              .whereRef('catalogue.digest', '=', 'restrictions.manifest'),
          ),
        ),
      ]),
    )
    .execute()
  return rows.map(({ manifest }) => manifest)
}

export async function keepRestrictions(
  transaction: Transaction<Tables>,
  digest: string,
  manifests: readonly string[],
): Promise<void> {
  if (manifests.length === 0) return
  await transaction
    .insertInto('restrictions')
    .values(manifests.map((manifest) => ({ digest, manifest })))
    .execute()
}

/** Who asks, and by which digests. */
interface Asking {
  readonly organisations: readonly string[]
  readonly digests: readonly string[]
}

/**
 * Whether the document `documents` of a query may be shown: one's own, or one all of whose restricted assets one may see. That is
 * who an asset is for, who names an unlisted one, and whose documents are named in a contract of those.
 */
export function isShown({ organisations, digests }: Asking): RawBuilder<boolean> {
  return sql<boolean>`(not documents.restricted or documents.organisation = any(${organisations}) or not exists (
    select from restrictions
    where restrictions.digest = documents.digest
      and not exists (
        select from catalogue
        where catalogue.digest = restrictions.manifest and (
          catalogue.reader = any(${organisations})
          or catalogue.reader = ${whoNamesIt} and exists (
            select from restrictions as asked
            where asked.manifest = restrictions.manifest and asked.digest = any(${digests})
          )
        )
      )
      and not exists (
        select from restrictions as bound
        join documents as contract on contract.digest = bound.digest and contract.type = 'cella/contract'
        join catalogue as author on author.digest = bound.manifest
          and (author.reader = contract.organisation or author.reader = ${whoNamesIt})
        join mentions on mentions.digest = contract.digest
        join documents as named on named.digest = mentions.about and named.organisation = any(${organisations})
        where bound.manifest = restrictions.manifest
      )
  ))`
}

export interface AssetListing {
  readonly organisations?: readonly string[] | undefined
  readonly series?: string | undefined
  readonly kind?: Manifest['kind'] | undefined
  readonly tag?: string | undefined
  /** How its digest begins, in hexadecimal. */
  readonly prefix?: string | undefined
  /** Words that its names, description or tags have, or begin with. */
  readonly words?: string | undefined
  readonly withdrawn: boolean
  readonly before?: number | undefined
  readonly limit: number
}

const digestCharacters = 64

/** Assets that these organisations find, newest first, and whether there are more. */
export async function listAssets(
  tables: Kysely<Tables>,
  readers: readonly string[],
  listing: AssetListing,
): Promise<{ rows: Row[]; isMore: boolean }> {
  const isByName =
    (listing.series !== undefined && listing.organisations !== undefined) || listing.prefix?.length === digestCharacters
  const all = [everyone, ...readers, ...(isByName ? [whoNamesIt] : [])]
  const query = prefixQuery(listing.words)
  const conditions = [
    ...(listing.organisations === undefined ? [] : [sql`owner = any(${listing.organisations})`]),
    ...(listing.series === undefined ? [] : [sql`series = ${listing.series}`]),
    ...(listing.kind === undefined ? [] : [sql`kind = ${listing.kind}`]),
    ...(listing.tag === undefined ? [] : [sql`${listing.tag} = any(tags)`]),
    ...(listing.prefix === undefined ? [] : [sql`digest like ${`${listing.prefix}%`}`]),
    ...(query === undefined ? [] : [sql`words @@ to_tsquery('simple', ${query})`]),
    ...(listing.withdrawn ? [] : [sql`not withdrawn`]),
    ...(listing.before === undefined ? [] : [sql`leaf_index < ${listing.before}`]),
  ]
  const count = listing.limit + 1
  const found = await sql<Row>`
    select documents.* from (
      select distinct leaf_index, digest from unnest(${all}::text[]) as own (reader) cross join lateral (
        select leaf_index, digest from catalogue
        where catalogue.reader = own.reader ${sql.join(
          conditions.map((condition) => sql`and ${condition}`),
          sql` `,
        )}
        order by leaf_index desc limit ${count}
      ) as each
      order by leaf_index desc limit ${count}
    ) as found join documents using (digest)
    order by documents.leaf_index desc`.execute(tables)
  return { rows: found.rows.slice(0, listing.limit), isMore: found.rows.length > listing.limit }
}

/** `heart ra` as `heart:* & ra:*`. A word has letters and digits alone, so nothing in it is an operator. */
function prefixQuery(text: string | undefined): string | undefined {
  return text === undefined
    ? undefined
    : wordsOf(text)
        .map((word) => `${word}:*`)
        .join(' & ')
}

function wordsOf(text: string): readonly string[] {
  return text.match(/[\p{L}\p{N}]+/gu) ?? []
}
