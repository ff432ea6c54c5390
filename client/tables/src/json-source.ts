/** What Node has since version 22 and the library types of `es2024` lack (ECMA-262 2026, JSON.parse source text access). */
const json: {
  parse(
    text: string,
    reviver: (this: unknown, name: string, value: unknown, context: { readonly source?: string }) => unknown,
  ): unknown
  rawJSON(text: string): unknown
} = JSON as never

/** A number of JSON with the digits it was written with: 64-bit integers don't survive `JSON.parse`. */
export class JsonNumber {
  readonly source: string
  constructor(source: string) {
    this.source = source
  }
  toJSON(): unknown {
    return json.rawJSON(this.source)
  }
}

/** An object names a member twice: of two values one would be lost without a word. */
export class RepeatedMember extends Error {
  readonly member: string
  constructor(member: string) {
    super('a member stands twice in one object')
    this.name = 'RepeatedMember'
    this.member = member
  }
}

/**
 * The value of JSON `text`, its numbers as JsonNumber. Throws SyntaxError, whose message quotes the text, and
 * RepeatedMember for an object, at any depth, that names a member twice.
 */
export function parseJsonWithNumbers(text: string): unknown {
  let members = 0
  const parsed = json.parse(text, function (this: unknown, _name, value, { source }) {
    if (!Array.isArray(this)) members += 1
    return typeof value === 'number' ? new JsonNumber(source ?? String(value)) : value
  })
  // The reviver sees the outermost value as a member too, and of members of one name the last alone.
  if (members - 1 !== colonCount(text)) throw new RepeatedMember(repeatedMember(text))
  return parsed
}

/** Of valid JSON: as many as it has members. */
function colonCount(text: string): number {
  let count = 0
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at)
    if (unit === colon) count += 1
    else if (unit === quote) at = endOfString(text, at)
  }
  return count
}

/** The first name of valid JSON `text` that stands twice in one object; empty where there is none. */
function repeatedMember(text: string): string {
  // The names of each object that is open; those of lists stay empty.
  const open: Set<string>[] = []
  let last = ''
  for (let at = 0; at < text.length; at++) {
    const unit = text[at]
    if (unit === '{' || unit === '[') open.push(new Set())
    else if (unit === '}' || unit === ']') open.pop()
    else if (unit === '"') {
      const end = endOfString(text, at)
      last = text.slice(at, end + 1)
      at = end
    } else if (unit === ':') {
      const name: string = JSON.parse(last)
      if (open.at(-1)?.has(name) === true) return name
      open.at(-1)?.add(name)
    }
  }
  return ''
}

/** Index of the quote that ends the string which begins at `start`. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); ; end = text.indexOf('"', end + 1)) {
    let backslashes = 0
    while (text.charCodeAt(end - 1 - backslashes) === backslash) backslashes += 1
    if (backslashes % 2 === 0) return end
  }
}

const [quote, colon, backslash] = [0x22, 0x3a, 0x5c]
