import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FormatError } from '@cella/bytes'
import {
  type Build,
  enclave,
  identity,
  issueSgx,
  issueTdx,
  keys,
  signerOf,
  tcbInfo,
  td,
  td15,
} from '../../test/intel-vendor.ts'
import { parseEnclaveIdentity } from './enclave-identity.ts'
import { issueEnclaveIdentity, issueTcbInfo } from './issue.ts'
import { intelQuoteLength, parseIntelQuote } from './quote.ts'
import { encodeSgxReport, parseSgxReport } from './sgx-report.ts'
import { parseTcbInfo } from './tcb-info.ts'
import { encodeTdReport, parseTdReport } from './td-report.ts'

const forms: readonly (readonly [string, () => Promise<{ quote: Uint8Array }>])[] = [
  ['SGX v3', () => issueSgx()],
  ['SGX v5', () => issueSgx({ version: 5 })],
  ['TDX v4', () => issueTdx()],
  ['TDX v5, TD 1.0', () => issueTdx({ version: 5 })],
  ['TDX v5, TD 1.5', () => issueTdx({ version: 5, td: td15 })],
]

for (const [name, issue] of forms) {
  test(`${name}: what was issued is read, and no more than it`, async () => {
    const { quote } = await issue()
    const parsed = parseIntelQuote(quote)
    if (parsed.body.kind === 'sgx') {
      assert.deepEqual(parseSgxReport(encodeSgxReport(parsed.body), 'report'), parsed.body)
      assert.deepEqual(encodeSgxReport(parsed.body), encodeSgxReport(enclave))
    } else {
      assert.deepEqual(parseTdReport(encodeTdReport(parsed.body)), parsed.body)
      assert.equal(parsed.body.mrServiceTd !== undefined, name.endsWith('1.5'))
      assert.deepEqual(parsed.body.reportData, td.reportData)
    }
    const padded = Uint8Array.from([...quote, ...new Array<number>(70).fill(0)])
    assert.equal(intelQuoteLength(padded), quote.length)
    assert.throws(() => parseIntelQuote(padded), /70 bytes after its end/)
  })

  test(`${name}: every truncation is refused`, async () => {
    const { quote } = await issue()
    for (let length = 0; length < quote.length; length += length < 1400 ? 1 : 97) {
      assert.throws(() => parseIntelQuote(quote.subarray(0, length)), FormatError)
    }
  })

  test(`${name}: every length field at 0, 1 and its maximum is refused`, async () => {
    const { quote } = await issue()
    const signed = parseIntelQuote(quote).signed.length
    const outer = quote[0] === 3 ? 0 : 6
    const authAt = signed + 4 + 128 + outer + 384 + 64
    const authLength = quote[authAt]! + quote[authAt + 1]! * 256
    const fields: (readonly [number, number])[] = [
      [signed, 4],
      [authAt, 2],
      [authAt + 2 + authLength + 2, 4],
    ]
    if (outer) fields.push([signed + 4 + 128 + 2, 4])
    if (quote[0] === 5) fields.push([50, 4])
    for (const [at, size] of fields) {
      for (const value of [0, 1, 255]) {
        const changed = Uint8Array.from(quote)
        changed.fill(value === 255 ? 255 : 0, at, at + size)
        if (value === 1) changed[at] = 1
        assert.throws(() => parseIntelQuote(changed), FormatError, `${value} at ${at}`)
      }
    }
  })
}

const malformed: readonly (readonly [string, 'sgx' | 'tdx', Build, (quote: Uint8Array) => void, RegExp])[] = [
  ['version 2', 'sgx', {}, (quote) => quote.set([2], 0), /version: is 2/],
  ['version 6', 'tdx', {}, (quote) => quote.set([6], 0), /version: is 6/],
  ['an attestation key of P-384', 'sgx', {}, (quote) => quote.set([3], 2), /attestation key type: is 3/],
  ['TDX in version 3', 'sgx', {}, (quote) => quote.set([0x81], 4), /TEE type: is 0x81 in a quote of version 3/],
  ['SGX in version 4', 'tdx', {}, (quote) => quote.set([0], 4), /TEE type: is 0x0 in a quote of version 4/],
  ['another vendor’s quoting enclave', 'sgx', {}, (quote) => quote.set([0], 12), /QE vendor id/],
  ['body type 4', 'tdx', { version: 5 }, (quote) => quote.set([4], 48), /body type: is 4/],
  ['an enclave’s body under TDX', 'sgx', { version: 5 }, (quote) => quote.set([0x81], 4), /of another TEE/],
  ['a TD’s body under SGX', 'tdx', { version: 5 }, (quote) => quote.set([0], 4), /of another TEE/],
  ['a size of another body type', 'tdx', { version: 5, td: td15 }, (quote) => quote.set([2], 48), /body size/],
  ['reserved bytes of the report set', 'sgx', {}, (quote) => quote.set([1], 48 + 262), /reserved 262: must be zero/],
  [
    'reserved bytes of the QE report set',
    'tdx',
    {},
    (quote) => quote.set([1], 632 + 4 + 134 + 20),
    /QE report reserved 20/,
  ],
  [
    'certification data of type 5 outside',
    'tdx',
    {},
    (quote) => quote.set([5], 632 + 4 + 128),
    /expected 6 \(QE report\)/,
  ],
]

for (const [name, tee, build, change, message] of malformed) {
  test(`refuses ${name}`, async () => {
    const { quote } = tee === 'sgx' ? await issueSgx(build) : await issueTdx(build)
    change(quote)
    assert.throws(() => parseIntelQuote(quote), { name: 'FormatError', message })
  })
}

