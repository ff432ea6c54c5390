import { concatBytes, encodeHex } from '@cella/bytes'
import { leafHash } from '@cella/log'
import type pg from 'pg'
import type { Job } from '../log.ts'
import { query } from './database.ts'

export interface Sequenced {
  readonly job: Job
  readonly indices: number[]
}

/**
 * Gives the leaves of the jobs their places, in one statement. Throws ERR_LOG_UNAVAILABLE when it isn't known whether it
 * was committed: the same leaves may be sent again, and are the same entries.
 */
export async function sequence(
  client: pg.Client,
  jobs: readonly Job[],
): Promise<{
  /** Leaves that had a place before. */
  readonly before: number
  readonly sequenced: readonly Sequenced[]
}> {
  const distinct: { hashes: Uint8Array[]; leaves: Uint8Array[] } = { hashes: [], leaves: [] }
  const placeOf = new Map<string, number>()
  const places = jobs.map(({ leaves }) =>
    leaves.map((leaf) => {
      const hash = leafHash(leaf)
      const name = encodeHex(hash)
      const twin = placeOf.get(name)
      if (twin !== undefined) return twin
      placeOf.set(name, distinct.hashes.length)
      distinct.leaves.push(leaf)
      return distinct.hashes.push(hash) - 1
    }),
  )
  const [before, ...known] = await append(client, concatBytes(...distinct.hashes), concatBytes(...distinct.leaves))
  const indexAt = (place: number): number => (known.length === 0 ? before! + place : known[place]!)
  const sequenced = jobs.map((job, at) => ({ job, indices: places[at]!.map(indexAt) }))
  return { before: before!, sequenced }
}

async function append(client: pg.Client, hashes: Uint8Array, leaves: Uint8Array): Promise<number[]> {
  const { rows } = await query(client, {
    name: 'append',
    text: 'select cella_log.append($1, $2)::text as places',
    values: [Buffer.from(hashes), Buffer.from(leaves)],
  })
  return JSON.parse(`[${rows[0].places.slice(1, -1)}]`)
}
