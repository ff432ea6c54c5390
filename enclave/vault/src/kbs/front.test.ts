import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decodeBase64url, parseCanonicalJson } from '@cella/bytes'
import { hpkeOpen } from '@cella/primitives'
import { secretReasonsInfo } from '@cella/seal'
import { openTee, type TeeDriver } from '@cella/tee'
import { type GuestFaults, KbsGuest } from '@cella/testing/kbs-guest'
import type { Scenario } from '@cella/testing/scenario'
import {
  type Changes,
  decisionsOf,
  fetches,
  guestMeasurement,
  logged,
  publishPolicy,
  releases,
  type Setting,
  secretText,
  set,
} from '@cella/testing/secret-setting'
import { otherLaunch, simulatedPlatform, teeOf, workerLaunch } from '@cella/testing/vaults'

const stranger = new KbsGuest('', await teeOf(otherLaunch))

/** Refused for the owner's reasons, the denial logged and handed in, and nothing released. */
async function denied(setting: Setting, guest: KbsGuest, code: string, path = setting.path): Promise<void> {
  const before = setting.here.log.size
  const fetched = fetches(setting)
  const answer = await guest.resource(path)
  assert.equal(answer.status, 403, answer.text)
  assert.equal(answer.body.type, 'https://github.com/confidential-containers/kbs/errors/PolicyDeny')
  assert.match(String(answer.body.detail), new RegExp(`^ERR_SECRET_DENIED: .*\\b${code}\\b`))
  assert.ok(!answer.text.includes('ciphertext'))
  const last = decisionsOf(setting).at(-1)!
  assert.equal(last.allowed, false)
  assert.ok(last.reasons.includes(code), last.reasons.join())
  assert.ok(setting.here.host.secretDecisions.at(-1)!.index >= before, 'the denial is in the log')
  assert.equal(fetches(setting), fetched, 'the ciphertext was not even fetched')
}

test('a guest gets a secret: by cookie, by token, with each kind of key; logged before, one use each session', async (context) => {
  const setting = await set(context)
  for (const kind of ['P-256', 'P-521', 'RSA'] as const) {
    const guest = await new KbsGuest(setting.url, await teeOf(workerLaunch), kind).handshake()
    const answer = await guest.resource(setting.path)
    assert.equal(answer.status, 200, answer.text)
    assert.equal(Buffer.from(await guest.open(answer)).toString(), secretText)
    // The session again, the other way of showing it, the newest revision: no further use.
    const again = await guest.resource(setting.path.replace(/1$/, 'latest'), 'token')
    assert.equal(Buffer.from(await guest.open(again)).toString(), secretText)
  }
  assert.deepEqual(
    decisionsOf(setting).map(({ allowed, use, reasons }) => [allowed, use, reasons]),
    [1, 1, 2, 2, 3, 3].map((use) => [true, use, []]),
  )
  const [first] = decisionsOf(setting)
  assert.equal(first!.manifest, setting.manifest.digest)
  assert.equal(first!.attestation, setting.policy!.digest)
  // Each session reserved a use; each answer came after its decision, and with its release in the log.
  const kinds = logged(setting).filter((kind) => kind !== 'state' && kind !== 'event')
  assert.deepEqual(kinds.slice(0, 5), ['reservation', 'decision', 'release', 'decision', 'release'])
  assert.equal(releases(setting), 6)
  await denied(setting, await (await setting.guest()).handshake(), 'ERR_LIMIT_RUNS')
  assert.equal(releases(setting), 6)
})

const simulated = (options: object): Promise<TeeDriver> =>
  openTee({ kind: 'simulated', folder: simulatedPlatform, measured: workerLaunch, ...options })

