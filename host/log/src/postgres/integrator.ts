import type { ObjectStore } from '@cella/blobs'
import { concatBytes, equalBytes } from '@cella/bytes'
import { emptyRoot, leafLength, parseTilePath, partialTiles, type TileReader, tilePath, tileWidth } from '@cella/log'
import { sha256 } from '@cella/primitives'
import type pg from 'pg'
import { Cosigner } from '../cosigner.ts'
import { Disk } from '../disk.ts'
import { LastSigned, type SignedTree } from '../last-signed.ts'
import type { LogOptions } from '../log.ts'
import { LogServerError } from '../log-server-error.ts'
import { parsePublished, restoreState, SignedMeter } from '../recovery.ts'
import { Signing, type SizedCheckpoint } from '../signing.ts'
import { storedTiles, type TileState } from '../tile-state.ts'
import { WitnessClient } from '../witness-client.ts'
import { query } from './database.ts'

const batchesMax = 16

interface Batch {
  readonly first: number
  readonly leaves: Uint8Array
  readonly chain: Uint8Array
}

/**
 * Takes what the database has put in order into the tree: tiles into the store, the root signed and cosigned, the checkpoint
 * published. One process does this at a time, the one that holds the database's lock; each step may be done again.
 */
export class Integrator {
  readonly #client: pg.Client
  readonly #store: ObjectStore
  readonly #state: TileState
  readonly #signing: Signing
  readonly #lastSigned: LastSigned
  readonly #cosigner: Cosigner
  readonly #timeoutMs: number
  #chain: Uint8Array
  #signed: SizedCheckpoint
  #published = -1
  #collected: number
  #alarm: LogServerError | undefined

