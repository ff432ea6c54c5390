import { decodeBase64url, decodeHex, encodeBase64url } from '@cella/bytes'
import { type DocumentType, isType, parseDocument, type SignedDocument } from '@cella/documents'
import { commitmentOf, encodeLeaf, publishedTag, revokedTag } from '@cella/log'
import { keyIdOf } from '@cella/primitives'
import { type Kysely, type Selectable, sql } from 'kysely'
import type { DocumentsTable, Tables } from '../database/tables.ts'
import { ManagerError } from '../error.ts'
import type { LogClient } from '../log-client.ts'
import { addNotices } from '../notices/notices.ts'
import { keepAccepted } from '../queue/kinds.ts'
import { addToCatalogue, isShown, keepRestrictions, restrictionsOf } from './catalogue.ts'
import { mentionsOf } from './mentions.ts'
import { standingOf } from './standing.ts'
import { verifySubmission } from './verify.ts'

export interface Locations {
  readonly sealed: string
  readonly outboard: string
}

export interface LeafProof {
  readonly index: number
  readonly leaf: string
  readonly proof: string
}

export interface Submission extends LeafProof {
  readonly isNew: boolean
  readonly digest: string
  readonly revoked?: LeafProof
}

type Row = Selectable<DocumentsTable>

/**
 * Stores a document and logs its leaf. The row is written first, with its salt: whoever sends the document again after a
 * crash in between gets the same leaf, which the log knows by then or takes now.
 */
export async function submitDocument(
  tables: Kysely<Tables>,
  log: LogClient,
  submission: {
    envelope: string
    salt: string
    locations?: Locations | undefined
    mayRelocate: (id: string) => boolean
  },
  check: (document: SignedDocument) => Promise<void>,
): Promise<Submission> {
  const parsed = parseDocument(submission.envelope)
  const { locations } = submission
  if (locations !== undefined && parsed.type !== 'cella/manifest') {
    throw new ManagerError('ERR_REQUEST_MALFORMED', `locations belong to a manifest, not to ${parsed.type}`)
  }
  let row = await find(tables, parsed.digest)
  const isNew = row?.leaf_index == null
  if (row === undefined) {
    const document = await verifySubmission(tables, parsed)
    await requireOwnSubject(tables, document)
    await check(document)
    row = await insert(tables, document, submission.salt, locations)
  } else if (locations !== undefined && JSON.stringify(row.locations) !== JSON.stringify(locations)) {
    if (!submission.mayRelocate(row.organisation)) {
      throw new ManagerError('ERR_NOT_ALLOWED', 'only its organisation’s accounts may say anew where an asset lies', {
        hint: 'send the request with the token of such an account',
      })
    }
    await tables
      .updateTable('documents')
      .set({ locations: JSON.stringify(locations) })
      .where('digest', '=', row.digest)
      .execute()
  }
  if (row.leaf_index === null) row = await logLeaves(tables, log, row)
  return { isNew, digest: row.digest, ...(await proofsOf(log, row)) }
}

/** Whoever could withdraw what is another's could stop it. One answer for what is not there and what is not one's own. */
async function requireOwnSubject(tables: Kysely<Tables>, document: SignedDocument): Promise<void> {
  if (!isType(document, 'cella/revocation')) return
  const { subject, organisation } = document.payload
  const row = await find(tables, subject)
  if (row?.organisation === organisation) return
  throw new ManagerError('ERR_NOT_ALLOWED', `organisation ${organisation} has no document ${subject} here`)
}

/** Logs documents submitted before `before` whose submitter never got an answer. Returns how many. */
export async function logPending(tables: Kysely<Tables>, log: LogClient, before: Date): Promise<number> {
  const rows = await tables
    .selectFrom('documents')
    .selectAll()
    .where('leaf_index', 'is', null)
    .where('submitted_at', '<', before)
    .orderBy('submitted_at')
    .limit(100)
    .execute()
  for (const row of rows) await logLeaves(tables, log, row)
  return rows.length
}

async function find(tables: Kysely<Tables>, digest: string): Promise<Row | undefined> {
  return tables.selectFrom('documents').selectAll().where('digest', '=', digest).executeTakeFirst()
}

