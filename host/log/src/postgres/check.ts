import type { ObjectStore } from '@cella/blobs'
import { encodeHex, equalBytes } from '@cella/bytes'
import { checkCopy, type LogPolicy, leafHash, readEntries, tileWidth } from '@cella/log'
import { sha256 } from '@cella/primitives'
import type pg from 'pg'
import type { FsckReport } from '../fsck.ts'
import { LogServerError } from '../log-server-error.ts'
import { type Ask, connect, query } from './database.ts'
import { checkBatch, nextBatches } from './integrator.ts'

const hashesAtOnce = 4096

/**
 * Checks a log that PostgreSQL puts in order, while it runs or not: the tiles in its store against their entries, the hash of
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
    // One state of all tables, and older than the store's: what is stored in between is no contradiction.
    await query(client, { text: 'begin isolation level repeatable read read only' })
    const { rows } = await query(client, {
      text: `select sequence.origin, sequence.size::text, sequence.chain, stored.size::text as stored,
          stored.chain as stored_chain
        from cella_log.sequence left join cella_log.stored on true`,
    })
    const [row] = rows
    if (row === undefined) throw new LogServerError('ERR_LOG_DAMAGED', 'the database holds no log')
    const { checkpoint, tiles, problems } = await checkCopy({ policy, store: { read: (path) => store.get(path) } })
    const { origin, size, root } = checkpoint
    const stored = Number(row.stored ?? 0)
    const found = [...problems]
    if (row.origin !== origin) found.push(`the database holds the log ${row.origin}, the store ${origin}`)
    if (stored > size) found.push(`the database says that ${stored} leaves are stored, the store has ${size}`)
    const sequenced = { size: Number(row.size), chain: row.chain as Uint8Array }
    const chain: Uint8Array = row.stored_chain ?? sha256(new Uint8Array(0))
    found.push(...(await checkWaiting((config) => query(client, config), { size: stored, chain }, sequenced)))
    found.push(...(await checkHashes(client, { store, size: Math.min(size, sequenced.size) })))
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

/** The hash of every leaf in the tiles, at its index. */
async function checkHashes(
  client: pg.Client,
  { store, size }: { store: ObjectStore; size: number },
): Promise<string[]> {
  await query(client, {
    text: 'declare hashes no scroll cursor for select index::text, hash from cella_log.leaf order by leaf.index',
  })
  const hashes: { readonly index: string; readonly hash: Uint8Array }[] = []
  let at = 0
  const next = async (): Promise<{ readonly index: string; readonly hash: Uint8Array } | undefined> => {
    if (at === hashes.length) {
      hashes.splice(0, hashes.length, ...(await query(client, { text: `fetch ${hashesAtOnce} from hashes` })).rows)
      at = 0
    }
    return hashes[at++]
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
      if (row !== undefined && Number(row.index) === index && equalBytes(row.hash, leafHash(entry))) continue
      return [`the database does not know the leaf at index ${index}: the same one again would be a second entry`]
    }
  }
  return []
}
