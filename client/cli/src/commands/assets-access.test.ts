import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { AccessRecord } from '@cella/sdk'
import { csvOf } from './assets-access.ts'

const record: AccessRecord = {
  vault: 'v'.repeat(43) as AccessRecord['vault'],
  entry: 3,
  index: 17,
  commitment: 'ab'.repeat(32),
  proof: new TextEncoder().encode('c2sp.org/tlog-proof@v1\n'),
  time: { earliest: 1_790_000_000, latest: 1_790_000_060 },
  manifest: '1'.repeat(64) as AccessRecord['manifest'],
  revision: 2,
  contract: null,
  run: null,
  attempt: null,
  who: '=HYPERLINK("http://example.org")',
  account: null,
  purpose: 'a "study", of\r\nhearts',
  program: '@SUM(1)',
  receivers: ['Office (receiver)', 'Ward, West (auditor)'],
  verdict: 'denied',
  reasons: ['ERR_LIMIT_RUNS', 'ERR_POLICY_DENIED'],
  decision: '2'.repeat(64) as AccessRecord['decision'],
}

test('a record is one CSV row, whatever texts others chose, and no formula', () => {
  const [head, ...rest] = csvOf([record]).split('\r\n')
  assert.equal(head!.split(',').length, 20)
  const body = rest.join('\r\n')
  assert.ok(
    body.startsWith(`2026-09-21T14:13:20.000Z,2026-09-21T14:14:20.000Z,"'=HYPERLINK(""http://example.org"")",,`),
  )
  assert.ok(body.includes(`,"a ""study"", of\r\nhearts",'@SUM(1),,,,denied,ERR_LIMIT_RUNS ERR_POLICY_DENIED,`))
  assert.ok(body.includes('"Office (receiver); Ward, West (auditor)"'))
  assert.ok(body.endsWith(`,3,17,${'ab'.repeat(32)},YzJzcC5vcmcvdGxvZy1wcm9vZkB2MQo=\r\n`))
})

test('no record is a head alone', () => {
  assert.match(csvOf([]), /^earliest,latest,who,[a-z,]+,proof\r\n$/)
})