test('refuses PCK certification data of types 6 and 7, and of lengths that its type does not have', async () => {
  for (const [type, length] of [
    [6, 10],
    [7, 10],
    [1, 33],
    [1, 35],
    [1, 37],
    [3, 36],
  ] as const) {
    const { quote } = await issueSgx({ certification: { type, data: new Uint8Array(length) } })
    assert.throws(() => parseIntelQuote(quote), FormatError, `${type} ${length}`)
  }
})

test('refuses a quote of over 32 KiB', () => {
  assert.throws(() => parseIntelQuote(new Uint8Array(32_769)), /at most 32768/)
})

test('TD attributes: every bit is either named or unknown', () => {
  const attributes = (bit: number) => {
    const rawTdAttributes = new Uint8Array(8)
    rawTdAttributes[bit >> 3] = 1 << (bit & 7)
    return parseTdReport(encodeTdReport({ ...td, rawTdAttributes })).tdAttributes
  }
  const named = new Map([
    [27, 'lass'],
    [28, 'septVeDisable'],
    [29, 'migratable'],
    [30, 'pks'],
    [31, 'keyLocker'],
    [63, 'perfmon'],
  ])
  for (let bit = 0; bit < 64; bit++) {
    const set = Object.entries(attributes(bit)).flatMap(([name, value]) => (value ? [name] : []))
    assert.deepEqual(set, [bit < 8 ? 'debug' : (named.get(bit) ?? 'unknown')], `bit ${bit}`)
  }
})

test('SGX attributes: every flag is either named or unknown', () => {
  const named = new Map([
    [0, 'initialised'],
    [1, 'debug'],
    [2, 'mode64'],
    [4, 'provisionKey'],
    [5, 'einitTokenKey'],
    [6, 'cet'],
    [7, 'kss'],
    [10, 'aexNotify'],
  ])
  for (let bit = 0; bit < 64; bit++) {
    const rawAttributes = new Uint8Array(16)
    rawAttributes[bit >> 3] = 1 << (bit & 7)
    const { attributes } = parseSgxReport(encodeSgxReport({ ...enclave, rawAttributes }), 'report')
    const set = Object.entries(attributes).flatMap(([name, value]) => (value === true ? [name] : []))
    assert.deepEqual(set, [named.get(bit) ?? 'unknown'], `bit ${bit}`)
  }
})

test('TCB info and identity: what was issued is read, in versions 2 and 3, levels best first', async () => {
  const sign = signerOf(keys.tcbSigning)
  for (const info of [tcbInfo('sgx'), tcbInfo('tdx'), { ...tcbInfo('sgx'), version: 2 as const }]) {
    const { statement } = parseTcbInfo(await issueTcbInfo(info, sign), 'info')
    assert.deepEqual(statement, { ...info, levels: [...info.levels].reverse() })
  }
  const { statement } = parseEnclaveIdentity(await issueEnclaveIdentity(identity('tdx'), sign), 'identity')
  assert.deepEqual(statement, identity('tdx'))
})

const brokenInfos: readonly (readonly [string, (json: string) => string])[] = [
  ['white space between its members', (json) => json.replace('{"tcbInfo":', '{ "tcbInfo":')],
  ['another member beside', (json) => json.replace('{"tcbInfo":', '{"more":1,"tcbInfo":')],
  ['a signature of another length', (json) => json.replace(/..."\}$/, '"}')],
  ['version 4', (json) => json.replace('"version":3', '"version":4')],
  ['an unknown TEE', (json) => json.replace('"id":"SGX"', '"id":"TPM"')],
  ['an unknown status', (json) => json.replace('"UpToDate"', '"Fine"')],
  ['tcbType 1', (json) => json.replace('"tcbType":0', '"tcbType":1')],
  ['fifteen components', (json) => json.replace('{"svn":5},', '')],
  ['seventeen components', (json) => json.replace('{"svn":5},', '{"svn":5},{"svn":5},')],
  ['a component above 255', (json) => json.replace('{"svn":5}', '{"svn":256}')],
  ['no level', (json) => json.replace(/"tcbLevels":\[.*\]\}/, '"tcbLevels":[]}')],
  ['a date that does not exist', (json) => json.replace(/"issueDate":"[^"]*"/, '"issueDate":"2025-02-30T00:00:00Z"')],
  ['a date with an offset', (json) => json.replace(/"issueDate":"[^"]*"/, '"issueDate":"2025-02-03T00:00:00+01:00"')],
  ['no FMSPC', (json) => json.replace(/"fmspc":"[^"]*",/, '')],
  ['nesting of 40', (json) => json.replace('"tcbType":0', `"x":${'['.repeat(40)}${']'.repeat(40)},"tcbType":0`)],
]

for (const [name, change] of brokenInfos) {
  test(`refuses a TCB info with ${name}`, async () => {
    const bytes = await issueTcbInfo(tcbInfo('sgx'), signerOf(keys.tcbSigning))
    const changed = change(new TextDecoder().decode(bytes))
    assert.notEqual(changed, new TextDecoder().decode(bytes))
    assert.throws(() => parseTcbInfo(new TextEncoder().encode(changed), 'info'), FormatError)
  })
}

test('the signed bytes of a TCB info are exactly its JSON value', async () => {
  const bytes = await issueTcbInfo(tcbInfo('tdx'), signerOf(keys.tcbSigning))
  const whole = new TextDecoder().decode(bytes)
  const { signed } = parseTcbInfo(bytes, 'info')
  assert.equal(`{"tcbInfo":${new TextDecoder().decode(signed)}${whole.slice(-144)}`, whole)
})
