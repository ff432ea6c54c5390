import { parseDocument, parseDocumentOf } from '@cella/documents'
import { type Kysely, sql } from 'kysely'
import { catalogueRows } from '../documents/catalogue.ts'
import { standingOf } from '../documents/standing.ts'
import { acceptedTees } from '../queue/kinds.ts'
import type { Tables } from './tables.ts'

/** One step of the schema. Steps are never changed once released, only added to. */
export interface Migration {
  readonly name: string
  readonly up: (database: Kysely<unknown>) => Promise<void>
}

export const migrations: readonly Migration[] = [
  {
    name: '0001-documents',
    up: async (database) => {
      await sql`
        create table documents (
          digest text primary key check (digest ~ '^[0-9a-f]{64}$'),
          type text not null,
          organisation text not null,
          signer text not null,
          envelope text not null,
          salt text not null,
          leaf text not null,
          leaf_index bigint,
          subject text,
          revoked_leaf text,
          revoked_index bigint,
          locations jsonb,
          submitted_at timestamptz not null default now()
        )`.execute(database)
      await sql`create unique index documents_by_index on documents (leaf_index)`.execute(database)
      await sql`create index documents_by_organisation on documents (organisation, type, leaf_index)`.execute(database)
      await sql`create index documents_by_type on documents (type, leaf_index)`.execute(database)
      await sql`create index documents_by_signer on documents (signer, type)`.execute(database)
      await sql`
        create table mentions (
          digest text not null references documents on delete cascade,
          about text not null,
          primary key (about, digest)
        )`.execute(database)
      await sql`
        create table memberships (
          digest text primary key references documents on delete cascade,
          organisation text not null,
          account text not null,
          signing_key text not null,
          not_before bigint not null,
          not_after bigint not null
        )`.execute(database)
      await sql`create index memberships_by_account on memberships (account, organisation)`.execute(database)
    },
  },
  {
    name: '0002-requests-and-blobs',
    up: async (database) => {
      await sql`create table nonces (nonce text primary key, expires_at timestamptz not null)`.execute(database)
      await sql`create index nonces_by_expiry on nonces (expires_at)`.execute(database)
      await sql`
        create table uploads (
          id text primary key,
          account text not null,
          organisation text,
          sha256 text not null,
          size bigint not null,
          done boolean not null default false,
          created_at timestamptz not null default now()
        )`.execute(database)
      await sql`create index uploads_by_sha256 on uploads (sha256, account)`.execute(database)
      await sql`
        create table blobs (
          sha256 text primary key,
          size bigint not null,
          organisation text,
          created_at timestamptz not null default now()
        )`.execute(database)
      await sql`create index blobs_by_organisation on blobs (organisation) include (size)`.execute(database)
    },
  },
  {
    name: '0003-runs',
    up: async (database) => {
      await sql`
        create table runs (
          contract text not null references documents,
          run integer not null check (run > 0),
          attempt integer not null,
          attempts_max integer not null,
          status text not null check (status in ('queued', 'running', 'finished', 'refused', 'failed', 'cancelled')),
          phase text not null,
          queue text not null,
          lease bigint,
          lease_until timestamptz,
          error jsonb,
          receipt text,
          bundle text,
          outputs jsonb,
          decisions jsonb,
          receipt_index bigint,
          position bigint generated always as identity unique,
          created_at timestamptz not null default now(),
          updated_at timestamptz not null default now(),
          primary key (contract, run),
          check (status <> 'finished' or bundle is not null)
        )`.execute(database)
      await sql`create index runs_by_lease_end on runs (lease_until) where status = 'running'`.execute(database)
      await sql`create index runs_by_status on runs (status)`.execute(database)
      await sql`
        create table participants (
          contract text not null references documents,
          organisation text not null,
          primary key (organisation, contract)
        )`.execute(database)
      await sql`
        create table leases (
          lease bigint generated always as identity primary key,
          contract text not null,
          run integer not null,
          attempt integer not null,
          worker text not null,
          created_at timestamptz not null default now(),
          foreign key (contract, run) references runs
        )`.execute(database)
      await sql`
        create table drafts (
          lease bigint primary key references leases,
          contract text not null,
          run integer not null,
          draft text not null,
          created_at timestamptz not null default now()
        )`.execute(database)
      await sql`create index drafts_by_run on drafts (contract, run, lease)`.execute(database)
      await sql`
        create table events (
          contract text not null,
          run integer not null,
          sequence integer not null,
          at timestamptz not null default now(),
          attempt integer not null,
          phase text not null,
          detail jsonb,
          primary key (contract, run, sequence),
          foreign key (contract, run) references runs
        )`.execute(database)
    },
  },
  {
    name: '0004-event-bodies',
    up: async (database) => {
      await sql`
        create table event_bodies (
          commitment text primary key check (commitment ~ '^[0-9a-f]{64}$'),
          sealed bytea not null,
          created_at timestamptz not null default now()
        )`.execute(database)
      // They are ciphertext: compressing them costs time and saves nothing.
      await sql`alter table event_bodies alter column sealed set storage external`.execute(database)
    },
  },
  {
    name: '0005-challenges',
    up: async (database) => {
      await sql`create table workers (name text primary key, seen_at timestamptz not null)`.execute(database)
      await sql`
        create table challenges (
          id bigint generated always as identity primary key,
          worker text not null references workers on delete cascade,
          nonce text not null,
          taken boolean not null default false,
          answer text,
          created_at timestamptz not null default now()
        )`.execute(database)
      await sql`create index challenges_by_worker on challenges (worker, id)`.execute(database)
    },
  },
  {
    name: '0006-inbox',
    up: async (database) => {
      await sql`alter table documents add column ends_at bigint, add column each_contract boolean`.execute(database)
      await sql`create index documents_by_subject on documents (subject) where subject is not null`.execute(database)
      const typed = database as Kysely<Tables>
      const rows = await typed.selectFrom('documents').select(['digest', 'envelope']).execute()
      for (const { digest, envelope } of rows) {
        await typed
          .updateTable('documents')
          .set(standingOf(parseDocument(envelope)))
          .where('digest', '=', digest)
          .execute()
      }
      await sql`
        create table notices (
          id bigint generated always as identity primary key,
          at timestamptz not null default now(),
          organisation text not null,
          kind text not null check (kind in ('document', 'run')),
          about text not null,
          detail jsonb not null
        )`.execute(database)
      await sql`create index notices_by_organisation on notices (organisation, id)`.execute(database)
      await sql`create index notices_by_time on notices (at)`.execute(database)
      await sql`
        create table webhooks (
          id bigint generated always as identity primary key,
          organisation text not null,
          url text not null,
          delivered bigint not null,
          failures integer not null default 0,
          next_at timestamptz not null default now(),
          problem text,
          created_at timestamptz not null default now(),
          unique (organisation, url)
        )`.execute(database)
    },
  },
  {
    name: '0007-turns',
    up: async (database) => {
      await sql`
        alter table runs
          add column boundary text,
          add column isolation integer,
          add column organisation text,
          add column priority integer not null default 0`.execute(database)
      // The queue was named runs-BOUNDARY-ISOLATION.
      await sql`
        update runs set
          boundary = substring(queue from '^runs-(.*)-[0-9]$'),
          isolation = right(queue, 1)::integer,
          organisation = (select organisation from documents where digest = contract)`.execute(database)
      await sql`
        alter table runs
          alter column boundary set not null,
          alter column isolation set not null,
          alter column organisation set not null,
          drop column queue`.execute(database)
      await sql`
        create index runs_waiting on runs (boundary, organisation, priority desc, isolation desc, position)
        where status = 'queued'`.execute(database)
      await sql`create table turns (organisation text primary key, turn bigint not null)`.execute(database)
      await sql`create sequence turns_taken`.execute(database)
      await sql`
        alter table workers add column boundary text, add column isolation integer, add column tee text`.execute(
        database,
      )
      // Of the queue before this one.
      await sql`drop schema if exists queue cascade`.execute(database)
    },
  },
  {
    name: '0008-catalogue',
    up: async (database) => {
      await sql`alter table documents add column restricted boolean not null default false`.execute(database)
      await sql`drop index documents_by_organisation, documents_by_type`.execute(database)
      await sql`create index documents_by_organisation on documents (organisation, type, restricted, leaf_index)`.execute(
        database,
      )
      await sql`create index documents_by_type on documents (type, restricted, leaf_index)`.execute(database)
      await sql`
        create table restrictions (
          digest text not null references documents on delete cascade,
          manifest text not null references documents on delete cascade,
          primary key (digest, manifest)
        )`.execute(database)
      await sql`create index restrictions_by_manifest on restrictions (manifest)`.execute(database)
      await sql`
        create table catalogue (
          reader text not null,
          leaf_index bigint not null,
          owner text not null,
          series text not null,
          kind text not null,
          digest text not null references documents on delete cascade,
          withdrawn boolean not null default false,
          tags text[] not null,
          words tsvector not null,
          primary key (reader, leaf_index)
        )`.execute(database)
      // No index leads over what is not the reader's, and so none is over the words.
      await sql`create index catalogue_in_force on catalogue (reader, leaf_index) where not withdrawn`.execute(database)
      await sql`create index catalogue_by_series on catalogue (reader, owner, series, leaf_index)`.execute(database)
      await sql`create index catalogue_by_digest on catalogue (digest)`.execute(database)
      await sql`create index catalogue_by_name on catalogue (owner, series)`.execute(database)
      const typed = database as Kysely<Tables>
      const rows = await typed
        .selectFrom('documents')
        .select(['digest', 'envelope', 'leaf_index'])
        .where('type', '=', 'cella/manifest')
        .where('leaf_index', 'is not', null)
        .execute()
      for (const { digest, envelope, leaf_index } of rows) {
        const { payload } = parseDocumentOf('cella/manifest', envelope)
        await typed
          .insertInto('catalogue')
          .values(catalogueRows(digest, payload, leaf_index ?? 0))
          .execute()
      }
      await sql`
        update catalogue set withdrawn = true from documents
        where documents.subject = catalogue.digest and documents.leaf_index is not null`.execute(database)
    },
  },
  {
    name: '0009-last-events',
    up: async (database) => {
      await sql`alter table runs add column last_event integer not null default 0`.execute(database)
      await sql`
        update runs set last_event = (
          select coalesce(max(sequence), 0) from events where events.contract = runs.contract and events.run = runs.run
        )`.execute(database)
    },
  },
  {
    name: '0010-watch-and-retention',
    up: async (database) => {
      await sql`
        create table log_seen (
          origin text primary key,
          size bigint not null,
          root text not null,
          note text not null,
          contradiction text
        )`.execute(database)
      await sql`create index blobs_by_age on blobs (created_at)`.execute(database)
      await sql`create index runs_ended on runs (updated_at) where status not in ('queued', 'running')`.execute(
        database,
      )
    },
  },
  {
    name: '0011-newest-document-notice',
    up: async (database) => {
      await sql`create index notices_of_documents on notices (id) where kind = 'document'`.execute(database)
    },
  },
  {
    name: '0012-traces',
    up: async (database) => {
      await sql`alter table runs add column traceparent text`.execute(database)
    },
  },
  {
    name: '0013-attested-workers',
    up: async (database) => {
      await sql`
        alter table workers
          add column simulated boolean,
          add column measurement text,
          add column platform_id text,
          add column attested_until timestamptz,
          add column poll_key text,
          add column polls bigint not null default 0,
          add column refusal jsonb`.execute(database)
      // What they said of themselves: each is challenged at its next poll.
      await sql`update workers set boundary = null, isolation = null, tee = null`.execute(database)
    },
  },
  {
    name: '0014-writers-of-bodies',
    async up(database) {
      await sql`alter table event_bodies add column writer text`.execute(database)
    },
  },
  {
    name: '0015-kinds-by-terms',
    up: async (database) => {
      // Of runs that wait already nobody knows the owners here: they go to any kind, as before.
      await sql`alter table runs add column tees text[], add column owners text[] not null default '{}'`.execute(
        database,
      )
      await sql`drop index runs_waiting`.execute(database)
      await sql`
        create index runs_waiting on runs (boundary, organisation, priority desc, position)
        where status = 'queued'`.execute(database)
      await sql`create table accepted_tees (organisation text primary key, tees text[] not null)`.execute(database)
      const typed = database as Kysely<Tables>
      const rows = await typed
        .selectFrom('documents')
        .distinctOn('organisation')
        .select(['organisation', 'envelope'])
        .where('type', '=', 'cella/terms')
        .where('leaf_index', 'is not', null)
        .orderBy('organisation')
        .orderBy('leaf_index', 'desc')
        .execute()
      for (const { organisation, envelope } of rows) {
        await typed
          .insertInto('accepted_tees')
          .values({ organisation, tees: acceptedTees(envelope) })
          .execute()
      }
    },
  },
]

