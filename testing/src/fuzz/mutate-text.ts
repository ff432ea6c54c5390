import {
  decodeBase64,
  decodeBase64url,
  decodeHex,
  encodeBase64,
  encodeBase64url,
  encodeHex,
  encodeUtf8,
} from '@cella/bytes'
import { mutateTree, type Tree } from './mutate-tree.ts'
import type { Random } from './random.ts'

type MutateBytes = (bytes: Uint8Array) => Uint8Array

interface JsonNode extends Tree {
  /** Its name where it is a member. */
  name: string | undefined
  /** `{`, `[`, or the text of a leaf. */
  text: string
  children: JsonNode[] | undefined
}

function readJson(value: unknown, name?: string): JsonNode {
  if (Array.isArray(value)) return { name, text: '[', children: value.map((item) => readJson(item)) }
  if (typeof value === 'object' && value !== null) {
    return { name, text: '{', children: Object.entries(value).map(([key, member]) => readJson(member, key)) }
  }
  return { name, text: JSON.stringify(value), children: undefined }
}

function writeJson({ text, children }: JsonNode): string {
  if (children === undefined) return text
  // A list's items that were moved into an object get a name, so that duplicates come about as well.
  if (text === '{') return `{${children.map((one) => `${JSON.stringify(one.name ?? 'kid')}:${writeJson(one)}`).join()}}`
  return `[${children.map(writeJson).join()}]`
}

function copyJson(node: JsonNode): JsonNode {
  return { ...node, children: node.children?.map(copyJson) }
}

const oddValues = ['null', 'true', '""', '0', '-1', '1e400', '9007199254740993', '[]', '{}', '"\\ud800"', '"\\u0000"']
const oddNames = ['__proto__', 'constructor', 'toString', 'length', 'alg', 'jku', 'crit', 'b64', '']

function mutateJson(text: string, random: Random, mutate: MutateBytes): string | undefined {
  let root: JsonNode
  try {
    root = readJson(JSON.parse(text))
  } catch {
    return undefined
  }
  mutateTree(root, random, {
    copy: copyJson,
    changeNode(node) {
      if (random.oneIn(4) && node.name !== undefined) node.name = random.pick(oddNames)
      else if (random.oneIn(2) || !node.text.startsWith('"')) {
        node.text = random.pick(oddValues)
        node.children = undefined
      } else node.text = JSON.stringify(mutateEncoded(JSON.parse(node.text), random, mutate))
    },
  })
  return writeJson(root)
}

const encodings = [
  { pattern: /^(?:[0-9a-f]{2})+$/, decode: decodeHex, encode: encodeHex },
  { pattern: /^(?:[A-Za-z0-9+/]{4})+={0,2}$/, decode: decodeBase64, encode: encodeBase64 },
  { pattern: /^[A-Za-z0-9_-]+$/, decode: decodeBase64url, encode: encodeBase64url },
] as const

/** A string that encodes bytes has its bytes changed, or its encoding. */
function mutateEncoded(text: string, random: Random, mutate: MutateBytes): string {
  for (const { pattern, decode, encode } of encodings) {
    if (text.length < 4 || random.oneIn(4) || !pattern.test(text)) continue
    try {
      const changed = encode(mutate(decode(text, 'seed')))
      return random.oneIn(8) ? `${changed}=` : changed
    } catch {
      // Not in this encoding after all.
    }
  }
  return new TextDecoder().decode(mutate(encodeUtf8(text.toWellFormed())))
}

/** Parts of a JWT, blocks of PEM, lines, cells, elements: one is left out, doubled, moved or changed. */
function mutateTokens(text: string, random: Random, mutate: MutateBytes): string | undefined {
  const isJwt = /^[\w-]+\.[\w-]+\.[\w-]*$/.test(text)
  const separator = isJwt ? /(\.)/ : random.pick([/(\n)/, /(-----\n)/, /([,;\t])/, /(?=(<))/, /( )/])
  const parts = text.split(separator).filter((part) => part !== undefined)
  if (parts.length < 3) return undefined
  const at = random.below(parts.length)
  switch (random.below(4)) {
    case 0:
      parts.splice(at, 1 + random.below(2))
      break
    case 1:
      parts.splice(at, 0, ...Array.from({ length: random.oneIn(8) ? 40 : 1 }, () => parts.slice(at, at + 2)).flat())
      break
    case 2:
      parts.splice(random.below(parts.length), 0, ...parts.splice(at, 2))
      break
    default:
      parts[at] = mutateEncoded(parts[at]!, random, mutate)
  }
  return parts.join('')
}

/** Changes text by what it looks like; `undefined` for bytes that are none. */
export function mutateText(bytes: Uint8Array, random: Random, mutate: MutateBytes): Uint8Array | undefined {
  const first = bytes[0]
  if (first === undefined || first < 0x0a || first > 0x7e) return undefined
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    return undefined
  }
  const isJson = first === 0x7b || first === 0x5b
  const changed =
    (isJson && !random.oneIn(8) ? mutateJson(text, random, mutate) : undefined) ??
    (random.oneIn(8) ? mutateEncoded(text, random, mutate) : mutateTokens(text, random, mutate))
  return changed === undefined ? undefined : encodeUtf8(changed.toWellFormed())
}
