import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { test } from 'node:test'
import { encodeBase64, encodeBase64url, encodeHex, type Json } from '@cella/bytes'
import { bindingDigest, parseEvidenceJson, verifyEvidence } from '@cella/evidence'
import { randomBytes } from '@cella/primitives'
import { createLocalJWKSet, createRemoteJWKSet, decodeJwt, decodeProtectedHeader, jwtVerify } from 'jose'
import { type Answer, startService } from '../test/service.ts'
import { now, party, policyFor, simulatedMachine } from '../test/support.ts'
import { Log } from './log.ts'
import { routes } from './routes.ts'
import { createAttestServer } from './server.ts'

const machine = await simulatedMachine()
const clinic = await party('Clinic')
const roots = [machine.root] as never
const sound = policyFor(machine)
const production = await clinic.policy({ policy: sound, roots })
const strict = await clinic.policy({
  name: 'strict',
  roots,
  policy: { ...sound, simulated: 'refused', measurements: ['00'.repeat(48)], boundaries: ['process'] },
})
const bound = await clinic.policy({ name: 'bound', roots, policy: sound, freshness: 'binding' })
const loose = await clinic.policy({ name: 'loose', roots, policy: sound, freshness: 'any' })
const foreign = await clinic.policy({ name: 'foreign', policy: sound })
const future = await clinic.policy({ name: 'future', roots, policy: sound, notBefore: now + 1000 })
const past = await clinic.policy({ name: 'past', roots, policy: sound, notAfter: now - 10 })
const all = [production, strict, bound, loose, foreign, future, past]

type Call = Awaited<ReturnType<typeof startService>>['call']

async function started(context: Parameters<typeof startService>[0], options: Parameters<typeof startService>[1] = {}) {
  const running = await startService(context, options)
  for (const { envelope } of all) {
    const { status, json } = await running.call('PUT', '/v1/policies', {
      organisation: clinic.envelopes,
      policy: envelope,
    })
    assert.equal(status, 200, JSON.stringify(json))
  }
  return running
}

async function nonceOf(call: Call): Promise<string> {
  return (await call('POST', '/v1/nonces', {})).json.nonce
}

/** A request of evidence over a fresh nonce. */
async function asking(call: Call, change: object = {}): Promise<{ [name: string]: unknown }> {
  const nonce = await nonceOf(call)
  const evidence = await machine.evidence({ nonce })
  return { evidence, organisation: clinic.id, policy: 'production', nonce, ...change }
}

function expect({ status, code, json }: Answer, wanted: readonly [number, string]): void {
  assert.deepEqual([status, code], wanted, JSON.stringify(json))
}

test('accepted evidence gets a token that a gateway takes, by discovery alone', async (context) => {
  const { call, issuer, url } = await started(context)
  const request = await asking(call, { audience: ['gateway', 'vault'], checks: true })
  const { status, json } = await call('POST', '/v1/attest', request)
  assert.equal(status, 200)
  assert.deepEqual([json.allowed, json.simulated, json.reasons, json.error], [true, true, [], null])
  assert.match(json.policy, new RegExp(`^${clinic.id}/production/1/${production.digest}$`))
  assert.ok(json.checks.every((check: { outcome: string }) => check.outcome !== 'failed'))
  // Of its own kind, too, and not only where it fails.
  assert.ok(json.checks.some(({ code }: { code: string }) => code === 'snp-vmpl'))
  // As a gateway would: issuer, discovery, key set, token.
  const discovery = await (await fetch(`${url}/.well-known/openid-configuration`)).json()
  assert.equal(discovery.issuer, issuer)
  assert.deepEqual(discovery.id_token_signing_alg_values_supported, ['ES384'])
  const keys = createRemoteJWKSet(new URL(discovery.jwks_uri))
  const { payload, protectedHeader } = await jwtVerify(json.token, keys, { issuer, audience: 'gateway' })
  assert.equal(protectedHeader.alg, 'ES384')
  assert.equal(payload.sub, `${clinic.id}/production`)
  assert.equal(payload.eat_nonce, request.nonce)
  assert.equal(payload.exp! - payload.iat!, 300)
  await assert.rejects(jwtVerify(json.token, keys, { issuer, audience: 'somebody else' }))
  await assert.rejects(jwtVerify(json.token, keys, { issuer: 'https://other.example', audience: 'vault' }))
})

