import { LogError } from './log-error.ts'
import { malformed, parseDecimal } from './parsing.ts'
import type { HashReader, NodePlace } from './proofs.ts'
import { nodeHash } from './tree.ts'

// c2sp.org/tlog-tiles. A full tile holds 256 hashes of 32 bytes; hash i of tile n at level l is the root over the
// 256^l leaves from (n·256 + i)·256^l. A partial tile holds the first `width` of them.

export const tileWidth = 256

export interface TilePlace {
  /** 0 to 63, or `entries` for the bundles of entries themselves. */
  readonly level: number | 'entries'
  readonly index: number
  /** 1 to 256; less than 256 for a partial tile. */
  readonly width: number
}

/** `tile/0/x001/234/067.p/8`: the path of a tile below a log's URL. */
export function tilePath(place: TilePlace): string {
  let rest = Math.floor(place.index / 1000)
  let index = String(place.index % 1000).padStart(3, '0')
  for (; rest > 0; rest = Math.floor(rest / 1000)) index = `x${String(rest % 1000).padStart(3, '0')}/${index}`
  return `tile/${place.level}/${index}${place.width === tileWidth ? '' : `.p/${place.width}`}`
}

/** The inverse of `tilePath`. Throws ERR_LOG_MALFORMED for any other spelling. */
export function parseTilePath(path: string): TilePlace {
  const match = path.length < 100 ? pathForm.exec(path) : null
  if (match === null) throw malformed('tile path', 'is not of the form tile/LEVEL/INDEX[.p/WIDTH]')
  const place: TilePlace = {
    level: match[1] === 'entries' ? 'entries' : parseDecimal(match[1]!, 'tile level'),
    index: Number(match[2]!.replaceAll(/[x/]/g, '')),
    width: match[3] === undefined ? tileWidth : parseDecimal(match[3], 'tile width'),
  }
  if (!Number.isSafeInteger(place.index) || place.width >= 1_000 || tilePath(place) !== path) {
    throw malformed('tile path', 'has another spelling')
  }
  if (place.width < 1 || place.width > tileWidth || (match[3] !== undefined && place.width === tileWidth)) {
    throw malformed('tile width', 'of a partial tile is from 1 to 255')
  }
  if (place.level !== 'entries' && place.level > 63) throw malformed('tile level', 'is at most 63')
  return place
}

const pathForm = /^tile\/(entries|[0-9]{1,2})\/((?:x[0-9]{3}\/)*[0-9]{3})(?:\.p\/([0-9]{1,3}))?$/

/** The tile of `level` that holds hash `index` of it, as wide as a log of `size` leaves has it. Empty: width 0. */
export function tileOf(level: number, index: number, size: number): TilePlace {
  const tile = Math.floor(index / tileWidth)
  const hashes = Math.floor(size / tileWidth ** level) - tile * tileWidth
  return { level, index: tile, width: Math.max(0, Math.min(tileWidth, hashes)) }
}

/** The partial tiles of a log of `size` leaves, its partial entry bundle first. They exist for every size published. */
export function partialTiles(size: number): TilePlace[] {
  const places: TilePlace[] = []
  if (size % tileWidth > 0) {
    places.push({ level: 'entries', index: Math.floor(size / tileWidth), width: size % tileWidth })
  }
  let hashes = size
  for (let level = 0; hashes > 0; level++) {
    if (hashes % tileWidth > 0) places.push({ level, index: Math.floor(hashes / tileWidth), width: hashes % tileWidth })
    hashes = Math.floor(hashes / tileWidth)
  }
  return places
}

/** Hashes of a tile, `width` of them. Throws ERR_LOG_MALFORMED for any other length. The result shares memory. */
export function parseTile(bytes: Uint8Array, width: number): Uint8Array[] {
  if (bytes.length !== width * 32) {
    throw malformed('tile', `has ${bytes.length} bytes, ${width} hashes have ${width * 32}`)
  }
  return Array.from({ length: width }, (_, index) => bytes.subarray(index * 32, index * 32 + 32))
}

