import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, test } from 'node:test'

import { encodeBase64url } from '@cella/bytes'
import { signDocument } from '@cella/documents'
import { appraisalPolicyJson, presets } from '@cella/evidence'
import { ed25519PublicKey, keyIdOf, randomBytes } from '@cella/primitives'
import { commandLine } from '@cella/testing'

const folder = mkdtempSync(join(tmpdir(), 'cella-cli-attest-'))
after(() => rmSync(folder, { recursive: true, force: true }))

function spawnCella(args: readonly string[]): ChildProcess {
  return spawn(process.execPath, [commandLine, '--home', join(folder, 'home'), ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env.PATH, NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE },
  })
}

async function cella(args: readonly string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawnCella(args)
  const texts = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]!.on('data', (part) => {
      texts[name] += part
    })
  }
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
  return { code, ...texts }
}

test('serves, lists what an organisation put, and ends cleanly', async (context) => {
  const data = join(folder, 'data')
  const child = spawnCella([
    'attest',
    'serve',
    '--data',
    data,
    '--organisation',
    'any',
    '--listen',
    '127.0.0.1:0',
    '--json',
  ])
  context.after(() => void child.kill('SIGKILL'))
  child.stderr!.resume()
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve))
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]()
  const { url, issuer, key, tee } = JSON.parse((await lines.next()).value!)
  assert.deepEqual([issuer, tee], [url, null])
  assert.match(key, /^[\w-]{43}$/)
  const seed = randomBytes(32)
  const signer = keyIdOf(ed25519PublicKey(seed))
  const organisation = await signDocument<'cella/organisation'>(
    {
      type: 'cella/organisation',
      version: 1,
      organisation: null,
      signer,
      cosigners: [],
      revision: 1,
      previous: null,
      name: 'Clinic',
      rootKeys: [encodeBase64url(ed25519PublicKey(seed))],
      threshold: 1,
      recoveryKeys: [],
      recoveryThreshold: 0,
    },
    [seed],
  )
  const policy = await signDocument<'cella/attestation-policy'>(
    {
      type: 'cella/attestation-policy',
      version: 1,
      organisation: organisation.digest,
      signer,
      cosigners: [],
      name: 'nitro',
      revision: 4,
      notBefore: 0,
      notAfter: 253_402_300_799,
      freshness: 'nonce',
      roots: 'vendors',
      issuers: [],
      policy: appraisalPolicyJson(presets[0]!.policy),
    },
    [seed],
  )
  const body = JSON.stringify({ organisation: [organisation.envelope], policy: policy.envelope })
  const put = await fetch(`${url}/v1/policies`, { method: 'PUT', body })
  assert.equal(put.status, 200, await put.text())
  const list = ['attest', 'policy', 'list', '--service', url, '--organisation', organisation.digest]
  const asJson = await cella([...list, '--json'])
  const [listed] = JSON.parse(asJson.stdout).policies
  assert.deepEqual([listed.name, listed.revision, listed.inForce, listed.digest], ['nitro', 4, true, policy.digest])
  assert.match((await cella(list)).stdout, /nitro\s+4\s+yes/)
  const without = await cella(['attest', 'policy', 'list', '--service', url])
  assert.equal(without.code, 2)
  child.kill('SIGTERM')
  assert.equal(await ended, 0)
  assert.equal(JSON.parse((await lines.next()).value!).stopped, true)
  assert.deepEqual(readdirSync(data).sort(), ['keys.json', 'organisations'])
  // Nobody is there any more.
  assert.equal((await cella(list)).code, 3)
})

const usage: readonly (readonly [string, readonly string[], RegExp])[] = [
  ['no folder', ['serve', '--organisation', 'any'], /--data/],
  ['nobody’s policies', ['serve', '--data', 'x'], /--organisation/],
  ['an organisation that is no id', ['serve', '--data', 'x', '--organisation', 'Clinic'], /is no id/],
  [
    'a listen address without a port',
    ['serve', '--data', 'x', '--organisation', 'any', '--listen', 'here'],
    /HOST:PORT/,
  ],
  ['an unknown TEE', ['serve', '--data', 'x', '--organisation', 'any', '--tee', 'abacus'], /hardware/],
  [
    'two TEEs',
    ['serve', '--data', 'x', '--organisation', 'any', '--tee', 'hardware', '--simulated-tee', 'y'],
    /contradict/,
  ],
  ['a policy that goes nowhere', ['policy', 'put', 'a', '--policy', 'aws-nitro'], /--service, --output/],
  ['a name that is none', ['policy', 'put', 'A B', '--policy', 'aws-nitro', '--output', 'x'], /is no name/],
  [
    'a freshness that nobody knows',
    ['policy', 'put', 'a', '--policy', 'x', '--output', 'x', '--freshness', 'old'],
    /nonce, binding/,
  ],
]
for (const [what, args, message] of usage) {
  test(`refuses ${what} as a mistake of the command line`, async () => {
    const { code, stderr } = await cella(['attest', ...args])
    assert.equal(code, 2, stderr)
    assert.match(stderr, message)
  })
}

test('says why it could not start, and that a policy file is none', async () => {
  const absent = join(folder, 'absent')
  const serve = ['attest', 'serve', '--data', join(folder, 'other'), '--organisation', 'any', '--listen', '127.0.0.1:0']
  const { code, stderr } = await cella([...serve, '--collateral', absent, '--json'])
  assert.equal(code, 3)
  assert.match(JSON.parse(stderr.trim().split('\n').at(-1)!).error.message, /ERR_COLLATERAL_UNREADABLE/)
  const file = join(folder, 'policy.json')
  writeFileSync(file, '{"simulated":"any"}')
  const put = await cella(['attest', 'policy', 'put', 'a', '--policy', file, '--output', join(folder, 'out')])
  assert.equal(put.code, 1)
  assert.match(put.stderr, /policy\.\w+: is missing/)
})
