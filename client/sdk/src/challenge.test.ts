import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, test } from 'node:test'
import { challenge } from './challenge.ts'

// What answers may be anything. Whether its evidence is genuine is judged elsewhere; here it has to be an answer to this call.

const evidence = { entries: [{ role: 'cpu', format: 'sev-snp/1', report: 'AQID', certificates: ['__4'] }] }
type Binding = { readonly [name: string]: unknown }
const sound = (nonce: string): Binding => ({ role: 'challenge', of: 'vault', nonce, signingKey: 'k' })

const answers: Record<string, (nonce: string) => unknown> = {
  sound: (nonce) => ({ binding: sound(nonce), evidence }),
  'another-nonce': () => ({ binding: sound('A'.repeat(43)), evidence }),
  'another-purpose': (nonce) => ({ binding: { ...sound(nonce), role: 'vault' }, evidence }),
  'unknown-role': (nonce) => ({ binding: { ...sound(nonce), of: 'operator' }, evidence }),
  nested: (nonce) => ({ binding: { ...sound(nonce), more: { deep: 1 } }, evidence }),
  'further-members': (nonce) => ({ binding: sound(nonce), evidence, result: 'accepted' }),
  'no-evidence': (nonce) => ({ binding: sound(nonce), evidence: { entries: [] } }),
  list: () => [],
}

let server: Server
let url: string
before(async () => {
  server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    const [, name = '', call] = (request.url ?? '').split('/')
    const answer = answers[name]
    response.writeHead(answer === undefined || call !== 'challenge' ? 404 : 200, { 'content-type': 'application/json' })
    response.end(JSON.stringify(answer?.((JSON.parse(body) as { nonce: string }).nonce) ?? {}))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
after(() => {
  server.closeAllConnections()
  server.close()
})

test('an answer to this call says who answers, what it is bound to, and how long it took', async () => {
  const answer = await challenge(`${url}/sound`)
  assert.deepEqual([answer.of, answer.binding.signingKey, answer.evidence.entries.length], ['vault', 'k', 1])
  assert.ok(answer.seconds > 0)
  const again = await challenge(`${url}/sound`)
  assert.notEqual(again.binding.nonce, answer.binding.nonce)
})

for (const name of Object.keys(answers).filter((one) => one !== 'sound')) {
  test(`refuses an answer with ${name}`, async () => {
    await assert.rejects(challenge(`${url}/${name}`), { code: 'ERR_CHALLENGE_ANSWER' })
  })
}

test('what is no such service is a refusal, and no address a usage', async () => {
  await assert.rejects(challenge(`${url}/none`), { code: 'ERR_MANAGER_REFUSED' })
  await assert.rejects(challenge('file:///etc/passwd'), { code: 'ERR_PROFILE_INCOMPLETE' })
})
