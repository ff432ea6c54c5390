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
  verifySubtreeConsistency({
    start: 0,
    end: oldSize,
    size: newSize,
    subtreeRoot: oldRoot,
    root: newRoot,
    path: options.path,
  })
}

/** The leaves from `start` to before `end`, as a subtree of draft-ietf-plants-merkle-tree-certs §4.1. */
export interface Subtree {
  readonly start: number
  readonly end: number
}

/** Whether a tree can have such a subtree: not empty, and it begins at a multiple of a power of two that it fits into. */
export function isSubtree({ start, end }: Subtree): boolean {
  if (!isSize(start) || !isSize(end) || start >= end) return false
  let width = 1
  while (width < end - start) width *= 2
  return start % width === 0
}

/**
 * Throws ERR_LOG_PROOF unless `path` shows that the leaves from `start` to before `end` have the root `subtreeRoot` and
 * are those of the tree of `size` leaves with `root`. draft-ietf-plants-merkle-tree-certs-03 §4.4; from `start` 0 it is a
 * consistency proof of RFC 9162.
 */
export function verifySubtreeConsistency(
  options: Subtree & { size: number; subtreeRoot: Uint8Array; root: Uint8Array; path: readonly Uint8Array[] },
): void {
  const { start, end, size, subtreeRoot, root } = options
  if (!isSubtree(options) || !isSize(size) || end > size) {
    refuse(`a tree of ${size} leaves has no subtree from ${start} to ${end}`)
  }
  checkPath(options.path)
  let first = start
  let node = end - 1
  let last = size - 1
  const up = (): void => {
    first = Math.floor(first / 2)
    node = Math.floor(node / 2)
    last = Math.floor(last / 2)
  }
  // What ends where the tree does is whole at any level; else its last node is whole while it is a right child.
  while (first !== node && (node === last || node % 2 === 1)) up()
  const isWhole = first === node
  if (!isWhole && options.path.length === 0) refuse('the consistency path is empty')
  let older = isWhole ? subtreeRoot : options.path[0]!
  let newer = older
  for (const hash of isWhole ? options.path : options.path.slice(1)) {
    if (last === 0) refuse('the consistency path is longer than the tree is deep')
    if (node % 2 === 1 || node === last) {
      if (first < node) older = nodeHash(hash, older)
      newer = nodeHash(hash, newer)
      while (node % 2 === 0 && node !== 0) up()
    } else {
      newer = nodeHash(newer, hash)
    }
    up()
  }
  if (last !== 0) refuse('the consistency path is shorter than the tree is deep')
  if (!equalBytes(older, subtreeRoot)) refuse(`the consistency path does not lead to the root of ${start} to ${end}`)
  if (!equalBytes(newer, root)) refuse(`the consistency path does not lead to the root of size ${size}`)
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
  const { oldSize, newSize, hashes } = options
  if (!isSize(oldSize) || !isSize(newSize) || oldSize === 0 || oldSize > newSize) {
    throw new RangeError(`consistencyProof: from ${oldSize} to ${newSize} leaves`)
  }
  return subtreeConsistencyProof({ start: 0, end: oldSize, size: newSize, hashes })
}

/** What `verifySubtreeConsistency` verifies. */
export async function subtreeConsistencyProof(
  options: Subtree & { size: number; hashes: HashReader },
): Promise<Uint8Array[]> {
  const { start, end, size, hashes } = options
  if (!isSubtree(options) || !isSize(size) || end > size) {
    throw new RangeError(`subtreeConsistencyProof: ${start} to ${end} of ${size} leaves`)
  }
  return fillPath(subtreeRanges({ start, end }, { start: 0, end: size }, true), hashes)
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

// SUBPROOF of RFC 9162 §2.1.4.1, and of a subtree; `whole` says that the old root is that of the subtree itself.
function subtreeRanges(old: LeafRange, range: LeafRange, whole: boolean): LeafRange[] {
  if (old.start === range.start && old.end === range.end) return whole ? [] : [range]
  const [left, right] = split(range)
  if (old.end <= left.end) return [...subtreeRanges(old, left, whole), right]
  // What reaches over the middle begins where the range does.
  const rest = { start: Math.max(old.start, right.start), end: old.end }
  return [...subtreeRanges(rest, right, whole && rest.start === old.start), left]
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
