import { Disk, type Files, type ObjectStore } from '@cella/blobs'
import { concatBytes, encodeBase64, equalBytes } from '@cella/bytes'
import {
  emptyRoot,
  leafLength,
  parseTilePath,
  partialTiles,
  type TilePlace,
  type TileReader,
  tilePath,
  tileWidth,
} from '@cella/log'
import { sha256 } from '@cella/primitives'
import type pg from 'pg'
import { Cosigner, type WitnessStanding } from '../cosigner.ts'
import { LastSigned } from '../last-signed.ts'
import { asError, type LogOptions } from '../log.ts'
import { LogServerError } from '../log-server-error.ts'
import { parsePublished, restoreState, SignedMeter } from '../recovery.ts'
import { Signing, type SizedCheckpoint } from '../signing.ts'
import { storedTiles, type TileState, tilesWith } from '../tile-state.ts'
import { WitnessClient } from '../witness-client.ts'
import { Bell } from './bell.ts'
import { type Ask, inTurn } from './database.ts'

const batchesMax = 16
/** Full tiles and bundles in memory before leaves wait for them to be stored: some 50 MB. */
const unstoredTilesMax = 4096
/** Partial tiles are removed after so many leaves while the log is busy, and whenever it is not. */
const collectLeaves = 65_536
/** How long something that rang no bell may stay unseen. */
const lookMs = 250
/** From one round of storing to the next while tiles get full: each writes partial tiles that the next makes useless. */
const storeMs = 100
/** PostgreSQL's notifications are shorter than this. */
const payloadBytesMax = 8000

interface Batch {
  readonly first: number
  readonly leaves: Uint8Array
  readonly chain: Uint8Array
}

interface Parts {
  readonly ask: Ask
  readonly store: ObjectStore
  readonly options: LogOptions & { readonly quorum: number }
  readonly state: TileState
  readonly chain: Uint8Array
  /** Leaves in the store's tiles, and up to where partial ones were removed. */
  readonly stored: number
  readonly collected: number
  readonly lastSigned: LastSigned
  readonly tile: TileReader
  readonly signing: Signing
  readonly signed: SizedCheckpoint
}

/**
 * Takes what the database has put in order into the tree, in four loops, each a step behind the one before: leaves are
 * taken in; their root is signed; what is cosigned is published in the database; what is published goes into the store as
 * tiles. One process does this at a time, the one that holds the database's lock; each step may be done again, so nothing
 * that it writes to the database has to be on disk when the database answers.
 */