test('the key set holds public halves alone, and a token says nothing else than ES384', async (context) => {
  const { call } = await started(context)
  const { json } = await call('GET', '/.well-known/jwks.json')
  assert.equal(json.keys.length, 1)
  assert.deepEqual(Object.keys(json.keys[0]).sort(), ['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y'])
  const { token } = (await call('POST', '/v1/attest', await asking(call))).json
  assert.equal(decodeProtectedHeader(token).alg, 'ES384')
  const keys = createLocalJWKSet(json)
  const [, claims, signature] = token.split('.')
  const forged = ['none', 'HS256', 'HS384', 'ES256', 'RS256', 'PS384', 'EdDSA', 'es384'].map(
    (alg) =>
      [encodeBase64url(new TextEncoder().encode(JSON.stringify({ alg, kid: json.keys[0].kid }))), claims] as const,
  )
  for (const [header, body] of forged) {
    for (const signed of [signature, '', signature.toLowerCase()]) {
      await assert.rejects(jwtVerify(`${header}.${body}.${signed}`, keys))
    }
  }
  const own = encodeBase64url(new TextEncoder().encode(JSON.stringify(decodeProtectedHeader(token))))
  const bent = encodeBase64url(new TextEncoder().encode(JSON.stringify({ ...decodeJwt(token), iss: 'x' })))
  await assert.rejects(jwtVerify(`${own}.${bent}.${signature}`, keys))
})

test('refused evidence gets a token with every reason, which no gateway takes for a pass', async (context) => {
  const { call } = await started(context)
  const { status, json } = await call(
    'POST',
    '/v1/attest',
    await asking(call, { policy: 'strict', audience: ['gateway'] }),
  )
  assert.equal(status, 200)
  assert.equal(json.allowed, false)
  const codes = json.reasons.map(({ code }: { code: string }) => code)
  assert.deepEqual(codes, ['simulated', 'boundary', 'measurement'])
  const keys = createLocalJWKSet((await call('GET', '/.well-known/jwks.json')).json)
  const { payload } = await jwtVerify(json.token, keys)
  assert.deepEqual([payload.aud, payload.sub], [undefined, undefined])
  await assert.rejects(jwtVerify(json.token, keys, { audience: 'gateway' }))
  for (const code of codes) assert.ok(JSON.stringify(payload).includes(code), code)
})

test('evidence that is not genuine gets a token that says so, with its code', async (context) => {
  const { call } = await started(context)
  const request = await asking(call, { audience: ['gateway'] })
  const [entry] = (request.evidence as { entries: { report: string }[] }).entries
  const report = Uint8Array.fromBase64(entry!.report, { alphabet: 'base64url' })
  report[0x90]! ^= 1
  const evidence = { entries: [{ ...entry, report: encodeBase64url(report) }] }
  const { status, json } = await call('POST', '/v1/attest', { ...request, evidence })
  assert.equal(status, 200)
  assert.deepEqual([json.allowed, json.status, json.error.code], [false, 'contraindicated', 'ERR_EVIDENCE_SIGNATURE'])
  const payload = decodeJwt(json.token)
  assert.equal(payload.aud, undefined)
  assert.ok(JSON.stringify(payload).includes('ERR_EVIDENCE_SIGNATURE'))
  // Genuine, and under no root that the policy names.
  const other = await call('POST', '/v1/attest', await asking(call, { policy: 'foreign' }))
  assert.deepEqual([other.json.allowed, other.json.error.code], [false, 'ERR_EVIDENCE_ROOT_UNKNOWN'])
})

