import assert from 'node:assert/strict'
import { createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { encodeBase64url, encodeHex, encodeUtf8, FormatError, type Json } from '@cella/bytes'
import { type CborKey, CborTag, type CborValue, decodeCbor, encodeCbor } from '@cella/cbor'
import { sharedPath, sharedTest } from '@cella/testing'
import { anything, refusals } from '../../test/policy.ts'
import { readRealEar } from '../../test/samples.ts'
import { issueEvidence, now, roots } from '../../test/vendor.ts'
import { CheckLog } from '../checks.ts'
import { Endorsements } from '../endorsements.ts'
import { EvidenceError, type EvidenceErrorCode } from '../error.ts'
import type { VerifyContext } from '../family.ts'
import { jwsAlgorithms } from '../jwt/algorithms.ts'
import type { JsonObject } from '../jwt/json.ts'
import type { TrustedIssuer } from '../roots.ts'
import { judgeEvidence } from '../verify.ts'
import { type EarOptions, earOf, signEar } from './issue.ts'
import { type EarPolicy, earBaseline } from './policy.ts'
import { readEarCbor, readEarJson } from './result.ts'
import { type EarProfile, earProfiles } from './spelling.ts'
import { earEvidenceOf, earFamily } from './verify.ts'

const pair = generateKeyPairSync('ec', { namedCurve: 'P-384' })
const other = generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey
const iss = 'https://verifier.example'

function issuer(more: Partial<TrustedIssuer> = {}): TrustedIssuer {
  const jwk = { ...createPublicKey(pair.privateKey).export({ format: 'jwk' }), kid: 'one' }
  return { tee: 'ear', issuer: iss, jwks: encodeUtf8(JSON.stringify({ keys: [jwk] })), simulated: false, ...more }
}

const es384 = (key: KeyObject) => async (bytes: Uint8Array) =>
  new Uint8Array(sign('sha384', bytes, { key, dsaEncoding: 'ieee-p1363' }))

const dotted = {
  eat_profile: earProfiles.veraison,
  iss,
  iat: now - 10,
  'ear.verifier-id': { developer: 'Acme', build: '1' },
  eat_nonce: 'nonce-of-mine',
  submods: {
    cpu0: {
      'ear.status': 'affirming',
      'ear.trustworthiness-vector': { hardware: 2, executables: 3 },
      'ear.appraisal-policy-id': 'https://policy.example/1',
      'ear.veraison.key-attestation': { akpub: 'AQID' },
    },
  },
} as const
const underscore = {
  eat_profile: earProfiles.ietf,
  iss,
  iat: now - 10,
  ear_verifier_id: { developer: 'Acme', build: '1' },
  ear_raw_evidence: 'AQID',
  ear_status: 'warning',
  submods: {
    cpu0: {
      ear_status: 'warning',
      ear_trustworthiness_vector: { hardware: 32 },
      ear_appraisal_policy_ids: ['p1', 'p2'],
    },
    gpu0: { ear_status: 'affirming' },
  },
} as const

function cbor(more: readonly (readonly [CborKey, CborValue])[] = []): Map<CborKey, CborValue> {
  return new Map<CborKey, CborValue>([
    [265, earProfiles.ietf],
    [1, iss],
    [6, now - 10],
    [10, new Uint8Array(8).fill(7)],
    [
      1004,
      new Map<CborKey, CborValue>([
        [0, 'Acme'],
        [1, '1'],
      ]),
    ],
    [266, new Map<CborKey, CborValue>([['cpu0', submod()]])],
    ...more,
  ])
}
function submod(more: readonly (readonly [CborKey, CborValue])[] = []): Map<CborKey, CborValue> {
  return new Map<CborKey, CborValue>([
    [1000, 2],
    [
      1001,
      new Map<CborKey, CborValue>([
        [0, 2],
        [2, 3],
        [7, -2],
      ]),
    ],
    [1003, ['p1']],
    [-70_002, new Map<CborKey, CborValue>([['akpub', Uint8Array.of(1, 2, 3)]])],
    ...more,
  ])
}

async function cwt(
  claims: CborValue,
  more: { kid?: string | null; key?: KeyObject; tags?: readonly number[] } = {},
): Promise<Uint8Array> {
  const kid = more.kid === undefined ? 'one' : more.kid
  const head = encodeCbor(
    new Map<CborKey, CborValue>([[1, -35], ...(kid === null ? [] : [[4, encodeUtf8(kid)] as [CborKey, CborValue]])]),
  )
  const payload = encodeCbor(claims)
  const signature = await es384(more.key ?? pair.privateKey)(
    encodeCbor(['Signature1', head, new Uint8Array(0), payload]),
  )
  let value: CborValue = [head, new Map(), payload, signature]
  for (const tag of more.tags ?? [18]) value = new CborTag(tag, value)
  return encodeCbor(value)
}

function jwt(claims: object, more: { kid?: string; key?: KeyObject } = {}): Promise<string> {
  return signEar(claims as JsonObject, { kid: more.kid ?? 'one', sign: es384(more.key ?? pair.privateKey) })
}

async function judge(token: string | Uint8Array, more: Partial<VerifyContext> = {}) {
  const context = {
    roots: [],
    issuers: [issuer()],
    endorsements: Endorsements.none,
    now,
    cache: undefined,
    checks: new CheckLog(),
  }
  return earFamily.verify(earEvidenceOf(token), { ...context, ...more })
}

async function refused(
  token: string | Uint8Array,
  code: EvidenceErrorCode,
  more: Partial<VerifyContext> = {},
): Promise<void> {
  await assert.rejects(judge(token, more), (error: unknown) => {
    assert.ok(error instanceof EvidenceError, String(error))
    assert.equal(error.code, code, error.message)
    return true
  })
}

const anyEar: EarPolicy = { profiles: 'any', verifiers: 'any', policies: 'any', worstStatus: 'any', secondsMax: 'any' }

test('takes a JWT with dotted names for genuine', async () => {
  const verified = await judge(await jwt({ ...dotted, exp: now + 5 }))
  assert.equal(verified.ear.spelling, 'dotted')
  assert.equal(verified.claims.reportData, encodeHex(encodeUtf8('nonce-of-mine')))
  assert.deepEqual(verified.ear.submods, [
    {
      name: 'cpu0',
      status: 'affirming',
      vector: { hardware: 2, executables: 3 },
      policyIds: ['https://policy.example/1'],
      nonce: null,
      attestedKey: '010203',
    },
  ])
  assert.deepEqual([verified.notBefore, verified.notAfter], [now - 10, now + 4])
  assert.deepEqual(refusals(earFamily, verified, { ...earBaseline, verifiers: ['Acme'], policies: 'any' }), [])
})

test('takes a JWT with underscores for genuine, without exp until somebody’s policy finds it old', async () => {
  const verified = await judge(await jwt(underscore))
  assert.equal(verified.ear.spelling, 'underscore')
  assert.deepEqual(
    verified.ear.submods.map(({ name, policyIds }) => [name, policyIds]),
    [
      ['cpu0', ['p1', 'p2']],
      ['gpu0', []],
    ],
  )
  assert.equal(verified.notAfter, Number.MAX_SAFE_INTEGER)
})

for (const tags of [[], [18], [18, 61]]) {
  test(`takes a CWT with tags ${tags.join(' in ') || 'none'} for genuine`, async () => {
    const verified = await judge(await cwt(cbor([[4, now + 5]]), { tags }))
    assert.equal(verified.ear.spelling, 'cbor')
    assert.equal(verified.claims.reportData, '07'.repeat(8))
    assert.deepEqual(verified.ear.submods[0], {
      name: 'cpu0',
      status: 'affirming',
      vector: { 'instance-identity': 2, executables: 3, 'sourced-data': -2 },
      policyIds: ['p1'],
      nonce: null,
      attestedKey: '010203',
    })
    assert.equal(verified.notAfter, now + 4)
  })
}

test('tokens of others, of another time or changed are refused', async () => {
  const text = await jwt({ ...dotted, exp: now + 5 })
  await refused(await jwt(dotted, { key: other }), 'ERR_EVIDENCE_SIGNATURE')
  await refused(await jwt(dotted, { kid: 'two' }), 'ERR_EVIDENCE_SIGNATURE')
  await refused(text, 'ERR_EVIDENCE_EXPIRED', { now: now + 5 })
  await refused(text, 'ERR_EVIDENCE_NOT_YET_VALID', { now: now - 11 })
  await refused(text, 'ERR_EVIDENCE_ISSUER_UNKNOWN', { issuers: [] })
  await refused(text, 'ERR_EVIDENCE_ISSUER_UNKNOWN', { issuers: [issuer({ tee: 'maa' })] })
  const bytes = await cwt(
    cbor([
      [4, now + 5],
      [5, now - 9],
    ]),
  )
  await refused(await cwt(cbor(), { key: other }), 'ERR_EVIDENCE_SIGNATURE')
  await refused(await cwt(cbor(), { kid: 'two' }), 'ERR_EVIDENCE_SIGNATURE')
  await judge(await cwt(cbor(), { kid: null }))
  await refused(bytes, 'ERR_EVIDENCE_EXPIRED', { now: now + 5 })
  await refused(bytes, 'ERR_EVIDENCE_NOT_YET_VALID', { now: now - 10 })
  await refused(bytes, 'ERR_EVIDENCE_ISSUER_UNKNOWN', { issuers: [issuer({ issuer: 'x' })] })
  await refused(await cwt(cbor([[1, 'évil']])), 'ERR_EVIDENCE_ISSUER_UNKNOWN')
  await refused(new Uint8Array(200_000), 'ERR_EVIDENCE_MALFORMED')
  await refused(encodeUtf8('eyé'), 'ERR_EVIDENCE_MALFORMED')
  for (const token of [encodeUtf8(text), bytes]) {
    for (let at = 0; at < token.length; at += 7) {
      const changed = Uint8Array.from(token)
      changed[at]! ^= 1
      for (const bad of [token.subarray(0, at), changed]) await assert.rejects(judge(bad), EvidenceError)
    }
  }
})

test('a token without issuer is of the nameless one; doubt about simulation goes against it', async () => {
  const { iss: _, ...nameless } = dotted
  await refused(await jwt(nameless), 'ERR_EVIDENCE_ISSUER_UNKNOWN')
  await judge(await jwt(nameless), { issuers: [issuer({ issuer: '' })] })
  const claims = cbor()
  claims.delete(1)
  const issuers = [issuer({ issuer: '' }), issuer({ issuer: '', simulated: true })]
  assert.equal((await judge(await cwt(claims), { issuers })).simulated, true)
  assert.equal((await judge(await jwt(nameless), { issuers })).simulated, true)
})

const one = dotted.submods.cpu0
const badClaims: readonly (readonly [string, object])[] = [
  ['no profile', { ...dotted, eat_profile: undefined }],
  ['an unknown profile', { ...dotted, eat_profile: 'tag:example,2020:x' }],
  ['no issue time', { ...dotted, iat: undefined }],
  ['no verifier', { ...dotted, 'ear.verifier-id': undefined }],
  ['a verifier without build', { ...dotted, 'ear.verifier-id': { developer: 'x' } }],
  ['no submodules', { ...dotted, submods: {} }],
  ['submodules that are a list', { ...dotted, submods: [] }],
  ['33 submodules', { ...dotted, submods: Object.fromEntries(Array.from({ length: 33 }, (_, at) => [`m${at}`, one])) }],
  ['the names of the other spelling', { ...dotted, eat_profile: earProfiles.ietf }],
  ['both spellings', { ...dotted, ear_status: 'affirming' }],
  ['both spellings in a submodule', { ...dotted, submods: { a: { ...one, ear_status: 'contraindicated' } } }],
  ['no status', { ...dotted, submods: { a: { ...one, 'ear.status': undefined } } }],
  ['an unknown status', { ...dotted, submods: { a: { ...one, 'ear.status': 'good' } } }],
  ['a status from the prototype', { ...dotted, submods: { a: { ...one, 'ear.status': 'constructor' } } }],
  ['an empty vector', { ...dotted, submods: { a: { ...one, 'ear.trustworthiness-vector': {} } } }],
  ['an unknown trust claim', { ...dotted, submods: { a: { ...one, 'ear.trustworthiness-vector': { x: 2 } } } }],
  ['a trust claim of 128', { ...dotted, submods: { a: { ...one, 'ear.trustworthiness-vector': { hardware: 128 } } } }],
  [
    'a trust claim that is text',
    { ...dotted, submods: { a: { ...one, 'ear.trustworthiness-vector': { hardware: '2' } } } },
  ],
  [
    'a status better than its claims',
    { ...dotted, submods: { a: { ...one, 'ear.trustworthiness-vector': { hardware: 32 } } } },
  ],
  [
    'a status better than its mirrored claims',
    { ...dotted, submods: { a: { ...one, 'ear.trustworthiness-vector': { hardware: -96 } } } },
  ],
  ['a whole better than its parts', { ...underscore, ear_status: 'affirming' }],
  ['a nonce of 7 characters', { ...dotted, eat_nonce: '1234567' }],
  ['a nonce that is a list', { ...dotted, eat_nonce: ['12345678', '12345678'] }],
  ['a policy that is no text', { ...dotted, submods: { a: { ...one, 'ear.appraisal-policy-id': 1 } } }],
  ['no policy in the list', { ...underscore, submods: { a: { ear_status: 'warning', ear_appraisal_policy_ids: [] } } }],
  ['a key attestation without key', { ...dotted, submods: { a: { ...one, 'ear.veraison.key-attestation': {} } } }],
  ['raw evidence that is not base64url', { ...underscore, ear_raw_evidence: '+' }],
]
for (const [what, claims] of badClaims) {
  test(`refuses a JWT with ${what}`, async () => refused(await jwt(claims), 'ERR_EVIDENCE_MALFORMED'))
}

const badCbor: readonly (readonly [string, CborValue])[] = [
  ['that is a list', []],
  ['of an unknown profile', cbor([[265, 'x']])],
  ['with no verifier', cbor([[1004, new Map()]])],
  ['with a submodule named by number', cbor([[266, new Map([[1, submod()]])]])],
  ['with no submodules', cbor([[266, new Map()]])],
  ['with status 1', cbor([[266, new Map([['a', submod([[1000, 1]])]])]])],
  ['with trust claim 8', cbor([[266, new Map([['a', submod([[1001, new Map([[8, 2]])]])]])]])],
  ['with a trust claim of −129', cbor([[266, new Map([['a', submod([[1001, new Map([[0, -129]])]])]])]])],
  ['with an empty vector', cbor([[266, new Map([['a', submod([[1001, new Map()]])]])]])],
  ['with a status better than its claims', cbor([[266, new Map([['a', submod([[1001, new Map([[0, 99]])]])]])]])],
  [
    'with a whole better than its parts',
    cbor([
      [1000, 2],
      [266, new Map([['a', submod([[1000, 96]])]])],
    ]),
  ],
  ['with a nonce of 7 bytes', cbor([[10, new Uint8Array(7)]])],
]
for (const [what, claims] of badCbor) {
  test(`refuses a CWT ${what}`, async () => refused(await cwt(claims), 'ERR_EVIDENCE_MALFORMED'))
}

test('each member of the policy refuses what it is for', async () => {
  const verified = await judge(await jwt(underscore))
  for (const [policy, codes] of [
    [{ profiles: ['trustee'] }, ['ear-profile']],
    [{ verifiers: ['Other'] }, ['ear-verifier']],
    [{ policies: ['p2'] }, ['ear-policy']],
    [{ worstStatus: 'affirming' }, ['ear-status']],
    [{ worstStatus: 'warning' }, []],
    [{ secondsMax: 9 }, ['ear-age']],
    [{ secondsMax: 10 }, []],
  ] as const) {
    const found = refusals(earFamily, verified, { ...anyEar, ...policy } as EarPolicy)
    assert.deepEqual(
      found.map(({ code }) => code),
      codes,
    )
    const name = Object.keys(policy)[0]!
    assert.throws(() => earFamily.checkPolicy({ ...anyEar, [name]: undefined }, 'p'), TypeError)
  }
  earFamily.checkPolicy({ ...earBaseline, verifiers: 'any', policies: 'any' }, 'p')
  const silent = await judge(await jwt({ ...underscore, ear_status: 'none', submods: { a: { ear_status: 'none' } } }))
  assert.deepEqual(
    refusals(earFamily, silent, { ...anyEar, worstStatus: 'warning' }).map(({ code }) => code),
    ['ear-status'],
  )
})

// What is issued is read again.

const options: EarOptions = {
  profile: 'ietf',
  issuer: iss,
  verifier: { developer: 'Acme', build: '1' },
  policyIds: ['p1', 'p2'],
  now,
  lifetime: 60,
  nonce: 'a-nonce-of-theirs',
}

for (const profile of ['ietf', 'veraison', 'trustee'] as const satisfies EarProfile[]) {
  test(`a judgement becomes an EAR of profile ${profile} that says the same`, async () => {
    const judgement = await judgeEvidence(await issueEvidence(), anything, { roots, now })
    const token = await signEar(earOf(judgement, { ...options, profile }), { kid: 'one', sign: es384(pair.privateKey) })
    const { ear, claims } = await judge(token)
    assert.equal(ear.profile, profile)
    assert.equal(claims.reportData, encodeHex(encodeUtf8('a-nonce-of-theirs')))
    const [entry] = judgement.result!.entries
    assert.deepEqual(ear.submods, [
      {
        name: 'cpu0',
        status: entry!.status,
        vector: { ...entry!.trustVector },
        policyIds: profile === 'ietf' ? ['p1', 'p2'] : ['p1'],
        nonce: null,
        attestedKey: null,
      },
    ])
  })
}

test('a refusal carries its reasons, and evidence that is not genuine says so', async () => {
  const refusal = await judgeEvidence(await issueEvidence(), { ...anything, platformIds: [] }, { roots, now })
  const submods = (earOf(refusal, options) as { submods: Record<string, Record<string, Json>> }).submods
  const said = submods.cpu0!.ear_veraison_policy_claims as { reasons: { code: string }[] }
  assert.deepEqual(
    said.reasons.map(({ code }) => code),
    ['platform-id'],
  )
  const forged = await judgeEvidence(await issueEvidence(), anything, { roots: [], now })
  const claims = earOf(forged, options)
  const read = readEarJson(claims)
  assert.deepEqual([read.submods[0]?.name, read.submods[0]?.status], ['evidence0', 'contraindicated'])
  assert.equal(read.submods[0]?.vector.hardware, 99)
})

test('options that no token can hold are refused', async () => {
  const judgement = await judgeEvidence(await issueEvidence(), anything, { roots, now })
  for (const bad of [{ now: 0.5 }, { lifetime: 0 }, { nonce: 'short' }, { policyIds: [] }]) {
    assert.throws(() => earOf(judgement, { ...options, ...bad }), RangeError)
  }
  const short = signEar(earOf(judgement, options), { kid: 'one', sign: async () => new Uint8Array(95) })
  await assert.rejects(short, RangeError)
})

// Published examples

const text = (path: string): string => readFileSync(sharedPath(`vectors/ear/${path}`), 'utf8')

for (const [path, statuses] of [
  ['draft-examples/ear-json-1.diag', ['contraindicated']],
  ['draft-examples/ear-json-2.diag', ['affirming', 'affirming']],
  ['draft-examples/ext-teep-json-1.diag', ['contraindicated']],
  ['draft-examples/ext-veraison-json-1.diag', ['contraindicated']],
  ['draft-examples-2/ext-veraison-json-2.diag', ['affirming']],
  ['veraison-claims/ear-claims.json', ['affirming']],
  ['veraison-claims/ear-claims-tv-ok.json', ['affirming']],
  ['veraison-claims/ear-claims-key-attestation-ok.json', ['affirming']],
  ['trustee-example-token/example.token.json', ['contraindicated']],
] as const) {
  sharedTest(`reads the published claims ${path}, alone and signed`, `vectors/ear/${path}`, async () => {
    const claims = JSON.parse(text(path)) as JsonObject
    assert.deepEqual(
      readEarJson(claims).submods.map(({ status }) => status),
      statuses,
    )
    const at = { now: claims.iat as number, issuers: [issuer({ issuer: '' })] }
    assert.equal((await judge(await jwt(claims), at)).ear.submods.length, statuses.length)
  })
}

test('a real result of Confidential Containers’ attestation service is genuine under its key, in its time', async () => {
  const { token, jwks, now } = readRealEar()
  const issuers = [issuer({ issuer: '', jwks })]
  const { ear } = await judge(token, { issuers, now })
  assert.deepEqual(
    [ear.profile, ear.submods.map(({ name, status }) => [name, status])],
    ['trustee', [['cpu0', 'affirming']]],
  )
  await refused(token, 'ERR_EVIDENCE_EXPIRED', { issuers, now: now + 300 })
  await refused(token, 'ERR_EVIDENCE_NOT_YET_VALID', { issuers, now: now - 2 })
  // Its header brings the key that signed it: that one is never asked.
  await refused(token, 'ERR_EVIDENCE_SIGNATURE', { issuers: [issuer({ issuer: '' })], now })
  await refused(token, 'ERR_EVIDENCE_ISSUER_UNKNOWN', { now })
})

sharedTest('refuses the published key attestation without key', 'vectors/ear/veraison-claims', () => {
  const claims = JSON.parse(text('veraison-claims/ear-claims-key-attestation-ko.json')) as JsonObject
  assert.throws(() => readEarJson(claims), FormatError)
})

for (const path of [
  'draft-examples/ear-cbor-1.diag',
  'draft-examples-2/ext-teep-cbor-1.diag',
  'draft-examples-2/ext-veraison-cbor-1.diag',
]) {
  sharedTest(`reads the published CBOR claims ${path}, alone and signed`, `vectors/ear/${path}`, async () => {
    const claims = fromDiagnostic(text(path))
    const ear = readEarCbor(decodeCbor(encodeCbor(claims), 'claims', { bytesMax: 10_000 }))
    assert.equal(ear.verifier.build, 'vts 0.0.1')
    assert.deepEqual(ear.submods[0]?.policyIds, ['https://veraison.example/policy/1/60a0068d'])
    await judge(await cwt(claims), { issuers: [issuer({ issuer: '' })] })
  })
}

sharedTest('the published key of Veraison is one of a JWKS', 'vectors/ear/veraison-claims', async () => {
  const jwks = encodeUtf8(`{"keys":[${text('veraison-claims/pkey.json')}]}`)
  const claims = encodeBase64url(encodeUtf8(text('veraison-claims/ear-claims.json')))
  const token = `${encodeBase64url(encodeUtf8('{"alg":"ES256"}'))}.${claims}.${encodeBase64url(new Uint8Array(64).fill(1))}`
  await refused(token, 'ERR_EVIDENCE_SIGNATURE', { issuers: [issuer({ issuer: '', jwks })] })
  assert.ok(jwsAlgorithms.includes('ES256'))
})

/** The little of CBOR's diagnostic notation (RFC 8949 §8) that the examples use. */
function fromDiagnostic(source: string): CborValue {
  const tokens = source.match(/h'[0-9a-fA-F]*'|"(?:[^"\\]|\\.)*"|-?\d+|[{}[\]:,]|true|false/g)!
  let at = 0
  const value = (): CborValue => {
    const token = tokens[at++]!
    if (token === '{') {
      const map = new Map<CborKey, CborValue>()
      while (tokens[at] !== '}') {
        const key = value() as CborKey
        at++
        map.set(key, value())
        if (tokens[at] === ',') at++
      }
      at++
      return map
    }
    if (token === '[') {
      const list: CborValue[] = []
      while (tokens[at] !== ']') {
        list.push(value())
        if (tokens[at] === ',') at++
      }
      at++
      return list
    }
    if (token.startsWith("h'")) return Uint8Array.fromHex(token.slice(2, -1))
    return JSON.parse(token) as CborValue
  }
  return value()
}
