import { equalBytes } from '@cella/bytes'
import { LogError } from './log-error.ts'
import { foldEdge, nodeHash } from './tree.ts'

/** The root of the perfect subtree over the leaves from `index` · 2^`level`, 2^`level` of them. */
export interface NodePlace {
  readonly level: number
  readonly index: number
}

/** Reads hashes of perfect subtrees, in the order asked for. */
export type HashReader = (places: readonly NodePlace[]) => Promise<Uint8Array[]>

/** A path longer than the deepest tree's is refused before hashing. */
const pathLengthMax = 64

/**
 * Throws ERR_LOG_PROOF unless `path` (sibling first) leads from `leaf` (a leaf hash) at `index` to `root` of a tree of
 * `size` leaves. RFC 9162 §2.1.3.2.
 */
export function verifyInclusion(options: {
  index: number
  size: number
  leaf: Uint8Array
  path: readonly Uint8Array[]
  root: Uint8Array
}): void {
  if (!equalBytes(inclusionRoot(options), options.root)) {
    refuse(`the inclusion path of index ${options.index} does not lead to the root`)
  }
}

/**
 * The root to which `path` leads from `leaf` at `index` of a tree of `size` leaves: for who has its signature and not the
 * root. Throws ERR_LOG_PROOF for a path that such a tree doesn't have.
 */
export function inclusionRoot(options: {
  index: number
  size: number
  leaf: Uint8Array
  path: readonly Uint8Array[]
}): Uint8Array {
  const { index, size, path } = options
  if (!isSize(index) || !isSize(size) || index >= size) refuse(`no tree of ${size} leaves has an index ${index}`)
  checkPath(path)
  let node = index
  let last = size - 1
  let root = options.leaf
  for (const sibling of path) {
    if (last === 0) refuse('the inclusion path is longer than the tree is deep')
    if (node % 2 === 1 || node === last) {
      root = nodeHash(sibling, root)
      while (node % 2 === 0 && node !== 0) {
        node = node / 2
        last = Math.floor(last / 2)
      }
    } else {
      root = nodeHash(root, sibling)
    }
    node = Math.floor(node / 2)
    last = Math.floor(last / 2)
  }
  if (last !== 0) refuse('the inclusion path is shorter than the tree is deep')
  return root
}

/**
 * Throws ERR_LOG_PROOF unless `path` shows that the tree of `newSize` leaves with `newRoot` begins with the one of
 * `oldSize` leaves with `oldRoot`. RFC 9162 §2.1.4.2. An `oldSize` of 0 is refused: nothing is proven about an empty
 * tree, and what to do then is for the caller to decide.
 */
export function verifyConsistency(options: {
  oldSize: number
  newSize: number
  oldRoot: Uint8Array
  newRoot: Uint8Array
  path: readonly Uint8Array[]
}): void {
  const { oldSize, newSize, oldRoot, newRoot } = options
  if (!isSize(oldSize) || !isSize(newSize) || oldSize > newSize || oldSize === 0) {
    refuse(`there is no consistency proof from size ${oldSize} to size ${newSize}`)
  }
  checkPath(options.path)
  if (oldSize === newSize) {
    if (options.path.length > 0) refuse('a consistency path between equal sizes is empty')
    if (!equalBytes(oldRoot, newRoot)) refuse(`two roots for size ${oldSize}`)
    return
  }
  if (options.path.length === 0) refuse('the consistency path is empty')
  const path = isPowerOfTwo(oldSize) ? [oldRoot, ...options.path] : options.path
  let node = oldSize - 1
  let last = newSize - 1
  while (node % 2 === 1) {
    node = Math.floor(node / 2)
    last = Math.floor(last / 2)
  }
  let older = path[0]!
  let newer = older
  for (const hash of path.slice(1)) {
    if (last === 0) refuse('the consistency path is longer than the tree is deep')
    if (node % 2 === 1 || node === last) {
      older = nodeHash(hash, older)
      newer = nodeHash(hash, newer)
      while (node % 2 === 0 && node !== 0) {
        node = node / 2
        last = Math.floor(last / 2)
      }
    } else {
      newer = nodeHash(newer, hash)
    }
    node = Math.floor(node / 2)
    last = Math.floor(last / 2)
  }
  if (last !== 0) refuse('the consistency path is shorter than the tree is deep')
  if (!equalBytes(older, oldRoot)) refuse(`the consistency path does not lead to the root of size ${oldSize}`)
  if (!equalBytes(newer, newRoot)) refuse(`the consistency path does not lead to the root of size ${newSize}`)
}

