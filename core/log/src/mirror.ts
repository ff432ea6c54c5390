import { encodeHex, encodeUtf8, equalBytes } from '@cella/bytes'
import { sha256 } from '@cella/primitives'
import type { NoteSigner } from './keys.ts'
import { fileReader, LogCopy, type MirrorStore, TileWriter } from './log-copy.ts'
import { LogError } from './log-error.ts'
import { cosignNote, parseNote, verifyNote } from './note.ts'
import type { LogPolicy } from './policy.ts'
import { type HashReader, inclusionProof, verifyInclusion } from './proofs.ts'
import { verifySuccessor } from './successor.ts'
import { parseEntryBundle, readEntries, tileHashes, tilePath, tileWidth } from './tiles.ts'
import { leafHash, TreeBuilder } from './tree.ts'
import type { LogReader } from './view.ts'
import { addSignatures, verifyCheckpoint, type WitnessedCheckpoint } from './witnessed.ts'

// A copy of a log as c2sp.org/tlog-mirror has it: the same files under the same paths, so that any static server can serve
// it and any client of tlog-tiles read it. An entry is authenticated against the checkpoint before it is written, and the
// checkpoint is written last: what the folder's checkpoint says is in the folder.

/** What signs that the mirror holds every byte, and the time for it in seconds since 1970. */
export interface MirrorSigner {
  /** Of type cosignature; a name of its own, not that of a witness. */
  readonly signer: NoteSigner
  readonly now: () => number
}

export interface MirrorOptions {
  /** The one log that it names is copied. */
  readonly policy: LogPolicy
  readonly log: LogReader
  readonly store: MirrorStore
  readonly sign?: MirrorSigner
  /** Entries copied, of all that the checkpoint has. */
  readonly onProgress?: (done: number, total: number) => void
}

const checkpointPath = 'checkpoint'
const readAhead = 8

/** Where a mirror serves the log of this origin, below its own prefix: SHA-256 in hexadecimal. */
export function mirrorPrefix(origin: string): string {
  return encodeHex(sha256(encodeUtf8(origin)))
}

/**
 * Copies what is new of a log, up to its newest checkpoint. What is there already is continued, and a copy that was
 * interrupted goes on. Throws ERR_LOG_ROLLED_BACK or ERR_LOG_FORKED for a log that does not continue the copy, ERR_LOG_PROOF
 * for entries that are not those of the checkpoint, ERR_LOG_UNAVAILABLE, and what `verifyCheckpoint` throws; the copy stays
 * as it was.
 */
export async function mirrorLog(options: MirrorOptions): Promise<WitnessedCheckpoint> {
  const { policy, log, store, sign, onProgress } = options
  const held = await heldCheckpoint(options)
  const checkpoint = verifyCheckpoint(await readCheckpoint(log), policy)
  if (held !== undefined) await verifySuccessor({ seen: held, checkpoint, tile: (path) => log.tile(path) })
  await copyEntries({ checkpoint, held, log, store, onProgress })
  const { bytes } = checkpoint
  const own = sign && cosignNote(parseNote(bytes).text, sign.signer, timeToSign(sign, held?.bytes))
  await store.write(checkpointPath, own === undefined ? bytes : addSignatures(bytes, [own]))
  return checkpoint
}

/** What `checkCopy` found. */
export interface CopyReport {
  readonly checkpoint: WitnessedCheckpoint
  /** Tiles of hashes that were compared. */
  readonly tiles: number
  /** Every file that is not what the entries make, in words; none when all is well. */
  readonly problems: readonly string[]
}

/**
 * Reads a whole log again, of a folder or as a server shows it: whether its entries have the root of its checkpoint, and
 * every tile is what they make. What is wrong is in the report; a bundle of entries that is missing throws
 * ERR_LOG_UNAVAILABLE, since nothing can be told without it, and the checkpoint what `verifyCheckpoint` throws.
 */
export async function checkCopy(options: {
  policy: LogPolicy
  store: Pick<MirrorStore, 'read'>
  onProgress?: (done: number, total: number) => void
}): Promise<CopyReport> {
  const { store, onProgress } = options
  const checkpoint = await heldCheckpoint(options)
  if (checkpoint === undefined) throw new LogError('ERR_LOG_UNAVAILABLE', 'there is no checkpoint')
  const problems: string[] = []
  let compared = 0
  const compare = async (path: string, bytes: Uint8Array): Promise<void> => {
    const held = await store.read(path)
    compared += 1
    if (held === undefined) problems.push(`${path} is missing`)
    else if (!equalBytes(held, bytes)) problems.push(`${path} is not what its leaves give`)
  }
  const tiles = new TileWriter(compare)
  const tree = new TreeBuilder()
  while (tree.size < checkpoint.size) {
    const place = bundleAt(tree.size, checkpoint.size)
    for (const entry of await readEntries(fileReader(store), place)) tiles.append(tree, leafHash(entry))
    await tiles.flushFull()
    onProgress?.(tree.size, checkpoint.size)
  }
  await tiles.flushPartial(checkpoint.size)
  if (!equalBytes(tree.root(), checkpoint.root)) problems.push('the root of the checkpoint is not what its leaves give')
  return { checkpoint, tiles: compared, problems }
}

