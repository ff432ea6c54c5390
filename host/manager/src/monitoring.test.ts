import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { encodeLeaf, generateNoteSigner, randomTag } from '@cella/log'
import { createLogServer, type EmbeddedLogOptions, loadLogKey, localSigner, openLog } from '@cella/log-server'
import pg from 'pg'
import { parse } from 'yaml'
import { openDatabase } from './database/database.ts'
import { LogClient } from './log-client.ts'
import { LogWatch } from './log-watch.ts'
import { manifest, type Party, revocation } from './testing/fixtures.ts'
import { Harness } from './testing/harness.ts'

const monitoring = join(import.meta.dirname, '../monitoring')
const rules: { alert: string; expr: string }[] = parse(readFileSync(join(monitoring, 'alerts.yml'), 'utf8')).groups[0]
  .rules
const dashboard: { panels: { title: string; targets: { expr: string }[] }[] } = JSON.parse(
  readFileSync(join(monitoring, 'grafana-dashboard.json'), 'utf8'),
)

/** Every sample of a text of metrics. */
function samplesOf(text: string): { name: string; labels: string; value: number }[] {
  return [...text.matchAll(/^([a-z_]+)(?:\{([^}]*)\})? ([^ \n]+)$/gm)].map(([, name, labels, value]) => ({
    name: name!,
    labels: labels ?? '',
    value: Number(value),
  }))
}

const metricsIn = (expr: string): string[] => expr.match(/cella_[a-z0-9_]+/g) ?? []

/** Whether a rule of the form `metric OP number` holds for some sample. */
function fires(alert: string, text: string): boolean {
  const { expr } = rules.find((rule) => rule.alert === alert)!
  const [, name, sign, bound] = /^(\w+) ([<>]) ([0-9.]+)$/.exec(expr)!
  const samples = samplesOf(text).filter((sample) => sample.name === name)
  assert.ok(samples.length > 0, `${name} has no sample`)
  return samples.some(({ value }) => (sign === '>' ? value > Number(bound) : value < Number(bound)))
}

