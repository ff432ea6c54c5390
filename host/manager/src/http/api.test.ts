import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { decodeBase64url, decodeHex, encodeBase64url, equalBytes } from '@cella/bytes'
import { commitmentOf, parseLeaf, parseLogPolicy, publishedTag, revokedTag, verifyOfflineProof } from '@cella/log'
import { randomBytes } from '@cella/primitives'
import fc from 'fast-check'
import pg from 'pg'
import { manifest, member, newAccount, newParty, type Party, revocation, token } from '../testing/fixtures.ts'
import { Harness, readReply } from '../testing/harness.ts'

describe('the manager’s API', () => {
  let harness: Harness
  let party: Party
  before(async () => {
    harness = await Harness.start()
    party = await harness.party('Employers')
  })
  after(() => harness.stop())

  const query = async (url: string, text: string) => {
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    try {
      return await client.query(text)
    } finally {
      await client.end()
    }
  }
  const refused = (reply: { status: number; json: unknown }, status: number, code: string): void => {
    assert.equal((reply.json as { error: { code: string } }).error.code, code, JSON.stringify(reply.json))
    assert.equal(reply.status, status)
    assert.ok(!/ {4}at |node_modules|\.ts:/.test(JSON.stringify(reply.json)))
  }

  describe('documents', () => {
    test('are logged under their tag and committed to with their salt, provably', async () => {
      const { organisation } = await newParty('Proven')
      const salt = randomBytes(32)
      const reply = await harness.send('nobody', 'POST', '/v1/documents', {
        document: organisation.envelope,
        salt: encodeBase64url(salt),
      })
      assert.equal(reply.status, 201)
      const { digest, index, leaf, proof } = reply.json
      assert.equal(digest, organisation.digest)
      const bytes = decodeBase64url(leaf, 'leaf')
      const { kind, tag, commitment } = parseLeaf(bytes)
      assert.equal(kind, 'document')
      assert.ok(equalBytes(tag, publishedTag(digest)))
      assert.ok(equalBytes(commitment, commitmentOf('document', salt, decodeHex(digest, 'digest'))))
      const { log } = (await harness.send('nobody', 'GET', '/v1/info')).json
      const policy = parseLogPolicy(Buffer.from(`${log.policyLine}\nquorum none\n`))
      assert.equal(verifyOfflineProof({ proofFile: Buffer.from(proof), leaf: bytes, policy }).index, index)
      const single = await harness.send('nobody', 'GET', `/v1/documents/${digest}`)
      assert.equal(single.json.document, organisation.envelope)
      assert.equal(single.json.salt, encodeBase64url(salt))
      verifyOfflineProof({ proofFile: Buffer.from(single.json.proof), leaf: bytes, policy })
    })

    test('submitted again, in any order and at once, keep the first salt and place', async () => {
      const { organisation } = await newParty('Again')
      const replies = await Promise.all(Array.from({ length: 6 }, () => harness.submit(organisation)))
      replies.push(await harness.submit(organisation))
      assert.equal(new Set(replies.map(({ json }) => `${json.index} ${json.leaf}`)).size, 1)
      assert.equal(replies.at(-1)?.status, 200)
      assert.ok(replies.every(({ status }) => status === 200 || status === 201))
    })

    test('that revoke log a second leaf under the subject’s tag', async () => {
      const other = await harness.party('Revoker')
      const gone = await manifest(other, 'data')
      await harness.mustSubmit(gone)
      const reply = await harness.submit(await revocation(other, gone.digest))
      assert.equal(reply.status, 201)
      const leaf = parseLeaf(decodeBase64url(reply.json.revoked.leaf, 'leaf'))
      assert.equal(leaf.kind, 'revocation')
      assert.ok(equalBytes(leaf.tag, revokedTag(gone.digest)))
      assert.equal(reply.json.revoked.index, reply.json.index + 1)
    })

    test('are refused from whom nothing entitles to sign, and nothing is stored', async () => {
      const stranger = newAccount()
      const forged = await member(party.id, stranger, stranger)
      refused(await harness.submit(forged), 403, 'ERR_DOCUMENT_SIGNER')
      const unknown = await newParty('Unknown')
      refused(await harness.submit(unknown.membership), 403, 'ERR_DOCUMENT_SIGNER')
      const foreign = { ...party, account: stranger }
      const asset = await manifest(foreign, 'data')
      refused(await harness.submit(asset), 403, 'ERR_DOCUMENT_SIGNER')
      for (const { digest } of [forged, unknown.membership, asset]) {
        refused(await harness.send('nobody', 'GET', `/v1/documents/${digest}`), 404, 'ERR_NOT_FOUND')
      }
    })

    test('with a changed signature or payload, or of no form, are refused', async () => {
      const { organisation } = await newParty('Changed')
      const envelope = JSON.parse(organisation.envelope)
      const changed = (text: string): string => (text.startsWith('A') ? `B${text.slice(1)}` : `A${text.slice(1)}`)
      const signature = { ...envelope.signatures[0], signature: changed(envelope.signatures[0].signature) }
      const salt = encodeBase64url(randomBytes(32))
      for (const [document, status, code] of [
        [JSON.stringify({ ...envelope, signatures: [signature] }), 403, 'ERR_DOCUMENT_SIGNATURE'],
        [JSON.stringify({ ...envelope, payload: changed(envelope.payload) }), 400, 'ERR_DOCUMENT_MALFORMED'],
        [` ${organisation.envelope}`, 400, 'ERR_DOCUMENT_MALFORMED'],
        ['', 400, 'ERR_DOCUMENT_MALFORMED'],
      ] as const) {
        refused(await harness.send('nobody', 'POST', '/v1/documents', { document, salt }), status, code)
      }
      const document = organisation.envelope
      for (const body of [{ document }, { document, salt: 'x' }, { document, salt, more: 1 }, [], 'text', null]) {
        refused(await harness.send('nobody', 'POST', '/v1/documents', body), 400, 'ERR_REQUEST_MALFORMED')
      }
      refused(
        await harness.send('nobody', 'POST', '/v1/documents', { document, salt, locations: {} }),
        400,
        'ERR_REQUEST_MALFORMED',
      )
    })

    test('are listed in order of their index, page by page, by type, organisation and what they name', async () => {
      const other = await harness.party('Listed')
      const assets = []
      for (let count = 0; count < 5; count++) {
        assets.push(await manifest(other, 'data'))
        await harness.mustSubmit(assets.at(-1)!)
      }
      const found: string[] = []
      let after = ''
      do {
        const path = `/v1/documents?type=cella/manifest&organisation=${other.id}&limit=2${after}`
        const { json } = await harness.send(other.account, 'GET', path)
        assert.ok(json.documents.length <= 2)
        found.push(...json.documents.map((entry: { digest: string }) => entry.digest))
        after = json.next === undefined ? '' : `&after=${json.next}`
      } while (after !== '')
      assert.deepEqual(
        found,
        assets.map(({ digest }) => digest),
      )
      const gone = await revocation(other, assets[0]!.digest)
      await harness.mustSubmit(gone)
      const about = await harness.send(other.account, 'GET', `/v1/documents?about=${assets[0]!.digest}`)
      assert.deepEqual(
        about.json.documents.map((entry: { digest: string }) => entry.digest),
        [gone.digest],
      )
      for (const query of ['limit=0', 'limit=201', 'type=x', 'organisation=x', 'other=1', 'after=-1']) {
        refused(await harness.send(other.account, 'GET', `/v1/documents?${query}`), 400, 'ERR_REQUEST_MALFORMED')
      }
    })

    test('let only their organisation’s accounts say anew where an asset lies', async () => {
      const other = await harness.party('Located')
      const asset = await manifest(other, 'data')
      const [first, second] = ['11', '22'].map((pair) => ({ sealed: pair.repeat(32), outboard: pair.repeat(32) }))
      await harness.mustSubmit(asset, first)
      refused(await harness.submit(asset, 'nobody', second), 403, 'ERR_NOT_ALLOWED')
      refused(await harness.submit(asset, party.account, second), 403, 'ERR_NOT_ALLOWED')
      assert.equal((await harness.submit(asset, 'nobody', first)).status, 200)
      assert.equal((await harness.submit(asset, other.account, second)).status, 200)
      const { json } = await harness.send('nobody', 'GET', `/v1/documents/${asset.digest}`)
      assert.deepEqual(json.locations, second)
    })
  })

  describe('tokens', () => {
    const path = '/v1/runs'
    const call = async (authorization?: string, method = 'GET', target = path, body?: string) =>
      readReply(
        await fetch(harness.url + target, {
          method,
          headers: { ...(authorization && { authorization }), ...(body && { 'content-type': 'application/json' }) },
          ...(body && { body }),
        }),
      )

    test('are good for one request', async () => {
      const once = token(party.account, { method: 'GET', path })
      assert.equal((await call(once)).status, 200)
      refused(await call(once), 401, 'ERR_NOT_AUTHENTICATED')
    })

    test('are refused for another method, path, query, body, time, key, algorithm or spelling', async () => {
      const now = Math.floor(Date.now() / 1000)
      const request = { method: 'GET', path }
      const { account } = party
      const good = token(account, request)
      const [header, payload, signature] = good.slice(6).split('.')
      const refusals: Record<string, string | undefined> = {
        none: undefined,
        'another scheme': 'Basic abc',
        'a worker’s': `Bearer ${'x'.repeat(40)}`,
        'another method': token(account, { method: 'POST', path }),
        'another path': token(account, { method: 'GET', path: '/v1/run' }),
        'another query': token(account, { method: 'GET', path: `${path}?limit=1` }),
        'another body': token(account, { ...request, body: Buffer.from('{}') }),
        'of the past': token(account, request, { payload: { issuedAt: now - 62 } }),
        'of the future': token(account, request, { payload: { issuedAt: now + 62 } }),
        'signed by another': token(account, request, { signedBy: newAccount() }),
        'of an account without membership': token(newAccount(), request),
        'of algorithm none': token(account, request, { header: { alg: 'none' } }),
        'of another type': token(account, request, { header: { typ: 'JWT' } }),
        'with a further header': token(account, request, { header: { jwk: {} } }),
        'with a further member': token(account, request, { payload: { more: 1 } }),
        'with a short nonce': token(account, request, { payload: { nonce: 'AAAA' } }),
        'of two parts': `Cella ${header}.${payload}`,
        'of four parts': `${good}.${signature}`,
        'with padding': `${good}=`,
        'without signature': `Cella ${header}.${payload}.`,
        'too long': `Cella ${'a'.repeat(3000)}`,
      }
      for (const [name, authorization] of Object.entries(refusals)) {
        const reply = await call(authorization)
        assert.equal(reply.status, 401, name)
        refused(reply, 401, 'ERR_NOT_AUTHENTICATED')
      }
      const body = '{"count":1}'
      const target = `/v1/contracts/${'0'.repeat(64)}/runs`
      const other = token(account, { method: 'POST', path: target, body: Buffer.from('{"count":2}') })
      refused(await call(other, 'POST', target, body), 401, 'ERR_NOT_AUTHENTICATED')
    })

    test('with any byte changed or cut off are refused', async () => {
      const good = token(party.account, { method: 'GET', path })
      const start = 'Cella '.length
      await fc.assert(
        fc.asyncProperty(fc.integer({ min: start, max: good.length - 1 }), fc.boolean(), async (at, cuts) => {
          const other = good[at] === 'A' ? 'B' : 'A'
          const bad = cuts ? good.slice(0, at) : good.slice(0, at) + other + good.slice(at + 1)
          refused(await call(bad), 401, 'ERR_NOT_AUTHENTICATED')
        }),
        { numRuns: 150 },
      )
      // None of them used up its nonce.
      assert.equal((await call(good)).status, 200)
    })

    test('stop with the membership: at its end, before its begin, and with its revocation', async () => {
      const other = await harness.party('Members')
      const request = { method: 'GET', path }
      for (const changes of [{ notAfter: 1_000_000_000 }, { notBefore: 3_900_000_000 }]) {
        const account = newAccount()
        await harness.mustSubmit(await member(other.id, other.root, account, changes))
        refused(await call(token(account, request)), 401, 'ERR_NOT_AUTHENTICATED')
      }
      assert.equal((await call(token(other.account, request))).status, 200)
      await harness.mustSubmit(await revocation(other, other.membership.digest))
      refused(await call(token(other.account, request)), 401, 'ERR_NOT_AUTHENTICATED')
    })

    test('of an account don’t open the queue, and a worker’s doesn’t open accounts', async () => {
      const poll = { worker: 'w', tee: 'sev-snp', boundary: 'vm', isolation: 1 }
      refused(await harness.send(party.account, 'POST', '/v1/worker/poll', poll), 403, 'ERR_NOT_ALLOWED')
      refused(await harness.send('nobody', 'POST', '/v1/worker/poll', poll), 401, 'ERR_NOT_AUTHENTICATED')
      refused(await harness.send('worker', 'GET', '/v1/runs'), 401, 'ERR_NOT_AUTHENTICATED')
    })
  })

  describe('requests', () => {
    test('too large are refused before they are read', async () => {
      const huge = Buffer.alloc(9 * 2 ** 20)
      for (const [method, path, body] of [
        ['POST', '/v1/documents', 'x'.repeat(600_000)],
        ['POST', '/v1/vaults/x/decide', 'x'.repeat(5 * 2 ** 20)],
        ['POST', '/v1/uploads', 'x'.repeat(100_000)],
        ['PUT', `/v1/uploads?sha256=${'0'.repeat(64)}`, huge],
        ['POST', '/v1/log/entries', huge],
      ] as const) {
        refused(await harness.send('worker', method, path, body), 413, 'ERR_REQUEST_TOO_LARGE')
      }
    })

    test('of no route, type or form are refused with a code', async () => {
      refused(await harness.send('nobody', 'GET', '/v1/nothing'), 404, 'ERR_NOT_FOUND')
      refused(await harness.send('nobody', 'DELETE', '/v1/documents'), 404, 'ERR_NOT_FOUND')
      refused(await harness.send('nobody', 'GET', '/v1/log/tile/../secret'), 404, 'ERR_NOT_FOUND')
      refused(await harness.send('nobody', 'GET', '/v1/log/tile/0/1'), 404, 'ERR_NOT_FOUND')
      refused(await harness.send('nobody', 'GET', '/v1/documents/x'), 400, 'ERR_REQUEST_MALFORMED')
      for (const [type, body] of [
        ['application/json', '{"document":'],
        ['application/json', '{"document":"x","salt":"y","__proto__":{}}'],
        ['text/plain', 'text'],
      ] as const) {
        const answer = await fetch(`${harness.url}/v1/documents`, {
          method: 'POST',
          headers: { 'content-type': type },
          body,
        })
        assert.equal(answer.status, type === 'text/plain' ? 415 : 400)
        assert.match(await answer.text(), /"code":"ERR_REQUEST_MALFORMED"/)
      }
    })
  })

  describe('operation', () => {
    test('shows health, readiness by part, metrics by route pattern, and the API from the schemas in use', async () => {
      assert.deepEqual((await harness.send('nobody', 'GET', '/healthz')).json, { status: 'ok' })
      const ready = await harness.send('nobody', 'GET', '/readyz')
      assert.deepEqual(ready.json, { status: 'ready', checks: { database: 'ok', blobs: 'ok', log: 'ok' } })
      const metrics = (await harness.send('nobody', 'GET', '/metrics')).bytes.toString()
      assert.match(
        metrics,
        /^cella_http_requests_total\{method="GET",route="\/v1\/documents\/:digest",status="200"\} \d+$/m,
      )
      assert.match(metrics, /^# TYPE cella_runs gauge$/m)
      const { json } = await harness.send('nobody', 'GET', '/openapi.json')
      assert.equal(json.openapi, '3.1.0')
      for (const path of [
        '/v1/documents',
        '/v1/runs/{contract}/{run}/cancel',
        '/v1/worker/poll',
        '/v1/blobs/{sha256}',
      ]) {
        assert.ok(path in json.paths, path)
      }
      const { schema } = json.paths['/v1/documents'].post.requestBody.content['application/json']
      assert.deepEqual(schema.required, ['document', 'salt'])
    })

    test('passes the log through', async () => {
      const checkpoint = (await harness.send('nobody', 'GET', '/v1/log/checkpoint')).bytes.toString()
      assert.match(checkpoint, /^log\.example\/test\n\d+\n/)
      const size = Number(checkpoint.split('\n')[1])
      const tile = await harness.send('nobody', 'GET', `/v1/log/tile/entries/000.p/${size}`)
      assert.equal(tile.bytes.length, size * 66)
      const refusal = await harness.send('nobody', 'POST', '/v1/log/entries', new Uint8Array(64))
      refused(refusal, 401, 'ERR_NOT_AUTHENTICATED')
      const leaf = decodeBase64url((await harness.submit(party.organisation)).json.leaf, 'leaf')
      const { json } = await harness.send('worker', 'POST', '/v1/log/entries', leaf)
      assert.equal(json.indices.length, 1)
    })

    test('passes calls to a vault through, refusals and all, and limits those of nobody', async () => {
      const seen: { url: string; body: string }[] = []
      const vault = createServer(async (request, response) => {
        let body = ''
        for await (const chunk of request) body += chunk
        seen.push({ url: request.url ?? '', body })
        const refuses = request.url === '/release'
        response.writeHead(refuses ? 403 : 200, { 'content-type': 'application/json' })
        response.end(refuses ? '{"error":{"code":"ERR_RELEASE_REFUSED","message":"no"}}' : '{"nonce":"AAAA"}')
      })
      vault.listen(0, '127.0.0.1')
      await once(vault, 'listening')
      const { id } = newAccount()
      const { port } = vault.address() as AddressInfo
      const before = harness.url
      const vaults = [{ id, url: `http://127.0.0.1:${port}` }]
      const manager = await harness.startManager({ vaults, limits: { vaultCallsPerMinute: 4 } })
      const call = (name: string, as: 'nobody' | 'worker' = 'nobody', body: object = { b: 1, a: '2' }) =>
        harness.send(as, 'POST', `/v1/vaults/${id}/${name}`, body)
      assert.deepEqual((await call('nonce')).json, { nonce: 'AAAA' })
      assert.deepEqual(seen, [{ url: '/nonce', body: '{"b":1,"a":"2"}' }])
      refused(await call('release'), 403, 'ERR_RELEASE_REFUSED')
      refused(await call('shutdown'), 400, 'ERR_REQUEST_MALFORMED')
      vault.closeAllConnections()
      vault.close()
      refused(await call('decide'), 503, 'ERR_VAULT_UNAVAILABLE')
      refused(await call('decide'), 429, 'ERR_REQUEST_RATE')
      refused(await call('decide', 'worker'), 503, 'ERR_VAULT_UNAVAILABLE')
      refused(await harness.send('worker', 'POST', '/v1/vaults/none/nonce', {}), 503, 'ERR_VAULT_UNAVAILABLE')
      await manager.stop()
      harness.url = before
    })

    test('carries challenges to workers at another manager, and answers back to who asked', async () => {
      const nonce = encodeBase64url(randomBytes(32))
      const before = harness.url
      const ask = (name: string, body: object = { nonce }) =>
        harness.send('nobody', 'POST', `/v1/workers/${name}/challenge`, body)
      refused(await ask('w%201'), 404, 'ERR_NOT_FOUND')
      refused(await ask('w%201', { nonce: 'AAAA' }), 400, 'ERR_REQUEST_MALFORMED')
      refused(
        await harness.send('nobody', 'POST', '/v1/worker/challenges/poll', { worker: 'w 1' }),
        401,
        'ERR_NOT_AUTHENTICATED',
      )
      const polled = harness.send('worker', 'POST', '/v1/worker/challenges/poll', { worker: 'w 1' })
      const other = await harness.startManager({ limits: { challengesPerMinute: 40 } })
      const known = async () => (await harness.send('nobody', 'GET', '/v1/workers')).json.workers
      while ((await known()).length === 0) await new Promise((resolve) => setTimeout(resolve, 20))
      assert.deepEqual(await known(), [{ name: 'w 1', url: '/v1/workers/w%201' }])
      const asked = ask('w%201')
      const offer = (await polled).json
      assert.deepEqual(offer, { id: offer.id, nonce })
      const path = `/v1/worker/challenges/${offer.id}`
      const answer = { binding: { nonce }, evidence: { entries: [] } }
      assert.equal((await harness.send('worker', 'POST', path, { answer })).status, 200)
      const reply = await asked
      assert.deepEqual([reply.status, reply.json], [200, answer])
      refused(await harness.send('worker', 'POST', path, { answer }), 404, 'ERR_NOT_FOUND')
      const replies = await Promise.all(Array.from({ length: 41 }, () => ask('nobody')))
      assert.ok(replies.some(({ json }) => json.error.code === 'ERR_REQUEST_RATE'))
      await other.stop()
      harness.url = before
    })

    test('answers for a worker that does not, and takes no more than 32 at once for one', async () => {
      const before = harness.url
      const other = await harness.startManager({ limits: { pollSeconds: 0.1 } })
      assert.equal((await harness.send('worker', 'POST', '/v1/worker/challenges/poll', { worker: 'mute' })).status, 204)
      const nonce = encodeBase64url(randomBytes(32))
      const gone = new AbortController()
      const asking = Array.from({ length: 33 }, () =>
        fetch(`${harness.url}/v1/workers/mute/challenge`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ nonce }),
          signal: gone.signal,
        }),
      )
      refused(await readReply(await Promise.race(asking)), 429, 'ERR_REQUEST_RATE')
      const settled = Promise.allSettled(asking)
      // Who waits is told when the manager stops, and leaves nothing behind.
      await other.stop()
      gone.abort()
      await settled
      harness.url = before
      const { rows } = await query(harness.postgres.url, 'select count(*)::int as left from challenges')
      assert.deepEqual(rows, [{ left: 0 }])
    })

    test('passes calls to the attestation service through under /attest, and only there', async (context) => {
      const seen: string[] = []
      const service = createServer((request, response) => {
        seen.push(`${request.method} ${request.url}`)
        response.writeHead(request.url?.startsWith('/v1/busy') ? 429 : 200, {
          'content-type': 'application/jwk-set+json',
          'cache-control': 'public, max-age=300',
          'retry-after': '7',
        })
        response.end('{"keys":[]}')
      })
      service.listen(0, '127.0.0.1')
      context.after(() => {
        service.closeAllConnections()
        service.close()
      })
      await once(service, 'listening')
      const { port } = service.address() as AddressInfo
      const before = harness.url
      refused(await harness.send('nobody', 'GET', '/attest/healthz'), 404, 'ERR_NOT_FOUND')
      const manager = await harness.startManager({
        attest: { url: `http://127.0.0.1:${port}/` },
        limits: { attestCallsPerMinute: 6 },
      })
      const keys = await harness.send('nobody', 'GET', '/attest/.well-known/jwks.json')
      assert.deepEqual([keys.status, keys.bytes.toString()], [200, '{"keys":[]}'])
      assert.deepEqual(
        ['content-type', 'cache-control'].map((name) => keys.headers.get(name)),
        ['application/jwk-set+json', 'public, max-age=300'],
      )
      const busy = await harness.send('nobody', 'POST', '/attest/v1/busy?nonce=a', { b: 1 })
      assert.deepEqual([busy.status, busy.headers.get('retry-after')], [429, '7'])
      assert.deepEqual(seen, ['GET /.well-known/jwks.json', 'POST /v1/busy?nonce=a'])
      refused(await harness.send('nobody', 'GET', '/attest/.well-known/..%2fx'), 400, 'ERR_REQUEST_MALFORMED')
      assert.equal((await harness.send('nobody', 'GET', '/v1/info')).json.attestation.url, '/attest')
      service.closeAllConnections()
      service.close()
      refused(await harness.send('nobody', 'GET', '/attest/readyz'), 503, 'ERR_ATTEST_UNAVAILABLE')
      await harness.send('nobody', 'GET', '/attest/readyz')
      await harness.send('nobody', 'GET', '/attest/readyz')
      refused(await harness.send('nobody', 'GET', '/attest/readyz'), 429, 'ERR_REQUEST_RATE')
      await manager.stop()
      harness.url = before
    })

    test('limits documents by address, not those with a token', async () => {
      const before = harness.url
      const strict = await harness.startManager({ limits: { documentsPerMinute: 3 } })
      const replies = []
      for (let count = 0; count < 5; count++) replies.push(await harness.submit(party.organisation))
      assert.deepEqual(
        replies.map(({ status }) => status),
        [200, 200, 200, 429, 429],
      )
      assert.equal(replies[4]?.headers.get('retry-after'), '20')
      assert.equal((await harness.submit(party.organisation, party.account)).status, 200)
      await strict.stop()
      harness.url = before
    })

    test('answers 503 with a code while the log is away, and completes what was begun once it is back', async () => {
      const before = harness.url
      const away = await harness.startManager({ log: { ...harness.config.log, url: 'http://127.0.0.1:9' } })
      const { organisation } = await newParty('Patient')
      refused(await harness.submit(organisation), 503, 'ERR_LOG_UNAVAILABLE')
      refused(await harness.send('nobody', 'GET', `/v1/documents/${organisation.digest}`), 404, 'ERR_NOT_FOUND')
      const ready = await harness.send('nobody', 'GET', '/readyz')
      assert.equal(ready.status, 503)
      assert.equal(ready.json.checks.log, 'unavailable')
      await away.stop()
      harness.url = before
      assert.equal((await harness.submit(organisation)).status, 201)
    })
  })
})
