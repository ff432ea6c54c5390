import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { UsageError } from './error.ts'
import { assetName, pair, parseTime, parseTreatment, receiverName, windowOf } from './options.ts'

describe('treatments', () => {
  const good: [string, 'text' | 'integer' | 'date', unknown][] = [
    ['drop', 'text', { kind: 'drop' }],
    ['mask', 'text', { kind: 'mask' }],
    ['mask:2:3', 'text', { kind: 'mask', keepFirst: 2, keepLast: 3 }],
    ['keyed-hash', 'text', { kind: 'keyed-hash' }],
    ['round:10', 'integer', { kind: 'round', to: 10 }],
    ['year', 'date', { kind: 'year' }],
    ['bucket:18,40,65', 'integer', { kind: 'bucket', edges: [18, 40, 65] }],
    ['bucket:white=white,other', 'text', { kind: 'bucket', map: { white: 'white' }, default: 'other' }],
  ]
  for (const [text, type, expected] of good) {
    test(`reads ${text}`, () => assert.deepEqual(parseTreatment(text, 'c', type), expected))
  }
  for (const text of [
    '',
    'nonsense',
    'drop:1',
    'mask:1',
    'round',
    'round:0',
    'round:-1',
    'bucket',
    'bucket:3,2',
    'bucket:a=b',
    'bucket:,',
    'year:1',
  ]) {
    test(`refuses “${text}”`, () => assert.throws(() => parseTreatment(text, 'c', 'integer'), UsageError))
  }
})

describe('times', () => {
  test('a day begins with its first second and ends with its last', () => {
    assert.equal(parseTime('2026-12-31', 'start'), Date.UTC(2026, 11, 31) / 1000)
    assert.equal(parseTime('2026-12-31', 'end'), Date.UTC(2027, 0, 1) / 1000 - 1)
    assert.equal(parseTime('2026-12-31T10:00:00+02:00', 'end'), Date.UTC(2026, 11, 31, 8) / 1000)
  })
  for (const text of ['', 'tomorrow', '2026-13-01', '31.12.2026', '2026-12-31T10:00']) {
    test(`refuses “${text}”`, () => assert.throws(() => parseTime(text, 'start'), UsageError))
  }
  test('refuses a window that ends before it begins, and one said twice', () => {
    assert.throws(() => windowOf({ from: '2026-12-31', until: '2026-12-30' }, 0, 0), UsageError)
    assert.throws(() => windowOf({ until: '2026-12-31', days: 3 }, 0, 0), UsageError)
  })
})

test('names are split where they have to be', () => {
  assert.deepEqual(assetName('A/B Clinic/payroll', 'x'), { organisation: 'A/B Clinic', series: 'payroll' })
  assert.deepEqual(receiverName('Office: East:auditor', 'x'), { organisation: 'Office: East', role: 'auditor' })
  assert.deepEqual(pair('a=b=c', 'x'), { name: 'a', value: 'b=c' })
  for (const text of ['payroll', '/payroll', 'Clinic/']) assert.throws(() => assetName(text, 'x'), UsageError)
  for (const text of ['Office', 'Office:', 'Office:owner', ':receiver'])
    assert.throws(() => receiverName(text, 'x'), UsageError)
  for (const text of ['a', '=b', 'a=']) assert.throws(() => pair(text, 'x'), UsageError)
})