/** Places and fresh proofs of a logged row. */
export async function proofsOf(log: LogClient, row: Row): Promise<LeafProof & { revoked?: LeafProof }> {
  const index = row.leaf_index ?? -1
  const own = { index, leaf: row.leaf, proof: await log.prove(index) }
  if (row.revoked_index === null || row.revoked_leaf === null) return own
  const revoked = { index: row.revoked_index, leaf: row.revoked_leaf, proof: await log.prove(row.revoked_index) }
  return { ...own, revoked }
}

async function insert(
  tables: Kysely<Tables>,
  document: SignedDocument,
  salt: string,
  locations: Locations | undefined,
): Promise<Row> {
  const saltBytes = decodeBase64url(salt, 'salt')
  const body = decodeHex(document.digest, 'digest')
  const leaf = encodeLeaf({
    kind: 'document',
    commitment: commitmentOf('document', saltBytes, body),
    tag: publishedTag(document.digest),
  })
  const subject = isType(document, 'cella/revocation') ? document.payload.subject : null
  const revokedLeaf =
    subject &&
    encodeLeaf({
      kind: 'revocation',
      commitment: commitmentOf('revocation', saltBytes, body),
      tag: revokedTag(subject),
    })
  const organisation = document.payload.organisation ?? document.digest
  const restrictions = await restrictionsOf(tables, document)
  await tables.transaction().execute(async (transaction) => {
    const { numInsertedOrUpdatedRows } = await transaction
      .insertInto('documents')
      .values({
        digest: document.digest,
        type: document.type,
        organisation,
        signer: document.payload.signer,
        envelope: document.envelope,
        salt,
        leaf: encodeBase64url(leaf),
        subject,
        revoked_leaf: revokedLeaf && encodeBase64url(revokedLeaf),
        locations: locations === undefined ? null : JSON.stringify(locations),
        restricted: restrictions.length > 0,
        ...standingOf(document),
      })
      .onConflict((conflict) => conflict.doNothing())
      .executeTakeFirst()
    if (numInsertedOrUpdatedRows === 0n) return
    await keepRestrictions(transaction, document.digest, restrictions)
    const about = [...mentionsOf(document.payload)]
    if (about.length > 0) {
      await transaction
        .insertInto('mentions')
        .values(about.map((digest) => ({ digest: document.digest, about: digest })))
        .execute()
    }
    if (isType(document, 'cella/membership')) {
      const { payload } = document
      await transaction
        .insertInto('memberships')
        .values({
          digest: document.digest,
          organisation,
          account: keyIdOf(decodeBase64url(payload.signingKey, 'signingKey')),
          signing_key: payload.signingKey,
          not_before: payload.notBefore,
          not_after: payload.notAfter,
        })
        .execute()
    }
  })
  // Not the one written here when another request was quicker with the same document and another salt.
  return tables.selectFrom('documents').selectAll().where('digest', '=', document.digest).executeTakeFirstOrThrow()
}

async function logLeaves(tables: Kysely<Tables>, log: LogClient, row: Row): Promise<Row> {
  const leaves = [row.leaf, ...(row.revoked_leaf === null ? [] : [row.revoked_leaf])]
  const [index, revoked] = await log.append(leaves.map((leaf) => decodeBase64url(leaf, 'leaf')))
  return tables.transaction().execute(async (transaction) => {
    const isFirst = await transaction
      .updateTable('documents')
      .set({ leaf_index: index ?? null, revoked_index: revoked ?? null })
      .where('digest', '=', row.digest)
      .where('leaf_index', 'is', null)
      .returningAll()
      .executeTakeFirst()
    if (isFirst === undefined) {
      return transaction.selectFrom('documents').selectAll().where('digest', '=', row.digest).executeTakeFirstOrThrow()
    }
    await addToCatalogue(transaction, isFirst)
    if (row.type === 'cella/terms') await keepAccepted(transaction, row)
    const { type, organisation: by } = row
    await addNotices(transaction, await concernedBy(transaction, row), {
      kind: 'document',
      about: row.digest,
      detail: { type, by },
    })
    return isFirst
  })
}

