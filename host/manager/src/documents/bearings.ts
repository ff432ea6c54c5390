import { type Kysely, sql } from 'kysely'
import type { Tables } from '../database/tables.ts'
import { type Bearing, bearingOn, requireSound } from './bearing.ts'

interface Kept {
  readonly version: string
  readonly bearing: Bearing
  readonly characters: number
  /** By a monotonic clock. */
  readonly readAt: number
}

/** Of envelopes, over all contracts. */
const charactersMax = 32 * 2 ** 20
/** Far less than notices are kept: none that tells of a document is forgotten meanwhile. */
const keptMs = 60_000

/**
 * What bears on the contracts that ran lately: a run asks for it twice, and it changes with the documents alone. Each
 * document that is logged adds notices in the same transaction, with ids in the order of commits, so the newest of them
 * says whether what was read is still all. Only where ciphertext lies may change without one.
 */
export class Bearings {
  readonly #tables: Kysely<Tables>
  readonly #kept = new Map<string, Kept>()
  readonly #sound = new WeakMap<Bearing, Promise<void>>()
  #characters = 0

  constructor(tables: Kysely<Tables>) {
    this.#tables = tables
  }

  /** Throws ERR_NOT_FOUND for a contract that is not stored, or not shown to any of `organisations`: one is as the other. */
  async on(contract: string, organisations?: readonly string[]): Promise<Bearing> {
    const kept = this.#recent(contract)
    // An organisation is shown its own contracts; whether one is shown to others is asked each time.
    if (kept === undefined || organisations?.includes(kept.bearing.contract.organisation) === false) {
      return this.#read(contract, organisations)
    }
    const [version, locations] = await Promise.all([this.#version(), this.#locations(kept.bearing)])
    if (kept.version !== version) return this.#read(contract, organisations)
    this.#keep(contract, kept)
    const isSame = JSON.stringify(locations) === JSON.stringify(kept.bearing.locations)
    return isSame ? kept.bearing : { ...kept.bearing, locations }
  }

  async #read(contract: string, organisations?: readonly string[]): Promise<Bearing> {
    // Before the documents are read: what is logged meanwhile makes another version.
    const version = await this.#version()
    const bearing = await bearingOn(this.#tables, contract, organisations)
    const characters = bearing.envelopes.reduce((sum, envelope) => sum + envelope.length, 0)
    this.#keep(contract, { version, bearing, characters, readAt: performance.now() })
    return bearing
  }

  /** As `requireSound`, whose answer for one bearing does not change. */
  requireSound(bearing: Bearing): Promise<void> {
    const known = this.#sound.get(bearing) ?? requireSound(bearing)
    this.#sound.set(bearing, known)
    return known
  }

  async #version(): Promise<string> {
    const { rows } = await sql<{ version: string }>`
      select coalesce(max(id), 0)::text as version from notices where kind = 'document'`.execute(this.#tables)
    return rows[0]!.version
  }

  async #locations({ rows }: Bearing): Promise<Bearing['locations']> {
    const manifests = rows.flatMap(({ digest, type }) => (type === 'cella/manifest' ? [digest] : []))
    if (manifests.length === 0) return {}
    const found = await this.#tables
      .selectFrom('documents')
      .select(['digest', 'locations'])
      .where('digest', 'in', manifests)
      .where('locations', 'is not', null)
      .execute()
    return Object.fromEntries(found.map(({ digest, locations }) => [digest, locations!]))
  }

  #recent(contract: string): Kept | undefined {
    const kept = this.#kept.get(contract)
    return kept !== undefined && performance.now() - kept.readAt <= keptMs ? kept : undefined
  }

  /** As the newest; the oldest go. */
  #keep(contract: string, kept: Kept): void {
    this.#forget(contract)
    this.#kept.set(contract, kept)
    this.#characters += kept.characters
    for (const oldest of this.#kept.keys()) {
      if (this.#characters <= charactersMax) return
      this.#forget(oldest)
    }
  }

  #forget(contract: string): void {
    this.#characters -= this.#kept.get(contract)?.characters ?? 0
    this.#kept.delete(contract)
  }
}
