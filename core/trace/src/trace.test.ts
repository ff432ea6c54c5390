import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeSpans, encodeTraceparent, newTrace, parseTraceparent } from './index.ts'

const good = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'

test('a traceparent is read and written; only the first flag counts', () => {
  const context = parseTraceparent(good)!
  assert.deepEqual(context, {
    traceId: '4bf92f3577b34da6a3ce929d0e0e4736',
    spanId: '00f067aa0ba902b7',
    sampled: true,
  })
  assert.equal(encodeTraceparent(context), good)
  assert.equal(parseTraceparent(good.replace(/01$/, '00'))?.sampled, false)
  assert.equal(parseTraceparent(good.replace(/01$/, 'ff'))?.sampled, true)
  const fresh = newTrace()
  assert.deepEqual(parseTraceparent(encodeTraceparent(fresh)), fresh)
})

for (const [what, text] of Object.entries({
  'upper case': good.toUpperCase(),
  'another version': good.replace(/^00/, '01'),
  'the forbidden version': good.replace(/^00/, 'ff'),
  'a trace id of zeros': good.replace(/-[0-9a-f]{32}-/, `-${'0'.repeat(32)}-`),
  'a span id of zeros': good.replace(/-[0-9a-f]{16}-/, `-${'0'.repeat(16)}-`),
  'more after it': `${good}-00`,
  'a space': ` ${good.slice(1)}`,
  'a line end': `${good}\n`,
  'two at once': `${good},${good}`,
  nothing: '',
  'other digits': good.replace('4bf9', '４bf9'),
}))
  test(`no traceparent: ${what}`, () => assert.equal(parseTraceparent(text), undefined))

test('spans are grouped by service, with times in nanoseconds and the listed attributes alone', () => {
  const base = { ...newTrace(), kind: 'server', start: 1_700_000_000_000.25, end: 0, failed: true } as const
  const span = { ...base, name: 'GET /v1/info', method: 'GET', route: '/v1/info', status: 503, attempt: 2, extra: 'no' }
  const encoded = JSON.parse(
    encodeSpans([
      { ...span, service: 'cella-manager' },
      { ...base, service: 'cella-vault', name: 'vault decide' },
    ]),
  )
  assert.deepEqual(
    encoded.resourceSpans.map((one: { resource: object }) => one.resource),
    ['cella-manager', 'cella-vault'].map((stringValue) => ({
      attributes: [{ key: 'service.name', value: { stringValue } }],
    })),
  )
  const [first] = encoded.resourceSpans[0].scopeSpans[0].spans
  assert.deepEqual(first, {
    traceId: base.traceId,
    spanId: base.spanId,
    name: 'GET /v1/info',
    kind: 2,
    startTimeUnixNano: '1700000000000250000',
    endTimeUnixNano: '1700000000000250000',
    attributes: [
      { key: 'http.request.method', value: { stringValue: 'GET' } },
      { key: 'http.route', value: { stringValue: '/v1/info' } },
      { key: 'http.response.status_code', value: { intValue: '503' } },
      { key: 'cella.attempt', value: { intValue: '2' } },
    ],
    status: { code: 2 },
  })
})
