import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

// npm run docs: writes docs/api/<zone>-<package>.md for every package: each name that its index.ts lists, with the comment
// and the signature that stand where it is declared. TypeScript 7 has no stable compiler API, and entries are lists of
// names by hand, so reading the source text is enough.

const root = fileURLToPath(new URL('..', import.meta.url))
const zones = ['core', 'enclave', 'host', 'client']

/** One page, or the list of all of them. */
export interface ApiPage {
  readonly file: string
  readonly text: string
}

/** All pages of docs/api, as they should be. */
export function apiPages(): ApiPage[] {
  const packages = zones.flatMap((zone) =>
    readdirSync(join(root, zone), { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && entry.name !== 'node_modules')
      .map(({ name }) => `${zone}/${name}`),
  )
  const pages = packages.map((folder) => ({ file: `${folder.replace('/', '-')}.md`, text: pageOf(folder) }))
  const list = packages.map((folder) => `- [${packageName(folder)}](${folder.replace('/', '-')}.md), \`${folder}\``)
  const head = '# API\n\nMade by `npm run docs` from the code: each exported name with its comment and signature.\n\n'
  return [{ file: 'README.md', text: `${head}${list.join('\n')}\n` }, ...pages]
}

function packageName(folder: string): string {
  return String(JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8')).name)
}

function pageOf(folder: string): string {
  const entry = join(root, folder, 'src/index.ts')
  const items = exportsOf(entry).sort((a, b) => (a.name.toLowerCase() < b.name.toLowerCase() ? -1 : 1))
  const parts = items.map(({ name, file }) => {
    const { comment, signature } = declarationOf(name, file)
    const source = file.slice(root.length).replaceAll('\\', '/')
    const words = comment === '' ? '' : `${comment}\n\n`
    return `## ${name}\n\n${words}\`\`\`ts\n${signature}\n\`\`\`\n\n[${source}](../../${source})\n`
  })
  return `# ${packageName(folder)}\n\nPackage [\`${folder}\`](../../${folder}). Made by \`npm run docs\`.\n\n${parts.join('\n')}`
}

interface ExportedName {
  readonly name: string
  readonly file: string
}

/** `export { a, type B as C } from './file.ts'` and `export type { … } from …`, and what is declared in the entry itself. */
function exportsOf(entry: string): ExportedName[] {
  const text = readFileSync(entry, 'utf8')
  const listed = namesFrom(text, entry, /export\s+(?:type\s+)?\{([^}]*)\}\s*from\s*'([^']+)'/g)
  const own = [...text.matchAll(declarations)].map(([, , name]) => ({ name: name!, file: entry }))
  return [...listed, ...own]
}

function namesFrom(text: string, entry: string, statements: RegExp): ExportedName[] {
  return [...text.matchAll(statements)]
    .flatMap(([, names, from]) =>
      names!
        .replaceAll(/\/\/.*$|\/\*[\s\S]*?\*\//gm, '')
        .split(',')
        .map((name) => name.trim().replace(/^type\s+/, ''))
        .filter((name) => name !== '')
        .map((name) => ({ name: name.split(/\s+as\s+/)[0]!, file: resolveFrom(entry, from!) })),
    )
    .filter(({ file }) => file !== '')
}

function resolveFrom(entry: string, from: string): string {
  // `#platform` and other packages are documented where they are declared.
  if (!from.startsWith('.')) return ''
  return join(dirname(entry), from)
}

const declarations =
  /^export (?:async |abstract |declare )*(function\*?|class|interface|type|const|let) ([A-Za-z_$][\w$]*)/gm

interface Declaration {
  readonly comment: string
  readonly signature: string
}

/** Comment and signature of a name where it is declared; follows one re-export. Throws where it is not found. */
function declarationOf(name: string, file: string): Declaration {
  const text = readFileSync(file, 'utf8')
  const found = [...text.matchAll(declarations)].find(([, , declared]) => declared === name)
  if (found === undefined) {
    const again = namesFrom(text, file, /(?:export|import)\s+(?:type\s+)?\{([^}]*)\}\s*from\s*'([^']+)'/g).find(
      (one) => one.name === name,
    )
    if (again !== undefined) return declarationOf(name, again.file)
    throw new Error(`${file} does not declare ${name}`)
  }
  return { comment: commentBefore(text, found.index), signature: signatureAt(text, found.index, found[1]!) }
}

