import type { ObjectStore } from '@cella/blobs'
import { encodeHex, equalBytes } from '@cella/bytes'
import { checkCopy, type LogPolicy, leafHash, readEntries, tileWidth } from '@cella/log'
import { sha256 } from '@cella/primitives'
import type pg from 'pg'
import type { FsckReport } from '../fsck.ts'
import { LogServerError } from '../log-server-error.ts'
import { type Ask, connect, query } from './database.ts'
import { checkBatch, nextBatches } from './integrator.ts'

const keysAtOnce = 4096

/**
 * Checks a log that PostgreSQL puts in order, while it runs or not: the tiles in its store against their entries, the key of
 * every leaf in the database against these, and that the leaves still to be taken in follow. Changes nothing. Throws like
 * `fsck`, and ERR_LOG_UNAVAILABLE where the database does not answer.
 */
export async function checkPostgresLog(options: {
  url: string
  store: ObjectStore
  policy: LogPolicy
}): Promise<FsckReport> {
  const { store, policy } = options
  const client = await connect(options.url)
  try {
    // One state of all tables, and older than the store's: what is published in between is no contradiction.
    await query(client, { text: 'begin isolation level repeatable read read only' })
    const { rows } = await query(client, {
      text: `select sequence.origin, sequence.size::text, sequence.chain, published.size::text as published,
          published.chain as published_chain
        from cella_log.sequence left join cella_log.published on true`,
    })
    const [row] = rows
    if (row === undefined) throw new LogServerError('ERR_LOG_DAMAGED', 'the database holds no log')
    const { checkpoint, tiles, problems } = await checkCopy({ policy, store: { read: (path) => store.get(path) } })
    const { origin, size, root } = checkpoint
    const published = Number(row.published ?? 0)
    const found = [...problems]
    if (row.origin !== origin) found.push(`the database holds the log ${row.origin}, the store ${origin}`)
    if (published > size) found.push(`the database has published ${published} leaves, the store has ${size}`)
    const sequenced = { size: Number(row.size), chain: row.chain as Uint8Array }
    const chain: Uint8Array = row.published_chain ?? sha256(new Uint8Array(0))
    found.push(...(await checkWaiting((config) => query(client, config), { size: published, chain }, sequenced)))
    found.push(...(await checkKeys(client, { store, size: Math.min(size, sequenced.size) })))
    return { origin, size, root: encodeHex(root), tiles, problems: found }
  } finally {
    await client.end().catch(() => undefined)
  }
}

interface Head {
  readonly size: number
  readonly chain: Uint8Array
}

/** The batches that are not in tiles yet follow what is, and end where the sequence says. */
async function checkWaiting(ask: Ask, from: Head, to: Head): Promise<string[]> {
  let { size, chain } = from
  try {
    for (let batches = await nextBatches(ask, size); batches.length > 0; batches = await nextBatches(ask, size)) {
      for (const batch of batches) {
        chain = checkBatch(batch, size, chain)
        size += batch.leaves.length / 64
      }
    }
  } catch (error) {
    if (!(error instanceof LogServerError) || error.code !== 'ERR_LOG_SET_BACK') throw error
    return [error.message]
  }
  if (size === to.size && equalBytes(chain, to.chain)) return []
  return [`the database has put ${to.size} leaves in order, and holds what leads to ${size}`]
}

/** The key of every leaf in the tiles, at its index. */
async function checkKeys(client: pg.Client, { store, size }: { store: ObjectStore; size: number }): Promise<string[]> {
  await query(client, {
    text: 'declare keys no scroll cursor for select index::text, key from cella_log.leaf order by leaf.index',
  })
  const keys: { readonly index: string; readonly key: Uint8Array }[] = []
  let at = 0
  const next = async (): Promise<{ readonly index: string; readonly key: Uint8Array } | undefined> => {
    if (at === keys.length) {
      keys.splice(0, keys.length, ...(await query(client, { text: `fetch ${keysAtOnce} from keys` })).rows)
      at = 0
    }
    return keys[at++]
  }
  const read = async (path: string): Promise<Uint8Array> => {
    const bytes = await store.get(path)
    if (bytes === undefined) throw new LogServerError('ERR_LOG_DAMAGED', `the store has no ${path}`)
    return bytes
  }
  for (let first = 0; first < size; first += tileWidth) {
    const width = Math.min(tileWidth, size - first)
    const entries = await readEntries(read, { level: 'entries', index: first / tileWidth, width })
    for (const [place, entry] of entries.entries()) {
      const index = first + place
      const row = await next()
      if (row !== undefined && Number(row.index) === index && equalBytes(row.key, leafHash(entry).subarray(0, 16)))
        continue
      return [`the database does not know the leaf at index ${index}: the same one again would be a second entry`]
    }
  }
  return []
}
