import assert from 'node:assert/strict'
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { encodeBase64url, encodeUtf8, FormatError } from '@cella/bytes'
import { sharedPath, sharedTest } from '@cella/testing'
import { EvidenceError, type EvidenceErrorCode } from '../error.ts'
import type { TrustedIssuer } from '../roots.ts'
import { type JwsAlgorithm, jwsAlgorithms } from './algorithms.ts'
import { parseForeignJson } from './json.ts'
import { jwksKeysFor } from './jwks.ts'
import { parseJwt, verifyJwt } from './jwt.ts'

const now = 1_800_000_000
const iss = 'https://attest.example'
const pairs = {
  'P-256': generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  'P-384': generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  'P-521': generateKeyPairSync('ec', { namedCurve: 'P-521' }),
  rsa: generateKeyPairSync('rsa', { modulusLength: 2048 }),
  Ed25519: generateKeyPairSync('ed25519'),
}
const other = generateKeyPairSync('ec', { namedCurve: 'P-384' })

function kindOf(algorithm: JwsAlgorithm): keyof typeof pairs {
  if (algorithm === 'EdDSA') return 'Ed25519'
  if (!algorithm.startsWith('ES')) return 'rsa'
  return { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' }[algorithm as 'ES256'] as 'P-256'
}

function signatureOf(algorithm: string, key: KeyObject, bytes: Uint8Array): Uint8Array {
  const hash = algorithm === 'EdDSA' ? null : `sha${algorithm.slice(2)}`
  const pss = algorithm.startsWith('PS') ? { padding: 6, saltLength: Number(algorithm.slice(2)) / 8 } : {}
  return new Uint8Array(sign(hash, bytes, { key, dsaEncoding: 'ieee-p1363', ...pss }))
}

interface Parts {
  readonly header?: object | string
  readonly claims?: object | string
  readonly key?: KeyObject
  readonly algorithm?: JwsAlgorithm
}

const good = { iss, iat: now - 10, nbf: now - 10, exp: now + 10 }

function token({ header, claims = good, key, algorithm = 'ES384' }: Parts = {}): string {
  const text = (value: object | string): string => (typeof value === 'string' ? value : JSON.stringify(value))
  const parts = [header ?? { alg: algorithm, kid: 'one' }, claims].map((part) =>
    encodeBase64url(encodeUtf8(text(part))),
  )
  const signed = parts.join('.')
  const bytes = signatureOf(algorithm, key ?? pairs[kindOf(algorithm)].privateKey, encodeUtf8(signed))
  return `${signed}.${encodeBase64url(bytes)}`
}

function jwk(kind: keyof typeof pairs, more: object = { kid: 'one' }): object {
  return { ...pairs[kind].publicKey.export({ format: 'jwk' }), ...more }
}

function jwks(...keys: object[]): Uint8Array {
  return encodeUtf8(JSON.stringify({ keys }))
}

function issuer(keys: Uint8Array = jwks(jwk('P-384')), more: Partial<TrustedIssuer> = {}): TrustedIssuer {
  return { tee: 'maa', issuer: iss, jwks: keys, simulated: false, ...more }
}

interface Terms {
  readonly issuers?: readonly TrustedIssuer[]
  readonly algorithms?: readonly JwsAlgorithm[]
  readonly now?: number
  readonly expiry?: 'required' | 'optional'
}

function judge(text: string, terms: Terms = {}) {
  return verifyJwt(text, { issuers: [issuer()], tee: 'maa', algorithms: ['ES384'], now, expiry: 'required', ...terms })
}

async function refused(text: string, code: EvidenceErrorCode, terms: Terms = {}): Promise<void> {
  await assert.rejects(judge(text, terms), (error: unknown) => {
    assert.ok(error instanceof EvidenceError, String(error))
    assert.equal(error.code, code, error.message)
    return true
  })
}

for (const algorithm of jwsAlgorithms) {
  test(`takes a token signed by ${algorithm} with the issuer's key`, async () => {
    const issuers = [issuer(jwks(jwk(kindOf(algorithm))))]
    const verified = await judge(token({ algorithm }), { issuers, algorithms: [algorithm] })
    assert.equal(verified.algorithm, algorithm)
    assert.equal(verified.claims.iss, iss)
    assert.deepEqual([verified.issuedAt, verified.notBefore, verified.expiresAt], [now - 10, now - 10, now + 10])
    assert.equal(verified.simulated, false)
    await refused(token({ algorithm }), 'ERR_EVIDENCE_SIGNATURE', {
      issuers,
      algorithms: jwsAlgorithms.filter((name) => name !== algorithm),
    })
  })
}

const refusals: readonly (readonly [string, Parts, EvidenceErrorCode])[] = [
  ['alg none', { header: { alg: 'none', kid: 'one' } }, 'ERR_EVIDENCE_UNSIGNED'],
  ['alg nOnE', { header: { alg: 'nOnE', kid: 'one' } }, 'ERR_EVIDENCE_UNSIGNED'],
  ['alg HS256', { header: { alg: 'HS256', kid: 'one' } }, 'ERR_EVIDENCE_SIGNATURE'],
  ['alg in another case', { header: { alg: 'es384', kid: 'one' } }, 'ERR_EVIDENCE_SIGNATURE'],
  ['no alg', { header: { kid: 'one' } }, 'ERR_EVIDENCE_MALFORMED'],
  ['alg that is a list', { header: { alg: ['ES384'], kid: 'one' } }, 'ERR_EVIDENCE_MALFORMED'],
  ['alg twice', { header: '{"alg":"ES384","alg":"ES384","kid":"one"}' }, 'ERR_EVIDENCE_MALFORMED'],
  ['alg twice in two spellings', { header: '{"alg":"ES384","\\u0061lg":"none"}' }, 'ERR_EVIDENCE_MALFORMED'],
  ['crit', { header: { alg: 'ES384', kid: 'one', crit: ['exp'] } }, 'ERR_EVIDENCE_UNSUPPORTED'],
  ['b64', { header: { alg: 'ES384', kid: 'one', b64: false } }, 'ERR_EVIDENCE_UNSUPPORTED'],
  ['a kid that the JWKS lacks', { header: { alg: 'ES384', kid: 'two' } }, 'ERR_EVIDENCE_SIGNATURE'],
  ['a kid that is a number', { header: { alg: 'ES384', kid: 1 } }, 'ERR_EVIDENCE_MALFORMED'],
  [
    'jku elsewhere',
    { header: { alg: 'ES384', kid: 'one', jku: 'https://evil.example/certs' } },
    'ERR_EVIDENCE_ISSUER_UNKNOWN',
  ],
  [
    'jku with the issuer as user name',
    { header: { alg: 'ES384', kid: 'one', jku: 'https://attest.example@evil.example/certs' } },
    'ERR_EVIDENCE_ISSUER_UNKNOWN',
  ],
  [
    'jku without TLS',
    { header: { alg: 'ES384', kid: 'one', jku: 'http://attest.example/certs' } },
    'ERR_EVIDENCE_ISSUER_UNKNOWN',
  ],
  ['another key', { key: other.privateKey }, 'ERR_EVIDENCE_SIGNATURE'],
  ['another issuer', { claims: { ...good, iss: 'https://attest.example/' } }, 'ERR_EVIDENCE_ISSUER_UNKNOWN'],
  ['no issuer', { claims: { iat: now, exp: now + 1 } }, 'ERR_EVIDENCE_ISSUER_UNKNOWN'],
  ['an empty issuer', { claims: { ...good, iss: '' } }, 'ERR_EVIDENCE_MALFORMED'],
  ['an issuer that is no text', { claims: { ...good, iss: [iss] } }, 'ERR_EVIDENCE_MALFORMED'],
  ['an issuer twice', { claims: `{"iss":"x","iss":"${iss}","exp":${now + 1}}` }, 'ERR_EVIDENCE_MALFORMED'],
  ['no exp', { claims: { iss, iat: now } }, 'ERR_EVIDENCE_MALFORMED'],
  ['exp now', { claims: { ...good, exp: now } }, 'ERR_EVIDENCE_EXPIRED'],
  ['exp that is text', { claims: { ...good, exp: String(now + 10) } }, 'ERR_EVIDENCE_MALFORMED'],
  ['exp with a fraction', { claims: { ...good, exp: now + 0.5 } }, 'ERR_EVIDENCE_MALFORMED'],
  ['exp null', { claims: { ...good, exp: null } }, 'ERR_EVIDENCE_MALFORMED'],
  ['nbf in a second', { claims: { ...good, nbf: now + 1 } }, 'ERR_EVIDENCE_NOT_YET_VALID'],
  ['iat in a second', { claims: { ...good, iat: now + 1 } }, 'ERR_EVIDENCE_NOT_YET_VALID'],
  ['a payload that is a list', { claims: '[]' }, 'ERR_EVIDENCE_MALFORMED'],
  ['a payload that is cut off', { claims: '{"iss":' }, 'ERR_EVIDENCE_MALFORMED'],
  ['a payload with a byte-order mark', { claims: `\ufeff${JSON.stringify(good)}` }, 'ERR_EVIDENCE_MALFORMED'],
  ['a payload 33 deep', { claims: `{"a":${'['.repeat(32)}${']'.repeat(32)}}` }, 'ERR_EVIDENCE_MALFORMED'],
  ['a payload of 100 KB', { claims: { ...good, pad: 'x'.repeat(100_000) } }, 'ERR_EVIDENCE_MALFORMED'],
]
for (const [what, parts, code] of refusals) {
  test(`refuses a token with ${what}`, () => refused(token(parts), code))
}

test('refuses every other encoding of a token', async () => {
  const [header, payload, signature] = token().split('.') as [string, string, string]
  for (const text of [
    '',
    '..',
    `${header}.${payload}`,
    `${header}.${payload}.${signature}.`,
    `${header}.${payload}.${signature}.${signature}`,
    `${header}=.${payload}.${signature}`,
    `${header}.${payload}.${signature}==`,
    ` ${header}.${payload}.${signature}`,
    `${header}.${payload}.${signature}\n`,
    `${header}.${payload}.${signature.replace(/.$/, '+')}`,
    'a'.repeat(200_000),
  ]) {
    await refused(text, 'ERR_EVIDENCE_MALFORMED')
  }
  await refused(`${header}.${payload}.`, 'ERR_EVIDENCE_SIGNATURE')
  await refused(`${header}.${payload}.${signature}AAAA`, 'ERR_EVIDENCE_SIGNATURE')
})

test('no truncation and no changed character is accepted, and each ends in an EvidenceError', async () => {
  const whole = token()
  for (let at = 0; at < whole.length; at += 3) {
    for (const text of [
      whole.slice(0, at),
      `${whole.slice(0, at)}${whole[at] === 'A' ? 'B' : 'A'}${whole.slice(at + 1)}`,
    ]) {
      await assert.rejects(judge(text), EvidenceError)
    }
  }
})

test('keys of the token itself are never used', async () => {
  const own = { ...other.publicKey.export({ format: 'jwk' }), kid: 'one' }
  const header = { alg: 'ES384', kid: 'one', jwk: own, x5u: 'https://evil.example/', x5c: ['AAAA'] }
  await refused(token({ header, key: other.privateKey }), 'ERR_EVIDENCE_SIGNATURE')
  await judge(token({ header })) // they are no harm where the issuer's key signed
  await judge(token({ header: { alg: 'ES384', kid: 'one', jku: `${iss}/certs` } }))
})

test('a token without kid is tried against every key that fits, one with kid against no other', async () => {
  const second = { ...other.publicKey.export({ format: 'jwk' }), kid: 'two' }
  const issuers = [issuer(jwks(second, jwk('rsa', {}), jwk('P-384')))]
  await judge(token({ header: { alg: 'ES384' } }), { issuers })
  await refused(token({ header: { alg: 'ES384', kid: 'two' } }), 'ERR_EVIDENCE_SIGNATURE', { issuers })
  const many = [issuer(jwks(...Array.from({ length: 17 }, () => jwk('P-384', {}))))]
  await refused(token({ header: { alg: 'ES384' } }), 'ERR_EVIDENCE_SIGNATURE', { issuers: many })
})

test('issuers of another kind are not asked; doubt about simulation goes against the token', async () => {
  await refused(token(), 'ERR_EVIDENCE_ISSUER_UNKNOWN', { issuers: [issuer(undefined, { tee: 'nras' })] })
  await refused(token(), 'ERR_EVIDENCE_ISSUER_UNKNOWN', { issuers: [] })
  const both = [issuer(), issuer(undefined, { simulated: true })]
  assert.equal((await judge(token(), { issuers: both })).simulated, true)
  const apart = [
    issuer(),
    issuer(jwks({ ...other.publicKey.export({ format: 'jwk' }), kid: 'one' }), { simulated: true }),
  ]
  assert.equal((await judge(token(), { issuers: apart })).simulated, false)
})

test('a token without iss is of the issuer that is named by the empty string, if the relying party has one', async () => {
  const nameless = token({ claims: { iat: now } })
  const issuers = [issuer(undefined, { issuer: '' })]
  const verified = await judge(nameless, { issuers, expiry: 'optional' })
  assert.equal(verified.expiresAt, undefined)
  await refused(token(), 'ERR_EVIDENCE_ISSUER_UNKNOWN', { issuers })
})

test('keys for another use or algorithm are passed over', async () => {
  for (const more of [{ use: 'enc' }, { alg: 'ES256' }, { key_ops: ['sign'] }, { alg: 'ECDH-ES' }]) {
    const issuers = [issuer(jwks(jwk('P-384', { kid: 'one', ...more })))]
    await refused(token(), 'ERR_EVIDENCE_SIGNATURE', { issuers })
  }
  const issuers = [
    issuer(jwks({ kty: 'AKP', kid: 'one' }, jwk('P-384', { kid: 'one', use: 'sig', key_ops: ['verify'] }))),
  ]
  await judge(token(), { issuers })
})

const badSets: readonly (readonly [string, Uint8Array])[] = [
  ['that is no JSON', encodeUtf8('x')],
  ['that is a list', encodeUtf8('[]')],
  ['without keys', encodeUtf8('{}')],
  ['of no keys', jwks()],
  ['of 65 keys', jwks(...Array.from({ length: 65 }, () => ({ kty: 'x' })))],
  ['with a symmetric key', jwks({ kty: 'oct', k: 'AAAA' })],
  ['with a private key', jwks(pairs['P-384'].privateKey.export({ format: 'jwk' }) as object)],
  ['with keys twice', encodeUtf8('{"keys":[{}],"keys":[{}]}')],
  ['with a short coordinate', jwks(jwk('P-384', { kid: 'one', x: 'AAAA' }))],
  ['with a coordinate missing', jwks({ kty: 'EC', crv: 'P-384', kid: 'one', x: 'A'.repeat(64) })],
  ['with x5c that is no list', jwks(jwk('P-384', { kid: 'one', x5c: 'AAAA' }))],
  ['with x5c that is no certificate', jwks(jwk('P-384', { kid: 'one', x5c: ['AAAA'] }))],
  ['with key_ops that is no list', jwks(jwk('P-384', { kid: 'one', key_ops: 'verify' }))],
  ['of 300 KB', encodeUtf8(`{"keys":[{}]}${' '.repeat(300_000)}`)],
]
for (const [what, set] of badSets) {
  test(`refuses a JWKS ${what}`, () => refused(token(), 'ERR_EVIDENCE_MALFORMED', { issuers: [issuer(set)] }))
}

test('refuses weak and odd RSA keys', async () => {
  const weak = generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey.export({ format: 'jwk' })
  const own = pairs.rsa.publicKey.export({ format: 'jwk' })
  for (const key of [
    weak,
    { ...own, e: 'AQ' },
    { ...own, e: 'AAEAAQ' },
    { ...own, e: 'Ag' },
    { ...own, e: undefined },
  ]) {
    const issuers = [issuer(jwks({ ...key, kid: 'one' }))]
    const terms = { issuers, algorithms: ['RS256'] as const }
    await refused(token({ algorithm: 'RS256' }), 'ERR_EVIDENCE_MALFORMED', terms)
  }
})

test('JSON with a member twice is refused at every depth, and nothing else is', () => {
  for (const [text, fine] of [
    ['{"a":1,"b":{"a":1},"c":[{"a":1},{"a":1}]}', true],
    ['{"a":"a","b":"a"}', true],
    ['{"a":"{\\"a\\":1,\\"a\\":2}"}', true],
    ['["a","a",{"a":["b","b"]}]', true],
    ['{"":1,"a":"","b":""}', true],
    ['{"__proto__":1,"constructor":2}', true],
    ['{"__proto__":1,"__proto__":2}', false],
    ['{"":1,"":1}', false],
    ['{"a":1,"b":{"x":{},"x":[]}}', false],
    ['[{"a":[],"a":[]}]', false],
    ['{"a\\\\":1,"a\\u005c":1}', false],
  ] as const) {
    const read = () => parseForeignJson(encodeUtf8(text), 'text', 1000)
    if (fine) assert.deepEqual(read(), JSON.parse(text))
    else assert.throws(read, FormatError)
  }
})

sharedTest(
  'reads each strong certificate key of a real MAA JWKS by its kid',
  'vectors/maa/sgx-jwt-2020-decoded',
  () => {
    const bytes = new Uint8Array(
      readFileSync(sharedPath('vectors/maa/sgx-jwt-2020-decoded/get.certs.response.body.json')),
    )
    const { keys } = JSON.parse(new TextDecoder().decode(bytes)) as { keys: { kid: string }[] }
    assert.equal(keys.length, 5)
    const [weak, ...others] = keys.map(({ kid }) => kid)
    for (const kid of others) {
      const found = jwksKeysFor(bytes, kid, 'RS256')
      assert.deepEqual(
        found.map((key) => [key.kid, key.kind]),
        [[kid, 'rsa']],
      )
      assert.deepEqual(jwksKeysFor(bytes, kid, 'ES384'), [])
    }
    // The service's own key of 2020 had 1024 bits.
    assert.throws(() => jwksKeysFor(bytes, weak, 'RS256'), FormatError)
  },
)

sharedTest('reads a real MAA token and refuses it without its key', 'vectors/maa/sevsnpvm-jwt-2025', async () => {
  const text = readFileSync(sharedPath('vectors/maa/sevsnpvm-jwt-2025/sev-snp-jwt.txt'), 'utf8').trim()
  const jwt = parseJwt(text)
  assert.equal(jwt.algorithm, 'RS256')
  assert.equal(jwt.claims['x-ms-attestation-type'], 'sevsnpvm')
  const set = new Uint8Array(readFileSync(sharedPath('vectors/maa/sgx-jwt-2020-decoded/get.certs.response.body.json')))
  await refused(text, 'ERR_EVIDENCE_SIGNATURE', {
    issuers: [issuer(set, { issuer: jwt.claims.iss as string })],
    algorithms: ['RS256'],
    now: 1_744_085_800,
  })
})