/** Never earlier than what it signed before on `held`, the note of the copy's checkpoint. */
export function timeToSign({ signer, now }: MirrorSigner, held: Uint8Array | undefined): number {
  const before = held === undefined ? [] : verifyNote(parseNote(held), [signer.key])
  return Math.max(Math.floor(now()), before[0]?.time ?? 0)
}

async function heldCheckpoint({ policy, store }: { policy: LogPolicy; store: Pick<MirrorStore, 'read'> }) {
  const bytes = await store.read(checkpointPath)
  return bytes === undefined ? undefined : verifyCheckpoint(bytes, policy)
}

async function readCheckpoint(log: LogReader): Promise<Uint8Array> {
  try {
    return await log.checkpoint()
  } catch (cause) {
    throw new LogError('ERR_LOG_UNAVAILABLE', 'the checkpoint of the log can’t be read', { cause })
  }
}

async function copyEntries(options: {
  checkpoint: WitnessedCheckpoint
  held: WitnessedCheckpoint | undefined
  log: LogReader
  store: MirrorStore
  onProgress: MirrorOptions['onProgress']
}): Promise<void> {
  const { checkpoint, held, log, store } = options
  const copy = await LogCopy.open(store, held?.size ?? 0)
  const source = new BundleSource({ checkpoint, log, store, from: copy.size })
  let last: readonly Uint8Array[] = []
  for (let done = copy.size; done < checkpoint.size; done += last.length) {
    last = await source.next()
    if (last.length === tileWidth) await copy.append(last)
    options.onProgress?.(done + last.length, checkpoint.size)
  }
  await copy.finish(checkpoint, last.length === tileWidth ? [] : last)
}

/** Authenticated bundles, one after the other: of the copy where an earlier try left them, else of the log. */
class BundleSource {
  readonly #checkpoint: WitnessedCheckpoint
  readonly #log: LogReader
  readonly #store: MirrorStore
  readonly #above: HashReader
  readonly #ahead: Promise<Uint8Array[]>[] = []
  #asked: number

  constructor(options: { checkpoint: WitnessedCheckpoint; log: LogReader; store: MirrorStore; from: number }) {
    this.#checkpoint = options.checkpoint
    this.#log = options.log
    this.#store = options.store
    this.#asked = options.from
    this.#above = tileHashes((path) => this.#log.tile(path), this.#checkpoint.size)
  }

  async next(): Promise<Uint8Array[]> {
    while (this.#ahead.length < readAhead && this.#asked < this.#checkpoint.size) {
      const place = bundleAt(this.#asked, this.#checkpoint.size)
      const entries = this.#bundle(place)
      // A failure is thrown where the bundle is awaited; an earlier one may leave this one unawaited.
      entries.catch(() => undefined)
      this.#ahead.push(entries)
      this.#asked += place.width
    }
    return this.#ahead.shift()!
  }

  async #bundle(place: BundlePlace): Promise<Uint8Array[]> {
    const own = place.width === tileWidth ? await this.#store.read(tilePath(place)) : undefined
    if (own !== undefined) {
      try {
        return await this.#authenticated(place, parseEntryBundle(own, place.width))
      } catch (error) {
        // Half a file, of a try that was interrupted: the log has it whole.
        if (!(error instanceof LogError)) throw error
      }
    }
    return this.#authenticated(place, await readEntries((path) => this.#log.tile(path), place))
  }

  /**
   * The path of a bundle's first leaf holds the hashes of all its other leaves. These are computed here; what lies above
   * is what the log says, and has to lead to the root.
   */
  async #authenticated(place: BundlePlace, entries: Uint8Array[]): Promise<Uint8Array[]> {
    const { size, root } = this.#checkpoint
    const first = place.index * tileWidth
    const own = new Map<string, Uint8Array>()
    const tree = new TreeBuilder()
    for (const entry of entries) {
      tree.append(leafHash(entry), (level, index, hash) => own.set(`${level}/${first / 2 ** level + index}`, hash))
    }
    const hashes: HashReader = (places) =>
      Promise.all(places.map(async (at) => own.get(`${at.level}/${at.index}`) ?? (await this.#above([at]))[0]!))
    const path = await inclusionProof({ index: first, size, hashes })
    verifyInclusion({ index: first, size, root, leaf: leafHash(entries[0]!), path })
    return entries
  }
}

interface BundlePlace {
  readonly level: 'entries'
  readonly index: number
  readonly width: number
}

function bundleAt(first: number, size: number): BundlePlace {
  return { level: 'entries', index: first / tileWidth, width: Math.min(tileWidth, size - first) }
}
