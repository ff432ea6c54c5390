import { concatBytes } from '@cella/bytes'
import { mutateTree, type Tree } from './mutate-tree.ts'
import type { Random } from './random.ts'

interface DerNode extends Tree {
  tag: number
  /** Of a leaf. */
  contents: Uint8Array
  /** Header in place of the right one. */
  header: Uint8Array | undefined
  children: DerNode[] | undefined
}

const depthMax = 40

/** Reads one element at `at` and everything inside, laxly; `undefined` for what is none. */
function readDer(bytes: Uint8Array, at: number, depth = 0): { node: DerNode; end: number } | undefined {
  const tag = bytes[at]
  const first = bytes[at + 1]
  if (tag === undefined || first === undefined || (tag & 0x1f) === 0x1f || depth > depthMax) return undefined
  const width = first < 0x80 ? 0 : first & 0x7f
  if (width > 3) return undefined
  let length = first
  if (width > 0) {
    length = 0
    for (let index = 0; index < width; index++) length = length * 256 + (bytes[at + 2 + index] ?? 0)
  }
  const start = at + 2 + width
  const end = start + length
  if (end > bytes.length) return undefined
  const contents = bytes.subarray(start, end)
  const node: DerNode = { tag, contents, header: undefined, children: undefined }
  // Constructed, and what octet strings hold.
  if ((tag & 0x20) !== 0 || (tag === 0x04 && contents[0] === 0x30)) {
    const children: DerNode[] = []
    let next = start
    while (next < end) {
      const child = readDer(bytes.subarray(0, end), next, depth + 1)
      if (child === undefined) return tag === 0x04 ? { node, end } : undefined
      children.push(child.node)
      next = child.end
    }
    node.children = children
  }
  return { node, end }
}

function headerOf(tag: number, length: number): Uint8Array {
  if (length < 0x80) return Uint8Array.of(tag, length)
  if (length < 0x100) return Uint8Array.of(tag, 0x81, length)
  if (length < 0x10000) return Uint8Array.of(tag, 0x82, length >> 8, length & 0xff)
  return Uint8Array.of(tag, 0x83, length >> 16, (length >> 8) & 0xff, length & 0xff)
}

function encodeDer(node: DerNode): Uint8Array {
  const contents = node.children === undefined ? node.contents : concatBytes(...node.children.map(encodeDer))
  return concatBytes(node.header ?? headerOf(node.tag, contents.length), contents)
}

function copyDer(node: DerNode): DerNode {
  return { ...node, children: node.children?.map(copyDer) }
}

const tags = [0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0a, 0x0c, 0x13, 0x17, 0x18, 0x30, 0x31, 0xa0, 0xa1, 0xa3, 0x80]
const odd: readonly (readonly number[])[] = [[], [0], [1], [0xff], [0x80], [0, 0], [0, 0x80], [0x7f, 0xff], [0x80, 0]]

/** Where in `bytes` a DER structure of some size begins: the whole, or something inside a larger format. */
function starts(bytes: Uint8Array): number[] {
  const found: number[] = []
  for (let at = 0; at + 4 < bytes.length && found.length < 32; at++) {
    if (bytes[at] !== 0x30 || bytes[at + 1]! < 0x81 || bytes[at + 1]! > 0x83) continue
    const read = readDer(bytes, at)
    if (read === undefined) continue
    found.push(at)
    at = read.end - 1
  }
  return found
}

/** Changes the tree of a DER structure in `bytes`; `undefined` where there is none. */
export function mutateDer(
  bytes: Uint8Array,
  random: Random,
  mutateLeaf: (bytes: Uint8Array) => Uint8Array,
): Uint8Array | undefined {
  const found = bytes[0] === 0x30 && readDer(bytes, 0)?.end === bytes.length ? [0] : starts(bytes)
  if (found.length === 0) return undefined
  const at = random.pick(found)
  const { node: root, end } = readDer(bytes, at)!
  mutateTree(root, random, {
    copy: copyDer,
    changeNode(node) {
      const length = encodeDer(node).length
      switch (random.below(5)) {
        case 0:
          node.tag = random.oneIn(2) ? random.pick(tags) : node.tag ^ (1 << random.below(8))
          break
        case 1:
          node.header = random.pick([
            Uint8Array.of(node.tag, 0),
            Uint8Array.of(node.tag, 1),
            Uint8Array.of(node.tag, 0x80),
            Uint8Array.of(node.tag, 0x84, 0xff, 0xff, 0xff, 0xff),
            Uint8Array.of(node.tag, 0x83, 0, length >> 8, length & 0xff),
          ])
          break
        case 2:
          node.children = undefined
          node.contents = Uint8Array.from(random.pick(odd))
          break
        default:
          node.contents = mutateLeaf(
            node.children === undefined ? node.contents : concatBytes(...node.children.map(encodeDer)),
          )
          node.children = undefined
      }
    },
  })
  return concatBytes(bytes.subarray(0, at), encodeDer(root), bytes.subarray(end))
}
