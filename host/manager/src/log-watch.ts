import { decodeHex, encodeHex } from '@cella/bytes'
import { consistencyProof, LogError, tileHashes, verifyConsistency, type WitnessedCheckpoint } from '@cella/log'
import type { Kysely } from 'kysely'
import { z } from 'zod'
import type { Tables } from './database/tables.ts'
import { ManagerError } from './error.ts'
import type { LogClient } from './log-client.ts'

/** What was found at the last look. */
export interface LogStanding {
  readonly reachable: boolean
  readonly entries: number
  /** Whether the log contradicted what it signed before; stays so until an operator has looked at it. */
  readonly diverged: boolean
  readonly witnesses: readonly { readonly name: string; readonly behindSeconds: number }[]
}

/**
 * Watches the operator's own log: that each checkpoint goes on from the one seen before, and which witnesses are behind.
 * It tells the operator early. Nobody else relies on it: clients and vaults hold checkpoints of their own.
 */
export class LogWatch {
  readonly #tables: Kysely<Tables>
  readonly #log: LogClient
  standing: LogStanding = { reachable: false, entries: 0, diverged: false, witnesses: [] }

  constructor(tables: Kysely<Tables>, log: LogClient) {
    this.#tables = tables
    this.#log = log
  }

  /** Looks once. Throws ERR_LOG_DIVERGED at the first look that finds it; a log that does not answer is a standing. */
  async look(): Promise<void> {
    // Read first: another manager may go on while the log is asked.
    const seen = await this.#tables
      .selectFrom('log_seen')
      .selectAll()
      .where('origin', '=', this.#log.origin)
      .executeTakeFirst()
    const diverged = seen?.contradiction != null
    let checkpoint: WitnessedCheckpoint
    try {
      checkpoint = await this.#log.checkpoint()
      const problem = seen && !diverged ? await this.#contradiction(seen, checkpoint) : undefined
      if (problem !== undefined) {
        await this.#tables
          .updateTable('log_seen')
          .set({ contradiction: Buffer.from(checkpoint.bytes).toString() })
          .where('origin', '=', this.#log.origin)
          .execute()
        this.standing = { ...this.standing, reachable: true, diverged: true }
        throw new ManagerError('ERR_LOG_DIVERGED', `the log contradicts what it signed before: ${problem}`, {
          hint: 'both notes are in the table log_seen; docs/operations.md, “The log diverged”',
        })
      }
      const witnesses = await this.#witnesses()
      this.standing = { reachable: true, entries: checkpoint.size, diverged, witnesses }
    } catch (error) {
      if (!(error instanceof ManagerError) || error.code !== 'ERR_LOG_UNAVAILABLE') throw error
      this.standing = { ...this.standing, reachable: false, diverged }
      return
    }
    if (!diverged) await this.#remember(checkpoint)
  }

  async #contradiction(
    seen: { readonly size: number; readonly root: string },
    { size, root }: WitnessedCheckpoint,
  ): Promise<string | undefined> {
    if (size < seen.size) return `it has ${size} entries and had ${seen.size}`
    if (seen.size === 0) return undefined
    const path =
      size === seen.size
        ? []
        : await consistencyProof({
            oldSize: seen.size,
            newSize: size,
            hashes: tileHashes((tile) => this.#log.tile(tile), size),
          })
    const oldRoot = decodeHex(seen.root, 'root')
    try {
      verifyConsistency({ oldSize: seen.size, newSize: size, oldRoot, newRoot: root, path })
      return undefined
    } catch (error) {
      if (error instanceof LogError) return `the tree of ${size} entries does not begin with that of ${seen.size}`
      throw error
    }
  }

  async #witnesses(): Promise<LogStanding['witnesses']> {
    const { body } = await this.#log.call('healthz')
    try {
      return healthSchema.parse(JSON.parse(Buffer.from(body).toString())).witnesses
    } catch {
      // A log server of somebody else’s making may say nothing about it.
      return []
    }
  }

  async #remember({ size, root, bytes }: WitnessedCheckpoint): Promise<void> {
    const row = { size, root: encodeHex(root), note: Buffer.from(bytes).toString() }
    await this.#tables
      .insertInto('log_seen')
      .values({ origin: this.#log.origin, ...row, contradiction: null })
      .onConflict((conflict) =>
        conflict
          .column('origin')
          .doUpdateSet(row)
          .where('log_seen.size', '<', size)
          .where('log_seen.contradiction', 'is', null),
      )
      .execute()
  }
}

const healthSchema = z.object({
  witnesses: z.array(z.object({ name: z.string().max(300), behindSeconds: z.number().min(0) })).max(64),
})