/** Its own organisation, and those whose documents it names; of a withdrawal, also those who build on what it withdraws. */
async function concernedBy(transaction: Kysely<Tables>, row: Row): Promise<string[]> {
  // An organisation's id is the digest of its first document, so whom a request asks is named as well.
  const named = await transaction
    .selectFrom('documents')
    .select('organisation')
    .distinct()
    .where('digest', 'in', (inner) =>
      inner.selectFrom('mentions').select('about').where('mentions.digest', '=', row.digest),
    )
    .execute()
  const { subject } = row
  const building =
    subject === null
      ? []
      : await transaction
          .selectFrom('documents')
          .select('organisation')
          .distinct()
          .where('digest', 'in', (inner) =>
            inner.selectFrom('mentions').select('mentions.digest').where('about', '=', subject),
          )
          .execute()
  return [row.organisation, ...[...named, ...building].map(({ organisation }) => organisation)]
}

export interface Listing {
  /** An account's organisations; undefined for a worker, to whom everything is shown. */
  readonly for: readonly string[] | undefined
  readonly types?: readonly DocumentType[] | undefined
  readonly digests?: readonly string[] | undefined
  readonly organisations?: readonly string[] | undefined
  readonly about?: readonly string[] | undefined
  readonly after?: number | undefined
  readonly limit: number
}

/** Envelopes of one page, in characters. */
const pageBytesMax = 4 * 2 ** 20

/**
 * What of a list is shown to an account. Whoever names digests may see what these open; of a list by organisation or type, others
 * than the organisation itself see what is for everyone, and so that nothing else is even read, that is a column of its index.
 */
function shownIn({
  for: own,
  digests,
  about,
  organisations,
}: Listing & { for: readonly string[] }): ReturnType<typeof isShown> {
  const named = digests ?? about
  if (named !== undefined) return isShown({ organisations: own, digests: named })
  const isOwn = organisations?.every((organisation) => own.includes(organisation)) === true
  return isOwn ? sql<boolean>`true` : sql<boolean>`not documents.restricted`
}

/** A document that was logged and is shown to whoever asks for it by its digest. */
export async function findShown(
  tables: Kysely<Tables>,
  digest: string,
  organisations: readonly string[] | undefined,
): Promise<Row | undefined> {
  return tables
    .selectFrom('documents')
    .selectAll('documents')
    .where('digest', '=', digest)
    .where('leaf_index', 'is not', null)
    .$if(organisations !== undefined, (query) =>
      query.where(isShown({ organisations: organisations ?? [], digests: [digest] })),
    )
    .executeTakeFirst()
}

/** Logged documents in order of their index, and whether there are more. */
export async function listDocuments(
  tables: Kysely<Tables>,
  listing: Listing,
): Promise<{ rows: Row[]; isMore: boolean }> {
  let query = tables.selectFrom('documents').selectAll('documents').where('leaf_index', 'is not', null)
  if (listing.types !== undefined) query = query.where('type', 'in', listing.types)
  if (listing.digests !== undefined) query = query.where('digest', 'in', listing.digests)
  if (listing.organisations !== undefined) query = query.where('organisation', 'in', listing.organisations)
  if (listing.after !== undefined) query = query.where('leaf_index', '>', listing.after)
  const { about } = listing
  if (about !== undefined) {
    query = query.where('digest', 'in', (inner) =>
      inner.selectFrom('mentions').select('mentions.digest').where('about', 'in', about),
    )
  }
  if (listing.for !== undefined) query = query.where(shownIn({ ...listing, for: listing.for }))
  const rows = await query
    .orderBy('leaf_index')
    .limit(listing.limit + 1)
    .execute()
  const page = rows.slice(0, listing.limit)
  // At least one, so that whoever goes on page by page gets to the end.
  let bytes = 0
  const past = page.findIndex(({ envelope }, at) => {
    bytes += envelope.length
    return at > 0 && bytes > pageBytesMax
  })
  if (past > 0) return { rows: page.slice(0, past), isMore: true }
  return { rows: page, isMore: rows.length > listing.limit }
}