/** The inclusion path of `index` in the tree of the first `size` leaves, sibling first. RFC 9162 §2.1.3.1. */
export async function inclusionProof(options: {
  index: number
  size: number
  hashes: HashReader
}): Promise<Uint8Array[]> {
  const { index, size } = options
  if (!isSize(index) || !isSize(size) || index >= size) {
    throw new RangeError(`inclusionProof: index ${index} of ${size} leaves`)
  }
  return fillPath(inclusionRanges(index, { start: 0, end: size }), options.hashes)
}

/** The consistency path from `oldSize` (not 0) to `newSize`. RFC 9162 §2.1.4.1. */
export async function consistencyProof(options: {
  oldSize: number
  newSize: number
  hashes: HashReader
}): Promise<Uint8Array[]> {
  const { oldSize, newSize } = options
  if (!isSize(oldSize) || !isSize(newSize) || oldSize === 0 || oldSize > newSize) {
    throw new RangeError(`consistencyProof: from ${oldSize} to ${newSize} leaves`)
  }
  return fillPath(consistencyRanges(oldSize, { start: 0, end: newSize }, true), options.hashes)
}

/** The perfect subtrees, largest first, that the tree of the first `size` leaves consists of. */
export function edgePlaces(size: number): NodePlace[] {
  return rangePlaces({ start: 0, end: size })
}

interface LeafRange {
  readonly start: number
  readonly end: number
}

function inclusionRanges(index: number, range: LeafRange): LeafRange[] {
  if (range.end - range.start === 1) return []
  const [left, right] = split(range)
  return index < left.end ? [...inclusionRanges(index, left), right] : [...inclusionRanges(index, right), left]
}

// SUBPROOF of RFC 9162 §2.1.4.1; `whole` says that the old root is that of the subtree itself.
function consistencyRanges(oldEnd: number, range: LeafRange, whole: boolean): LeafRange[] {
  if (oldEnd === range.end) return whole ? [] : [range]
  const [left, right] = split(range)
  return oldEnd <= left.end
    ? [...consistencyRanges(oldEnd, left, whole), right]
    : [...consistencyRanges(oldEnd, right, false), left]
}

function split({ start, end }: LeafRange): [LeafRange, LeafRange] {
  const middle = start + largestPowerBelow(end - start)
  return [
    { start, end: middle },
    { start: middle, end },
  ]
}

async function fillPath(ranges: readonly LeafRange[], hashes: HashReader): Promise<Uint8Array[]> {
  const places = ranges.map(rangePlaces)
  const read = await hashes(places.flat())
  let at = 0
  return places.map((part) => {
    at += part.length
    return foldEdge(read.slice(at - part.length, at))
  })
}

/** Ranges of the tree's recursion begin at a multiple of a power of two that is at least their length. */
function rangePlaces({ start, end }: LeafRange): NodePlace[] {
  const places: NodePlace[] = []
  let at = start
  while (at < end) {
    const width = largestPowerBelow(end - at + 1)
    places.push({ level: Math.log2(width), index: at / width })
    at += width
  }
  return places
}

/** The largest power of two below `value`, which is at least 2. */
function largestPowerBelow(value: number): number {
  let power = 1
  while (power * 2 < value) power *= 2
  return power
}

function isPowerOfTwo(value: number): boolean {
  let rest = value
  while (rest > 1 && rest % 2 === 0) rest /= 2
  return rest === 1
}

function isSize(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0
}

function checkPath(path: readonly Uint8Array[]): void {
  if (path.length > pathLengthMax) refuse(`a path of ${path.length} hashes is longer than any`)
  if (path.some((hash) => hash.length !== 32)) refuse('a path holds hashes of 32 bytes')
}

function refuse(problem: string): never {
  throw new LogError('ERR_LOG_PROOF', problem)
}