test('evidence of another nonce, an old one, or somebody else’s is refused by its report data', async (context) => {
  const { call } = await started(context)
  const first = await asking(call)
  const nonce = await nonceOf(call)
  const { json } = await call('POST', '/v1/attest', { ...first, nonce })
  assert.deepEqual(
    json.reasons.map(({ code }: { code: string }) => code),
    ['report-data'],
  )
})

test('a nonce is good once, whatever came of it', async (context) => {
  const { call } = await started(context)
  const request = await asking(call)
  assert.equal((await call('POST', '/v1/attest', request)).status, 200)
  expect(await call('POST', '/v1/attest', request), [403, 'ERR_NONCE_UNKNOWN'])
  const broken = await asking(call)
  expect(await call('POST', '/v1/attest', { ...broken, evidence: { entries: [] } }), [400, 'ERR_EVIDENCE_MALFORMED'])
  expect(await call('POST', '/v1/attest', broken), [403, 'ERR_NONCE_UNKNOWN'])
  const own = encodeBase64url(randomBytes(32))
  const evidence = await machine.evidence({ nonce: own })
  expect(await call('POST', '/v1/attest', { ...broken, evidence, nonce: own }), [403, 'ERR_NONCE_UNKNOWN'])
})

test('what a policy demands of freshness is demanded', async (context) => {
  const { call } = await started(context)
  const about = (policy: string, rest: object) => ({ organisation: clinic.id, policy, ...rest })
  const binding = { role: 'worker', nonce: encodeBase64url(randomBytes(32)) }
  const evidence = await machine.evidence(binding)
  const attest = (body: object): Promise<Answer> => call('POST', '/v1/attest', body)
  // A policy that demands a nonce of the service's own.
  expect(await attest(about('production', { evidence })), [400, 'ERR_BINDING_MISSING'])
  expect(await attest(about('production', { evidence, binding })), [400, 'ERR_BINDING_MISSING'])
  // One that takes the caller's word for what is fresh.
  expect(await attest(about('bound', { evidence })), [400, 'ERR_BINDING_MISSING'])
  assert.equal((await attest(about('bound', { evidence, binding }))).json.allowed, true)
  assert.equal((await attest(about('bound', { evidence, binding: { ...binding, role: 'vault' } }))).json.allowed, false)
  // One that takes anything, and still judges what it is told.
  assert.equal((await attest(about('loose', { evidence }))).json.allowed, true)
  assert.equal((await attest(about('loose', { evidence, binding: { role: 'vault' } }))).json.allowed, false)
  // A binding together with a nonce has to hold it.
  const nonce = await nonceOf(call)
  expect(await attest(about('bound', { evidence, binding, nonce })), [400, 'ERR_BINDING_MISSING'])
  const keys = { nonce: await nonceOf(call), key: 'abc' }
  const keyed = await machine.evidence(keys)
  assert.equal(
    (await attest(about('production', { evidence: keyed, binding: keys, nonce: keys.nonce }))).json.allowed,
    true,
  )
})

test('the raw field of foreign evidence is judged, and has to begin with the nonce', async (context) => {
  const { call } = await started(context)
  const nonce = await nonceOf(call)
  const field = new Uint8Array(64)
  field.set(Uint8Array.fromBase64(nonce, { alphabet: 'base64url' }))
  field.fill(7, 32)
  const { entries } = await machine.tee.getEvidence(field)
  const [entry] = entries as unknown as { report: Uint8Array; certificates: Uint8Array[] }[]
  const about = { organisation: clinic.id, policy: 'production', nonce }
  const certificates = entry!.certificates.map(encodeBase64url)
  const elsewhere = { ...about, reportData: encodeBase64url(field.toReversed()), nonce: await nonceOf(call) }
  expect(await call('POST', '/v1/attest', { ...elsewhere, evidence: encodeHex(entry!.report), certificates }), [
    400,
    'ERR_BINDING_MISSING',
  ])
  const raw = { ...about, reportData: encodeBase64url(field), evidence: encodeHex(entry!.report), certificates }
  const { status, json } = await call('POST', '/v1/attest', raw)
  assert.deepEqual([status, json.allowed, json.form], [200, true, 'an AMD SEV-SNP report in hexadecimal'])
  expect(await call('POST', '/v1/attest', { ...raw, nonce: await nonceOf(call), binding: { a: 1 } }), [
    400,
    'ERR_BINDING_MISSING',
  ])
})

