import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { enclaveOptions } from './index.ts'

const main = fileURLToPath(new URL('../test/hardened-main.ts', import.meta.url))

function start(options: readonly string[], env: Record<string, string>): { started: boolean; stderr: string } {
  const { stdout, stderr } = spawnSync(process.execPath, [...options, main], { env, encoding: 'utf8' })
  return { started: stdout === 'hardened', stderr }
}

test('an enclave starts with its options and an empty environment', () => {
  assert.deepEqual(start(enclaveOptions, {}).started, true)
  assert.equal(start(enclaveOptions, { PATH: '/usr/bin', LANG: 'C' }).started, true)
})

const refused: { name: string; options?: readonly string[]; env?: Record<string, string> }[] = [
  { name: 'NODE_OPTIONS', env: { NODE_OPTIONS: '--trace-warnings' } },
  { name: 'more certificate authorities', env: { NODE_EXTRA_CA_CERTS: '/tmp/ca.pem' } },
  { name: 'another TLS configuration', env: { SSL_CERT_FILE: '/tmp/ca.pem' } },
  { name: 'a preloaded library', env: { LD_LIBRARY_PATH: '/tmp' } },
  { name: 'a proxy for Node', env: { node_use_env_proxy: '1' } },
  { name: 'no options', options: [] },
  { name: 'one option left out', options: enclaveOptions.slice(1) },
  { name: 'one option more', options: [...enclaveOptions, '--expose-gc'] },
]
for (const { name, options = enclaveOptions, env = {} } of refused) {
  test(`an enclave does not start with ${name}`, () => {
    const { started, stderr } = start(options, env)
    assert.equal(started, false)
    assert.match(stderr, /start with (?:an empty environment|exactly these Node options)/)
  })
}