  private constructor(parts: {
    client: pg.Client
    store: ObjectStore
    state: TileState
    chain: Uint8Array
    collected: number
    options: LogOptions & { readonly quorum: number }
    lastSigned: LastSigned
    signing: Signing
    signed: SizedCheckpoint
  }) {
    const { options, state } = parts
    this.#client = parts.client
    this.#store = parts.store
    this.#state = state
    this.#chain = parts.chain
    this.#collected = parts.collected
    this.#lastSigned = parts.lastSigned
    this.#signing = parts.signing
    this.#signed = parts.signed
    this.#timeoutMs = options.witnessTimeoutMs ?? 10_000
    const witnesses = options.witnesses.map(
      (setting) =>
        new WitnessClient({
          setting,
          timeoutMs: Math.min(this.#timeoutMs, 5_000),
          tile: tilesOf(parts.store, state),
          signedSize: () => this.#signed.size,
        }),
    )
    const { quorum } = options
    const onAlarm = (error: LogServerError): void => {
      this.#alarm ??= error
    }
    this.#cosigner = new Cosigner({ witnesses, quorum, signed: parts.signed, onAlarm })
  }

  /**
   * Takes over. Throws ERR_LOG_SET_BACK when the database has less than was signed or published, ERR_LOG_DAMAGED when it
   * has other leaves, and what witnesses say against the last signed tree.
   */
  static async start(options: {
    client: pg.Client
    store: ObjectStore
    log: LogOptions & { readonly quorum: number }
  }): Promise<Integrator> {
    const { client, store, log } = options
    const { key } = log.signer
    const lastSigned = await LastSigned.open(new Disk(), log.lastSignedFile, key.name)
    try {
      const held = await store.get('checkpoint')
      const { rows } = await query(client, {
        text: 'select checkpoint, chain, collected::text from cella_log.published',
      })
      const read = storedTiles((path) => store.get(path))
      if (lastSigned.tree === undefined && held === undefined && rows.length === 0) {
        await new Signing({ signer: log.signer, lastSigned, tile: read }).sign({ size: 0, root: emptyRoot() })
      }
      const meters = [
        new SignedMeter(lastSigned.tree),
        new SignedMeter(
          held === undefined ? lastSigned.tree : parsePublished(held, key, 'the checkpoint in the store'),
        ),
      ]
      const published = rows[0] && parsePublished(rows[0].checkpoint, key, 'the checkpoint in the database')
      const state = await restoreState({ read, published, meters })
      let chain: Uint8Array = rows[0]?.chain ?? sha256(new Uint8Array(0))
      for (let batches = await nextBatches(client, state.size); batches.length > 0; ) {
        for (const batch of batches) {
          chain = checkBatch(batch, state.size, chain)
          state.apply(state.stage(leavesOf(batch)))
          for (const meter of meters) meter.reached(state)
        }
        batches = await nextBatches(client, state.size)
      }
      for (const meter of meters) meter.demandReached(state.size)
      const signing = new Signing({ signer: log.signer, lastSigned, tile: tilesOf(store, state) })
      const signed = await signing.signAgain(lastSigned.tree!)
      const collected = Number(rows[0]?.collected ?? 0)
      const integrator = new Integrator({
        client,
        store,
        state,
        chain,
        collected,
        options: log,
        lastSigned,
        signing,
        signed,
      })
      await integrator.#cosigner.greet()
      integrator.#demandNoAlarm()
      return integrator
    } catch (error) {
      await lastSigned.close()
      throw error
    }
  }

  /** Takes in what there is; whether there was something. Throws ERR_LOG_UNWITNESSED when it is signed, not cosigned. */
  async advance(): Promise<boolean> {
    this.#demandNoAlarm()
    // Nothing new is signed before enough witnesses, since the start, have cosigned the old.
    await this.#cosigner.wait(this.#cosigner.cosigned?.size ?? this.#signed.size, this.#timeoutMs)
    const batches = await nextBatches(this.#client, this.#state.size)
    for (const batch of batches) {
      this.#chain = checkBatch(batch, this.#state.size, this.#chain)
      this.#state.apply(this.#state.stage(leavesOf(batch)))
    }
    const tree = { size: this.#state.size, root: this.#state.root() }
    if (tree.size > this.#signed.size) await this.#sign(tree)
    if (tree.size === this.#published) return false
    const checkpoint = await this.#cosigner.wait(tree.size, this.#timeoutMs)
    this.#demandNoAlarm()
    await this.#publish(checkpoint)
    return true
  }

  /** Removes partial tiles that published full ones replace. What is done twice or not at all harms nobody. */
  async collect(): Promise<void> {
    const [from, to] = [this.#collected, this.#published]
    for (const level of ['entries', 0, 1, 2, 3, 4, 5] as const) {
      const leaves = tileWidth ** (level === 'entries' ? 1 : level + 1)
      for (let index = Math.floor(from / leaves); (index + 1) * leaves <= to; index++) {
        await this.#store.removeBelow(`${tilePath({ level, index, width: tileWidth })}.p`)
      }
    }
    this.#collected = to
    await query(this.#client, {
      text: 'update cella_log.published set collected = greatest(collected, $1::bigint)',
      values: [to],
    })
  }

  /** Leaves published since partial tiles were removed. */
  get uncollected(): number {
    return this.#published - this.#collected
  }

  async close(): Promise<void> {
    this.#cosigner.stop(new LogServerError('ERR_LOG_STOPPED', 'the log is closing'))
    await this.#lastSigned.close()
  }

  /** Tiles first: a signature is made when all that it covers can be read. */
  async #sign(tree: SignedTree): Promise<void> {
    const tiles = new Map(this.#state.unstored)
    for (const place of partialTiles(tree.size)) {
      tiles.set(tilePath(place), this.#state.read(place, tree.size) as Uint8Array)
    }
    await this.#store.putNew(tiles)
    for (const path of tiles.keys()) this.#state.stored(path)
    this.#signed = await this.#signing.sign(tree)
    this.#cosigner.offer(this.#signed)
  }

  async #publish({ size, bytes }: SizedCheckpoint): Promise<void> {
    await this.#store.put('checkpoint', bytes)
    await query(this.#client, {
      name: 'publish',
      text: `with gone as (delete from cella_log.batch where first < $1::bigint),
        kept as (insert into cella_log.published (size, checkpoint, chain, collected) values ($1::bigint, $2, $3, 0)
          on conflict (one) do update set size = excluded.size, checkpoint = excluded.checkpoint, chain = excluded.chain)
        select pg_notify('cella_log_published', '')`,
      values: [size, Buffer.from(bytes), Buffer.from(this.#chain)],
    })
    this.#published = size
  }

  #demandNoAlarm(): void {
    if (this.#alarm !== undefined) throw this.#alarm
  }
}

/** Tiles out of the state where they are in memory, out of the store otherwise. */
function tilesOf(store: ObjectStore, state: TileState): TileReader {
  return storedTiles(async (path) => {
    const held = state.read(parseTilePath(path), state.size)
    return held === 'stored' || held === undefined ? store.get(path) : held
  })
}

async function nextBatches(client: pg.Client, from: number): Promise<Batch[]> {
  const { rows } = await query(client, {
    name: 'batches',
    // A batch that begins below and ends above is none of those taken in: `checkBatch` refuses it. In order of the column,
    // not of the text that goes out under its name.
    text: `select first::text, leaves, chain from cella_log.batch
      where first + octet_length(leaves) / 64 > $1::bigint order by batch.first limit $2`,
    values: [from, batchesMax],
  })
  return rows.map(({ first, leaves, chain }) => ({ first: Number(first), leaves, chain }))
}

/** The chain after a batch. Throws ERR_LOG_SET_BACK unless it is the one that follows what was taken in before. */
function checkBatch(batch: Batch, size: number, chain: Uint8Array): Uint8Array {
  const next = sha256(concatBytes(chain, batch.leaves))
  if (batch.first === size && batch.leaves.length % leafLength === 0 && equalBytes(next, batch.chain)) return next
  throw new LogServerError(
    'ERR_LOG_SET_BACK',
    `the database's leaves from ${batch.first} on do not follow the ${size} that were taken from it: it was restored from a ` +
      'backup, or a failover lost commits; nothing more is signed',
  )
}

function leavesOf({ leaves }: Batch): Uint8Array[] {
  return Array.from({ length: leaves.length / leafLength }, (_, at) =>
    leaves.subarray(at * leafLength, (at + 1) * leafLength),
  )
}
