import assert from 'node:assert/strict'
import { createPublicKey, verify } from 'node:crypto'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { SignedDocument } from '@cella/documents'
import { signDocument } from '@cella/documents'
import pg from 'pg'
import { deliver } from '../notices/deliver.ts'
import { contract, manifest, type Party, revocation, token } from '../testing/fixtures.ts'
import { Harness } from '../testing/harness.ts'

describe('inbox, events and webhooks', () => {
  let harness: Harness
  let owner: Party
  let asker: Party
  let other: Party
  let asked: SignedDocument<'cella/contract'>

  before(async () => {
    harness = await Harness.start({ webhooks: { inside: true } })
    owner = await harness.party('Owner')
    asker = await harness.party('Asker')
    other = await harness.party('Other')
  })
  after(() => harness.stop())

  const inbox = async (party: Party) => (await harness.send(party.account, 'GET', '/v1/inbox')).json
  const approval = (party: Party, digest: SignedDocument['digest'], notAfter = 4_000_000_000) =>
    signDocument<'cella/approval'>(
      {
        type: 'cella/approval',
        version: 1,
        organisation: party.id,
        signer: party.account.id,
        contract: digest,
        runs: 1,
        notBefore: 0,
        notAfter,
      },
      [party.account.seed],
    )
  const request = (by: number) =>
    signDocument<'cella/request'>(
      {
        type: 'cella/request',
        version: 1,
        organisation: asker.id,
        signer: asker.account.id,
        contract: asked.digest,
        to: owner.id,
        by,
        message: 'please',
        previous: null,
      },
      [asker.account.seed],
    )

  test('a contract waits for the owner who approves each, and for nobody else', async () => {
    const program = await manifest(asker, 'program')
    const data = await manifest(owner, 'data', { approval: 'each-contract' })
    const locations = { sealed: 'aa'.repeat(32), outboard: 'bb'.repeat(32) }
    for (const document of [program, data]) await harness.mustSubmit(document, locations)
    asked = await contract(asker, { program: program.digest, data: data.digest })
    await harness.mustSubmit(asked)
    assert.deepEqual((await inbox(owner)).approvals, [asked.digest])
    for (const party of [asker, other]) assert.deepEqual((await inbox(party)).approvals, [])
    // Where its policy suffices there is nothing to do.
    const open = await harness.contract(other)
    assert.ok(!(await inbox(other)).approvals.includes(open.digest))
  })

  test('more than a page goes on at its end: nothing that waits is left out, and more runs are told of', async () => {
    const client = new pg.Client({ connectionString: harness.postgres.url })
    await client.connect()
    // Rows as of 450 further contracts and 201 runs.
    await client.query(
      `insert into documents (digest, leaf_index, type, organisation, signer, envelope, salt, leaf)
       select lpad(to_hex(n), 64, '0'), 1000000 + n, type, organisation, signer, envelope, salt, leaf
       from documents, generate_series(1, 450) as n where digest = $1`,
      [asked.digest],
    )
    await client.query(
      `insert into mentions (digest, about) select lpad(to_hex(n), 64, '0'), about
       from mentions, generate_series(1, 450) as n where digest = $1`,
      [asked.digest],
    )
    await client.query('insert into participants (contract, organisation) values ($1, $2)', [asked.digest, owner.id])
    await client.query(
      `insert into runs (contract, run, attempt, attempts_max, status, phase, boundary, isolation, organisation)
       select $1, n, 1, 1, 'cancelled', 'cancelled', 'vm', 2, $2 from generate_series(1, 201) as n`,
      [asked.digest, asker.id],
    )
    const pages = [await inbox(owner)]
    while (pages.at(-1).next !== null) {
      pages.push((await harness.send(owner.account, 'GET', `/v1/inbox?before=${pages.at(-1).next}`)).json)
    }
    assert.deepEqual(
      pages.map(({ approvals }) => approvals.length),
      [200, 200, 51],
    )
    assert.equal(new Set(pages.flatMap(({ approvals }) => approvals)).size, 451)
    assert.equal(pages.at(-1).approvals.at(-1), asked.digest)
    assert.deepEqual(
      pages.map(({ runs, moreRuns }) => [runs.length, moreRuns]),
      [
        [200, true],
        [0, false],
        [0, false],
      ],
    )
    await client.query('delete from documents where leaf_index > 1000000; delete from runs; delete from participants')
    await client.end()
    for (const query of ['before=-1', 'before=x', 'before=1.5']) {
      assert.equal((await harness.send(owner.account, 'GET', `/v1/inbox?${query}`)).status, 400)
    }
  })

  test('a request is seen by both sides, and by nobody else', async () => {
    const made = await request(4_000_000_000)
    await harness.mustSubmit(made)
    assert.deepEqual((await inbox(owner)).asked, [made.digest])
    assert.deepEqual((await inbox(asker)).asking, [made.digest])
    assert.deepEqual([(await inbox(other)).asked, (await inbox(other)).asking], [[], []])
  })

  test('an approval clears it; one that ended or was withdrawn does not', async () => {
    await harness.mustSubmit(await approval(owner, asked.digest, 1000))
    await harness.mustSubmit(await approval(other, asked.digest))
    assert.deepEqual((await inbox(owner)).approvals, [asked.digest])
    const good = await approval(owner, asked.digest)
    await harness.mustSubmit(good)
    assert.deepEqual((await inbox(owner)).approvals, [])
    await harness.mustSubmit(await revocation(owner, good.digest))
    assert.deepEqual((await inbox(owner)).approvals, [asked.digest])
    await harness.mustSubmit(await revocation(asker, asked.digest))
    const { last, ...rest } = await inbox(owner)
    assert.deepEqual(rest, { approvals: [], asked: [], asking: [], next: null, runs: [], moreRuns: false })
    assert.ok(last > 0)
  })

  test('several documents are asked for at once', async () => {
    const path = `/v1/documents?digest=${asked.digest}&digest=${owner.id}&digest=${'0'.repeat(64)}`
    const { documents } = (await harness.send(owner.account, 'GET', path)).json
    assert.deepEqual(
      new Set(documents.map(({ digest }: { digest: string }) => digest)),
      new Set([asked.digest, owner.id]),
    )
    assert.equal((await harness.send(owner.account, 'GET', '/v1/documents?digest=x')).status, 400)
  })

  test('events come in order, resume after an id, and tell each organisation its own', async () => {
    const read = async (party: Party, after: number, count: number) => {
      const gone = new AbortController()
      const answer = await fetch(`${harness.url}/v1/events`, {
        headers: {
          authorization: token(party.account, { method: 'GET', path: '/v1/events' }),
          'last-event-id': `${after}`,
        },
        signal: gone.signal,
      })
      const found: { id: number; kind: string; about: string; detail: { type: string } }[] = []
      let text = ''
      for await (const part of answer.body ?? []) {
        text += Buffer.from(part).toString()
        const whole = text.split('\n\n')
        text = whole.pop() ?? ''
        for (const event of whole) found.push(JSON.parse(/^data: (.*)$/m.exec(event)![1]!))
        if (found.length >= count) break
      }
      gone.abort()
      return found
    }
    const all = await read(owner, 0, 9)
    const types = all.map(({ detail }) => detail.type.replace('cella/', ''))
    assert.deepEqual(types.slice(0, 5), ['organisation', 'membership', 'manifest', 'contract', 'request'])
    assert.ok(all.every(({ id }, at) => at === 0 || id > all[at - 1]!.id))
    const later = await read(owner, all[3]!.id, 5)
    assert.deepEqual(later, all.slice(4, 9))
    const others = await read(other, 0, 2)
    assert.ok(others.every(({ about }) => about !== asked.digest))
    // An id from the future is waited for, and answers nothing.
    const live = read(other, others.at(-1)!.id + 1000, 1)
    assert.equal(await Promise.race([live, sleep(300, 'nothing')]), 'nothing')
  })

  describe('webhooks', () => {
    let receiver: Server
    let url: string
    let status = 204
    const received: { headers: Record<string, string>; body: string }[] = []

    before(async () => {
      receiver = createServer((message, response) => {
        let body = ''
        message.on('data', (part) => {
          body += part
        })
        message.on('end', () => {
          if (status < 300) received.push({ headers: message.headers as Record<string, string>, body })
          response.writeHead(status).end()
        })
      })
      await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve))
      url = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/hook`
    })
    after(() => receiver.close().closeAllConnections())

    const until = async (condition: () => boolean | Promise<boolean>): Promise<void> => {
      for (let turn = 0; turn < 300; turn++) {
        if (await condition()) return
        await sleep(50)
      }
      assert.fail('it did not come')
    }
    const list = async (party: Party) => (await harness.send(party.account, 'GET', '/v1/webhooks')).json.webhooks

    test('are told, signed, of what comes from now on; two managers tell once', async () => {
      await harness.startManager({ webhooks: { inside: true } })
      const made = await harness.send(other.account, 'POST', '/v1/webhooks', { organisation: other.id, url })
      assert.equal(made.status, 200)
      const document = await manifest(other, 'program')
      await harness.mustSubmit(document)
      await until(() => received.length === 1)
      const { headers, body } = received[0]!
      const { about, kind, detail } = JSON.parse(body)
      assert.deepEqual([about, kind, detail.type], [document.digest, 'document', 'cella/manifest'])
      // Standard Webhooks, v1a.
      const raw = Buffer.from(made.json.publicKey.replace('whpk_', ''), 'base64')
      const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: raw.toString('base64url') }, format: 'jwk' })
      const signature = Buffer.from(headers['webhook-signature']!.replace('v1a,', ''), 'base64')
      const signed = `${headers['webhook-id']}.${headers['webhook-timestamp']}.${body}`
      assert.ok(verify(null, Buffer.from(signed), key, signature))
      await sleep(1500)
      assert.equal(received.length, 1)
    })

    test('that fail are tried again, in order, and say why; a second word of their owner wakes them', async () => {
      status = 500
      const [first, second] = [await manifest(other, 'program'), await manifest(other, 'data')]
      await harness.mustSubmit(first)
      await until(async () => (await list(other))[0].failures > 0)
      assert.match((await list(other))[0].problem, /answers 500/)
      await harness.mustSubmit(second)
      status = 204
      await harness.send(other.account, 'POST', '/v1/webhooks', { organisation: other.id, url })
      await until(() => received.length >= 3)
      assert.deepEqual(
        received.slice(1).map(({ body }) => JSON.parse(body).about),
        [first.digest, second.digest],
      )
      await until(async () => (await list(other))[0].failures === 0)
    })

    test('are their organisation’s own, and end when it says so', async () => {
      assert.deepEqual(await list(owner), [])
      const foreign = await harness.send(owner.account, 'POST', '/v1/webhooks', { organisation: other.id, url })
      assert.deepEqual([foreign.status, foreign.json.error.code], [403, 'ERR_NOT_ALLOWED'])
      const [{ id }] = await list(other)
      const path = `/v1/webhooks/${id}/remove`
      assert.deepEqual((await harness.send(owner.account, 'POST', path, {})).json, { removed: false })
      assert.deepEqual((await harness.send(other.account, 'POST', path, {})).json, { removed: true })
      assert.deepEqual(await list(other), [])
    })
  })

  test('a name that leads inside is called by nobody', async () => {
    const options = { body: '{}', headers: {}, allowInside: false }
    await assert.rejects(deliver('https://localhost:9/x', options), /leads inside the operator’s network/)
  })

  test('a webhook leads nowhere inside the operator’s network', async () => {
    await harness.startManager({ webhooks: { inside: false } })
    for (const url of [
      'http://hooks.example/x',
      'https://127.0.0.1/x',
      'https://10.1.2.3/x',
      'https://169.254.169.254/latest',
      'https://[::1]/x',
      'https://[::ffff:192.168.0.1]/x',
      'https://[fd00::1]/x',
      'https://0x7f000001/x',
      'https://user@hooks.example/x',
      'ftp://hooks.example/x',
      'x',
    ]) {
      const { status, json } = await harness.send(other.account, 'POST', '/v1/webhooks', {
        organisation: other.id,
        url,
      })
      assert.deepEqual([status, json.error.code], [400, 'ERR_REQUEST_MALFORMED'], url)
    }
  })
})
