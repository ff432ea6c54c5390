import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { encodeHex, encodeUtf8 } from '@cella/bytes'
import { guestEvidence, guestReportData, guestTee } from './evidence.ts'
import { encryptToGuest } from './jwe.ts'
import { readAttest, readAuth, readSecretPath } from './messages.ts'

// Requests letter by letter as the client of Confidential Containers (protocol 0.4.0) serialises them: names in kebab case but for those
// of the evidence, `kty` first, `init-data` there and null.

const auth =
  '{"version":"0.4.0","tee":"snp","extra-params":{"supported-hash-algorithms":["sha256","sha384","sha512","sm3"]}}'
const nonce = 'AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE='
const x = 'axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY'
const y = 'T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU'
const attest = `{"init-data":null,"runtime-data":{"nonce":"${nonce}","tee-pubkey":{"kty":"EC","crv":"P-256","alg":"ECDH-ES+A256KW","x":"${x}","y":"${y}"}},"tee-evidence":{"primary_evidence":{"cc_eventlog":null,"quote":"AAAA"},"additional_evidence":""}}`
// RFC 8785 of what the client hashes, written out by hand.
const hashed = `{"additional-evidence":"","nonce":"${nonce}","tee-pubkey":{"alg":"ECDH-ES+A256KW","crv":"P-256","kty":"EC","x":"${x}","y":"${y}"}}`

test('the client’s own requests are read, and hashed as the client hashes', () => {
  assert.deepEqual(readAuth(encodeUtf8(auth)), { version: '0.4.0', tee: 'snp' })
  const message = readAttest(encodeUtf8(attest))
  assert.deepEqual(message.primary, { cc_eventlog: null, quote: 'AAAA' })
  const digest = createHash('sha384').update(hashed).digest('hex')
  for (const tee of ['snp', 'tdx', 'sgx', 'cca']) {
    assert.equal(encodeHex(guestReportData(guestTee(tee), message)), digest + '00'.repeat(16), tee)
  }
  // A virtual TPM's qualifying data is not padded; both spellings of its name are one.
  for (const tee of ['azsnpvtpm', 'az-snp-vtpm', 'aztdxvtpm', 'az-tdx-vtpm']) {
    assert.equal(encodeHex(guestReportData(guestTee(tee), message)), digest, tee)
  }
  const withInitData = attest.replace('"init-data":null', '"init-data":{"format":"toml","body":"a = 1"}')
  assert.deepEqual(readAttest(encodeUtf8(withInitData)), message)
})

test('the protected header has the client’s bytes; a point off the curve is no key', async () => {
  const { key } = readAttest(encodeUtf8(attest))
  const jwe = await encryptToGuest(encodeUtf8('secret'), key)
  const header = Buffer.from(jwe.protected, 'base64url').toString()
  assert.match(
    header,
    /^\{"alg":"ECDH-ES\+A256KW","enc":"A256GCM","epk":\{"crv":"P-256","kty":"EC","x":"[\w-]{43}","y":"[\w-]{43}"\}\}$/,
  )
  assert.deepEqual(Object.keys(jwe), ['protected', 'encrypted_key', 'iv', 'ciphertext', 'tag'])
  const off = readAttest(encodeUtf8(attest.replace(y, x)))
  await assert.rejects(encryptToGuest(encodeUtf8('secret'), off.key), { code: 'ERR_KBS_RUNTIME_DATA' })
})

test('names of secrets are read in one way', () => {
  const id = 'a'.repeat(64)
  assert.deepEqual(readSecretPath([id, 'db', 'latest']), { organisation: id, series: 'db', revision: 'latest' })
  assert.deepEqual(readSecretPath([id, 'db', '12']), { organisation: id, series: 'db', revision: 12 })
  for (const wrong of [
    [],
    [id],
    [id, 'db'],
    [id, 'db', '01'],
    [id, 'db', '0'],
    [id, 'DB', '1'],
    [id, '..', '1'],
    [id.toUpperCase(), 'db', '1'],
    [id, 'db', '1', ''],
  ]) {
    assert.equal(readSecretPath(wrong), undefined, wrong.join('/'))
  }
})

interface Call {
  readonly method: string
  readonly path: string
  readonly headers: readonly (readonly [string, string])[]
  readonly body: string
  readonly answer: { readonly status: number; readonly cookies: readonly string[]; readonly body: string }
}

test('what the real client sent is read, and its evidence carries what is hashed here', () => {
  const file = new URL('../../testdata/kbs-exchange.json', import.meta.url)
  const { exchange }: { exchange: [Call, Call, Call, Call] } = JSON.parse(readFileSync(file, 'utf8'))
  const [first, begun, shown, asked] = exchange
  const header = ({ headers }: Call, name: string) => headers.find(([found]) => found === name)?.[1]

  // It asks first, and takes the refusal's two members for its cue.
  assert.deepEqual([first.method, first.answer.status, header(first, 'cookie')], ['GET', 401, undefined])
  assert.deepEqual(Object.keys(JSON.parse(first.answer.body)), ['type', 'detail'])
  assert.equal(begun.body, auth.replace('"snp"', '"tdx"'))
  assert.deepEqual(readAuth(encodeUtf8(begun.body)), { version: '0.4.0', tee: 'tdx' })
  const { nonce: given } = JSON.parse(begun.answer.body) as { nonce: string }

  const message = readAttest(encodeUtf8(shown.body))
  assert.equal(message.nonce, given)
  const [entry] = guestEvidence(guestTee('tdx'), message.primary).entries as unknown as [{ quote: Uint8Array }]
  // REPORTDATA of a quote of version 4.
  const carried = entry.quote.subarray(48 + 520, 48 + 584)
  assert.equal(encodeHex(carried), encodeHex(guestReportData(guestTee('tdx'), message)))
  // Letter by letter the form above.
  const quote = (message.primary as { quote: string }).quote
  const { x: keyX, y: keyY } = message.key as { x: string; y: string }
  const spelt = attest.replace(nonce, given).replace(x, keyX).replace(y, keyY).replace('"AAAA"', `"${quote}"`)
  assert.equal(shown.body, spelt)

  const [cookie] = begun.answer.cookies[0]!.split(';')
  for (const call of [shown, asked]) assert.equal(header(call, 'cookie'), cookie)
  assert.equal(header(asked, 'authorization'), undefined)
  assert.deepEqual([asked.path, asked.answer.status], [first.path, 200])
  assert.ok(readSecretPath(asked.path.split('/').slice(4)) !== undefined)
})
