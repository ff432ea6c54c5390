// biome-ignore lint/correctness/noUnresolvedImports: Biome does not know this built-in yet.
import { DatabaseSync } from 'node:sqlite'
import { WitnessError } from './witness-error.ts'

export interface WitnessedState {
  readonly size: number
  /** 32 bytes. */
  readonly root: Uint8Array
  /** The cosigned note. */
  readonly note: Uint8Array
}

const version = 1

/**
 * What the witness has cosigned: one checkpoint a log, and the latest time it ever wrote. SQLite with synchronous=FULL:
 * when `replace` returns, the disk has it.
 */
export class WitnessState {
  readonly #database: DatabaseSync

  /** Opens or makes the file. Throws ERR_WITNESS_STATE. */
  constructor(file: string) {
    try {
      this.#database = new DatabaseSync(file)
      this.#database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;')
      const found = this.#database.prepare('PRAGMA user_version').get()?.user_version
      if (found !== 0 && found !== version) throw new Error(`the file is of version ${found}, known is ${version}`)
      this.#database.exec(`
        BEGIN IMMEDIATE;
        CREATE TABLE IF NOT EXISTS checkpoint (
          origin TEXT PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL, note BLOB NOT NULL) STRICT;
        CREATE TABLE IF NOT EXISTS clock (id INTEGER PRIMARY KEY CHECK (id = 1), seconds INTEGER NOT NULL) STRICT;
        PRAGMA user_version = ${version};
        COMMIT;`)
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause)
      throw new WitnessError('ERR_WITNESS_STATE', `the witness state ${file} can't be opened: ${reason}`, { cause })
    }
  }

  /** The last checkpoint cosigned for an origin, or `undefined`. */
  get(origin: string): WitnessedState | undefined {
    const row = this.#database.prepare('SELECT size, root, note FROM checkpoint WHERE origin = ?').get(origin)
    if (row === undefined) return undefined
    return { size: row.size as number, root: row.root as Uint8Array, note: row.note as Uint8Array }
  }

  /** The latest time ever cosigned with, in seconds since 1970; 0 at first. */
  time(): number {
    return (this.#database.prepare('SELECT seconds FROM clock').get()?.seconds as number | undefined) ?? 0
  }

  replace(origin: string, state: WitnessedState, time: number): void {
    this.#database
      .prepare('INSERT OR REPLACE INTO checkpoint (origin, size, root, note) VALUES (?, ?, ?, ?)')
      .run(origin, state.size, state.root, state.note)
    this.#database.prepare('INSERT OR REPLACE INTO clock (id, seconds) VALUES (1, ?)').run(time)
  }

  /** Runs check and write as one: a second process on the same file waits. */
  exclusively<T>(run: () => T): T {
    this.#database.exec('BEGIN IMMEDIATE')
    try {
      const result = run()
      this.#database.exec('COMMIT')
      return result
    } catch (error) {
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK')
      throw error
    }
  }

  close(): void {
    this.#database.close()
  }
}
