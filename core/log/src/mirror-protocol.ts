import { ByteReader, concatBytes, decodeBase64, decodeUtf8, encodeBase64, encodeUtf8, uint64Bytes } from '@cella/bytes'
import { malformed, parseDecimal, parseText, parsing } from './parsing.ts'
import { encodeEntryBundle, tileWidth } from './tiles.ts'

// c2sp.org/tlog-mirror, POST PREFIX/add-entries, all numbers big-endian:
//
//   origin length u16 | origin | upload_start u64 | upload_end u64 | ticket length u16 | ticket | packages
//
//   package: (entry length u16 | entry) … | hashes u8, at most 63 | 32-byte hashes
//
// A package holds the entries of one bundle that are in [upload_start, upload_end), and the consistency path from the
// subtree of that bundle's first entry to the package's end to the tree of upload_end leaves.

export interface AddEntries {
  readonly origin: string
  readonly uploadStart: number
  /** The size of a checkpoint that the mirror has accepted. */
  readonly uploadEnd: number
  /** As the mirror gave it; empty at first. */
  readonly ticket: Uint8Array
}

export interface EntryPackage {
  readonly entries: readonly Uint8Array[]
  readonly path: readonly Uint8Array[]
}

/** What a mirror answers with 409 and 202: where to go on. */
export interface MirrorInfo {
  /** Of a checkpoint up to which it takes entries. */
  readonly size: number
  /** The first index that it does not have. */
  readonly nextEntry: number
  readonly ticket: Uint8Array
}

/** The Content-Type of a `MirrorInfo`. */
export const mirrorInfoType = 'text/x.tlog.mirror-info'
/** A client puts no more packages into one request. */
export const packagesMax = 32
const mirrorInfoLengthMax = 100_000

export function encodeAddEntries({ origin, uploadStart, uploadEnd, ticket }: AddEntries): Uint8Array {
  const name = encodeUtf8(origin)
  return concatBytes(
    uint16Bytes(name.length, 'origin'),
    name,
    uint64Bytes(uploadStart),
    uint64Bytes(uploadEnd),
    uint16Bytes(ticket.length, 'ticket'),
    ticket,
  )
}

/** Throws RangeError for more than 63 hashes, or an entry of more than 65,535 bytes. */
export function encodeEntryPackage({ entries, path }: EntryPackage): Uint8Array {
  if (path.length > 63) throw new RangeError(`a package's path has ${path.length} hashes, at most 63`)
  return concatBytes(encodeEntryBundle(entries), Uint8Array.of(path.length), ...path)
}

/** One package of an upload: the entries from `first` to before `end` of the bundle that begins at `start`. */
export interface PackageRange {
  readonly start: number
  readonly first: number
  readonly end: number
}

/** The packages of an upload in their order, aligned to bundles. */
export function* packageRanges({
  uploadStart,
  uploadEnd,
}: Pick<AddEntries, 'uploadStart' | 'uploadEnd'>): Generator<PackageRange> {
  for (let first = uploadStart; first < uploadEnd; ) {
    const start = first - (first % tileWidth)
    const end = Math.min(uploadEnd, start + tileWidth)
    yield { start, first, end }
    first = end
  }
}

/** Reads the body of `add-entries` as it comes; no more than one package is held. */
export class AddEntriesReader {
  readonly #parts: AsyncIterator<Uint8Array>
  #rest: Uint8Array = new Uint8Array(0)

  constructor(body: AsyncIterable<Uint8Array>) {
    this.#parts = body[Symbol.asyncIterator]()
  }

  /** What stands before the packages. Throws ERR_LOG_MALFORMED. */
  async head(): Promise<AddEntries> {
    const origin = await this.#need(await this.#uint16('origin length'), 'origin')
    const range = new ByteReader(await this.#need(16, 'range'))
    const [uploadStart, uploadEnd] = [range.uint64('upload_start'), range.uint64('upload_end')].map(Number) as [
      number,
      number,
    ]
    if (!Number.isSafeInteger(uploadStart) || !Number.isSafeInteger(uploadEnd) || uploadStart > uploadEnd) {
      throw malformed('add-entries', 'has no range of indices below 2^53')
    }
    const ticket = await this.#need(await this.#uint16('ticket length'), 'ticket')
    return { origin: parsing(() => decodeUtf8(origin, 'origin')), uploadStart, uploadEnd, ticket }
  }

  /** The next package, of `count` entries; `undefined` where the body ends before or in it. Throws ERR_LOG_MALFORMED. */
  async package(count: number): Promise<EntryPackage | undefined> {
    const entries: Uint8Array[] = []
    while (entries.length < count) {
      const length = await this.#take(2)
      const entry = length && (await this.#take((length[0]! << 8) | length[1]!))
      if (entry === undefined) return undefined
      entries.push(entry)
    }
    const hashes = await this.#take(1)
    if (hashes === undefined) return undefined
    if (hashes[0]! > 63) throw malformed('entry package', `has a path of ${hashes[0]} hashes, at most 63`)
    const path = await this.#take(hashes[0]! * 32)
    if (path === undefined) return undefined
    return { entries, path: Array.from({ length: hashes[0]! }, (_, at) => path.subarray(at * 32, at * 32 + 32)) }
  }

  /** Whether nothing follows. */
  async atEnd(): Promise<boolean> {
    return (await this.#take(1)) === undefined
  }

  async #uint16(field: string): Promise<number> {
    const bytes = await this.#need(2, field)
    return (bytes[0]! << 8) | bytes[1]!
  }

  async #need(length: number, field: string): Promise<Uint8Array> {
    const bytes = await this.#take(length)
    if (bytes === undefined) throw malformed('add-entries', `ends before its ${field}`)
    return bytes
  }

  /** Exactly `length` bytes, a copy; `undefined` where the body has fewer. */
  async #take(length: number): Promise<Uint8Array | undefined> {
    const taken = new Uint8Array(length)
    for (let at = 0; at < length; ) {
      if (this.#rest.length === 0) {
        const next = await this.#parts.next()
        if (next.done === true) return undefined
        this.#rest = next.value
        continue
      }
      const part = this.#rest.subarray(0, length - at)
      taken.set(part, at)
      at += part.length
      this.#rest = this.#rest.subarray(part.length)
    }
    return taken
  }
}

/** The body of a mirror's answers 409 and 202. Throws ERR_LOG_MALFORMED. */
export function parseMirrorInfo(bytes: Uint8Array): MirrorInfo {
  const text = parseText(bytes, 'mirror info', mirrorInfoLengthMax)
  const [size, nextEntry, ticket, ...rest] = text.split('\n')
  if (ticket === undefined || rest.length !== 1 || rest[0] !== '') throw malformed('mirror info', 'has not three lines')
  return {
    size: parseDecimal(size!, 'mirror info size'),
    nextEntry: parseDecimal(nextEntry!, 'mirror info next entry'),
    ticket: parsing(() => decodeBase64(ticket, 'mirror info ticket')),
  }
}

/** The inverse of `parseMirrorInfo`. */
export function encodeMirrorInfo({ size, nextEntry, ticket }: MirrorInfo): Uint8Array {
  return encodeUtf8(`${size}\n${nextEntry}\n${encodeBase64(ticket)}\n`)
}

function uint16Bytes(value: number, field: string): Uint8Array {
  if (value > 0xffff) throw new RangeError(`${field} has ${value} bytes, at most 65,535`)
  return Uint8Array.of(value >>> 8, value & 0xff)
}