test('evidence of another form is recognised, and nonsense is refused by name', async (context) => {
  const { call } = await started(context)
  const { entries } = await machine.tee.getEvidence(new Uint8Array(64))
  const [entry] = entries as unknown as { report: Uint8Array; certificates: Uint8Array[] }[]
  const about = { organisation: clinic.id, policy: 'loose' }
  const certificates = entry!.certificates.map(encodeBase64url)
  const attest = (evidence: unknown, more: object = {}): Promise<Answer> =>
    call('POST', '/v1/attest', { ...about, evidence, ...more })
  assert.equal((await attest(encodeBase64(entry!.report), { certificates })).json.allowed, true)
  expect(await attest('nonsense'), [400, 'ERR_EVIDENCE_FORMAT_UNKNOWN'])
  expect(await attest({ other: 'nonsense' }), [400, 'ERR_EVIDENCE_FORMAT_UNKNOWN'])
  expect(await attest({ entries: [{ role: 'cpu', format: 'abacus/1' }] }), [400, 'ERR_EVIDENCE_FORMAT_UNKNOWN'])
})

test('both spellings of the EAR are written, each under its own profile', async (context) => {
  const { call } = await started(context)
  const claims = async (profile?: string) =>
    decodeJwt(
      (await call('POST', '/v1/attest', await asking(call, profile === undefined ? {} : { profile }))).json.token,
    )
  const ietf = await claims()
  const veraison = await claims('veraison')
  assert.match(String(ietf.eat_profile), /^tag:ietf\.org,/)
  assert.match(String(veraison.eat_profile), /veraison/)
  const submods = (payload: object) => Object.values((payload as { submods: object }).submods)[0]
  assert.equal(submods(ietf).ear_status, 'contraindicated')
  assert.equal(submods(veraison)['ear.status'], 'contraindicated')
  expect(await call('POST', '/v1/attest', await asking(call, { profile: 'other' })), [400, 'ERR_REQUEST_MALFORMED'])
})

test('unknown, expired and future policies are refused by name', async (context) => {
  const { call } = await started(context)
  const cases: [object, readonly [number, string]][] = [
    [{ policy: 'nobody' }, [404, 'ERR_POLICY_UNKNOWN']],
    [{ organisation: 'a'.repeat(64) }, [404, 'ERR_POLICY_UNKNOWN']],
    [{ policy: 'future' }, [403, 'ERR_POLICY_NOT_IN_FORCE']],
    [{ policy: 'past' }, [403, 'ERR_POLICY_NOT_IN_FORCE']],
    [{ policy: '../production' }, [400, 'ERR_REQUEST_MALFORMED']],
    [{ policy: '__proto__' }, [400, 'ERR_REQUEST_MALFORMED']],
    [{ organisation: 'A'.repeat(64) }, [400, 'ERR_REQUEST_MALFORMED']],
  ]
  for (const [change, wanted] of cases) expect(await call('POST', '/v1/attest', await asking(call, change)), wanted)
})

