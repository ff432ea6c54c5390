import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const zones = ['core', 'enclave', 'host', 'client']

const pages = ['.', 'docs', 'testing', 'examples', ...zones]
  .flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: folder !== '.', encoding: 'utf8' })
      .filter((name) => name.endsWith('.md') && !/(?:^|\/)(?:node_modules|dist)\//.test(name))
      .map((name) => join(folder, name)),
  )
  .sort()

/** Headings as GitHub makes anchors of them. */
function anchorsOf(text: string): Set<string> {
  return new Set(
    [...text.matchAll(/^#{1,6} (.+)$/gm)].map(([, heading]) =>
      heading!
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
        .trim()
        .replaceAll(/\s/g, '-'),
    ),
  )
}

test('every link of every document leads somewhere', () => {
  assert.ok(pages.length > 40, `only ${pages.length} documents found`)
  const broken: string[] = []
  let count = 0
  for (const page of pages) {
    const text = readFileSync(join(root, page), 'utf8').replaceAll(/```[\s\S]*?```|`[^`\n]*`/g, '`')
    for (const [, link] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(link!)) continue
      count += 1
      const [path = '', anchor] = link!.split('#')
      const target = path === '' ? join(root, page) : join(root, dirname(page), path)
      if (!existsSync(target)) broken.push(`${page}: ${link}`)
      else if (anchor !== undefined && !anchorsOf(readFileSync(target, 'utf8')).has(anchor))
        broken.push(`${page}: ${link}`)
    }
  }
  assert.ok(count > 100, `only ${count} links found`)
  assert.deepEqual(broken, [])
})

const packages = zones.flatMap((zone) =>
  readdirSync(join(root, zone), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => `${zone}/${name}`),
)

test('each package has a README whose first line names its zone', () => {
  assert.ok(packages.length >= 20)
  for (const folder of [...packages, 'testing']) {
    const readme = join(root, folder, 'README.md')
    assert.ok(existsSync(readme), `${folder} has no README`)
    const zone = folder.split('/')[0]!
    const first = readFileSync(readme, 'utf8').split('\n')[0]!
    assert.match(first, new RegExp(`^\\**Zone:? \`?${zone}`), `${folder}/README.md begins: ${first}`)
  }
})

test('the lists of packages, formats and decisions are whole', () => {
  const read = (name: string): string => readFileSync(join(root, name), 'utf8')
  for (const folder of packages) assert.ok(read('README.md').includes(`](${folder})`), `README.md leaves out ${folder}`)
  for (const folder of ['docs/formats', 'docs/decisions']) {
    for (const name of readdirSync(join(root, folder)).filter((each) => each !== 'README.md')) {
      assert.ok(read(`${folder}/README.md`).includes(`](${name})`), `${folder}/README.md leaves out ${name}`)
    }
  }
})
