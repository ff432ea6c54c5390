import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { apiPages } from './build-docs.ts'

const folder = fileURLToPath(new URL('../docs/api', import.meta.url))
const pages = apiPages()

test('docs/api is what npm run docs writes', () => {
  assert.deepEqual(readdirSync(folder).sort(), pages.map(({ file }) => file).sort())
  const stale = pages.filter(
    ({ file, text }) => !existsSync(join(folder, file)) || readFileSync(join(folder, file), 'utf8') !== text,
  )
  assert.deepEqual(
    stale.map(({ file }) => file),
    [],
    'run npm run docs',
  )
})

test('every page has names, and each name a signature', () => {
  assert.ok(pages.length >= 20)
  for (const { file, text } of pages.filter((page) => page.file !== 'README.md')) {
    const names = text.match(/^## .+$/gm) ?? []
    const signatures = [...text.matchAll(/```ts\n(\w[^\n]*)/g)]
    assert.ok(names.length > 0, `${file} has no names`)
    assert.equal(signatures.length, names.length, file)
  }
})