test('a batch answers each on its own', async (context) => {
  const { call } = await started(context)
  const [good, again, refused] = [await asking(call), await asking(call), await asking(call, { policy: 'strict' })]
  const requests = [good, { ...again, policy: 'nobody' }, refused, good]
  const { status, json } = await call('POST', '/v1/attest/batch', { requests })
  assert.equal(status, 200)
  const seen = json.results.map(
    (one: { allowed?: boolean; error?: { code: string } | null }) => one.error?.code ?? one.allowed,
  )
  assert.deepEqual(seen, [true, 'ERR_POLICY_UNKNOWN', false, 'ERR_NONCE_UNKNOWN'])
  expect(await call('POST', '/v1/attest/batch', { requests: [] }), [400, 'ERR_REQUEST_MALFORMED'])
  const many = Array.from({ length: 33 }, () => good)
  expect(await call('POST', '/v1/attest/batch', { requests: many }), [400, 'ERR_REQUEST_MALFORMED'])
})

test('in a TEE the service shows fresh evidence of itself over the caller’s nonce and its keys', async (context) => {
  const { call, issuer } = await startService(context, { tee: machine.tee })
  const nonce = encodeBase64url(randomBytes(32))
  const { json } = await call('POST', '/challenge', { nonce })
  const [key] = (await call('GET', '/.well-known/jwks.json')).json.keys
  assert.deepEqual([json.binding.role, json.binding.of], ['challenge', 'attestation-service'])
  assert.deepEqual([json.binding.nonce, json.binding.issuer], [nonce, issuer])
  assert.deepEqual(json.binding.keys, [key.kid])
  const verified = await verifyEvidence(parseEvidenceJson(json.evidence), { roots: [machine.root], now })
  assert.equal(verified.claims.reportData, encodeHex(bindingDigest(json.binding)))
  const metadata = (await call('GET', `/v1/metadata?nonce=${nonce}`)).json
  assert.equal(metadata.attestation.binding.nonce, nonce)
  assert.deepEqual([metadata.tee.simulated, metadata.key.kid, metadata.build.release], [true, key.kid, 'test'])
  assert.equal((await call('GET', '/v1/metadata')).json.attestation, null)
})

test('outside of a TEE it says so instead', async (context) => {
  const { call } = await startService(context)
  const nonce = encodeBase64url(randomBytes(32))
  expect(await call('POST', '/challenge', { nonce }), [404, 'ERR_TEE_ABSENT'])
  const { json } = await call('GET', `/v1/metadata?nonce=${nonce}`)
  assert.deepEqual([json.tee, json.attestation], [null, null])
})

const malformed: readonly { name: string; method?: string; path: string; body: object | string | Uint8Array }[] = [
  { name: 'no body', path: '/v1/nonces', body: '' },
  { name: 'no JSON', path: '/v1/nonces', body: '{' },
  { name: 'no UTF-8', path: '/v1/nonces', body: Uint8Array.of(0xff, 0xfe) },
  { name: 'a list', path: '/v1/nonces', body: [] },
  { name: 'an unknown member', path: '/v1/nonces', body: { extra: 1 } },
  { name: 'a challenge without a nonce', path: '/challenge', body: {} },
  { name: 'a nonce that is too short', path: '/challenge', body: { nonce: 'AAAA' } },
  { name: 'a nonce in base64 with padding', path: '/challenge', body: { nonce: `${'A'.repeat(43)}=` } },
  { name: 'an empty request', path: '/v1/attest', body: {} },
  {
    name: 'evidence that is a number',
    path: '/v1/attest',
    body: { evidence: 7, organisation: clinic.id, policy: 'loose' },
  },
  {
    name: 'evidence that is a list',
    path: '/v1/attest',
    body: { evidence: [], organisation: clinic.id, policy: 'loose' },
  },
  {
    name: 'roots of the caller’s own',
    path: '/v1/attest',
    body: { evidence: 'x', organisation: clinic.id, policy: 'loose', roots },
  },
  {
    name: 'a policy that is no text',
    method: 'PUT',
    path: '/v1/policies',
    body: { organisation: clinic.envelopes, policy: {} },
  },
  {
    name: 'no organisation',
    method: 'PUT',
    path: '/v1/policies',
    body: { organisation: [], policy: production.envelope },
  },
]
for (const { name, method = 'POST', path, body } of malformed) {
  test(`refuses ${name}`, async (context) => {
    const { call } = await startService(context)
    expect(await call(method, path, body), [400, 'ERR_REQUEST_MALFORMED'])
  })
}