export class Integrator {
  readonly #ask: Ask
  readonly #store: ObjectStore
  readonly #state: TileState
  readonly #signing: Signing
  readonly #lastSigned: LastSigned
  readonly #cosigner: Cosigner
  readonly #timeoutMs: number
  readonly #bells = {
    sequenced: new Bell(),
    taken: new Bell(),
    signed: new Bell(),
    published: new Bell(),
    end: new Bell(),
  }
  /** At each size that was signed and is not stored yet. */
  readonly #chains = new Map<number, Uint8Array>()
  #chain: Uint8Array
  #signed: SizedCheckpoint
  #published: SizedCheckpoint | undefined
  #stored: number
  #collected: number
  #isEnding = false
  #failure: Error | undefined

  private constructor(parts: Parts) {
    const { options, state } = parts
    this.#ask = parts.ask
    this.#store = parts.store
    this.#state = state
    this.#chain = parts.chain
    this.#stored = parts.stored
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
          tile: parts.tile,
          signedSize: () => this.#signed.size,
        }),
    )
    const { quorum } = options
    const onAlarm = (error: LogServerError): void => this.#end(error)
    this.#cosigner = new Cosigner({ witnesses, quorum, signed: parts.signed, onAlarm })
  }

  standing(): WitnessStanding[] {
    return this.#cosigner.standing()
  }

  /**
   * Takes over. Throws ERR_LOG_SET_BACK when the database has less than was signed or published, ERR_LOG_DAMAGED when it
   * has other leaves, and what witnesses say against the last signed tree.
   */
  static async start(options: {
    client: pg.Client
    store: ObjectStore
    log: LogOptions & { readonly quorum: number; readonly files?: Files }
  }): Promise<Integrator> {
    const { store, log } = options
    const { key } = log.signer
    const ask = inTurn(options.client)
    // Leaves are on disk before they come here; what this connection writes is made again out of them.
    await ask({ text: 'set synchronous_commit = off' })
    const lastSigned = await LastSigned.open(new Disk(log.files), log.lastSignedFile, key.name)
    try {
      const marks = await Promise.all(
        ['signed', 'checkpoint'].map(async (name) => {
          const bytes = await store.get(name)
          return bytes && parsePublished(bytes, key, `${name} in the store`)
        }),
      )
      const { rows } = await ask({
        text: 'select checkpoint, chain, collected::text from cella_log.stored',
      })
      const read = storedTiles((path) => store.get(path))
      // The store's copy tells a process whose file is older, on another machine, what was signed last.
      const keep = ({ bytes }: SizedCheckpoint): Promise<void> => store.put('signed', bytes)
      // Of no leaves there is one tree: a first signature that reached the store and not the file may be made again.
      const isNew = marks.every((mark) => (mark?.size ?? 0) === 0) && rows.length === 0
      if (lastSigned.tree === undefined && isNew) {
        await new Signing({ signer: log.signer, lastSigned, tile: read, keep }).sign({ size: 0, root: emptyRoot() })
      }
      const meters = [lastSigned.tree, ...marks.filter((mark) => mark !== undefined)].map(
        (tree) => new SignedMeter(tree),
      )
      const published = rows[0] && parsePublished(rows[0].checkpoint, key, 'the checkpoint in the database')
      const state = await restoreState({ read, published, meters })
      const stored = state.size
      let chain: Uint8Array = rows[0]?.chain ?? sha256(new Uint8Array(0))
      const last = [...marks, lastSigned.tree].reduce((a, b) => ((b?.size ?? -1) >= (a?.size ?? -1) ? b : a))!
      const chains = new Map([[stored, chain]])
      for (let batches = await nextBatches(ask, stored); batches.length > 0; ) {
        for (const batch of batches) {
          chain = checkBatch(batch, state.size, chain)
          state.apply(state.stage(leavesOf(batch)))
          if (state.size >= last.size) chains.set(state.size, chain)
          for (const meter of meters) meter.reached(state)
        }
        batches = await nextBatches(ask, state.size)
      }
      for (const meter of meters) meter.demandReached(state.size)
      const tile = tilesWith(state, read)
      const signing = new Signing({ signer: log.signer, lastSigned, tile, keep })
      const isNewer = last.size > (lastSigned.tree?.size ?? -1)
      const signed = await (isNewer ? signing.sign(last) : signing.signAgain(last))
      if (!isNewer) await keep(signed)
      const collected = Number(rows[0]?.collected ?? 0)
      const integrator = new Integrator({
        ask,
        store,
        options: log,
        state,
        chain,
        stored: published?.size ?? -1,
        collected,
        lastSigned,
        tile,
        signing,
        signed,
      })
      for (const [size, link] of chains) integrator.#chains.set(size, link)
      await integrator.#cosigner.greet()
      if (integrator.#failure !== undefined) throw integrator.#failure
      return integrator
    } catch (error) {
      await lastSigned.close()
      throw error
    }
  }

  /** There may be leaves to take in. */
  wake(): void {
    this.#bells.sequenced.ring()
  }

  /**
   * Works until `stop`, then stores what is published. `onPublished` hears of each checkpoint before the database does.
   * Throws what one of the loops met.
   */
  async run(on: { published(checkpoint: SizedCheckpoint): void; stored(): void }): Promise<void> {
    const ended = (error?: unknown): void => this.#end(error)
    const works = [this.#takeIn(), this.#sign(), this.#publish(on.published), this.#storeTiles(on.stored)]
    await Promise.all(works.map((work) => work.catch(ended)))
    // A database that lost commits has lost what was published; here it still is.
    if (this.#failure === undefined || isSetBack(this.#failure)) await this.#storePublished().catch(ended)
    this.#cosigner.stop(new LogServerError('ERR_LOG_STOPPED', 'the log is closing'))
    await this.#lastSigned.close()
    if (this.#failure !== undefined) throw this.#failure
  }

  stop(): void {
    this.#end()
  }

  /** The file at a tile path that a log of `size` leaves has, where it is in memory. */
  tile(place: TilePlace, size: number): Uint8Array | undefined {
    const held = this.#state.read(place, size)
    return held === 'stored' ? undefined : held
  }

  /** Takes leaves in while the tree before is signed. */
  async #takeIn(): Promise<void> {
    await this.#witnessesAgree()
    while (!this.#isEnding) {
      const hasRoom = this.#state.unstored.size <= unstoredTilesMax
      const batches = hasRoom ? await nextBatches(this.#ask, this.#state.size) : []
      for (const batch of batches) {
        this.#chain = checkBatch(batch, this.#state.size, this.#chain)
        this.#state.apply(this.#state.stage(leavesOf(batch)))
      }
      if (batches.length === 0) await this.#bells.sequenced.wait(lookMs)
      else this.#bells.taken.ring()
    }
  }

  /** Signs the newest tree while the one before is cosigned, published and stored. */
  async #sign(): Promise<void> {
    await this.#witnessesAgree()
    while (!this.#isEnding) {
      const tree = { size: this.#state.size, root: this.#state.root() }
      if (tree.size === this.#signed.size) {
        await this.#bells.taken.wait(lookMs)
        continue
      }
      this.#chains.set(tree.size, this.#chain)
      this.#signed = await this.#signing.sign(tree)
      if (this.#failure !== undefined) return
      this.#cosigner.offer(this.#signed)
      this.#bells.signed.ring()
    }
  }

  /** Nothing new is signed before enough witnesses, since the start, have cosigned the old. */
  async #witnessesAgree(): Promise<void> {
    while (!this.#isEnding && this.#cosigner.cosigned === undefined) await this.#cosignedAbove(-1)
  }

  async #publish(onPublished: (checkpoint: SizedCheckpoint) => void): Promise<void> {
    while (!this.#isEnding) {
      const checkpoint = await this.#cosignedAbove(this.#published?.size ?? -1)
      if (checkpoint === undefined) continue
      this.#published = checkpoint
      // What is signed is kept: who waits in this process need not wait for the database.
      onPublished(checkpoint)
      this.#bells.published.ring()
      const payload = encodeBase64(checkpoint.bytes)
      await this.#ask({
        name: 'publish',
        text: `with kept as (insert into cella_log.published (size, checkpoint) values ($1::bigint, $2)
            on conflict (one) do update set size = excluded.size, checkpoint = excluded.checkpoint)
          select pg_notify('cella_log_published', $3)`,
        values: [
          checkpoint.size,
          Buffer.from(checkpoint.bytes),
          // One that is too long is looked up.
          payload.length < payloadBytesMax ? payload : '',
        ],
      })
    }
  }

  /** A checkpoint of more than `size` leaves that enough witnesses cosigned; `undefined` where there is none for now. */
  async #cosignedAbove(size: number): Promise<SizedCheckpoint | undefined> {
    if (size === this.#signed.size) {
      await this.#bells.signed.wait(lookMs)
      return undefined
    }
    try {
      return await this.#cosigner.wait(size + 1, Math.min(this.#timeoutMs, lookMs))
    } catch (error) {
      // Who waits hears of it in its own time; the witnesses are asked on.
      if ((error as LogServerError).code !== 'ERR_LOG_UNWITNESSED') throw error
      return undefined
    }
  }

  async #storeTiles(onStored: () => void): Promise<void> {
    while (!this.#isEnding) {
      const startMs = performance.now()
      const full = await this.#storePublished()
      if (full !== undefined) {
        onStored()
        this.#bells.sequenced.ring()
      }
      if (this.#stored - this.#collected >= (full === undefined ? 1 : collectLeaves)) await this.#collect()
      if (full === undefined) await this.#bells.published.wait(lookMs)
      else if (full > 0) await this.#bells.end.wait(Math.max(0, startMs + storeMs - performance.now()))
    }
  }

  /** How many full tiles there were to store; `undefined` where there was nothing. */
  async #storePublished(): Promise<number | undefined> {
    if (this.#published === undefined || this.#published.size <= this.#stored) return undefined
    return this.#storeUpTo(this.#published)
  }

  /** Tiles first, then the public checkpoint that needs them, then the leaves may go from the database. */
  async #storeUpTo({ size, bytes }: SizedCheckpoint): Promise<number> {
    const tiles = new Map([...this.#state.unstored].filter(([path]) => isWholeAt(size, parseTilePath(path))))
    const full = [...tiles.keys()]
    for (const place of partialTiles(size)) tiles.set(tilePath(place), this.#state.read(place, size) as Uint8Array)
    await this.#store.putNew(tiles)
    await this.#store.put('checkpoint', bytes)
    await this.#ask({
      name: 'stored',
      text: `with gone as (delete from cella_log.batch where first < $1::bigint),
        kept as (insert into cella_log.stored (size, checkpoint, chain, collected) values ($1::bigint, $2, $3, 0)
          on conflict (one) do update set size = excluded.size, checkpoint = excluded.checkpoint, chain = excluded.chain)
        select pg_notify('cella_log_published', '')`,
      values: [size, Buffer.from(bytes), Buffer.from(this.#chains.get(size)!)],
    })
    for (const path of full) this.#state.stored(path)
    for (const before of this.#chains.keys()) if (before < size) this.#chains.delete(before)
    this.#stored = size
    return full.length
  }

  /** Removes partial tiles that stored full ones replace. What is done twice or not at all harms nobody. */
  async #collect(): Promise<void> {
    const [from, to] = [this.#collected, this.#stored]
    for (const level of ['entries', 0, 1, 2, 3, 4, 5] as const) {
      const leaves = tileWidth ** (level === 'entries' ? 1 : level + 1)
      for (let index = Math.floor(from / leaves); (index + 1) * leaves <= to; index++) {
        await this.#store.removeBelow(`${tilePath({ level, index, width: tileWidth })}.p`)
      }
    }
    await this.#ask({
      text: 'update cella_log.stored set collected = greatest(collected, $1::bigint)',
      values: [to],
    })
    this.#collected = to
  }

  #end(error?: unknown): void {
    if (error !== undefined) this.#failure ??= asError(error)
    this.#isEnding = true
    for (const bell of Object.values(this.#bells)) bell.ring()
  }
}

function isSetBack(error: Error): boolean {
  return error instanceof LogServerError && error.code === 'ERR_LOG_SET_BACK'
}

/** Whether a log of `size` leaves has all of a full tile. */
function isWholeAt(size: number, { level, index }: TilePlace): boolean {
  return (index + 1) * tileWidth ** (level === 'entries' ? 1 : level + 1) <= size
}

/** The next batches that don't end below `from`. One that begins below it follows nothing: `checkBatch` refuses it. */
export async function nextBatches(ask: Ask, from: number): Promise<Batch[]> {
  const { rows } = await ask({
    name: 'batches',
    // In order of the column, not of the text that goes out under its name.
    text: `select first::text, leaves, chain from cella_log.batch
      where first >= coalesce((select max(first) from cella_log.batch where first < $1::bigint), 0)
      and first + octet_length(leaves) / 64 > $1::bigint order by batch.first limit $2`,
    values: [from, batchesMax],
  })
  return rows.map(({ first, leaves, chain }) => ({ first: Number(first), leaves, chain }))
}

/** The chain after a batch. Throws ERR_LOG_SET_BACK unless it is the one that follows what was taken in before. */
export function checkBatch(batch: Batch, size: number, chain: Uint8Array): Uint8Array {
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
