import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import test from 'node:test'
import { reasonCodes } from './index.ts'

const read = (path: string): string => readFileSync(new URL(path, import.meta.url), 'utf8')
const folder = new URL('../../../docs/formats/', import.meta.url)
const document = read('../../../docs/formats/evidence.md')

test('the documents of the formats list every reason in its order, and every error', () => {
  const listed = new Set<string>()
  for (const name of readdirSync(folder).filter((file) => /^(?:evidence|attestation-results)/.test(file))) {
    const rows = [...read(`../../../docs/formats/${name}`).matchAll(/^\| `([a-z0-9-]+)` \| /gm)].map(
      ([, code]) => code!,
    )
    const reasons = rows.filter((code) => reasonCodes.some((known) => known === code))
    assert.deepEqual(
      reasons,
      reasonCodes.filter((code) => reasons.includes(code)),
      name,
    )
    for (const code of reasons) listed.add(code)
  }
  assert.deepEqual(
    [...reasonCodes].filter((code) => !listed.has(code)),
    [],
  )
  const codes = new Set(read('./error.ts').match(/ERR_EVIDENCE_[A-Z_]+/g))
  assert.ok(codes.size >= 11)
  for (const code of codes) assert.ok(document.includes(`\`${code}\``), code)
})

test('the document’s vectors are the ones under test', () => {
  const tests = read('./evidence.test.ts')
  const found = document.replaceAll(/\s+/g, '').match(/[0-9a-f]{64,}/g) ?? []
  const [wire, binding] = [...tests.matchAll(/'([0-9a-f]{64,})'/g)].map(([, digits]) => digits)
  assert.ok(wire && found.some((digits) => digits.includes(wire)))
  assert.ok(binding && found.some((digits) => digits.includes(binding)))
})