for (const { name, changes, tee, faults, code } of [
  { name: 'another measurement', tee: () => teeOf(otherLaunch), code: 'ERR_TEE_MEASUREMENT' },
  { name: 'debug mode', tee: () => simulated({ simulate: { debug: true } }), code: 'ERR_TEE_DEBUG' },
  {
    name: 'debug mode, also where the attestation policy would take it',
    changes: { appraisal: { debug: 'any' } },
    tee: () => simulated({ simulate: { debug: true } }),
    code: 'ERR_POLICY_DEBUG',
  },
  {
    name: 'a simulated TEE under terms that demand a real one',
    changes: { terms: { simulated: false } },
    code: 'ERR_TEE_SIMULATED',
  },
  {
    name: 'a simulated TEE where the secret demands a real one',
    changes: { flags: { simulated: false } },
    code: 'ERR_POLICY_SIMULATED',
  },
  {
    name: 'a measurement that the secret itself does not name',
    changes: { flags: { measurements: ['ab'.repeat(48)] } },
    code: 'ERR_POLICY_MEASUREMENT',
  },
  { name: 'other host data', changes: { flags: { hostData: ['ab'.repeat(32)] } }, code: 'ERR_POLICY_HOST_DATA' },
  {
    name: 'evidence over another key than the one shown',
    faults: async (url: string) => ({ boundKey: new KbsGuest(url, await teeOf(workerLaunch)) }),
    code: 'ERR_TEE_REPORT_DATA',
  },
  { name: 'no attestation policy', changes: { policyOf: null }, code: 'ERR_GUEST_POLICY' },
  {
    name: 'a policy of the same name that another organisation signed',
    changes: { policyOf: ({ university }: Scenario) => university },
    code: 'ERR_GUEST_POLICY',
  },
  { name: 'an asset of kind data', changes: { manifest: { kind: 'data' } }, code: 'ERR_SECRET_KIND' },
  { name: 'a manifest that is over', changes: { manifest: { notAfter: 1_000_000_000 } }, code: 'ERR_EXPIRED' },
  {
    name: 'a secret that wants approvals, which guests have not',
    changes: { manifest: { approval: 'each-contract' } },
    code: 'ERR_APPROVAL_MISSING',
  },
] satisfies readonly {
  name: string
  changes?: Changes
  tee?: () => Promise<TeeDriver>
  faults?: (url: string) => Promise<GuestFaults>
  code: string
}[] as readonly {
  name: string
  changes?: Changes
  tee?: () => Promise<TeeDriver>
  faults?: (url: string) => Promise<GuestFaults>
  code: string
}[]) {
  test(`denied, logged, nothing released: ${name}`, async (context) => {
    const setting = await set(context, changes)
    const guest = await setting.guest(await tee?.())
    await guest.auth()
    assert.equal((await guest.attest(await faults?.(setting.url))).status, 200)
    await denied(setting, guest, code)
    assert.equal(releases(setting), 0)
  })
}

test('a withdrawn secret, policy or grant is denied from its entry in the log on', async (context) => {
  const setting = await set(context)
  const guest = await (await setting.guest()).handshake()
  assert.equal((await guest.resource(setting.path)).status, 200)
  const { world, hospital } = setting.scenario
  // The next revision of the policy alone: two in force at once is doubt.
  const next = await publishPolicy(setting.scenario, hospital, { measurements: ['ab'.repeat(48)] }, 2)
  await denied(setting, guest, 'ERR_GUEST_POLICY')
  await world.revokeAs(hospital, setting.policy!.digest)
  await denied(setting, guest, 'ERR_TEE_MEASUREMENT')
  // A host that keeps the next revision to itself does not bring the one before back.
  world.envelopes.delete(next.digest)
  await denied(setting, guest, 'ERR_GUEST_POLICY')
  await world.revokeAs(hospital, setting.manifest.digest)
  await denied(setting, guest, 'ERR_DOCUMENT_REVOKED')
  assert.equal(releases(setting), 1)
})

test('what is withdrawn between decision and release is not handed out', async (context) => {
  const setting = await set(context)
  const guest = await (await setting.guest()).handshake()
  const { push } = setting.here.host.secretDecisions
  setting.here.host.secretDecisions.push = function (...decisions) {
    // Handed in after it was logged; the log moves on before the vault looks at it again.
    void setting.scenario.world.revoke(setting.manifest.digest)
    return push.apply(this, decisions)
  }
  const answer = await guest.resource(setting.path)
  assert.equal(answer.status, 403)
  assert.match(String(answer.body.detail), /ERR_DOCUMENT_REVOKED/)
  assert.equal(decisionsOf(setting).at(-1)!.allowed, true)
  assert.equal(releases(setting), 0)
})

test('the owner reads every reason of a denial; the guest hears codes', async (context) => {
  const setting = await set(context)
  const guest = await (await setting.guest(await teeOf(otherLaunch))).handshake()
  await denied(setting, guest, 'ERR_TEE_MEASUREMENT')
  const { sealedReasons, guestEvidence, manifest } = decisionsOf(setting).at(-1)!
  const opened = await hpkeOpen({
    privateKey: setting.scenario.publisher.hpke.privateKey,
    info: secretReasonsInfo({ guestEvidence, manifest }),
    sealed: decodeBase64url(sealedReasons!, 'reasons'),
  })
  const [reason] = parseCanonicalJson(opened, 'reasons', 65_536) as { code: string; expected: string; got: string }[]
  assert.deepEqual([reason!.code, reason!.expected], ['ERR_TEE_MEASUREMENT', guestMeasurement])
})

