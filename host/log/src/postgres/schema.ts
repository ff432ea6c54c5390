import type pg from 'pg'
import { LogServerError } from '../log-server-error.ts'
import { query } from './database.ts'

// One log a database, in the schema cella_log:
//
//   sequence   one row: how many leaves there are, and the chain over them. Its lock puts appends in order.
//   leaf       every leaf's hash and index: the same leaf again is the same entry
//   batch      leaves that are not in the store's tiles yet, with the chain after them
//   published  one row: the newest cosigned checkpoint
//   stored     one row: the newest checkpoint whose tiles are stored, the chain at its size, and up to where partial tiles
//              were removed
//
// chain after a batch = SHA-256(chain before ‖ its leaves), SHA-256 of nothing before the first: a database that lost
// commits and went on with others has another one.

const schema = `
create schema if not exists cella_log;
create table if not exists cella_log.sequence (
  one boolean primary key default true check (one),
  origin text not null,
  size bigint not null,
  chain bytea not null
);
create table if not exists cella_log.leaf (hash bytea primary key, index bigint not null);
create table if not exists cella_log.batch (first bigint primary key, leaves bytea not null, chain bytea not null);
alter table cella_log.batch alter column leaves set storage external;
create table if not exists cella_log.published (
  one boolean primary key default true check (one),
  size bigint not null,
  checkpoint bytea not null
);
create table if not exists cella_log.stored (
  one boolean primary key default true check (one),
  size bigint not null,
  checkpoint bytea not null,
  chain bytea not null,
  collected bigint not null
);

-- Appends distinct leaves of 64 bytes, given with each one's hash. Gives back how many leaves there were before, then the
-- index of each; none where all are new and follow each other. The statements after the lock see what its last holder
-- committed. Plans are made while the tables are small and kept: they must not be those of small tables.
create or replace function cella_log.append(hashes bytea, leaves bytea) returns bigint[] language plpgsql
  set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
  head record;
  sent bigint := octet_length(leaves) / 64;
  added bigint := sent;
  fresh bytea := leaves;
  link bytea;
  places bigint[];
begin
  select size, chain into strict head from cella_log.sequence for update;
  begin
    insert into cella_log.leaf (hash, index)
      select substring(hashes from n::int * 32 + 1 for 32), head.size + n from generate_series(0, sent - 1) as n;
  exception when unique_violation then
    with one as (select n, substring(hashes from n::int * 32 + 1 for 32) as hash from generate_series(0, sent - 1) as n),
    known as (select one.n, one.hash, leaf.index from one left join cella_log.leaf on leaf.hash = one.hash),
    numbered as (
      select n, hash, index, head.size - 1 + count(*) filter (where index is null) over (order by n) as next from known
    ),
    taken as (insert into cella_log.leaf (hash, index) select hash, next from numbered where index is null)
    select
      array_agg(coalesce(index, next) order by n),
      count(*) filter (where index is null),
      string_agg(substring(leaves from n::int * 64 + 1 for 64), '' order by n) filter (where index is null)
    into places, added, fresh from numbered;
  end;
  if added > 0 then
    link := sha256(head.chain || fresh);
    insert into cella_log.batch (first, leaves, chain) values (head.size, fresh, link);
    update cella_log.sequence set size = head.size + added, chain = link;
    perform pg_notify('cella_log_sequenced', '');
  end if;
  return head.size || places;
end $$;
`

/**
 * Makes the schema where it is absent. Throws ERR_LOG_CONFIG for a database that belongs to another log, or that answers
 * before a commit is on disk, and ERR_LOG_UNAVAILABLE.
 */
export async function prepareDatabase(client: pg.Client, origin: string): Promise<void> {
  const ask = (text: string, values: unknown[] = []): Promise<pg.QueryResult> => query(client, { text, values })
  for (const name of ['fsync', 'full_page_writes']) {
    const { rows } = await ask(`show ${name}`)
    if (rows[0][name] !== 'on') {
      throw new LogServerError('ERR_LOG_CONFIG', `the database runs with ${name} off: it can lose what it acknowledged`)
    }
  }
  await ask('begin')
  try {
    // Several front-ends may start at once.
    await ask(`select pg_advisory_xact_lock(hashtextextended('cella_log schema', 0))`)
    await ask(schema)
    await ask(
      `insert into cella_log.sequence (origin, size, chain) values ($1, 0, sha256('')) on conflict do nothing`,
      [origin],
    )
    const { rows } = await ask('select origin from cella_log.sequence')
    if (rows[0].origin !== origin) {
      throw new LogServerError('ERR_LOG_CONFIG', `the database holds the log ${rows[0].origin}, not ${origin}`)
    }
    await ask('commit')
  } catch (error) {
    await ask('rollback').catch(() => undefined)
    throw error
  }
}