test('refuses unknown routes, other methods and queries', async (context) => {
  const { call } = await startService(context)
  for (const path of ['/', '/v1', '/v1/attest/', '/constructor', '/v1/../v1/nonces/x', '/keys.json', '/v1/Attest']) {
    expect(await call('POST', path, {}), [404, 'ERR_ROUTE_UNKNOWN'])
  }
  for (const { method, path } of routes) {
    const others = routes.filter((route) => route.path === path).map((route) => route.method)
    const other = (['GET', 'POST', 'PUT', 'DELETE'] as const).find((name) => !others.includes(name as never))!
    const answer = await call(other, path, other === 'GET' ? undefined : {})
    expect(answer, [405, 'ERR_METHOD_NOT_ALLOWED'])
    assert.ok(answer.headers.get('allow')?.includes(method))
  }
  expect(await call('GET', '/v1/metadata?nonce=AAAA'), [400, 'ERR_REQUEST_MALFORMED'])
  expect(await call('GET', '/v1/metadata?other=1'), [400, 'ERR_REQUEST_MALFORMED'])
  expect(await call('GET', '/v1/policies'), [400, 'ERR_REQUEST_MALFORMED'])
  expect(await call('GET', `/v1/policies?organisation=${clinic.id}&organisation=${clinic.id}`), [
    400,
    'ERR_REQUEST_MALFORMED',
  ])
})

test('a body that is too large is not read, announced or not', async (context) => {
  const { call, url } = await startService(context)
  for (const { method, path, bodyBytesMax, schema } of routes.filter((route) => route.schema !== undefined)) {
    assert.ok(schema)
    const length = bodyBytesMax + 1
    expect(await call(method, path, ' '.repeat(length)), [413, 'ERR_REQUEST_TOO_LARGE'])
  }
  const { hostname, port } = new URL(url)
  const text = await new Promise<string>((resolve) => {
    const socket = connect(Number(port), hostname)
    let seen = ''
    socket.on('data', (part) => {
      seen += part
    })
    socket.on('close', () => resolve(seen))
    socket.on('error', () => undefined)
    socket.write('POST /v1/nonces HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n')
    for (let count = 0; count < 5; count++) socket.write(`1000\r\n${' '.repeat(4096)}\r\n`)
  })
  assert.match(text, /^HTTP\/1\.1 413 /)
  assert.match(text, /connection: close/i)
})

test('who asks too often is told when to ask again, before anything is read', async (context) => {
  const limits = { addressPerSecond: 3, organisationPerSecond: 1000 }
  const { call } = await startService(context, { change: { limits } })
  const answers = await Promise.all(Array.from({ length: 20 }, () => call('POST', '/v1/nonces', {})))
  const refused = answers.filter(({ status }) => status === 429)
  assert.ok(refused.length >= 10)
  for (const { code, headers } of refused) {
    assert.equal(code, 'ERR_RATE_LIMITED')
    assert.ok(Number(headers.get('retry-after')) >= 1)
  }
  assert.equal((await call('GET', '/healthz')).status, 200)
})

test('one organisation’s flood is not another’s, and a nonce survives the refusal', async (context) => {
  const lab = await party('Lab')
  const policy = await lab.policy({ policy: sound, roots, freshness: 'nonce' })
  const { call } = await started(context, {
    change: { limits: { addressPerSecond: 100_000, organisationPerSecond: 1 } },
  })
  await call('PUT', '/v1/policies', { organisation: lab.envelopes, policy: policy.envelope })
  const request = await asking(call)
  const answers: Answer[] = []
  for (let count = 0; count < 4; count++) answers.push(await call('POST', '/v1/attest', await asking(call)))
  assert.ok(answers.some(({ code }) => code === 'ERR_RATE_LIMITED'))
  const limited = await call('POST', '/v1/attest', request)
  expect(limited, [429, 'ERR_RATE_LIMITED'])
  assert.equal((await call('POST', '/v1/attest', { ...request, organisation: lab.id })).status, 200)
})

