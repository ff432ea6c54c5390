import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeHex, type Json } from '@cella/bytes'
import fc from 'fast-check'
import { anySnp, anything } from '../test/policy.ts'
import { issueEvidence, now, roots } from '../test/vendor.ts'
import {
  type AppraisalPolicy,
  appraisalPolicyJson,
  appraiseEvidence,
  EvidenceError,
  parseAppraisalPolicy,
  verifyEvidence,
} from './index.ts'

const measurement = '04'.repeat(48)
const strict: AppraisalPolicy = {
  ...anything,
  simulated: 'refused',
  boundaries: ['vm'],
  measurements: [measurement, { measurements: { measurement }, notBefore: now - 10, notAfter: 'any' }],
  reportData: new Uint8Array(64).fill(3),
  debug: 'refused',
  tees: {
    'sev-snp': { ...anySnp, products: ['Milan'], vmpls: [0], minimumFirmware: { major: 1, minor: 55, build: 3 } },
  },
}
const json = appraisalPolicyJson(strict) as { readonly [name: string]: Json }

test('what is written reads back as the same policy, for bytes, a binding and any', () => {
  assert.deepEqual(parseAppraisalPolicy(json), strict)
  for (const reportData of ['any', { binding: { nonce: 'n', keys: ['a'] } }] as const) {
    const policy = { ...strict, reportData }
    assert.deepEqual(parseAppraisalPolicy(appraisalPolicyJson(policy)), policy)
  }
  assert.equal(json.reportData, '03'.repeat(64))
})

test('a policy that was read appraises as the one it was written from', async () => {
  const verified = await verifyEvidence(await issueEvidence(), { roots, now })
  assert.deepEqual(appraiseEvidence(verified, parseAppraisalPolicy(json)).reasons, [])
  const other = parseAppraisalPolicy({ ...json, reportData: '04'.repeat(64), boundaries: ['process'] })
  assert.deepEqual(
    appraiseEvidence(verified, other).reasons.map(({ code }) => code),
    ['boundary', 'report-data'],
  )
})

test('what was read is a frozen copy', () => {
  const list = [measurement]
  const policy = parseAppraisalPolicy({ ...json, measurements: list })
  list.push('00'.repeat(48))
  assert.deepEqual(policy.measurements, [measurement])
  assert.throws(() => (policy.measurements as string[]).push('any'), TypeError)
  assert.throws(() => Object.assign(policy.tees['sev-snp'] as object, { vmpls: 'any' }), TypeError)
})

function refused(value: unknown, names: RegExp): void {
  assert.throws(
    () => parseAppraisalPolicy(value as Json),
    (error: unknown) => {
      assert.ok(error instanceof EvidenceError, String(error))
      assert.equal(error.code, 'ERR_EVIDENCE_POLICY')
      assert.match(error.message, names)
      return true
    },
  )
}

for (const name of Object.keys(json)) {
  test(`refuses a policy without ${name}, and one where it is null`, () => {
    const { [name]: _, ...rest } = json
    refused(rest, new RegExp(`policy\\.${name}: is missing`))
    refused({ ...json, [name]: undefined }, new RegExp(`policy\\.${name}: is missing`))
    refused({ ...json, [name]: null }, new RegExp(`policy\\.${name}`))
  })
}

const snp = json.tees as { 'sev-snp': { [name: string]: Json } }
for (const name of Object.keys(snp['sev-snp'])) {
  test(`refuses a part for SEV-SNP without ${name}`, () => {
    const { [name]: _, ...rest } = snp['sev-snp']
    refused({ ...json, tees: { 'sev-snp': rest } }, new RegExp(`policy\\.tees\\.sev-snp\\.${name}`))
  })
}

const refusals: readonly (readonly [string, unknown, RegExp])[] = [
  ['nothing', null, /policy/],
  ['a list', [json], /policy/],
  ['text', 'any', /policy/],
  ['an unknown member', { ...json, note: 'x' }, /policy\.note/],
  ['a member named __proto__', JSON.parse('{"__proto__": {"debug": "any"}}'), /policy\.__proto__/],
  ['any in another case', { ...json, debug: 'ANY' }, /policy\.debug/],
  ['a TEE that nobody knows', { ...json, tees: { enclave: {} } }, /policy\.tees\.enclave/],
  ['a part for a TEE that no family appraises', { ...json, tees: { 'hygon-csv': {} } }, /policy\.tees\.hygon-csv/],
  ['report data in upper case', { ...json, reportData: 'AB'.repeat(64) }, /policy\.reportData/],
  ['report data that is no hexadecimal', { ...json, reportData: 'ANY' }, /policy\.reportData/],
  ['report data as a list of bytes', { ...json, reportData: [1, 2] }, /policy\.reportData/],
  ['no bytes of report data', { ...json, reportData: '' }, /policy\.reportData/],
  ['a binding that is text', { ...json, reportData: { binding: 'x' } }, /policy\.reportData\.binding/],
  ['a measurement in upper case', { ...json, measurements: ['AB'.repeat(48)] }, /measurements\.0: .*lower case/],
  ['a number as a measurement', { ...json, measurements: [7] }, /policy\.measurements/],
  ['too many measurements', { ...json, measurements: Array(4097).fill('') }, /policy\.measurements: has 4097 items/],
  ['a long text', { ...json, providers: ['x'.repeat(200_000)] }, /policy: has \d+ bytes/],
  ['a nest', { ...json, reportData: { binding: { a: nest(20) } } }, /nested deeper/],
]

function nest(depth: number): Json {
  return depth === 0 ? 0 : [nest(depth - 1)]
}

for (const [name, value, field] of refusals) test(`refuses ${name}`, () => refused(value, field))

test('any JSON is a policy or refused by name, and nothing that is refused in code is read', () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.constantFrom(...Object.keys(json)), (value, name) => {
      try {
        const read = parseAppraisalPolicy({ ...json, [name]: value as Json })
        assert.deepEqual(appraisalPolicyJson(read), JSON.parse(JSON.stringify({ ...json, [name]: value })))
      } catch (error) {
        assert.ok(error instanceof EvidenceError, String(error))
        assert.equal(error.code, 'ERR_EVIDENCE_POLICY')
      }
    }),
  )
})

test('bytes of any length up to the cap are one hexadecimal text', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 1024 }), (reportData) => {
      const read = parseAppraisalPolicy({ ...json, reportData: encodeHex(reportData) })
      assert.deepEqual(read.reportData, reportData)
    }),
  )
})
