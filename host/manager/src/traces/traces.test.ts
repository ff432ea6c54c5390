import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, test } from 'node:test'
import { encodeTraceparent, newTrace, type Span } from '@cella/trace'
import type { Party } from '../testing/fixtures.ts'
import { Harness } from '../testing/harness.ts'
import { TraceExporter } from './exporter.ts'
import { runSpans } from './run-spans.ts'

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
const bodies: string[] = []
let isMute = false
const collector = createServer(async (request, response) => {
  let body = ''
  for await (const part of request) body += part
  bodies.push(body)
  if (!isMute) response.end('{}')
})
let endpoint: string
let harness: Harness
let party: Party

before(async () => {
  await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve))
  endpoint = `http://127.0.0.1:${(collector.address() as AddressInfo).port}`
  harness = await Harness.start({ traces: { endpoint } })
  party = await harness.party('Owner')
})
after(async () => {
  await harness.stop()
  collector.close()
  collector.closeAllConnections()
})

async function counted(sample: string): Promise<number> {
  const text = (await harness.send('nobody', 'GET', '/metrics')).bytes.toString()
  return Number(
    text
      .split('\n')
      .find((line) => line.startsWith(`${sample} `))
      ?.split(' ')[1] ?? 0,
  )
}

test('accounts that trace get spans; others, unsampled and malformed headers get none, and the latter are counted', async () => {
  const trace = newTrace()
  const good = encodeTraceparent(trace)
  const get = async (as: Party['account'] | 'nobody' | 'worker', traceparent: string): Promise<void> => {
    const path = as === party.account ? '/v1/runs?limit=7' : '/v1/info'
    assert.equal((await harness.send(as, 'GET', path, undefined, { traceparent })).status, 200)
  }
  await get('nobody', good)
  await get(party.account, encodeTraceparent({ ...trace, sampled: false }))
  const malformed = ['', 'x'.repeat(55), good.toUpperCase(), good.replace('00-', '01-'), `${good}, ${good}`]
  for (const header of malformed) await get(party.account, header)
  assert.equal(await counted('cella_traceparents_ignored_total'), malformed.length)
  await get(party.account, good)
  while ((await counted('cella_spans_total{outcome="sent"}')) === 0) await sleep(20)
  const spans = bodies.flatMap((body) => JSON.parse(body).resourceSpans[0].scopeSpans[0].spans)
  assert.equal(spans.length, 1)
  const { traceId, parentSpanId, name } = spans[0]
  assert.deepEqual(
    { traceId, parentSpanId, name },
    { traceId: trace.traceId, parentSpanId: trace.spanId, name: 'GET /v1/runs' },
  )
  assert.doesNotMatch(bodies.join(), /limit/)
})

test('a collector that is away, or takes connections and says nothing, keeps nobody waiting', async () => {
  const traceparent = encodeTraceparent(newTrace())
  const ask = (): ReturnType<Harness['send']> =>
    harness.send(party.account, 'GET', '/v1/runs', undefined, { traceparent })
  const away = await harness.startManager({ traces: { endpoint: 'http://127.0.0.1:9' } })
  assert.equal((await ask()).status, 200)
  while ((await counted('cella_spans_total{outcome="dropped"}')) === 0) await sleep(20)
  await away.stop()
  isMute = true
  const mute = await harness.startManager()
  const started = performance.now()
  for (let count = 0; count < 20; count++) assert.equal((await ask()).status, 200)
  assert.ok(performance.now() - started < 1900, 'requests waited for the collector')
  await mute.stop()
  isMute = false
})

test('what waits for a collector has a bound, and what is over it is dropped and counted', async () => {
  const counts = { sent: 0, dropped: 0 }
  const exporter = new TraceExporter(endpoint, (outcome, spans) => {
    counts[outcome] += spans
  })
  const times = { start: 1, end: 2, failed: false }
  const span: Span = { ...newTrace(), service: 'cella-manager', name: 'run', kind: 'internal', ...times }
  exporter.add(...Array.from({ length: 5000 }, () => span))
  assert.equal(counts.dropped, 5000 - 4096)
  await exporter.close()
  exporter.add(span)
  assert.equal(counts.sent, 512)
  assert.equal(counts.sent + counts.dropped, 5001)
})

test('a phase that a worker made up has no name in a trace', () => {
  const event = (sequence: number, phase: string) => ({
    contract: 'c',
    run: 1,
    sequence,
    attempt: 1,
    phase,
    detail: null,
    at: new Date(sequence),
  })
  const events = ['queued', 'offered', 'constructor', 'column-wage', 'failed', 'queued', 'finished']
  const spans = runSpans(
    encodeTraceparent(newTrace()),
    'failed',
    events.map((phase, at) => event(at + 1, phase)),
  )
  assert.deepEqual(
    spans.map(({ name, failed }) => [name, failed]),
    [
      ['run', true],
      ['run: queued', false],
      ['run: offered', false],
      ['run: other', false],
      ['run: other', true],
      ['run: queued', false],
    ],
  )
  assert.deepEqual(runSpans('not one', 'finished', [event(1, 'queued')]), [])
})
