import assert from 'node:assert/strict'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { encodeBase64url, encodeUtf8 } from '@cella/bytes'
import { randomBytes } from '@cella/primitives'
import { asking, place, scenarioFor, startVault } from '@cella/testing/vaults'
import { createVaultServer, type Vault } from './index.ts'

async function listen(context: TestContext, ready: () => Vault | undefined): Promise<string> {
  const server = createVaultServer(ready, () => undefined)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  context.after(() => {
    server.close()
    server.closeAllConnections()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

async function post(url: string, body: BodyInit | object): Promise<{ status: number; text: string; code: string }> {
  const isBody = typeof body === 'string' || body instanceof Uint8Array
  const response = await fetch(url, { method: 'POST', body: isBody ? (body as BodyInit) : JSON.stringify(body) })
  const text = await response.text()
  return { status: response.status, text, code: JSON.parse(text).error?.code }
}

const nonce = encodeBase64url(randomBytes(32))

test('until its log is read a vault answers 503 to everything', async (context) => {
  const url = await listen(context, () => undefined)
  for (const call of ['challenge', 'kek', 'reading', 'nonce', 'decide', 'release', 'other']) {
    const { status, code } = await post(`${url}/${call}`, {})
    assert.deepEqual([status, code], [503, 'ERR_VAULT_NOT_READY'])
  }
  assert.equal((await fetch(`${url}/healthz`)).status, 503)
})

test('a challenge, KEK and nonce are answered over HTTP', async (context) => {
  const here = await place(context)
  const vault = await startVault(here)
  const url = await listen(context, () => vault)
  const { binding } = JSON.parse((await post(`${url}/challenge`, { nonce })).text)
  assert.deepEqual([binding.role, binding.of, binding.nonce], ['challenge', 'vault', nonce])
  const organisation = 'a'.repeat(64)
  const kek = JSON.parse((await post(`${url}/kek`, { organisation, nonce })).text)
  assert.deepEqual([kek.binding.organisation, kek.binding.nonce], [organisation, nonce])
  const again = JSON.parse((await post(`${url}/kek`, { organisation, nonce })).text)
  assert.equal(again.binding.kek, kek.binding.kek)
  assert.match(JSON.parse((await post(`${url}/nonce`, {})).text).nonce, /^[\w-]{43}$/)
  assert.deepEqual(await (await fetch(`${url}/healthz`)).json(), { id: vault.id })
})

const malformed: { name: string; call: string; body: string | object }[] = [
  { name: 'no body', call: 'challenge', body: '' },
  { name: 'no JSON', call: 'challenge', body: '{' },
  { name: 'no UTF-8', call: 'challenge', body: Uint8Array.of(0xff, 0xfe) },
  { name: 'a question how far it has read without a nonce', call: 'reading', body: {} },
  { name: 'an array', call: 'nonce', body: [] },
  { name: 'an unknown member', call: 'nonce', body: { extra: 1 } },
  { name: 'a nonce that is too short', call: 'challenge', body: { nonce: 'AAAA' } },
  { name: 'an organisation that is no digest', call: 'kek', body: { organisation: '../identity', nonce } },
  { name: 'an organisation in upper case', call: 'kek', body: { organisation: 'A'.repeat(64), nonce } },
  { name: 'a decision about nothing', call: 'decide', body: {} },
  {
    name: 'a release of nothing',
    call: 'release',
    body: { contract: 'a'.repeat(64), run: 1, attempt: 1, decisions: [] },
  },
  {
    name: 'a run that is no number',
    call: 'release',
    body: { contract: 'a'.repeat(64), run: '1', attempt: 1, decisions: [{}] },
  },
]

for (const { name, call, body } of malformed) {
  test(`refuses ${name}`, async (context) => {
    const here = await place(context)
    const vault = await startVault(here)
    const url = await listen(context, () => vault)
    const size = here.log.size
    const { status, code } = await post(`${url}/${call}`, body)
    assert.deepEqual([status, code], [400, 'ERR_REQUEST_MALFORMED'])
    assert.equal(here.log.size, size)
  })
}

test('refuses unknown routes, other methods and bodies that are too large', async (context) => {
  const here = await place(context)
  const vault = await startVault(here)
  const url = await listen(context, () => vault)
  for (const path of ['', 'state', 'decide/', 'decide?x', 'constructor', 'identity.sealed']) {
    const { status, code } = await post(`${url}/${path}`, {})
    assert.deepEqual([status, code], [404, 'ERR_ROUTE_UNKNOWN'], path)
  }
  assert.equal((await fetch(`${url}/nonce`)).status, 404)
  const { status, code } = await post(`${url}/decide`, ' '.repeat(4_194_305))
  assert.deepEqual([status, code], [413, 'ERR_REQUEST_TOO_LARGE'])
})

test('each refusal has its status, and no answer has a stack, a path or a secret', async (context) => {
  const here = await place(context)
  const vault = await startVault(here)
  const url = await listen(context, () => vault)
  const scenario = await scenarioFor(here, vault)
  const sound = await asking(vault, scenario)
  const texts: string[] = []
  const expect = async (call: string, body: object, status: number, code: string) => {
    const answer = await post(`${url}/${call}`, body)
    texts.push(answer.text)
    assert.deepEqual([answer.status, answer.code], [status, code])
  }
  const { contract, run, attempt } = sound.request
  const decided = await post(`${url}/decide`, sound.request)
  assert.equal(decided.status, 200)
  texts.push(decided.text)
  await expect('decide', sound.request, 403, 'ERR_NONCE_UNKNOWN')
  const bent = await asking(vault, scenario, { request: { run: 2 } })
  await expect('decide', bent.request, 403, 'ERR_BINDING_MISMATCH')
  const garbled = await asking(vault, scenario, { request: { evidence: { entries: 'none' } } })
  await expect('decide', garbled.request, 400, 'ERR_EVIDENCE_MALFORMED')
  const empty = await asking(vault, scenario, { request: { documents: [] } })
  await expect('decide', empty.request, 403, 'ERR_DOCUMENT_MISSING')
  const { decisions } = JSON.parse(decided.text)
  await expect('release', { contract, run, attempt: 2, decisions }, 403, 'ERR_RELEASE_UNKNOWN')
  await scenario.world.revoke(scenario.grant.digest)
  await expect('release', { contract, run, attempt, decisions }, 403, 'ERR_RELEASE_DENIED')
  // Its log is gone: what it says then names no place of its own.
  here.log.now += 3600
  const late = await asking(vault, scenario)
  await here.host.close()
  await expect('decide', late.request, 503, 'ERR_LOG_UNAVAILABLE')
  const secrets = [scenario.sealed.data.dek, scenario.sealed.program.dek, sound.hpke.privateKey]
  for (const text of texts) {
    assert.doesNotMatch(text, /\bat .*:\d+:\d+|node_modules|\/tmp\/|\.ts\b/)
    for (const secret of secrets) {
      for (const form of [encodeBase64url(secret), secret.toHex(), secret.toBase64()]) assert.ok(!text.includes(form))
    }
  }
})

test('what nobody foresaw is one code without a word', async (context) => {
  const here = await place(context)
  const vault = await startVault(here)
  const canary = 'the key is 0123456789'
  const broken = Object.create(vault, {
    nonce: {
      value: () => {
        throw new TypeError(canary)
      },
    },
  }) as Vault
  const url = await listen(context, () => broken)
  const { status, code, text } = await post(`${url}/nonce`, {})
  assert.deepEqual([status, code], [500, 'ERR_VAULT_INTERNAL'])
  assert.ok(!text.includes(canary) && encodeUtf8(text).length < 200)
})
