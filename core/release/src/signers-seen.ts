import { encodeUtf8 } from '@cella/bytes'
import { encodeVkey, type LogView, type NoteKey } from '@cella/log'
import { countLogSigners, type LogSigners, readLogSigners } from './log-signer.ts'

/** Who shows statements; nothing of it is believed before it is an entry. */
interface Host {
  signers(): Promise<readonly string[]>
}

/** Which code holds the log's key: how many entries say so is counted here, what they say is asked of the host when one is new. */
export class SignersSeen {
  readonly #view: LogView
  readonly #key: NoteKey
  readonly #host: Host
  #seen: LogSigners

  constructor(options: { view: LogView; key: NoteKey; host: Host }) {
    this.#view = options.view
    this.#key = options.key
    this.#host = options.host
    this.#seen = { vkey: encodeVkey(options.key), count: 0, statements: [] }
  }

  /** As of the newest leaf that was read. */
  get seen(): LogSigners {
    return this.#seen
  }

  /** After leaves were read. A host that shows no statement stops those alone whose terms ask for it. */
  async update(): Promise<void> {
    const count = countLogSigners(this.#view, this.#key)
    if (count === this.#seen.statements.length) return
    this.#seen = { ...this.#seen, count }
    const shown = await this.#host.signers().catch(() => [])
    this.#seen = readLogSigners(this.#view, this.#key, shown.map(encodeUtf8))
  }
}
