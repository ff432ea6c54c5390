import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { before, test } from 'node:test'
import { startEngine } from '../test/fixture.ts'
import { clauses } from './clauses.ts'
import { cedarSchema, compilePolicy, explainPolicy, policyFlagsSchema, validatePolicy } from './index.ts'

before(startEngine)

const page = readFileSync(new URL('../../../docs/formats/policy.md', import.meta.url), 'utf8')
const block = (language: string): string => {
  const found = page.split(`\`\`\`${language}\n`)[1]?.split('```')[0]
  assert.ok(found, `no ${language} block`)
  return found
}

test('the documented schema is the one that decides', () => assert.equal(block('cedarschema'), cedarSchema))

test('the documented vector holds', () => {
  const flags = policyFlagsSchema.parse(JSON.parse(block('json')))
  assert.equal(compilePolicy(flags), block('cedar'))
  assert.deepEqual(explainPolicy(block('cedar')), block('text').trimEnd().split('\n'))
  assert.deepEqual(validatePolicy(block('cedar')), [])
})

test('the documented clauses are those that there are', () => {
  for (const { id, code, actions, whoCanChange } of clauses) {
    assert.ok(page.includes(`| \`${id}\` | \`${code}\` | ${actions.join(', ')} | ${whoCanChange} |`), id)
  }
})
