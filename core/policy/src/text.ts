import { decodeUtf8, encodeUtf8, FormatError } from '@cella/bytes'

/** UTF-8 bytes that a policy may have. */
export const policyBytesMax: number = 65_536

// The engine parses and evaluates by recursion on a WebAssembly stack of 1 MiB that traps when it is full (found by
// trying: at some hundred levels). A policy that is at all of these bounds at once takes about half of it.
const policiesMax = 256
const depthMax = 16
const conditionalsMax = 8
const operatorsMax = 32
const accessesMax = 64
const connectivesMax = 64
const conditionsMax = 16

/** One policy of a text: from its first token to its semicolon. `line` counts from 1. */
export interface Statement {
  readonly text: string
  readonly line: number
}

/** Why the text can't even be handed to the engine. */
export interface TextProblem {
  readonly line: number
  readonly message: string
}

/**
 * Splits a policy text into its policies and applies the bounds, without recursion. Knows of Cedar's grammar only
 * strings, comments, brackets and semicolons; where these don't match up the text is refused here.
 */
export function checkPolicyText(policy: string | Uint8Array): {
  readonly text: string
  readonly statements: readonly Statement[]
  readonly problem: TextProblem | undefined
} {
  const refused = (message: string, line = 1) => ({ text: '', statements: [], problem: { line, message } })
  // UTF-8 is never shorter than UTF-16 counts.
  if (policy.length > policyBytesMax) return refused(`has more than ${policyBytesMax} bytes`)
  let text: string
  try {
    text = typeof policy === 'string' ? policy : decodeUtf8(policy, 'policy')
    if (encodeUtf8(text).length > policyBytesMax) return refused(`has more than ${policyBytesMax} bytes`)
  } catch (error) {
    if (error instanceof FormatError) return refused('is not well-formed UTF-8')
    throw error
  }
  const scan = scanStatements(text)
  return scan.problem === undefined
    ? { text, statements: scan.statements, problem: undefined }
    : refused(scan.problem.message, scan.problem.line)
}

/** The line, from 1, of the UTF-8 byte at `offset`. */
export function lineOfByte(text: string, offset: number): number {
  const bytes = encodeUtf8(text)
  let line = 1
  for (let index = 0; index < Math.min(offset, bytes.length); index++) if (bytes[index] === 0x0a) line++
  return line
}

const closing: Readonly<Record<string, string>> = { '(': ')', '[': ']', '{': '}' }

// One token at a time: comment, string, word, white space, operator of two characters, or any single character.
const token = /\/\/[^\n\r]*|"(?:\\[^\n]|[^"\\])*"|[A-Za-z_][A-Za-z0-9_]*|\s+|!=|&&|\|\||[\s\S]/gu

// How often a policy may use what the engine recurses on, beside brackets.
const bounds: readonly { readonly words: readonly string[]; readonly max: number }[] = [
  { words: ['if'], max: conditionalsMax },
  { words: ['+', '-', '*', '!'], max: operatorsMax },
  { words: ['.', '['], max: accessesMax },
  { words: ['&&', '||'], max: connectivesMax },
  { words: ['when', 'unless'], max: conditionsMax },
]
const boundOf = new Map(bounds.flatMap((bound, index) => bound.words.map((word) => [word, index] as const)))

function scanStatements(text: string): { statements: Statement[]; problem: TextProblem | undefined } {
  const statements: Statement[] = []
  let line = 1
  let start: { offset: number; line: number } | undefined
  const open: string[] = []
  let counts = bounds.map(() => 0)
  const refused = (message: string) => ({ statements: [], problem: { line, message } })
  for (const match of text.matchAll(token)) {
    const word = match[0]
    if (word === '"') return refused('a string has no end')
    const lines = word.split('\n').length - 1
    if (word.startsWith('//') || /^\s/u.test(word)) {
      line += lines
      continue
    }
    start ??= { offset: match.index, line }
    line += lines
    if (Object.hasOwn(closing, word)) open.push(closing[word]!)
    else if ((word === ')' || word === ']' || word === '}') && open.pop() !== word) {
      return refused(`\`${word}\` closes nothing`)
    }
    if (open.length > depthMax) return refused(`has brackets nested deeper than ${depthMax}`)
    const index = boundOf.get(word)
    if (index !== undefined) {
      const { words, max } = bounds[index]!
      counts[index]!++
      if (counts[index]! > max) return refused(`a policy has more than ${max} times \`${words.join('` or `')}\``)
    }
    if (word === ';') {
      if (open.length > 0) return refused('`;` stands inside brackets')
      if (statements.length === policiesMax) return refused(`has more than ${policiesMax} policies`)
      statements.push({ text: text.slice(start.offset, match.index + 1), line: start.line })
      start = undefined
      counts = bounds.map(() => 0)
    }
  }
  if (start !== undefined) {
    line = start.line
    return refused('a policy has no `;` at its end')
  }
  return { statements, problem: undefined }
}