/** The doc comment that ends right before `index`, as text. */
function commentBefore(text: string, index: number): string {
  const before = text.slice(0, index).trimEnd()
  if (!before.endsWith('*/') || /\n\s*\n\s*$/.test(text.slice(0, index))) return ''
  const start = before.lastIndexOf('/**')
  if (start < 0 || before.slice(start, -2).includes('*/')) return ''
  return before
    .slice(start + 3, -2)
    .split('\n')
    .map((line) => line.replace(/^\s*\* ?/, '').trimEnd())
    .join('\n')
    .trim()
}

const linesMax = 60

/** A function up to its body, a class as its public members, a constant without its value, a type whole. */
function signatureAt(text: string, index: number, kind: string): string {
  const declared = text.slice(index).replace(/^export /, '')
  if (kind.startsWith('function')) return declared.slice(0, bodyStart(declared)).trimEnd()
  if (kind === 'class') return classMembers(declared)
  if (kind === 'const' || kind === 'let') return constantOf(declared)
  const whole = declared.slice(0, endOf(declared))
  const lines = whole.trimEnd().split('\n')
  return lines.length <= linesMax ? lines.join('\n') : `${lines.slice(0, linesMax).join('\n')}\n  // …`
}

/** Where the body of a function begins: the first `{` outside of brackets that isn't part of its types. */
function bodyStart(text: string): number {
  let depth = 0
  for (const [at, character] of pieces(text)) {
    if (character === '{' && depth === 0 && !/[:|&=]\s*$|=>\s*$/.test(text.slice(0, at))) return at
    if ('({[<'.includes(character)) depth += 1
    else if (')}]'.includes(character) || (character === '>' && text[at - 1] !== '=')) depth -= 1
  }
  return text.length
}

/** The end of a declaration: at bracket depth 0, a line end that no operator continues. */
function endOf(text: string): number {
  let depth = 0
  for (const [at, character] of pieces(text)) {
    if ('({[<'.includes(character)) depth += 1
    else if (')}]'.includes(character) || (character === '>' && text[at - 1] !== '=')) depth -= 1
    else if (character === '\n' && depth === 0) {
      const continues = /^\s*[|&?:.=]/.test(text.slice(at + 1)) || /[=|&,]\s*$/.test(text.slice(0, at))
      if (!continues) return at
    }
  }
  return text.length
}

/** Each character outside of strings and comments, with its place. */
function* pieces(text: string): Generator<[number, string]> {
  const token = /\/\/[^\n]*|\/\*[\s\S]*?\*\/|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`|[\s\S]/g
  for (const match of text.matchAll(token)) if (match[0].length === 1) yield [match.index, match[0]]
}

function constantOf(declared: string): string {
  const line = declared.slice(0, endOf(declared))
  const [, head = line, value = ''] = /^([^=]*?(?:=>[^=]*?)*)\s=\s([\s\S]*)$/.exec(line) ?? []
  return value.length > 0 && value.length <= 60 && !value.includes('\n') ? `${head} = ${value}` : head
}

/** A class with its public members, each up to its body. */
function classMembers(declared: string): string {
  const start = bodyStart(declared)
  const end = endOf(declared)
  const body = declared.slice(start + 1, end).replace(/\}\s*$/, '')
  const members: string[] = []
  for (const match of body.matchAll(/^ {2}(?! |\}|\*|\/|private )(.*)$/gm)) {
    if (/^(?:(?:static|async|readonly|get|set) )*\*?#/.test(match[1]!)) continue
    const rest = body.slice(match.index)
    const isMethod = /^ {2}(?:static |async |get |set |override |readonly )*\*?[\w$[\].]+(?:<[^(]*>)?\(/.test(rest)
    if (/^ {2}[)\]]/.test(rest)) continue
    const signature = isMethod ? rest.slice(0, bodyStart(rest)).trimEnd() : constantOf(rest.trimStart())
    if (signature.trim() === '') continue
    const comment = commentBefore(body, match.index).replaceAll('\n', '\n   * ')
    members.push(...(comment === '' ? [] : [`  /** ${comment} */`]), isMethod ? signature : `  ${signature}`)
  }
  return `${declared.slice(0, start)}{\n${members.join('\n')}\n}`
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const folder = join(root, 'docs/api')
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  const pages = apiPages()
  for (const { file, text } of pages) writeFileSync(join(folder, file), text)
  console.log(`${pages.length} pages in docs/api`)
}