test('the description names every call, and each schema refuses what the call refuses', async (context) => {
  const { call } = await startService(context)
  const { json } = await call('GET', '/openapi.json')
  for (const { method, path, schema, refusals } of routes) {
    const operation = json.paths[path][method.toLowerCase()]
    assert.ok(operation.summary)
    assert.equal(operation.requestBody !== undefined, schema !== undefined)
    for (const code of refusals) assert.ok(operation.responses.default.description.includes(code), code)
  }
  assert.equal(Object.keys(json.paths).length, new Set(routes.map(({ path }) => path)).size + 3)
  const attest = json.paths['/v1/attest'].post.requestBody.content['application/json'].schema
  assert.deepEqual(attest.required.sort(), ['evidence', 'organisation', 'policy'])
  assert.equal(attest.additionalProperties, false)
})

test('it lives before it is ready, and says which', async (context) => {
  const server = createAttestServer({ ready: () => undefined, addressPerSecond: 1000, log: new Log('silent') })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  context.after(() => {
    server.close()
    server.closeAllConnections()
  })
  const { port } = server.address() as { port: number }
  const status = async (path: string) => (await fetch(`http://127.0.0.1:${port}${path}`)).status
  assert.deepEqual([await status('/healthz'), await status('/readyz'), await status('/v1/metadata')], [200, 503, 503])
  const { call } = await startService(context)
  assert.equal((await call('GET', '/readyz')).status, 200)
})

test('no answer and no line of the log has a path, a place, a nonce, a key or what others wrote', async (context) => {
  const lines: string[] = []
  const { call, service } = await started(context, { lines, change: { log: 'info' } })
  const canary = 'canary-0123456789'
  const request = await asking(call, { audience: [canary], binding: { nonce: 'x', canary } })
  const texts = [
    await call('POST', '/v1/attest', request),
    await call('POST', `/${canary}`, { [canary]: canary }),
    await call('GET', `/v1/metadata?${canary}=1`),
    await call('POST', '/v1/attest', `{"${canary}`),
  ].map(({ json }) => JSON.stringify(json))
  Object.defineProperty(service, 'nonce', {
    value: () => {
      throw new TypeError(`${canary} at /etc/secret`)
    },
  })
  const failed = await call('POST', '/v1/nonces', {})
  expect(failed, [500, 'ERR_ATTEST_INTERNAL'])
  texts.push(JSON.stringify(failed.json))
  await new Promise((resolve) => setTimeout(resolve, 50))
  for (const text of texts) assert.doesNotMatch(text, /\bat .*:\d+:\d+|node_modules|\/tmp\/|\.ts\b|\/etc\//)
  const log = lines.join('')
  assert.ok(lines.length >= 8)
  for (const line of lines) assert.ok(JSON.parse(line).time)
  for (const secret of [canary, String(request.nonce), clinic.id, '127.0.0.1', '/etc/secret']) {
    assert.ok(!log.includes(secret), secret)
  }
  assert.ok(log.includes('"route":"POST /v1/attest"') && log.includes('"route":null'))
})

test('two calls at once on one connection, and a hundred on many, each get their own answer', async (context) => {
  const { call } = await started(context)
  const requests = await Promise.all(Array.from({ length: 40 }, () => asking(call)))
  const answers = await Promise.all(requests.map((request) => call('POST', '/v1/attest', request)))
  answers.forEach(({ json }, at) => {
    assert.equal(json.allowed, true)
    assert.equal(decodeJwt(json.token).eat_nonce as Json, requests[at]!.nonce)
  })
  assert.equal(new Set(answers.map(({ json }) => decodeJwt(json.token).jti)).size, 40)
})