/** Serves as the lock's name in the whole cluster; chosen once at random. */
const lockNumber = 7_260_418_835_017_221n

/**
 * Brings the schema to the newest step, in order, each step in a transaction together with its record; processes that
 * start at once wait for each other. Returns the names of the steps done now. A database from a newer release throws.
 */
export async function migrate(database: Kysely<unknown>, steps: readonly Migration[] = migrations): Promise<string[]> {
  return database.transaction().execute(async (transaction) => {
    await sql`select pg_advisory_xact_lock(${lockNumber})`.execute(transaction)
    await sql`
      create table if not exists migrations (
        position integer primary key,
        name text not null,
        done_at timestamptz not null default now()
      )`.execute(transaction)
    const found = await sql<{ name: string }>`select name from migrations order by position`.execute(transaction)
    const done = found.rows.map((row) => row.name)
    for (const [position, name] of done.entries()) {
      if (steps[position]?.name !== name) {
        throw new Error(
          `the database has step ${position + 1} ${name}, this release has ${steps[position]?.name ?? 'none'}`,
        )
      }
    }
    const missing = steps.slice(done.length)
    for (const [offset, step] of missing.entries()) {
      await step.up(transaction)
      await sql`insert into migrations (position, name) values (${done.length + offset}, ${step.name})`.execute(
        transaction,
      )
    }
    return missing.map((step) => step.name)
  })
}