test('sessions: a nonce is good once, in its own session, for five minutes', async (context) => {
  const setting = await set(context)
  const refusal = async (
    answer: Promise<{ status: number; body: { type?: string; detail?: string } }>,
  ): Promise<string> => {
    const { status, body } = await answer
    assert.equal(status, 401)
    assert.match(body.type!, /^https:\/\/github\.com\/confidential-containers\/kbs\/errors\/[A-Za-z]+$/)
    return body.detail!.split(':')[0]!
  }
  const one = await setting.guest()
  const two = await setting.guest()
  await one.auth()
  await two.auth()
  assert.equal(await refusal(one.attest({ nonce: two.nonce })), 'ERR_KBS_RUNTIME_DATA')
  assert.equal(await refusal(one.attest()), 'ERR_KBS_SESSION', 'used up by the refusal')
  assert.equal(await refusal(one.resource(setting.path)), 'ERR_KBS_SESSION', 'no evidence was taken')
  assert.equal(await refusal(two.attest({ cookie: `kbs-session-id=${'0'.repeat(32)}` })), 'ERR_KBS_SESSION')
  assert.equal(await refusal(two.attest({ cookie: `${two.cookie}; ${two.cookie}` })), 'ERR_KBS_SESSION')
  assert.equal((await two.attest()).status, 200)
  assert.equal(await refusal(two.attest()), 'ERR_KBS_SESSION', 'a replay')
  const late = await setting.guest()
  await late.auth()
  setting.wait(301)
  assert.equal(await refusal(late.attest()), 'ERR_KBS_SESSION', 'too late')
  assert.equal(await refusal(two.resource(setting.path)), 'ERR_KBS_SESSION', 'over')
  assert.equal(await refusal(two.resource(setting.path, 'token')), 'ERR_KBS_SESSION', 'its token as well')
  // The cookie of another guest's session: what comes is encrypted to that guest.
  const other = await (await setting.guest()).handshake()
  const theirs = await one.resource(setting.path, { cookie: other.cookie! })
  assert.equal(theirs.status, 200)
  await assert.rejects(one.open(theirs))
  assert.equal(Buffer.from(await other.open(theirs)).toString(), secretText)
  // One session asks for so many secrets and no more.
  for (let ask = 0; ask < 63; ask++) await other.resource('nothing')
  assert.equal(await refusal(other.resource(setting.path)), 'ERR_KBS_SESSION')
})

