import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'

test('a real receipt is proved by the browser’s cryptography as well', () => {
  const file = join(import.meta.dirname, 'verify.test.ts')
  // NODE_TEST_CONTEXT would make the child report to this process's parent instead of to us.
  const { NODE_TEST_CONTEXT: _, ...env } = process.env
  const parameters = ['-C', 'browser', '--test', '--test-reporter=tap', '--test-name-pattern=a real receipt', file]
  const run = spawnSync(process.execPath, parameters, { env, encoding: 'utf8' })
  assert.equal(run.status, 0, run.stdout)
  assert.ok(Number(/^# pass (\d+)$/m.exec(run.stdout)?.[1]) >= 3, run.stdout)
})
