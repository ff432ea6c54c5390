import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'

const folder = import.meta.dirname

test('the suites of this package pass on the browser platform as well', () => {
  const files = readdirSync(folder).filter((name) => name.endsWith('.test.ts') && name !== 'browser.test.ts')
  assert.ok(files.length >= 3)
  const { NODE_TEST_CONTEXT: _, ...environment } = process.env
  const run = spawnSync(
    process.execPath,
    ['-C', 'browser', '--test', '--test-reporter=tap', ...files.map((name) => join(folder, name))],
    { env: environment, encoding: 'utf8' },
  )
  assert.equal(run.status, 0, run.stdout)
  assert.ok(Number(/^# pass (\d+)$/m.exec(run.stdout)?.[1]) >= 50, run.stdout)
})
