/** What Node has since version 22 and the library types of `es2024` lack (ECMA-262 2026, JSON.parse source text access). */
const json: {
  parse(
    text: string,
    reviver: (name: string, value: unknown, context: { readonly source?: string }) => unknown,
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

/** The value of JSON `text`, its numbers as JsonNumber. Throws SyntaxError, whose message quotes the text. */
export function parseJsonWithNumbers(text: string): unknown {
  return json.parse(text, (_name, value, { source }) =>
    typeof value === 'number' ? new JsonNumber(source ?? String(value)) : value,
  )
}
