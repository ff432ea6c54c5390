import { ByteReader, concatBytes, encodeHex, uint32Bytes } from '@cella/bytes'
import { type Kysely, sql } from 'kysely'
import type { Tables } from '../database/tables.ts'
import { ManagerError } from '../error.ts'

// What stands behind leaves of the log, under their commitments: sealed to readers whom nobody here knows.
// On the wire one after the other: commitment 32 ‖ length u32 ‖ bytes.

const bodyBytesMax = 65_536
export const bodiesMax = 256

export interface Body {
  /** In hexadecimal. */
  readonly commitment: string
  readonly sealed: Uint8Array
}

/** Throws FormatError or ERR_REQUEST_MALFORMED. */
export function parseBodies(bytes: Uint8Array): Body[] {
  const reader = new ByteReader(bytes)
  const bodies: Body[] = []
  while (reader.remaining > 0) {
    if (bodies.length >= bodiesMax) throw new ManagerError('ERR_REQUEST_MALFORMED', `more than ${bodiesMax} bodies`)
    const commitment = encodeHex(reader.take(32, 'commitment'))
    const length = reader.uint32('length')
    if (length > bodyBytesMax) {
      throw new ManagerError('ERR_REQUEST_MALFORMED', `a body of ${length} bytes, at most ${bodyBytesMax} are kept`)
    }
    bodies.push({ commitment, sealed: reader.take(length, 'body') })
  }
  return bodies
}

export function encodeBodies(bodies: readonly Body[]): Uint8Array {
  return concatBytes(
    ...bodies.flatMap(({ commitment, sealed }) => [Uint8Array.fromHex(commitment), uint32Bytes(sealed.length), sealed]),
  )
}

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

  /** Durable when it returns; what is there already stays as it is. Throws ERR_QUOTA. */
  async put(bodies: readonly Body[]): Promise<void> {
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
      .values(bodies.map(({ commitment, sealed }) => ({ commitment, sealed: Buffer.from(sealed) })))
      .onConflict((conflict) => conflict.doNothing())
      .execute()
  }

  /** Those of these that are there, in no order. */
  async get(commitments: readonly string[]): Promise<Body[]> {
    if (commitments.length === 0) return []
    return this.#tables
      .selectFrom('event_bodies')
      .select(['commitment', 'sealed'])
      .where('commitment', 'in', commitments)
      .execute()
  }

  /** Deletes them with the keys in them. */
  async erase(commitments: readonly string[]): Promise<void> {
    if (commitments.length === 0) return
    await this.#tables.deleteFrom('event_bodies').where('commitment', 'in', commitments).execute()
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