/** Entries with 2 bytes big-endian length before each; at most 65,535 bytes an entry. */
export function encodeEntryBundle(entries: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(entries.reduce((length, entry) => length + 2 + entry.length, 0))
  let at = 0
  for (const entry of entries) {
    if (entry.length > 0xffff) throw new RangeError(`an entry has ${entry.length} bytes, a bundle takes 65,535`)
    bytes[at] = entry.length >>> 8
    bytes[at + 1] = entry.length & 0xff
    bytes.set(entry, at + 2)
    at += 2 + entry.length
  }
  return bytes
}

/** The `width` entries of a bundle, sharing memory with it. Throws ERR_LOG_MALFORMED for another number of entries. */
export function parseEntryBundle(bytes: Uint8Array, width: number): Uint8Array[] {
  const entries: Uint8Array[] = []
  let at = 0
  while (entries.length < width) {
    const start = at + 2
    if (start > bytes.length) throw malformed('entry bundle', `ends after ${entries.length} of ${width} entries`)
    const end = start + ((bytes[at]! << 8) | bytes[at + 1]!)
    if (end > bytes.length) throw malformed('entry bundle', `ends inside entry ${entries.length}`)
    entries.push(bytes.subarray(start, end))
    at = end
  }
  if (at !== bytes.length) throw malformed('entry bundle', `has ${bytes.length - at} bytes after its end`)
  return entries
}

/** Reads a tile or bundle by its path. */
export type TileReader = (path: string) => Promise<Uint8Array>

/**
 * Hashes of perfect subtrees out of the tiles of a log of `size` leaves. Nothing read is trusted: a proof made of it
 * still has to verify. Throws ERR_LOG_UNAVAILABLE when a tile can't be read.
 */
export function tileHashes(read: TileReader, size: number): HashReader {
  const tiles = new Map<string, Promise<Uint8Array[]>>()
  const hashAt = async (place: NodePlace): Promise<Uint8Array> => {
    const level = Math.floor(place.level / 8)
    const count = 2 ** (place.level % 8)
    const first = place.index * count
    const tile = tileOf(level, first, size)
    const path = tilePath(tile)
    let hashes = tiles.get(path)
    if (hashes === undefined) {
      hashes = readTile(read, tile)
      tiles.set(path, hashes)
    }
    const at = first % tileWidth
    if (at + count > tile.width) throw new RangeError(`tileHashes: a log of ${size} leaves has no such node`)
    return perfectRoot((await hashes).slice(at, at + count))
  }
  return async (places) => Promise.all(places.map(hashAt))
}

async function readTile(read: TileReader, tile: TilePlace): Promise<Uint8Array[]> {
  const { bytes, width } = await readOrFull(read, tile)
  return parseTile(bytes, width).slice(0, tile.width)
}

/** The entries of a bundle. Throws ERR_LOG_UNAVAILABLE when it can't be read. */
export async function readEntries(read: TileReader, bundle: TilePlace): Promise<Uint8Array[]> {
  const { bytes, width } = await readOrFull(read, bundle)
  return parseEntryBundle(bytes, width).slice(0, bundle.width)
}

/** tlog-tiles: a partial tile may be gone once the full one exists, so clients fall back to that. */
async function readOrFull(read: TileReader, place: TilePlace): Promise<{ bytes: Uint8Array; width: number }> {
  try {
    return { bytes: await read(tilePath(place)), width: place.width }
  } catch (partialError) {
    const full = { ...place, width: tileWidth }
    try {
      if (place.width < tileWidth) return { bytes: await read(tilePath(full)), width: tileWidth }
    } catch {
      // The first failure is the one that says what was asked for.
    }
    throw new LogError('ERR_LOG_UNAVAILABLE', `${tilePath(place)} can't be read from the log`, { cause: partialError })
  }
}

function perfectRoot(hashes: readonly Uint8Array[]): Uint8Array {
  let level = hashes
  while (level.length > 1) {
    const above: Uint8Array[] = []
    for (let index = 0; index < level.length; index += 2) above.push(nodeHash(level[index]!, level[index + 1]!))
    level = above
  }
  return level[0]!
}
