import type { Digest } from '@cella/bytes'
import type { SealedBody } from '@cella/events'
import { type Kysely, sql } from 'kysely'
import type { Tables } from '../database/tables.ts'
import { ManagerError } from '../error.ts'

// What stands behind leaves of the log, under their commitments: sealed to readers whom nobody here knows.

/** Bodies in the database, bounded in all. */
export class BodyStore {
  readonly #tables: Kysely<Tables>
  readonly #bytesMax: number
  /** As last counted, and what was added here since. */
  #bytes: { counted: Promise<number>; at: number; added: number } | undefined

  constructor(tables: Kysely<Tables>, bytesMax: number) {
    this.#tables = tables
    this.#bytesMax = bytesMax
  }

  /** Durable when it returns; what is there already stays as it is. `writer` is the account of a vault at home. Throws ERR_QUOTA. */
  async put(bodies: readonly SealedBody[], writer: string | null): Promise<void> {
    if (bodies.length === 0) return
    const added = bodies.reduce((sum, { sealed }) => sum + sealed.length, 0)
    const known = this.#count()
    if ((await known.counted) + known.added + added > this.#bytesMax) {
      throw new ManagerError('ERR_QUOTA', `bodies beside the log have used up their ${this.#bytesMax} bytes`, {
        hint: 'raise limits.eventBytesMax: nothing is released while what happens can’t be recorded',
      })
    }
    known.added += added
    await this.#tables
      .insertInto('event_bodies')
      .values(bodies.map(({ commitment, sealed }) => ({ commitment, sealed: Buffer.from(sealed), writer })))
      .onConflict((conflict) => conflict.doNothing())
      .execute()
  }

  /** Those of these that are there, in no order. */
  async get(commitments: readonly string[]): Promise<SealedBody[]> {
    if (commitments.length === 0) return []
    const rows = await this.#tables
      .selectFrom('event_bodies')
      .select(['commitment', 'sealed'])
      .where('commitment', 'in', commitments)
      .execute()
    return rows.map(({ commitment, sealed }) => ({ commitment: commitment as Digest, sealed }))
  }

  /**
   * Deletes them with the keys in them. The account of a vault at home has those deleted that its vault wrote: throws
   * ERR_NOT_ALLOWED, and deletes none, where one is there that it did not.
   */
  async erase(commitments: readonly string[], writer: string | null): Promise<void> {
    if (commitments.length === 0) return
    await this.#tables.transaction().execute(async (transaction) => {
      if (writer !== null) {
        const others = await transaction
          .selectFrom('event_bodies')
          .select('commitment')
          .where('commitment', 'in', commitments)
          .where('writer', 'is distinct from', writer)
          .limit(1)
          .executeTakeFirst()
        if (others !== undefined) {
          throw new ManagerError('ERR_NOT_ALLOWED', 'a body among these was not written by this account’s vault', {
            hint: 'the vault that wrote it has it erased; of a broker’s account that was replaced, the operator does',
          })
        }
      }
      await transaction.deleteFrom('event_bodies').where('commitment', 'in', commitments).execute()
    })
    this.#bytes = undefined
  }

  /** Counted anew each minute, for other managers write as well, and after erasing, which gives room. */
  #count(): { counted: Promise<number>; at: number; added: number } {
    const now = performance.now()
    if (this.#bytes !== undefined && now - this.#bytes.at < 60_000) return this.#bytes
    const counted = sql<{ bytes: string | null }>`select sum(octet_length(sealed)) as bytes from event_bodies`
      .execute(this.#tables)
      .then(({ rows }) => Number(rows[0]?.bytes ?? 0))
    counted.catch(() => {
      this.#bytes = undefined
    })
    this.#bytes = { counted, at: now, added: 0 }
    return this.#bytes
  }
}
