import { concatBytes, encodeHex } from '@cella/bytes'
import { leafHash } from '@cella/log'
import type pg from 'pg'
import type { Job } from '../log.ts'
import { query } from './database.ts'

const keyBytes = 16

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
  const distinct: { keys: Uint8Array[]; leaves: Uint8Array[] } = { keys: [], leaves: [] }
  const placeOf = new Map<string, number>()
  const places = jobs.map(({ leaves }) =>
    leaves.map((leaf) => {
      const key = leafHash(leaf).subarray(0, keyBytes)
      const name = encodeHex(key)
      const twin = placeOf.get(name)
      if (twin !== undefined) return twin
      placeOf.set(name, distinct.keys.length)
      distinct.leaves.push(leaf)
      return distinct.keys.push(key) - 1
    }),
  )
  const [before, ...indices] = await append(client, concatBytes(...distinct.keys), concatBytes(...distinct.leaves))
  const sequenced = jobs.map((job, at) => ({ job, indices: places[at]!.map((place) => indices[place]!) }))
  return { before: before!, sequenced }
}

async function append(client: pg.Client, keys: Uint8Array, leaves: Uint8Array): Promise<number[]> {
  const { rows } = await query(client, {
    name: 'append',
    text: 'select cella_log.append($1, $2)::text as places',
    values: [Buffer.from(keys), Buffer.from(leaves)],
  })
  return JSON.parse(`[${rows[0].places.slice(1, -1)}]`)
}