describe('looking at a manager', () => {
  const folder = mkdtempSync(join(tmpdir(), 'cella-monitoring-'))
  const closers: (() => Promise<void>)[] = []
  let harness: Harness
  let party: Party
  before(async () => {
    harness = await Harness.start({ limits: { organisationRequestsPerMinute: 60 } })
    party = await harness.party('Owner')
  })
  after(async () => {
    for (const close of closers.reverse()) await close()
    await harness.stop()
    rmSync(folder, { recursive: true })
  })

  const scrape = async (): Promise<string> => (await harness.send('nobody', 'GET', '/metrics')).bytes.toString()

  /** A log of the harness's name and key, or of its own, with other entries. */
  async function startLog(name: string, options: Partial<EmbeddedLogOptions>, leaves: number): Promise<string> {
    const log = await openLog({
      folder: join(folder, name),
      lastSignedFile: join(folder, `${name}.last-signed`),
      signer: localSigner(loadLogKey({ file: join(harness.folder, 'log.key'), name: 'log.example/test' })),
      witnesses: [],
      quorum: 0,
      onFatal: (error) => assert.fail(error),
      ...options,
    })
    const server = createLogServer(log)
    closers.push(async () => {
      await server.close()
      await log.close()
    })
    await log.append(
      Array.from({ length: leaves }, () =>
        encodeLeaf({ kind: 'state', commitment: randomBytes(32), tag: randomTag() }),
      ),
    )
    return server.listen({ host: '127.0.0.1', port: 0 })
  }

  test('every metric of the dashboard and of the alerts is there', async () => {
    // One of each answer that a rule or panel counts.
    await harness.contract(party)
    const text = await scrape()
    const present = new Set([...text.matchAll(/^# TYPE ([a-z0-9_]+) (\w+)$/gm)].map(([, name]) => name!))
    const names = [...dashboard.panels.flatMap(({ targets }) => targets), ...rules].flatMap(({ expr }) =>
      metricsIn(expr),
    )
    assert.ok(names.length > 20)
    const missing = names.filter((name) => !present.has(name.replace(/_bucket$/, '')))
    assert.deepEqual(missing, [])
    const operations = readFileSync(join(import.meta.dirname, '../../../docs/operations.md'), 'utf8')
    for (const { alert } of rules) assert.ok(operations.includes(`\`${alert}\``), `${alert} is not explained`)
    for (const alert of ['CellaLogDiverged', 'CellaLogUnreachable']) assert.equal(fires(alert, text), false, alert)
  })

  test('a log that contradicts what it signed raises the alert, once in the log, until somebody looked', async () => {
    const twin = await startLog('twin', {}, 3)
    const [first, ...others] = await Promise.all(
      [0, 1].map(() => startLog(`fork-${randomBytes(4).toString('hex')}`, {}, 5)),
    )
    const { vkey } = harness.config.log
    const database = await openDatabase({ url: harness.postgres.url, dataFolder: folder, connectionsMax: 2 })
    closers.push(() => database.close())
    await database.tables.deleteFrom('log_seen').execute()
    const watching = (url: string): LogWatch => new LogWatch(database.tables, new LogClient({ url, vkey }))
    const watch = watching(first!)
    await watch.look()
    await watch.look()
    assert.deepEqual(watch.standing, { reachable: true, entries: 5, diverged: false, witnesses: [] })
    for (const url of [twin, ...others]) {
      const other = watching(url)
      await assert.rejects(other.look(), { code: 'ERR_LOG_DIVERGED' })
      assert.equal(other.standing.diverged, true)
      // Nobody is told twice, and it is not forgotten when the log shows the old history again.
      await other.look()
      const honest = watching(first!)
      await honest.look()
      assert.deepEqual([honest.standing.reachable, honest.standing.diverged], [true, true])
      const { note, contradiction } = await database.tables.selectFrom('log_seen').selectAll().executeTakeFirstOrThrow()
      assert.ok(note.startsWith('log.example/test\n5\n') && contradiction?.startsWith('log.example/test\n'))
      await database.tables.updateTable('log_seen').set({ contradiction: null }).execute()
    }
    await database.tables.updateTable('log_seen').set({ contradiction: 'kept' }).execute()
    const before = harness.url
    const other = await harness.startManager({ log: { url: first!, vkey } })
    while (!fires('CellaLogDiverged', await scrape())) await new Promise((resolve) => setTimeout(resolve, 20))
    await other.stop()
    harness.url = before
  })

  test('a witness that does not cosign, and a log that does not answer, raise theirs', async () => {
    const away = generateNoteSigner({ name: 'witness.example/away', type: 'cosignature' })
    const url = await startLog('lonely', { witnesses: [{ key: away.key, url: 'http://127.0.0.1:9' }], quorum: 0 }, 1)
    const before = harness.url
    const database = await openDatabase({ url: harness.postgres.url, dataFolder: folder, connectionsMax: 1 })
    await database.tables.deleteFrom('log_seen').execute()
    await database.close()
    const lonely = await harness.startManager({ log: { ...harness.config.log, url } })
    let text = ''
    while (!/cella_log_witness_behind_seconds\{witness="witness.example\/away"\} 0\.\d*[1-9]/.test(text))
      text = await scrape()
    assert.equal(fires('CellaWitnessBehind', text), false)
    assert.equal(fires('CellaWitnessBehind', text.replace(/(away"\}) .*/, '$1 61')), true)
    await lonely.stop()
    const blind = await harness.startManager({ log: { ...harness.config.log, url: 'http://127.0.0.1:9' } })
    while (!fires('CellaLogUnreachable', await scrape())) await new Promise((resolve) => setTimeout(resolve, 20))
    await blind.stop()
    harness.url = before
  })

  test('an organisation has a rate of its own, and hears when to come again', async () => {
    const greedy = await harness.party('Greedy')
    const statuses: number[] = []
    let retryAfter: string | null = null
    for (let count = 0; count < 70; count++) {
      const { status, headers } = await harness.send(greedy.account, 'GET', '/v1/runs?limit=1')
      statuses.push(status)
      if (status === 429) retryAfter = headers.get('retry-after')
    }
    assert.equal(statuses[0], 200)
    assert.ok(statuses.filter((status) => status === 429).length >= 5)
    assert.ok(Number(retryAfter) >= 1 && Number(retryAfter) <= 60, `${retryAfter}`)
    // Others are not concerned.
    assert.equal((await harness.send(party.account, 'GET', '/v1/runs?limit=1')).status, 200)
  })
})

describe('what nobody names any more', () => {
  let harness: Harness
  before(async () => {
    harness = await Harness.start()
  })
  after(() => harness.stop())

  async function store(party: Party, text: string): Promise<string> {
    const bytes = Buffer.from(text)
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    const { json } = await harness.send(party.account, 'POST', '/v1/uploads', { size: bytes.length, sha256 })
    await harness.send(party.account, 'PUT', `/v1/uploads/${json.upload}?offset=0`, bytes)
    await harness.send(party.account, 'POST', `/v1/uploads/${json.upload}/complete`, {})
    return sha256
  }

  const isThere = async (sha256: string): Promise<boolean> =>
    (await harness.send('worker', 'GET', `/v1/blobs/${sha256}`)).status === 200

  test('is removed once it is old, at once where settings say so; what is named stays', async () => {
    const party = await harness.party('Owner')
    const stored = (text: string): Promise<string> => store(party, text)
    const [orphan, sealed, outboard, old] = [
      await stored('orphan'),
      await stored('sealed'),
      await stored('outboard'),
      await stored('withdrawn'),
    ]
    const kept = await manifest(party, 'data')
    const withdrawn = await manifest(party, 'data', { series: 'withdrawn' })
    await harness.mustSubmit(kept, { sealed, outboard })
    await harness.mustSubmit(withdrawn, { sealed: old, outboard })
    await harness.mustSubmit(await revocation(party, withdrawn.digest))
    // The settings of the first manager keep orphans for a week and what was withdrawn for ever.
    assert.deepEqual(await Promise.all([orphan, sealed, outboard, old].map(isThere)), [true, true, true, true])
    const { url } = harness
    const strict = await harness.startManager({ retention: { orphanHours: 0, withdrawnDays: 0 } })
    const removed = async (): Promise<number> => {
      const { bytes } = await harness.send('nobody', 'GET', '/metrics')
      return samplesOf(bytes.toString()).find(({ name }) => name === 'cella_blobs_removed_total')!.value
    }
    while ((await removed()) === 0) await new Promise((resolve) => setTimeout(resolve, 20))
    assert.equal(await removed(), 2)
    assert.deepEqual(await Promise.all([orphan, sealed, outboard, old].map(isThere)), [false, true, true, false])
    // Bytes that were removed are taken anew.
    assert.equal(await stored('orphan'), orphan)
    assert.ok(await isThere(orphan))
    // Who reads the document gets no location of what is gone.
    const shown = await harness.send(party.account, 'GET', `/v1/documents/${withdrawn.digest}`)
    assert.deepEqual([shown.status, shown.json.locations], [200, undefined])
    await strict.stop()
    harness.url = url
  })

  test('outputs are kept for as long as settings say, and who asks for them later is told; the receipt stays', async () => {
    const party = await harness.party('Receiver')
    const blob = await store(party, 'sealed output')
    const outboard = await store(party, 'its hashes')
    const { digest } = await harness.contract(party)
    const client = new pg.Client({ connectionString: harness.postgres.url })
    await client.connect()
    // A run that ended two days ago.
    await client.query('insert into participants (contract, organisation) values ($1, $2)', [digest, party.id])
    await client.query(
      `insert into runs (contract, run, attempt, attempts_max, status, phase, boundary, isolation, organisation,
         receipt, bundle, outputs, updated_at)
       values ($1, 1, 1, 1, 'finished', 'finished', 'vm', 2, $2, $1, '{}', $3, now() - interval '2 days')`,
      [digest, party.id, JSON.stringify([{ name: 'gap.csv', blob, outboard, keys: [] }])],
    )
    await client.end()
    const path = `/v1/runs/${digest}/1`
    const outputs = () => harness.send(party.account, 'GET', `${path}/outputs`)
    const removedOf = async (): Promise<number> => {
      const { bytes } = await harness.send('nobody', 'GET', '/metrics')
      return samplesOf(bytes.toString()).find(({ name }) => name === 'cella_blobs_removed_total')!.value
    }
    // Something else to remove shows that a round was made.
    const { url } = harness
    const round = async (outputDays: number): Promise<void> => {
      await store(party, `orphan of ${outputDays}`)
      const manager = await harness.startManager({ retention: { orphanHours: 0, outputDays } })
      while ((await removedOf()) === 0) await new Promise((resolve) => setTimeout(resolve, 20))
      await manager.stop()
      harness.url = url
    }
    await round(3)
    assert.equal((await outputs()).json.outputs[0].blob, blob)
    assert.deepEqual(await Promise.all([blob, outboard].map(isThere)), [true, true])
    await round(1)
    assert.deepEqual(await Promise.all([blob, outboard].map(isThere)), [false, false])
    const { status, json } = await outputs()
    assert.deepEqual([status, json.error.code], [404, 'ERR_NOT_FOUND'])
    assert.match(json.error.message, /retention/)
    assert.equal((await harness.send(party.account, 'GET', `${path}/receipt`)).status, 200)
  })
})
