import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'

test('the suite of this package passes on the browser’s cryptography as well', () => {
  const file = join(import.meta.dirname, 'document.test.ts')
  // NODE_TEST_CONTEXT would make the child report to this process's parent instead of to us.
  const { NODE_TEST_CONTEXT: _, ...environment } = process.env
  const run = spawnSync(process.execPath, ['-C', 'browser', '--test', '--test-reporter=tap', file], {
    env: environment,
    encoding: 'utf8',
  })
  assert.equal(run.status, 0, run.stdout)
  assert.ok(Number(/^# pass (\d+)$/m.exec(run.stdout)?.[1]) >= 90, run.stdout)
})
