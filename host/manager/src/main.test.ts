import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chmod, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { encodeBase64url } from '@cella/bytes'
import { contract, manifest, type Party, token } from './testing/fixtures.ts'
import { Harness } from './testing/harness.ts'

const main = fileURLToPath(new URL('main.ts', import.meta.url))

describe('the manager as a process', () => {
  let harness: Harness
  let party: Party
  let config: string
  let manager: ChildProcess | undefined
  let output = ''

  async function start(changes: object = {}): Promise<ChildProcess> {
    await writeFile(config, JSON.stringify({ ...harness.config, logLevel: 'debug', ...changes }), { mode: 0o600 })
    const child = spawn(process.execPath, [main, '--config', config], {
      env: {
        PATH: process.env.PATH ?? '',
        DATABASE_URL: harness.postgres.url,
        NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    child.stderr?.on('data', (chunk) => {
      output += chunk
    })
    const [line] = await Promise.race([
      once(child.stdout!, 'data'),
      once(child, 'close').then(() => Promise.reject(new Error(output.slice(-2000)))),
    ])
    harness.url = JSON.parse(String(line)).url
    manager = child
    return child
  }

  before(async () => {
    harness = await Harness.start({ limits: { leaseSeconds: 1, pollSeconds: 2 } }, { workers: true })
    party = await harness.party('Crash')
    config = join(harness.folder, 'manager.config.json')
  })
  after(async () => {
    manager?.kill('SIGKILL')
    await harness.stop()
  })

  test('loses nothing that it acknowledged, however often it is killed', async () => {
    const acknowledged = { documents: new Map<string, number>(), runs: new Set<number>(), blobs: new Set<string>() }
    const signed = await harness.contract(party, { runs: 1000 })
    const attempt = async (work: () => Promise<void>): Promise<void> => {
      // Answers that never came were never acknowledged.
      await work().catch((error: unknown) =>
        assert.ok(error instanceof TypeError || error instanceof SyntaxError, `${error}`),
      )
    }
    for (let round = 0; round < 4; round++) {
      const child = await start()
      const ended = once(child, 'exit')
      let kill: NodeJS.Timeout | undefined
      const killSoon = (): void => {
        kill ??= setTimeout(() => child.kill('SIGKILL'), 150 + Math.random() * 500)
      }
      // The first round lasts until one of each kind was acknowledged, however slow the machine.
      if (round > 0) killSoon()
      const busy = [
        async () => {
          const document = await manifest(party, 'data')
          const { status, json } = await harness.submit(document)
          if (status === 201) acknowledged.documents.set(document.digest, json.index)
        },
        async () => {
          const path = `/v1/contracts/${signed.digest}/runs`
          const { status, json } = await harness.send(party.account, 'POST', path, {})
          if (status === 201) acknowledged.runs.add(json.runs[0].run)
        },
        async () => {
          const bytes = randomBytes(50_000)
          const sha256 = createHash('sha256').update(bytes).digest('hex')
          const { json } = await harness.send(party.account, 'POST', '/v1/uploads', { size: bytes.length, sha256 })
          const upload = `/v1/uploads/${json.upload}`
          await harness.send(party.account, 'PUT', `${upload}?offset=0`, bytes)
          const { status } = await harness.send(party.account, 'POST', `${upload}/complete`, {})
          if (status === 200) acknowledged.blobs.add(sha256)
        },
      ]
      await Promise.all(
        busy.map(async (work) => {
          while (child.exitCode === null && child.signalCode === null) {
            await attempt(work)
            if (Object.values(acknowledged).every(({ size }) => size > 0)) killSoon()
          }
        }),
      )
      await ended
      clearTimeout(kill)
    }
    const child = await start()
    assert.ok(acknowledged.documents.size > 0 && acknowledged.runs.size > 0 && acknowledged.blobs.size > 0)
    for (const [digest, index] of acknowledged.documents) {
      assert.equal((await harness.send('nobody', 'GET', `/v1/documents/${digest}`)).json.index, index)
    }
    for (const run of acknowledged.runs) {
      assert.equal((await harness.send(party.account, 'GET', `/v1/runs/${signed.digest}/${run}`)).status, 200)
    }
    for (const sha256 of acknowledged.blobs) {
      const { bytes } = await harness.send('worker', 'GET', `/v1/blobs/${sha256}`)
      assert.equal(createHash('sha256').update(bytes).digest('hex'), sha256)
    }
    child.kill('SIGKILL')
    await once(child, 'exit')
  })

  test('ends cleanly on SIGTERM: polls and streams end, what is at work is answered', async () => {
    const child = await start()
    const other = await harness.party('Stopping')
    const signed = await harness.contract(other)
    await harness.send(other.account, 'POST', `/v1/contracts/${signed.digest}/runs`, {})
    // Of another boundary than the run that waits.
    const poll = (await harness.worker('w', { tee: 'sgx' })).poll()
    const known = async () => (await harness.send('nobody', 'GET', '/v1/workers')).json.workers
    while ((await known())[0]?.attested === undefined) await sleep(20)
    const stream = harness.send(other.account, 'GET', `/v1/runs/${signed.digest}/1/events`)
    const submission = harness.submit(await manifest(other, 'data'))
    await sleep(100)
    child.kill('SIGTERM')
    const [code] = await once(child, 'exit')
    assert.equal(code, 0)
    assert.equal((await poll).status, 204)
    assert.match((await stream).bytes.toString(), /"phase":"queued"/)
    assert.equal((await submission).status, 201)
    assert.match(output.trim().split('\n').at(-1) ?? '', /"msg":"stopped"/)
  })

  test('writes no secret into its log, whatever is sent and whatever fails', async () => {
    const canary = (): string => `canary${randomBytes(12).toString('hex')}`
    const canaries: Record<string, string> = {}
    const plant = (name: string): string => {
      canaries[name] = canary()
      return canaries[name]
    }
    output = ''
    const child = await start({ workerToken: plant('workerToken').padEnd(40, 'x') })
    const from = async (path: string, init: RequestInit): Promise<void> => {
      await fetch(harness.url + path, init).then((answer) => answer.arrayBuffer())
    }
    const json = { 'content-type': 'application/json' }
    await from(`/v1/documents?about=${plant('query')}`, {})
    await from(`/v1/${plant('path')}`, {})
    await from(`/v1/documents/${plant('parameter')}`, {})
    await from('/v1/runs', { headers: { authorization: `Bearer ${plant('bearer')}` } })
    await from('/v1/runs', { headers: { authorization: `Cella ${plant('token')}` } })
    await from('/healthz', { headers: { cookie: plant('cookie'), 'x-request-id': plant('request id') } })
    await from('/v1/documents', { method: 'POST', headers: json, body: `{"document": ${plant('broken JSON')}` })
    await from('/v1/documents', {
      method: 'POST',
      headers: json,
      body: JSON.stringify({ document: plant('document') }),
    })
    await from('/v1/vaults/x/decide', {
      method: 'POST',
      headers: json,
      body: JSON.stringify({ a: plant('vault body') }),
    })
    // A good token, and what comes with it.
    const path = `/v1/runs?before=9`
    const authorization = token(party.account, { method: 'GET', path })
    await from(path, { headers: { authorization } })
    canaries['good token'] = authorization.slice(-40)
    // Failures further inside: the database goes away under a request.
    const salt = encodeBase64url(randomBytes(32))
    const document = await contract(party, { program: party.id, data: party.id })
    await harness.postgres.stop()
    await from('/v1/documents', {
      method: 'POST',
      headers: json,
      body: JSON.stringify({ document: document.envelope, salt }),
    })
    canaries.salt = salt
    canaries['document in flight'] = document.envelope.slice(40, 100)
    canaries['database password'] = new URL(harness.postgres.url).password
    canaries['account seed'] = Buffer.from(party.account.seed).toString('hex')
    await sleep(1500)
    child.kill('SIGKILL')
    await once(child, 'exit')
    assert.match(output, /"route":"\/v1\/documents\/:digest"/)
    assert.match(output, /ERR_DATABASE_UNAVAILABLE|background work failed/)
    for (const [name, secret] of Object.entries(canaries)) assert.ok(!output.includes(secret), name)
  })

  test('does not start on a configuration that others can read, is malformed, or misspelt, and repeats none of it', async () => {
    const secret = randomBytes(20).toString('hex')
    const attempts: [string, number, RegExp][] = [
      [JSON.stringify(harness.config), 0o644, /can be read by others/],
      [`{"workerToken": "${secret}"`, 0o600, /is not JSON/],
      [JSON.stringify({ ...harness.config, workerTokem: secret }), 0o600, /configuration/],
      [JSON.stringify({ ...harness.config, workerToken: secret.slice(0, 20) }), 0o600, /workerToken/],
    ]
    for (const [text, mode, expected] of attempts) {
      await writeFile(config, text)
      await chmod(config, mode)
      const child = spawn(process.execPath, [main, '--config', config], { stdio: ['ignore', 'ignore', 'pipe'] })
      const errors: string[] = []
      child.stderr.on('data', (chunk) => errors.push(String(chunk)))
      const [code] = await once(child, 'close')
      assert.equal(code, 1)
      assert.match(errors.join(''), expected)
      assert.ok(!errors.join('').includes(secret.slice(0, 20)))
    }
  })
})
