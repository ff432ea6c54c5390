import assert from 'node:assert/strict'
import { test } from 'node:test'
import { concatBytes, encodeBase64, encodeHex, encodeUtf8 } from '@cella/bytes'
import { collateralJson, issueSgx, issueTdx, now, roots } from '../../test/intel-vendor.ts'
import { Endorsements } from '../endorsements.ts'
import { EvidenceError } from '../error.ts'
import { Verifier } from '../verifier.ts'
import { sgxFamily, tdxFamily } from './family.ts'
import {
  intelEndorsementsOf,
  intelEvidenceOf,
  intelEvidenceOfText,
  intelEvidenceOfTrustee,
  recogniseIntelQuote,
} from './readers.ts'

const json = (value: unknown): Uint8Array => encodeUtf8(JSON.stringify(value))

test('a raw quote becomes an entry of its TEE, without what follows it', async () => {
  const sgx = await issueSgx()
  const tdx = await issueTdx()
  const padding = new Uint8Array(70).fill(7)
  assert.deepEqual(intelEvidenceOf(sgx.quote), sgx)
  assert.deepEqual(intelEvidenceOf(concatBytes(sgx.quote, padding)), sgx)
  assert.deepEqual(intelEvidenceOf(concatBytes(tdx.quote, padding)), tdx)
  const eventLog = Uint8Array.of(1, 2, 3)
  assert.deepEqual(intelEvidenceOf(tdx.quote, eventLog), { ...tdx, eventLog })
  assert.throws(() => intelEvidenceOf(sgx.quote, eventLog), { code: 'ERR_EVIDENCE_MALFORMED' })
})

test('hexadecimal and base64 text', async () => {
  const tdx = await issueTdx()
  for (const text of [encodeHex(tdx.quote), encodeHex(tdx.quote).toUpperCase(), `${encodeBase64(tdx.quote)}\n`]) {
    assert.deepEqual(intelEvidenceOfText(text), tdx)
  }
  for (const text of ['', 'zz', '!!!!', encodeHex(tdx.quote).slice(1), 'a'.repeat(70_000)]) {
    assert.throws(() => intelEvidenceOfText(text), { code: 'ERR_EVIDENCE_MALFORMED' })
  }
})

test('Open Enclave’s header', async () => {
  const sgx = await issueSgx()
  const header = (length: number): Uint8Array => {
    const bytes = new Uint8Array(16)
    const view = new DataView(bytes.buffer)
    view.setUint32(0, 1, true)
    view.setUint32(4, 2, true)
    view.setBigUint64(8, BigInt(length), true)
    return bytes
  }
  assert.deepEqual(intelEvidenceOf(concatBytes(header(sgx.quote.length), sgx.quote)), sgx)
  for (const length of [0, 1, sgx.quote.length - 1, sgx.quote.length + 1, 2 ** 40]) {
    assert.throws(() => intelEvidenceOf(concatBytes(header(length), sgx.quote)), { code: 'ERR_EVIDENCE_MALFORMED' })
  }
})

test('the JSON of Confidential Containers', async () => {
  const tdx = await issueTdx()
  const quote = encodeBase64(tdx.quote)
  const eventLog = Uint8Array.of(9, 9)
  assert.deepEqual(intelEvidenceOfTrustee(json({ quote, cc_eventlog: null })), tdx)
  assert.deepEqual(intelEvidenceOfTrustee(json({ quote })), tdx)
  assert.deepEqual(intelEvidenceOfTrustee(json({ quote, cc_eventlog: encodeBase64(eventLog) })), { ...tdx, eventLog })
  for (const value of [
    null,
    [],
    {},
    { quote: 5 },
    { quote: 'AA' },
    { quote, cc_eventlog: 5 },
    { quote: `${quote} ` },
  ]) {
    assert.throws(() => intelEvidenceOfTrustee(json(value)), { code: 'ERR_EVIDENCE_MALFORMED' })
  }
  assert.throws(() => intelEvidenceOfTrustee(encodeUtf8('{')), { code: 'ERR_EVIDENCE_MALFORMED' })
  assert.throws(() => intelEvidenceOfTrustee(new Uint8Array(4_194_305)), { code: 'ERR_EVIDENCE_MALFORMED' })
})

test('the collateral JSON of Intel’s library verifies as endorsements', async () => {
  const verifier = new Verifier([sgxFamily, tdxFamily])
  const bytes = await collateralJson('tdx')
  const collateral = JSON.parse(new TextDecoder().decode(bytes)) as { readonly [name: string]: string }
  const endorsements = intelEndorsementsOf(bytes)
  const verified = await verifier.verify(
    { entries: [await issueTdx()] },
    { roots, now, endorsements: new Endorsements(endorsements) },
  )
  assert.equal(verified.claims.tcb.status, 'UpToDate')
  for (const name of Object.keys(collateral)) {
    for (const value of [undefined, 5]) {
      assert.throws(() => intelEndorsementsOf(json({ ...collateral, [name]: value })), EvidenceError)
    }
  }
})

test('a quote is recognised by its head, and nothing else is', async () => {
  const names = new Map([
    ['an SGX quote v3', (await issueSgx()).quote],
    ['an SGX quote v5', (await issueSgx({ version: 5 })).quote],
    ['a TDX quote v4', (await issueTdx()).quote],
    ['a TDX quote v5', (await issueTdx({ version: 5 })).quote],
  ])
  for (const [name, quote] of names) assert.equal(recogniseIntelQuote(quote), name)
  const header = Uint8Array.of(1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
  const wrapped = concatBytes(header, (await issueSgx()).quote)
  assert.equal(recogniseIntelQuote(wrapped), 'Open Enclave’s report with an SGX quote v3')
  for (const bytes of [
    new Uint8Array(),
    new Uint8Array(64),
    header,
    new Uint8Array(1184).fill(2),
    encodeUtf8('{"quote":1}'),
  ]) {
    assert.equal(recogniseIntelQuote(bytes), undefined)
  }
})

test('every truncation of what the readers take ends in an EvidenceError', async () => {
  const { quote } = await issueTdx()
  const trustee = json({ quote: encodeBase64(quote) })
  for (let length = 0; length < 1200; length += 7) {
    assert.throws(() => intelEvidenceOf(quote.subarray(0, length)), EvidenceError)
    assert.throws(() => intelEvidenceOfTrustee(trustee.subarray(0, length)), EvidenceError)
  }
})
