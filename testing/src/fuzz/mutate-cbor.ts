import { concatBytes } from '@cella/bytes'
import { mutateTree, type Tree } from './mutate-tree.ts'
import type { Random } from './random.ts'

interface CborNode extends Tree {
  /** 0 to 7 (RFC 8949 §3.1). */
  major: number
  /** Its number, or length, or count of children where that isn't what they are. */
  argument: bigint
  /** Of a string that holds no CBOR itself; of major type 7 what follows the first byte. */
  contents: Uint8Array
  children: CborNode[] | undefined
  /** Additional information in place of the shortest. */
  width: number | undefined
}

const depthMax = 40

/** Reads one item laxly; a byte string that is whole CBOR is read into. */
function readCbor(bytes: Uint8Array, at: number, depth = 0): { node: CborNode; end: number } | undefined {
  const first = bytes[at]
  if (first === undefined || depth > depthMax) return undefined
  const major = first >> 5
  const information = first & 0x1f
  if (information > 27) return undefined
  const width = information < 24 ? 0 : 2 ** (information - 24)
  if (at + 1 + width > bytes.length) return undefined
  let argument = BigInt(information)
  if (width > 0) {
    argument = 0n
    for (let index = 0; index < width; index++) argument = argument * 256n + BigInt(bytes[at + 1 + index]!)
  }
  let end = at + 1 + width
  const none = new Uint8Array(0)
  const node: CborNode = { major, argument, contents: none, children: undefined, width: undefined }
  if (major === 7) {
    node.contents = bytes.subarray(at, end)
    return { node, end }
  }
  if (major < 2) return { node, end }
  if (argument > 1_000_000n) return undefined
  if (major < 4) {
    const length = Number(argument)
    if (end + length > bytes.length) return undefined
    node.contents = bytes.subarray(end, end + length)
    end += length
    if (major === 2 && length > 1 && node.contents[0]! >= 0x80) {
      const inner = readCbor(node.contents, 0, depth + 1)
      if (inner?.end === length) node.children = [inner.node]
    }
    return { node, end }
  }
  node.children = []
  const count = major === 6 ? 1 : Number(argument) * (major === 5 ? 2 : 1)
  for (let index = 0; index < count; index++) {
    const child = readCbor(bytes, end, depth + 1)
    if (child === undefined) return undefined
    node.children.push(child.node)
    end = child.end
  }
  return { node, end }
}

function head(major: number, argument: bigint, wanted: number | undefined): Uint8Array {
  const shortest = argument < 24n ? 0 : argument < 256n ? 1 : argument < 65_536n ? 2 : argument < 4_294_967_296n ? 4 : 8
  const width = wanted ?? shortest
  if (width === 0) return Uint8Array.of((major << 5) | (Number(argument) & 0x1f))
  const bytes = new Uint8Array(1 + width)
  bytes[0] = (major << 5) | (24 + Math.log2(width))
  for (let index = 0; index < width; index++) bytes[width - index] = Number((argument >> BigInt(8 * index)) & 0xffn)
  return bytes
}

function encode(node: CborNode): Uint8Array {
  const { major, children, width } = node
  if (major === 7) return node.contents
  if (children === undefined) {
    if (major === 2 || major === 3) return concatBytes(head(major, BigInt(node.contents.length), width), node.contents)
    return head(major, node.argument, width)
  }
  const inner = concatBytes(...children.map(encode))
  if (major === 2) return concatBytes(head(2, BigInt(inner.length), width), inner)
  const argument = major === 6 ? node.argument : BigInt(major === 5 ? children.length >> 1 : children.length)
  return concatBytes(head(major, argument, width), inner)
}

function copyCbor(node: CborNode): CborNode {
  return { ...node, children: node.children?.map(copyCbor) }
}

/** Heads that claim much, indefinite lengths, simple values, floats: null, undefined, NaN, break. */
const odd: readonly (readonly number[])[] = [
  [0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
  [0xba, 0xff, 0xff, 0xff, 0xff],
  [0x5a, 0x7f, 0xff, 0xff, 0xff],
  [0x9f, 0xff],
  [0xbf, 0xff],
  [0x5f, 0xff],
  [0xf6],
  [0xf7],
  [0xf9, 0x7e, 0x00],
  [0xff],
  [0xf8, 0x18],
  [0x80],
  [0xa0],
  [0x40],
  [0x3b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
]

/** Changes the tree of CBOR; `undefined` for bytes that are none or one plain number. */
export function mutateCbor(
  bytes: Uint8Array,
  random: Random,
  mutateLeaf: (bytes: Uint8Array) => Uint8Array,
): Uint8Array | undefined {
  if (bytes[0] === undefined || bytes[0] < 0x80) return undefined
  const read = readCbor(bytes, 0)
  if (read === undefined || read.end !== bytes.length) return undefined
  const root = read.node
  mutateTree(root, random, {
    copy: copyCbor,
    changeNode(node) {
      switch (random.below(6)) {
        case 0:
          node.width = random.pick([1, 2, 4, 8])
          break
        case 1:
          node.argument = random.pick([0n, 1n, 23n, 24n, 255n, 2n ** 53n, 2n ** 64n - 1n, node.argument + 1n])
          break
        case 2:
          node.major = random.below(7)
          break
        case 3:
          node.major = 7
          node.contents = Uint8Array.from(random.pick(odd))
          break
        default:
          node.contents = mutateLeaf(node.children === undefined ? node.contents : encode(node))
          if (node.major === 2) node.children = undefined
      }
    },
  })
  return encode(root)
}
