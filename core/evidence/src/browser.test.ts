import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import test from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)

test('the same suites pass on the browser’s cryptography', async () => {
  const files = ['verify', 'appraise', 'evidence', 'sev-snp/vectors'].map((name) =>
    fileURLToPath(new URL(`./${name}.test.ts`, import.meta.url)),
  )
  // NODE_TEST_CONTEXT would make the child report to this process's parent instead of to us.
  const { NODE_TEST_CONTEXT: _, ...environment } = process.env
  // In one process, so that the test vendor's keys are made once.
  const args = ['-C', 'browser', '--test', '--test-isolation=none', '--test-reporter=tap', ...files]
  const { stdout } = await run(process.execPath, args, { env: environment, maxBuffer: 1 << 26 })
  assert.match(stdout, /^# fail 0$/m)
  assert.ok(Number(/^# pass (\d+)$/m.exec(stdout)?.[1]) > 100)
})