test('messages that are not as the protocol has them are refused by code', async (context) => {
  const setting = await set(context)
  const auth = (body: string) => setting.guest().then((guest) => guest.auth(body))
  const attest = async (bend: (body: string) => string) => {
    const guest = await setting.guest()
    await guest.auth()
    return guest.attest({ bend })
  }
  for (const [answer, status, code] of [
    [auth('{"version":"0.1.1","tee":"snp","extra-params":""}'), 401, 'ERR_KBS_VERSION'],
    [auth('{"version":"0.4.0","tee":"sample","extra-params":""}'), 401, 'ERR_KBS_TEE'],
    [auth('{"version":"0.4.0","tee":"csv","extra-params":""}'), 401, 'ERR_KBS_TEE'],
    [auth('{"version":"0.4.0","tee":"toString","extra-params":""}'), 401, 'ERR_KBS_TEE'],
    [auth('{"version":"0.4.0","tee":"snp","tee":"tdx","extra-params":""}'), 400, 'ERR_REQUEST_MALFORMED'],
    [auth('{"version":"0.4.0","tee":"snp"}'), 400, 'ERR_REQUEST_MALFORMED'],
    [auth('{"version":"0.4.0"'), 400, 'ERR_REQUEST_MALFORMED'],
    [auth('[]'), 400, 'ERR_REQUEST_MALFORMED'],
    [auth(' '.repeat(1_100_000)), 413, 'ERR_REQUEST_TOO_LARGE'],
    [attest((body) => body.slice(0, -1)), 400, 'ERR_REQUEST_MALFORMED'],
    [
      attest((body) => body.replace('"init-data":null,', '"init-data":null,"init-data":null,')),
      400,
      'ERR_REQUEST_MALFORMED',
    ],
    [attest((body) => body.replace('"nonce":', '"nonce":"x","nonce":')), 400, 'ERR_REQUEST_MALFORMED'],
    [attest((body) => body.replace('"init-data":null', '"other":null')), 400, 'ERR_REQUEST_MALFORMED'],
    [attest((body) => body.replace('"P-256"', '"P-384"')), 401, 'ERR_KBS_RUNTIME_DATA'],
    [attest((body) => body.replace('"alg":"ECDH-ES+A256KW"', '"alg":"ECDH-ES"')), 401, 'ERR_KBS_RUNTIME_DATA'],
    [attest((body) => body.replace('"kty":"EC"', '"kty":"EC","use":"enc"')), 401, 'ERR_KBS_RUNTIME_DATA'],
    [attest((body) => body.replace('"report_data":[', '"report_data":[1,')), 400, 'ERR_EVIDENCE_MALFORMED'],
    [
      attest((body) => body.replace(/"primary_evidence":.*,"additional/, '"primary_evidence":{},"additional')),
      400,
      'ERR_EVIDENCE_MALFORMED',
    ],
  ] as const) {
    const { status: found, body } = await answer
    assert.deepEqual([found, body.detail!.split(':')[0]], [status, code])
    assert.match(body.type!, /\/kbs\/errors\/AttestationError$/)
  }
  const guest = await (await setting.guest()).handshake()
  for (const path of [
    '',
    'a/b/c',
    `${setting.scenario.hospital.id}/ledger-db/0`,
    `${setting.path}/more`,
    `${setting.path}?x=1`,
    `${setting.scenario.hospital.id}/other/1`,
    `${setting.scenario.hospital.id}/ledger-db/2`,
  ]) {
    const { status, body } = await guest.resource(path)
    assert.deepEqual([status, body.detail!.split(':')[0]], [404, 'ERR_SECRET_UNKNOWN'], path)
  }
  const other = await fetch(`${setting.url}/kbs/v0/resource-policy`, { method: 'POST', body: '{}' })
  assert.deepEqual(
    [other.status, ((await other.json()) as { type: string }).type.split('/').at(-1)],
    [404, 'PluginNotFound'],
  )
  assert.equal(decisionsOf(setting).length, 0)
})

test('runtime data changed after the evidence was made is denied', async (context) => {
  const setting = await set(context)
  for (const bend of [
    // Text of additional evidence that was not hashed; it is bound like key and nonce.
    (body: string) => body.replace('"additional_evidence":""', '"additional_evidence":"{}"'),
    // Another key of the same kind.
    (body: string) => body.replace(/"tee-pubkey":\{[^}]*\}/, `"tee-pubkey":${stranger.publicKey}`),
  ]) {
    const guest = await setting.guest()
    await guest.auth()
    assert.equal((await guest.attest({ bend })).status, 200)
    await denied(setting, guest, 'ERR_TEE_REPORT_DATA')
  }
  assert.equal(releases(setting), 0)
})

test('a log that does not answer, or a ciphertext that is another: nothing is handed out', async (context) => {
  const setting = await set(context)
  const guest = await (await setting.guest()).handshake()
  const { host } = setting.here
  const { log } = host
  const down = async (): Promise<never> => {
    throw new Error('down')
  }
  host.log = { append: down, checkpoint: down, tile: down }
  const without = await guest.resource(setting.path)
  assert.equal(without.status, 503)
  assert.match(String(without.body.detail), /^ERR_LOG_UNAVAILABLE/)
  host.log = log
  const { secrets } = host
  host.secrets = (...asked) => ({ ...(secrets(...asked) as object), collateral: 'AAAA' })
  assert.match((await guest.resource(setting.path)).text, /ERR_HOST_MALFORMED/)
  host.secrets = secrets
  const [place] = Object.values(
    (host.secrets('' as never, '', '') as { locations: Record<string, { sealed: never }> }).locations,
  )
  const sealed = host.blobs.get(place!.sealed)!
  host.blobs.set(place!.sealed, sealed.with(sealed.length - 1, sealed.at(-1)! ^ 1))
  const altered = await guest.resource(setting.path)
  assert.deepEqual([altered.status, String(altered.body.detail).split(':')[0]], [503, 'ERR_SECRET_NOT_OPENED'])
  assert.equal(releases(setting), 0)
})
