import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Json } from '@cella/bytes'
import { stepSimulatedLevels } from '@cella/tee'
import { type Party, terms } from '../testing/fixtures.ts'
import { Harness, type Reply } from '../testing/harness.ts'
import type { TestWorker } from '../testing/worker.ts'

type Answer = { readonly [name: string]: Json }

describe('workers', () => {
  let harness: Harness
  let party: Party
  before(async () => {
    harness = await Harness.start({ limits: { pollSeconds: 0.1, leaseSeconds: 30 } }, { workers: true })
    party = await harness.party('Author')
  })
  after(() => harness.stop())

  const queued = async (boundary: 'vm' | 'process' = 'vm'): Promise<string> => {
    const { digest } = await harness.contract(party, { boundary })
    assert.equal((await harness.send(party.account, 'POST', `/v1/contracts/${digest}/runs`, {})).status, 201)
    return digest
  }
  const show = async (digest: string) => (await harness.send(party.account, 'GET', `/v1/runs/${digest}/1`)).json
  const cancel = (digest: string) => harness.send(party.account, 'POST', `/v1/runs/${digest}/1/cancel`, {})
  const listed = async (name: string) =>
    (await harness.send('nobody', 'GET', '/v1/workers')).json.workers.find((one: { name: string }) => one.name === name)
  const metrics = async (): Promise<string> => (await harness.send('nobody', 'GET', '/metrics')).bytes.toString()
  const refused = (reply: Reply, code: string): void => {
    assert.equal(reply.json?.error.code, 'ERR_WORKER_REFUSED', reply.bytes.toString())
    assert.equal(reply.status, 403)
    assert.match(reply.json.error.message, new RegExp(`: ${code}: .`))
  }

  test('the first poll waits for the answer to a challenge; no poll after it costs evidence', async () => {
    const digest = await queued()
    const worker = await harness.newWorker('first')
    const send = () => harness.send('worker', 'POST', '/v1/worker/poll', worker.nextPoll())
    let answered = false
    const first = send().finally(() => {
      answered = true
    })
    // Nobody answers the challenge yet: nothing is offered.
    await sleep(300)
    assert.equal(answered, false)
    assert.equal((await show(digest)).status, 'queued')
    worker.serve()
    assert.equal((await first).json.contract, digest)
    for (let poll = 0; poll < 3; poll++) assert.equal((await send()).status, 204)
    assert.equal(worker.challenged.length, 1)
    await cancel(digest)
    const { attested } = await listed('first')
    assert.deepEqual(
      { ...attested, until: 0 },
      {
        ...{ tee: 'sev-snp', boundary: 'vm', isolation: 1, simulated: true, bound: true, until: 0 },
        ...{ measurement: worker.tee.describe().measurement, platformId: worker.tee.describe().platformId },
      },
    )
  })

  test('a contract that demands `process` is never offered to a worker of another boundary', async () => {
    const digest = await queued('process')
    for (const tee of ['sev-snp', 'tdx', 'nitro'] as const) {
      assert.equal((await (await harness.worker(`vm-${tee}`, { tee, isolation: 3 })).poll()).status, 204)
    }
    const { waiting } = await show(digest)
    assert.deepEqual([waiting.boundary, waiting.workers], ['process', 0])
    assert.equal((await (await harness.worker('enclave', { tee: 'sgx' })).poll()).json.contract, digest)
    await cancel(digest)
  })

  test('a run goes to a kind of TEE that its owners’ newest terms accept, where one of its boundary is', async () => {
    const owner = await harness.party('Owner with terms')
    const { digest } = await harness.contract(owner)
    const start = () => harness.send(owner.account, 'POST', `/v1/contracts/${digest}/runs`, {})
    const cancelRun = (run: number) => harness.send(owner.account, 'POST', `/v1/runs/${digest}/${run}/cancel`, {})
    const waiting = async (run: number) =>
      (await harness.send(owner.account, 'GET', `/v1/runs/${digest}/${run}`)).json.waiting
    const take = async (tee: 'sev-snp' | 'tdx') => (await (await harness.worker(`vm-${tee}`, { tee })).poll()).json?.run
    await start()
    assert.equal((await waiting(1)).tees, null)
    const first = await terms(owner, { tees: ['tdx', 'sgx'] })
    await harness.mustSubmit(first)
    const { tees, workers } = await waiting(1)
    assert.deepEqual([tees, workers], [['tdx'], 1])
    assert.equal(await take('sev-snp'), undefined)
    assert.equal(await take('tdx'), 1)
    await cancelRun(1)
    await start()
    assert.deepEqual((await waiting(2)).tees, ['tdx'])
    assert.equal(await take('sev-snp'), undefined)
    const next = await terms(owner, { tees: ['sev-snp'], revision: 2, previous: first.digest })
    await harness.mustSubmit(next)
    assert.equal(await take('tdx'), undefined)
    assert.equal(await take('sev-snp'), 2)
    await cancelRun(2)
    // No kind of its boundary: a vault refuses whoever takes it, and names both.
    await harness.mustSubmit(await terms(owner, { tees: ['sgx'], revision: 3, previous: next.digest }))
    await start()
    assert.equal((await waiting(3)).tees, null)
    assert.equal(await take('tdx'), 3)
    await cancelRun(3)
  })

  test('one built before poll keys is what its evidence shows, whatever it says of itself', async () => {
    const [machine, enclave] = [await queued('vm'), await queued('process')]
    const old = await harness.newWorker('old', { tee: 'sgx' })
    old.answer = (nonce) => old.evidence(nonce, '')
    old.serve()
    const says = { worker: 'old', tee: 'sev-snp', boundary: 'vm', isolation: 3 }
    const { json: offer } = await harness.send('worker', 'POST', '/v1/worker/poll', says)
    assert.equal(offer.contract, enclave)
    assert.equal((await harness.send('worker', 'POST', '/v1/worker/poll', says)).status, 204)
    const { tee, boundary, isolation, bound } = (await listed('old')).attested
    assert.deepEqual([tee, boundary, isolation, bound], ['sgx', 'process', 1, false])
    for (const digest of [machine, enclave]) await cancel(digest)
  })

  const refusals: {
    name: string
    code: string
    answer: (nonce: string, honest: () => Promise<Answer>, other: TestWorker) => Promise<Answer>
  }[] = [
    {
      name: 'another worker’s evidence over the same challenge',
      code: 'ERR_WORKER_KEY',
      answer: (nonce, _, other) => other.evidence(nonce),
    },
    {
      name: 'another worker’s evidence under its own key',
      code: 'ERR_TEE_REPORT_DATA',
      answer: async (nonce, honest, other) => ({
        binding: (await honest()).binding!,
        evidence: (await other.evidence(nonce)).evidence!,
      }),
    },
    {
      name: 'evidence of an earlier challenge',
      code: 'ERR_WORKER_NONCE',
      answer: (_, __, other) => other.evidence('A'.repeat(43)),
    },
    {
      name: 'evidence without a key',
      code: 'ERR_WORKER_KEY',
      answer: (nonce, _, other) => other.evidence(nonce, ''),
    },
    {
      name: 'a better isolation than the evidence binds',
      code: 'ERR_TEE_REPORT_DATA',
      answer: async (_, honest) => {
        const { binding, evidence } = await honest()
        return { binding: { ...(binding as object), isolation: 3 }, evidence: evidence! }
      },
    },
    {
      name: 'evidence of a vault',
      code: 'ERR_WORKER_ANSWER',
      answer: async (_, honest) => {
        const { binding, evidence } = await honest()
        return { binding: { ...(binding as object), of: 'vault' }, evidence: evidence! }
      },
    },
    {
      name: 'evidence for a run',
      code: 'ERR_WORKER_ANSWER',
      answer: async (_, honest) => {
        const { binding, evidence } = await honest()
        return { binding: { ...(binding as object), role: 'worker' }, evidence: evidence! }
      },
    },
    {
      name: 'an altered report',
      code: 'ERR_EVIDENCE_SIGNATURE',
      answer: async (_, honest) => {
        const { binding, evidence } = await honest()
        const { entries, ...more } = evidence as { entries: { report: string }[] }
        const report = Buffer.from(entries[0]!.report, 'base64url')
        // Of the measurement.
        report[0x90]! ^= 1
        return {
          binding: binding!,
          evidence: { ...more, entries: [{ ...entries[0]!, report: report.toString('base64url') }] },
        }
      },
    },
    {
      name: 'no evidence',
      code: 'ERR_EVIDENCE_MALFORMED',
      answer: async (_, honest) => ({ binding: (await honest()).binding!, evidence: { entries: [] } }),
    },
    { name: 'nonsense', code: 'ERR_WORKER_ANSWER', answer: async () => ({ words: 'I am a vm' }) },
  ]
  describe('that answer a challenge with', () => {
    let digest: string
    before(async () => {
      digest = await queued()
    })
    after(() => cancel(digest))

    for (const [at, { name, code, answer }] of refusals.entries()) {
      test(`${name} are refused by name, and take no run`, async () => {
        const other = await harness.worker('other')
        const worker = await harness.newWorker(`refused-${at}`)
        worker.answer = (nonce, honest) => answer(nonce, honest, other)
        refused(await worker.poll(), code)
        // Known from before: it costs no second challenge.
        refused(await worker.poll(), code)
        assert.equal(worker.challenged.length, 1)
        assert.equal((await listed(worker.name)).refused.code, code)
        await worker.stop()
        const { status, waiting } = await show(digest)
        assert.equal(status, 'queued')
        assert.equal(waiting.refused, at + 1)
      })
    }
  })

  test('one whose host may debug it is refused; doctor and alerts see how many', async () => {
    const worker = await harness.worker('debugged', { simulate: { debug: true } })
    refused(await worker.poll(), 'ERR_TEE_DEBUG')
    assert.match(await metrics(), /^cella_workers_refused\{code="ERR_TEE_DEBUG"\} 1$/m)
  })

  test('a poll is good once, and for its worker alone', async () => {
    const [worker, other] = [await harness.worker('once'), await harness.worker('other')]
    const poll = worker.nextPoll()
    worker.serve()
    const send = (body: object) => harness.send('worker', 'POST', '/v1/worker/poll', body)
    assert.equal((await send(poll)).status, 204)
    refused(await send(poll), 'ERR_WORKER_POLL')
    refused(await send({ ...worker.nextPoll(), worker: 'other' }), 'ERR_WORKER_POLL')
    refused(await send({ ...worker.nextPoll(), poll: 1000 }), 'ERR_WORKER_POLL')
    refused(await send({ ...other.nextPoll(), key: worker.key }), 'ERR_WORKER_POLL')
    for (const changed of [{ key: 'AAAA' }, { signature: 'AAAA' }, { poll: 0 }, { boundary: 'vm' }]) {
      assert.equal((await send({ ...worker.nextPoll(), ...changed })).json.error.code, 'ERR_REQUEST_MALFORMED')
    }
    assert.equal((await worker.poll()).status, 204)
    assert.equal(worker.challenged.length, 1)
  })

  test('one that was started anew is challenged again; the one before gets nothing, and takes its name from nobody', async () => {
    const before = await harness.newWorker('restarted')
    assert.equal((await before.poll()).status, 204)
    await before.stop()
    const anew = await harness.newWorker('restarted', { tee: 'tdx' })
    assert.equal((await anew.poll()).status, 204)
    assert.equal(anew.challenged.length, 1)
    assert.equal((await listed('restarted')).attested.tee, 'tdx')
    const digest = await queued()
    refused(await before.poll(), 'ERR_WORKER_KEY')
    assert.equal((await listed('restarted')).attested.tee, 'tdx')
    assert.equal((await anew.poll()).json.contract, digest)
    await cancel(digest)
  })

  test('evidence is asked for again when it is too old, and what was revoked since is refused', async () => {
    const url = harness.url
    const manager = await harness.startManager({ limits: { pollSeconds: 0.1, workerEvidenceSeconds: 1 } })
    const worker = await harness.newWorker('older', { tee: 'tdx' })
    assert.equal((await worker.poll()).status, 204)
    await sleep(1100)
    assert.equal((await listed('older')).attested, undefined)
    assert.equal((await worker.poll()).status, 204)
    assert.equal(worker.challenged.length, 2)
    await stepSimulatedLevels(join(harness.folder, 'tee'), { revoke: 'pck' })
    await sleep(1100)
    const digest = await queued()
    refused(await worker.poll(), 'ERR_EVIDENCE_REVOKED')
    assert.equal((await show(digest)).status, 'queued')
    await cancel(digest)
    await worker.stop()
    await manager.stop()
    harness.url = url
  })

  test('a manager that names no simulated root takes no simulated worker', async () => {
    const url = harness.url
    const manager = await harness.startManager({ workers: {} })
    const worker = await harness.newWorker('simulated')
    refused(await worker.poll(), 'ERR_EVIDENCE_ROOT_UNKNOWN')
    await worker.stop()
    await manager.stop()
    harness.url = url
  })
})
