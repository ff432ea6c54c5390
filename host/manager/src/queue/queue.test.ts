import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Digest, encodeBase64url } from '@cella/bytes'
import { parseDocument, type SignedDocument, signDocument } from '@cella/documents'
import { randomBytes } from '@cella/primitives'
import { openDatabase } from '../database/database.ts'
import {
  type Account,
  bundleOf,
  contract as makeContract,
  member,
  newAccount,
  type Party,
  receiptOf,
  revocation,
  token,
} from '../testing/fixtures.ts'
import { Harness, type Reply } from '../testing/harness.ts'
import type { WorkerKind } from '../testing/worker.ts'
import { RunQueue } from './queue.ts'

interface Which extends WorkerKind {
  readonly name?: string
}

describe('runs', () => {
  let harness: Harness
  let party: Party
  before(async () => {
    harness = await Harness.start(
      { limits: { leaseSeconds: 1, pollSeconds: 0.3, queuedRunsMax: 8 } },
      { workers: true },
    )
    party = await harness.party('Author')
  })
  after(() => harness.stop())

  const poll = async ({ name = 'worker-1', ...kind }: Which = {}): Promise<Reply> =>
    (await harness.worker(`${name}-${kind.tee ?? 'sev-snp'}-${kind.isolation ?? 1}`, kind)).poll()
  const start = (digest: Digest, count = 1, as: Account = party.account): Promise<Reply> =>
    harness.send(as, 'POST', `/v1/contracts/${digest}/runs`, { count })
  const show = async (digest: Digest, run = 1) =>
    (await harness.send(party.account, 'GET', `/v1/runs/${digest}/${run}`)).json
  const lease = (number: number, call: string, body: object): Promise<Reply> =>
    harness.send('worker', 'POST', `/v1/worker/leases/${number}/${call}`, body)
  const phases = async (digest: Digest, run = 1): Promise<string[]> =>
    (await readEvents(digest, run)).map(({ phase }) => phase)

  async function readEvents(digest: Digest, run = 1, last?: string) {
    const path = `/v1/runs/${digest}/${run}/events`
    const { bytes } = await harness.send(party.account, 'GET', path, undefined, last ? { 'last-event-id': last } : {})
    return [...bytes.toString().matchAll(/id: (\d+)\ndata: (.*)\n\n/g)].map(([, id, data]) => ({
      id: Number(id),
      ...(JSON.parse(data ?? '') as { at: number; attempt: number; phase: string; detail?: { status: string } }),
    }))
  }

  test('are offered with all that bears on the contract, renewed, and finished with a receipt', async () => {
    const signed = await harness.contract(party)
    const started = await start(signed.digest)
    assert.equal(started.status, 201)
    assert.equal(started.json.runs[0].status, 'queued')
    const { json: offer } = await poll()
    assert.equal(offer.contract, signed.digest)
    assert.deepEqual([offer.run, offer.attempt, offer.leaseSeconds], [1, 1, 1])
    for (const needed of [signed, party.organisation, party.membership])
      assert.ok(offer.documents.includes(needed.envelope))
    assert.equal(Object.keys(offer.locations).length, 2)
    assert.deepEqual(offer.vaults, signed.payload.vaults)
    assert.equal((await lease(offer.lease, 'renew', { phase: 'decide' })).status, 200)
    assert.equal((await show(signed.digest)).phase, 'decide')
    const receipt = await receiptOf(signed.digest, 1, 1)
    const outputs = [{ name: 'gap.csv', blob: 'cc'.repeat(32), outboard: 'dd'.repeat(32), keys: [] }]
    const draft = { receipt: receipt.envelope, outputs }
    assert.equal((await lease(offer.lease, 'receipt', { draft })).status, 200)
    assert.equal((await lease(offer.lease, 'receipt', { draft })).status, 200)
    const end = { status: 'finished', bundle: bundleOf(receipt, 7), outputs }
    assert.equal((await lease(offer.lease, 'outcome', end)).status, 200)
    assert.equal((await lease(offer.lease, 'outcome', end)).status, 200)
    const run = await show(signed.digest)
    assert.equal(run.status, 'finished')
    assert.equal(run.receipt, receipt.digest)
    const path = `/v1/runs/${signed.digest}/1`
    assert.deepEqual((await harness.send(party.account, 'GET', `${path}/receipt`)).json, bundleOf(receipt, 7))
    assert.deepEqual((await harness.send(party.account, 'GET', `${path}/outputs`)).json, { outputs })
    assert.deepEqual(await phases(signed.digest), ['queued', 'offered', 'decide', 'finished'])
    const [last] = await readEvents(signed.digest, 1, '3')
    assert.equal(last?.id, 4)
    assert.deepEqual(last?.detail, { status: 'finished' })
    const cancelled = await harness.send(party.account, 'POST', `${path}/cancel`, {})
    assert.equal(cancelled.json.error.code, 'ERR_RUN_STATE')
  })

  test('wake a worker that waits, and go to one of many', async () => {
    const signed = await harness.contract(party)
    const names = ['one', 'two', 'three']
    for (const name of names) assert.equal((await poll({ name })).status, 204)
    const waiting = names.map((name) => poll({ name }))
    // What is left of the time that they wait has to do for the start.
    await sleep(50)
    await start(signed.digest)
    const replies = await Promise.all(waiting)
    assert.deepEqual(replies.map(({ status }) => status).sort(), [200, 204, 204])
    const offer = replies.find(({ status }) => status === 200)?.json
    assert.equal(
      (
        await lease(offer.lease, 'outcome', {
          status: 'refused',
          error: { code: 'ERR_POLICY' },
          decisions: ['an envelope'],
        })
      ).status,
      200,
    )
    assert.deepEqual((await show(signed.digest)).error, { code: 'ERR_POLICY' })
    assert.deepEqual((await show(signed.digest)).decisions, ['an envelope'])
  })

  test('go to workers of their boundary and at least their isolation', async () => {
    const signed = await harness.contract(party, { isolation: 2 })
    await start(signed.digest)
    for (const other of [{ isolation: 1 }, { tee: 'sgx', isolation: 3 }] as const) {
      assert.equal((await poll(other)).status, 204)
    }
    const { json: offer } = await poll({ isolation: 3 })
    assert.equal(offer.contract, signed.digest)
    await lease(offer.lease, 'outcome', { status: 'refused', error: { code: 'ERR_TEST' } })
  })

  test('of organisations take turns, however many one has waiting; priorities order an organisation’s own', async () => {
    const other = await harness.party('Other')
    const [mine, urgent] = [await harness.contract(party, { runs: 9 }), await harness.contract(party)]
    const theirs = await harness.contract(other, { runs: 9 })
    const waitingOf = async (of: Party, digest: Digest, run: number) =>
      (await harness.send(of.account, 'GET', `/v1/runs/${digest}/${run}`)).json.waiting
    await start(mine.digest, 3)
    await start(theirs.digest, 2, other.account)
    await harness.send(party.account, 'POST', `/v1/contracts/${urgent.digest}/runs`, { priority: 5 })
    const places = [await waitingOf(party, urgent.digest, 1), await waitingOf(party, mine.digest, 3)]
    assert.deepEqual(places.map(({ position, of }) => [position, of]).at(-1), [6, 6])
    const order: string[] = []
    const foretold = new Map<number, string>()
    for (const [of, digest, runs] of [
      [party, mine.digest, [1, 2, 3]],
      [party, urgent.digest, [1]],
      [other, theirs.digest, [1, 2]],
    ] as const) {
      for (const run of runs) foretold.set((await waitingOf(of, digest, run)).position, `${digest} ${run}`)
    }
    for (let turn = 0; turn < 6; turn++) {
      const { json: offer } = await poll()
      order.push(`${offer.contract} ${offer.run}`)
      await lease(offer.lease, 'outcome', { status: 'refused', error: { code: 'ERR_TEST' } })
    }
    assert.deepEqual(
      order.filter((one) => !one.startsWith(theirs.digest)),
      [`${urgent.digest} 1`, `${mine.digest} 1`, `${mine.digest} 2`, `${mine.digest} 3`],
    )
    // Neither waits for all of the other: their two are among the first four.
    assert.equal(order.slice(0, 4).filter((one) => one.startsWith(theirs.digest)).length, 2)
    assert.deepEqual(
      order.map((_, at) => foretold.get(at + 1)),
      order,
    )
    const tooHigh = await harness.send(party.account, 'POST', `/v1/contracts/${urgent.digest}/runs`, { priority: 10 })
    assert.equal(tooHigh.json.error.code, 'ERR_REQUEST_MALFORMED')
  })

  test('go in the order in which they came, whatever isolation they ask for', async () => {
    const contracts = [await harness.contract(party), await harness.contract(party, { isolation: 2 })]
    for (const { digest } of contracts) await start(digest)
    for (const { digest } of contracts) {
      const { json: offer } = await poll({ name: 'strong', isolation: 2 })
      assert.equal(offer.contract, digest)
      await lease(offer.lease, 'outcome', { status: 'refused', error: { code: 'ERR_TEST' } })
    }
  })

  test('of an organisation’s first time take their turn like all others, whatever priority it gives them', async () => {
    const parties = [await harness.party('First'), await harness.party('Second')]
    const contracts = await Promise.all(parties.map((one) => harness.contract(one)))
    for (const [at, { digest }] of contracts.entries()) {
      await harness.send(parties[at]!.account, 'POST', `/v1/contracts/${digest}/runs`, { priority: at * 9 })
    }
    for (const { digest } of contracts) {
      const { json: offer } = await poll()
      assert.equal(offer.contract, digest)
      await lease(offer.lease, 'outcome', { status: 'refused', error: { code: 'ERR_TEST' } })
    }
  })

  test('that wait say why: no worker of their boundary is here, or all are at work', async () => {
    const signed = await harness.contract(party, { boundary: 'world', isolation: 3 })
    await start(signed.digest)
    const { waiting } = await show(signed.digest)
    assert.deepEqual(waiting, {
      position: 1,
      of: 1,
      boundary: 'world',
      isolation: 3,
      tees: null,
      workers: 0,
      busy: 0,
      refused: 0,
    })
    const busy = await harness.contract(party)
    await start(busy.digest)
    const { json: offer } = await poll({ name: 'strong', isolation: 2 })
    assert.equal(offer.contract, busy.digest)
    const second = await harness.contract(party, { isolation: 2 })
    await start(second.digest)
    const { workers, busy: atWork } = (await show(second.digest)).waiting
    // Those of isolation 2 and, from before, 3.
    assert.deepEqual([workers, atWork], [2, 1])
    assert.equal((await show(busy.digest)).waiting, undefined)
    await lease(offer.lease, 'outcome', { status: 'refused', error: { code: 'ERR_TEST' } })
    for (const digest of [signed.digest, second.digest]) {
      await harness.send(party.account, 'POST', `/v1/runs/${digest}/1/cancel`, {})
    }
  })

  test('of a lost worker are the next attempt under a greater fence, and fail when attempts are used up', async () => {
    const signed = await harness.contract(party)
    await start(signed.digest)
    const { json: first } = await poll()
    await sleep(1100)
    const { json: second } = await pollUntil(() => poll())
    assert.equal(second.attempt, 2)
    assert.ok(second.lease > first.lease)
    for (const [call, body] of [
      ['renew', { phase: 'decide' }],
      ['outcome', { status: 'failed', error: { code: 'ERR_LATE' } }],
    ] as const) {
      const reply = await lease(first.lease, call, body)
      assert.equal(reply.status, 409)
      assert.equal(reply.json.error.code, 'ERR_LEASE_LOST')
    }
    await pollUntil(async () =>
      (await show(signed.digest)).status === 'failed' ? ({ status: 200 } as Reply) : undefined,
    )
    assert.deepEqual((await show(signed.digest)).error, { code: 'ERR_ATTEMPTS_USED' })
    assert.deepEqual(await phases(signed.digest), ['queued', 'offered', 'lost', 'queued', 'offered', 'finished'])
  })

  test('have the outcome whose receipt is first in the log, whichever worker brings it', async () => {
    const signed = await harness.contract(party)
    await start(signed.digest)
    const { json: first } = await poll()
    const early = await receiptOf(signed.digest, 1, 1)
    const draft = { receipt: early.envelope, outputs: [] }
    assert.equal((await lease(first.lease, 'receipt', { draft })).status, 200)
    assert.equal((await lease(first.lease, 'receipt', { draft: { ...draft, more: 1 } })).status, 409)
    // It may be in the log by now, so nobody takes the run away any more.
    const cancel = await harness.send(party.account, 'POST', `/v1/runs/${signed.digest}/1/cancel`, {})
    assert.equal(cancel.json.error.code, 'ERR_RUN_STATE')
    await sleep(1100)
    const { json: second } = await pollUntil(() => poll())
    const late = await receiptOf(signed.digest, 1, 2)
    const lateDraft = { receipt: late.envelope, outputs: [] }
    assert.equal((await lease(second.lease, 'receipt', { draft: lateDraft })).status, 200)
    const all = await harness.send('worker', 'GET', `/v1/worker/leases/${second.lease}/receipts`)
    assert.deepEqual(all.json, { drafts: [draft, lateDraft] })
    const end = (receipt: typeof late, index: number) => ({
      status: 'finished',
      bundle: bundleOf(receipt, index),
      outputs: [],
    })
    assert.equal((await lease(second.lease, 'outcome', end(late, 9))).status, 200)
    assert.equal((await lease(first.lease, 'outcome', end(early, 7))).status, 200)
    const again = await lease(second.lease, 'outcome', end(late, 9))
    assert.equal(again.json.error.code, 'ERR_LEASE_LOST')
    assert.equal((await show(signed.digest)).receipt, early.digest)
    assert.equal((await phases(signed.digest)).filter((phase) => phase === 'finished').length, 1)
  })

  test('offered to a worker that was gone by then go to the next one, the attempt not used up', async () => {
    const signed = await harness.contract(party)
    const database = await openDatabase({ url: harness.postgres.url, dataFolder: harness.folder })
    const queue = await RunQueue.open(database, { leaseSeconds: 30, onError: (error) => assert.fail(`${error}`) })
    await start(signed.digest)
    const here = { name: 'w', tee: 'tdx', boundary: 'vm', isolation: 1 } as const
    const first = await queue.poll(here, 1000, new AbortController().signal)
    assert.ok(first !== undefined)
    await queue.giveBack(first)
    const { json: second } = await poll()
    assert.deepEqual([second.attempt, second.contract], [1, signed.digest])
    assert.ok(second.lease > first.lease)
    // Only what was not taken up: a run at work stays where it is.
    await queue.giveBack(first)
    await lease(second.lease, 'renew', { phase: 'attest' })
    await queue.giveBack({ ...first, lease: second.lease })
    assert.equal((await show(signed.digest)).phase, 'attest')
    await lease(second.lease, 'outcome', { status: 'refused', error: { code: 'ERR_TEST' } })
    await queue.close()
    await database.close()
  })

  test('that failed are tried again while attempts are left', async () => {
    const signed = await harness.contract(party)
    await start(signed.digest)
    const failed = { status: 'failed', error: { code: 'ERR_RUNNER_LOST', reasons: [] } }
    const { json: first } = await poll()
    assert.equal((await lease(first.lease, 'outcome', failed)).status, 200)
    const { json: second } = await poll()
    assert.equal(second.attempt, 2)
    assert.equal((await lease(first.lease, 'outcome', failed)).json.error.code, 'ERR_LEASE_LOST')
    for (let again = 0; again < 2; again++) assert.equal((await lease(second.lease, 'outcome', failed)).status, 200)
    assert.deepEqual((await show(signed.digest)).error, failed.error)
    assert.deepEqual(await phases(signed.digest), ['queued', 'offered', 'failed', 'queued', 'offered', 'finished'])
  })

  test('can be cancelled while they wait or run; the worker hears of it', async () => {
    const signed = await harness.contract(party)
    await start(signed.digest, 2)
    const { json: offer } = await poll()
    for (const run of [1, 2]) {
      for (let again = 0; again < 2; again++) {
        const reply = await harness.send(party.account, 'POST', `/v1/runs/${signed.digest}/${run}/cancel`, {})
        assert.deepEqual(reply.json, { status: 'cancelled' })
      }
    }
    assert.equal((await lease(offer.lease, 'renew', { phase: 'run' })).json.error.code, 'ERR_LEASE_LOST')
    assert.equal((await poll()).status, 204)
  })

  test('are started by the contract’s author alone, and seen by the organisations it names', async () => {
    const signed = await harness.contract(party)
    const other = await harness.party('Outsider')
    const colleague = newAccount()
    await harness.mustSubmit(await member(party.id, party.root, colleague))
    for (const account of [other.account, colleague]) {
      assert.equal((await start(signed.digest, 1, account)).json.error.code, 'ERR_NOT_ALLOWED')
    }
    await start(signed.digest)
    const path = `/v1/runs/${signed.digest}/1`
    assert.equal((await harness.send(colleague, 'GET', path)).status, 200)
    for (const call of [path, `${path}/events`, `${path}/receipt`, `${path}/outputs`]) {
      assert.equal((await harness.send(other.account, 'GET', call)).json.error.code, 'ERR_NOT_FOUND', call)
    }
    assert.equal((await harness.send(other.account, 'POST', `${path}/cancel`, {})).status, 404)
    assert.deepEqual((await harness.send(other.account, 'GET', '/v1/runs')).json, { runs: [] })
    const mine = await harness.send(party.account, 'GET', `/v1/runs?contract=${signed.digest}`)
    assert.equal(mine.json.runs.length, 1)
    assert.equal((await harness.send(party.account, 'GET', `${path}/receipt`)).status, 404)
    await harness.send(colleague, 'POST', `${path}/cancel`, {})
  })

  test('are no more than the contract says, and wait in bounded number', async () => {
    const signed = await harness.contract(party, { runs: 3 })
    assert.equal((await start(signed.digest, 4)).json.error.code, 'ERR_CONTRACT_RUNS')
    const both = await Promise.all([start(signed.digest, 2), start(signed.digest, 2)])
    assert.deepEqual(both.map(({ status }) => status).sort(), [201, 403])
    const many = await harness.contract(party, { runs: 100 })
    const refusal = await start(many.digest, 9)
    assert.equal(refusal.json.error.code, 'ERR_QUOTA')
    assert.equal(refusal.status, 429)
    for (const run of [1, 2]) await harness.send(party.account, 'POST', `/v1/runs/${signed.digest}/${run}/cancel`, {})
  })

  test('are offered with what was logged since the run before, and with where ciphertext lies by now', async () => {
    const signed = await harness.contract(party)
    const { program } = signed.payload.steps[0]!
    const offered = async () => {
      assert.equal((await start(signed.digest)).status, 201)
      const { json } = await poll()
      assert.equal(json.contract, signed.digest)
      await lease(json.lease, 'outcome', { status: 'refused', error: { code: 'ERR_TEST' } })
      return json
    }
    const first = await offered()
    assert.deepEqual((await offered()).documents, first.documents)
    const colleague = await member(party.id, party.root, newAccount(), { roles: ['approver'] })
    await harness.mustSubmit(colleague)
    const moved = { sealed: '11'.repeat(32), outboard: '22'.repeat(32) }
    const manifest: string = first.documents.find((envelope: string) => parseDocument(envelope).digest === program)
    const salt = encodeBase64url(randomBytes(32))
    const again = { document: manifest, salt, locations: moved }
    assert.equal((await harness.send(party.account, 'POST', '/v1/documents', again)).status, 200)
    const second = await offered()
    assert.ok(!first.documents.includes(colleague.envelope) && second.documents.includes(colleague.envelope))
    assert.deepEqual(second.locations, { ...first.locations, [program]: moved })
    const gone = await revocation(party, signed.digest)
    await harness.mustSubmit(gone)
    assert.equal((await start(signed.digest)).json.error.code, 'ERR_CONTRACT_UNSOUND')
  })

  test('are refused for a contract that is revoked, unknown, or without a receiver in force', async () => {
    assert.equal((await start('ab'.repeat(32) as Digest)).json.error.code, 'ERR_NOT_FOUND')
    const revoked = await harness.contract(party)
    await harness.mustSubmit(await revocation(party, revoked.digest))
    assert.equal((await start(revoked.digest)).json.error.code, 'ERR_CONTRACT_UNSOUND')
    const stranger = await member(party.id, party.root, newAccount(), { roles: ['publisher'] })
    await harness.mustSubmit(stranger)
    for (const membership of ['ef'.repeat(32) as Digest, stranger.digest]) {
      const base = await harness.contract(party)
      const { steps, outputs } = base.payload
      const receivers = [{ organisation: party.id, role: 'receiver' as const, membership }]
      const unsound = await makeContract(
        party,
        { program: steps[0]!.program, data: steps[0]!.inputs[0]!.manifest },
        { outputs: outputs.map((output) => ({ ...output, receivers })) },
      )
      await harness.mustSubmit(unsound)
      const atQueue = await start(unsound.digest)
      assert.equal(atQueue.json.error.code, 'ERR_CONTRACT_UNSOUND')
      const atApproval = await harness.submit(await approval(party, unsound.digest))
      assert.equal(atApproval.json.error.code, 'ERR_CONTRACT_UNSOUND')
    }
    assert.equal((await poll()).status, 204)
  })

  test('are followed live, across a connection that breaks', async () => {
    const signed = await harness.contract(party)
    await start(signed.digest)
    const path = `/v1/runs/${signed.digest}/1/events`
    const gone = new AbortController()
    const answer = await fetch(harness.url + path, {
      headers: { authorization: token(party.account, { method: 'GET', path }) },
      signal: gone.signal,
    })
    const reader = answer.body!.getReader()
    assert.match(Buffer.from((await reader.read()).value!).toString(), /^id: 1\ndata: .*"phase":"queued"/)
    const next = reader.read()
    const { json: offer } = await poll()
    assert.match(Buffer.from((await next).value!).toString(), /^id: 2\ndata: .*"phase":"offered"/)
    gone.abort()
    const following = readEvents(signed.digest, 1, '2')
    await lease(offer.lease, 'outcome', { status: 'refused', error: { code: 'ERR_TEST' } })
    assert.deepEqual(
      (await following).map(({ id, phase }) => [id, phase]),
      [[3, 'finished']],
    )
  })

  test('and leases survive a manager: another one serves them', async () => {
    const signed = await harness.contract(party)
    await start(signed.digest)
    const { json: offer } = await poll()
    const before = harness.url
    const second = await harness.startManager({ limits: { leaseSeconds: 1, pollSeconds: 0.3 } })
    assert.equal((await lease(offer.lease, 'renew', { phase: 'run' })).status, 200)
    assert.equal((await lease(offer.lease, 'outcome', { status: 'refused', error: { code: 'ERR_TEST' } })).status, 200)
    await second.stop()
    harness.url = before
  })

  test('refuse what a worker may not say', async () => {
    for (const [call, body] of [
      ['renew', { phase: 'Bad Phase' }],
      ['renew', {}],
      ['outcome', { status: 'queued' }],
      ['outcome', { status: 'finished' }],
      ['outcome', { status: 'finished', bundle: { format: 'cella-receipt/1' } }],
      ['outcome', { status: 'failed', error: { code: 'words' } }],
      ['outcome', { status: 'failed' }],
      ['receipt', { draft: 'text' }],
      ['receipt', {}],
    ] as const) {
      const reply = await lease(1, call, body)
      assert.equal(reply.status, 400, JSON.stringify(body))
      assert.equal(reply.json.error.code, 'ERR_REQUEST_MALFORMED')
    }
    assert.equal((await lease(999_999, 'renew', { phase: 'run' })).json.error.code, 'ERR_NOT_FOUND')
  })
})

async function pollUntil(ask: () => Promise<Reply | undefined>): Promise<Reply> {
  for (let turn = 0; turn < 40; turn++) {
    const reply = await ask()
    if (reply?.status === 200) return reply
    await sleep(100)
  }
  throw new Error('nothing came')
}

function approval(party: Party, contract: Digest): Promise<SignedDocument<'cella/approval'>> {
  return signDocument<'cella/approval'>(
    {
      type: 'cella/approval',
      version: 1,
      organisation: party.id,
      signer: party.account.id,
      contract,
      runs: 1,
      notBefore: 0,
      notAfter: 4_000_000_000,
    },
    [party.account.seed],
  )
}
