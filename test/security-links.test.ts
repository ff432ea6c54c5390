import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const text = readFileSync(join(root, 'SECURITY.md'), 'utf8')

/** `- [file](file): “name”, “name”` below the heading of each of the thirteen. */
const sections = text
  .split(/^### /m)
  .slice(1)
  .map((section) => ({
    heading: section.split('\n')[0]!,
    links: [...section.matchAll(/^- \[`([^`]+)`\]\(([^)]+)\): (.+)$/gm)].map(([, shown, file, names]) => ({
      shown: shown!,
      file: file!,
      names: [...names!.matchAll(/“([^”]+)”/g)].map(([, name]) => name!),
    })),
  }))

test('SECURITY.md has a section with tests for each of the thirteen properties', () => {
  assert.deepEqual(
    sections.map(({ heading }) => Number(heading.split('.')[0])),
    Array.from({ length: 13 }, (_, at) => at + 1),
  )
  for (const { heading, links } of sections) {
    assert.ok(links.flatMap(({ names }) => names).length > 0, `“${heading}” names no test`)
  }
})

for (const { heading, links } of sections) {
  test(`the tests named for “${heading}” exist`, () => {
    for (const { shown, file, names } of links) {
      assert.equal(shown, file)
      assert.ok(existsSync(join(root, file)), `${file} is not there`)
      const source = readFileSync(join(root, file), 'utf8')
      for (const name of names) {
        // A title may end in parameters of the run: "… (seed=${seed})".
        const found = ["'", '"', '`'].some((quote) => [quote, ' ('].some((end) => source.includes(quote + name + end)))
        assert.ok(found, `${file} has no test “${name}”`)
      }
    }
  })
}
