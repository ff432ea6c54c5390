import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))

interface Block {
  readonly commands: string
  /** Each is the beginning of a line of the block's output, in this order; `…` stands for anything. */
  readonly expected: readonly string[]
}

const blocks = blocksOf(readFileSync(join(root, 'docs/tutorial.md'), 'utf8'))
const home = mkdtempSync(join(tmpdir(), 'cella-tutorial-'))
after(() => {
  // Where a block failed, the installation still runs.
  const operator = join(home, 'cella-tutorial/operator')
  spawnSync(join(root, 'node_modules/.bin/cella'), ['--home', operator, 'down'], { env: environment() })
  rmSync(home, { recursive: true, force: true })
})

test('every block of the tutorial does what it says, in one shell', () => {
  assert.ok(blocks.length >= 10, `only ${blocks.length} blocks found`)
  assert.ok(blocks.filter(({ expected }) => expected.length > 0).length >= 8, 'too few blocks show their output')
  // What a block left running ends with the shell, also where another block failed.
  const prelude = ['set -e', 'exec 2>&1', `trap 'kill "$WITNESS" 2> /dev/null || true' EXIT`]
  const script = [...prelude, ...blocks.map(({ commands }, at) => `echo '::block ${at}'\n${commands}`)]
  const { stdout, status } = spawnSync('sh', ['-c', script.join('\n')], {
    cwd: root,
    env: environment(),
    encoding: 'utf8',
    maxBuffer: 16 * 1024 * 1024,
  })
  assert.equal(status, 0, stdout.slice(-4000))
  const outputs = stdout.split(/^::block \d+\n/m).slice(1)
  assert.equal(outputs.length, blocks.length)
  for (const [at, { commands, expected }] of blocks.entries()) {
    const lines = outputs[at]!.split('\n')
    let from = 0
    for (const line of expected) {
      const pattern = new RegExp(`^${line.trimEnd().split('…').map(escaped).join('.*')}`)
      const found = lines.findIndex((one, index) => index >= from && pattern.test(one))
      assert.ok(found >= 0, `no line “${line}” in what this printed:\n${commands}\n${outputs[at]}`)
      from = found + 1
    }
  }
})

function blocksOf(markdown: string): Block[] {
  const found: { commands: string; expected: string[] }[] = []
  for (const [, language, body] of markdown.matchAll(/^```(\w+)\n(.*?)^```$/gms)) {
    if (language === 'sh') found.push({ commands: body!, expected: [] })
    else if (language === 'text') found.at(-1)!.expected.push(...body!.split('\n').filter((line) => line !== ''))
  }
  return found
}

/** That of a new user: a home of its own and nothing that could reach into the run, but for what is compiled already. */
function environment(): NodeJS.ProcessEnv {
  const { PATH, NODE_COMPILE_CACHE } = process.env
  return { HOME: home, PATH, NODE_COMPILE_CACHE, LANG: 'C.UTF-8', TERM: 'dumb' }
}

function escaped(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`)
}
