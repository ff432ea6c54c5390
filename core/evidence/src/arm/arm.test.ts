import assert from 'node:assert/strict'
import { createHash, createPublicKey, generateKeyPairSync } from 'node:crypto'
import { readFileSync } from 'node:fs'
import test from 'node:test'
import { concatBytes, encodeHex, encodeUtf8 } from '@cella/bytes'
import { type CborKey, CborTag, type CborValue, decodeCbor, encodeCbor } from '@cella/cbor'
import fc from 'fast-check'
import {
  armContext,
  armKeys,
  type CcaBuild,
  type Claim,
  component,
  issueCca,
  keysOf,
  platformClaims,
  pointOf,
  psaClaims,
  psaClaims1,
  rootOf,
  signed,
  spkiOf,
  withClaims,
} from '../../test/arm-vendor.ts'
import { refusals } from '../../test/policy.ts'
import { Endorsements } from '../endorsements.ts'
import { EvidenceError, type EvidenceErrorCode } from '../error.ts'
import type { VerifyContext } from '../family.ts'
import { recogniseEvidence } from '../recognise.ts'
import type { CcaEntry, PsaEntry } from './entry.ts'
import { ccaFamily, psaFamily } from './family.ts'
import { deviceKeyOf } from './key-forms.ts'
import { type CcaPolicy, ccaBaseline, type PsaPolicy, psaBaseline } from './policy.ts'
import { ccaEvidenceOf, psaEvidenceOf, recogniseArm } from './readers.ts'

const cca = (token: Uint8Array): CcaEntry => ({ role: 'cpu', format: 'cca/1', token })
const psa = (token: Uint8Array): PsaEntry => ({ role: 'cpu', format: 'psa/1', token })
const verifyCca = (token: Uint8Array, options: Partial<VerifyContext> = {}) =>
  ccaFamily.verify(cca(token), armContext(options))
const verifyPsa = (token: Uint8Array, options: Partial<VerifyContext> = {}) =>
  psaFamily.verify(psa(token), armContext(options))
const refuses = (run: Promise<unknown>, code: EvidenceErrorCode, problem = /./): Promise<void> =>
  assert.rejects(run, (error) => error instanceof EvidenceError && error.code === code && problem.test(error.message))
type Changes = readonly (readonly [CborKey, CborValue | undefined])[]
const psaWith = (changes: Changes, claims: readonly Claim[] = psaClaims): Promise<Uint8Array> =>
  signed(withClaims(claims, changes), armKeys.iak)

const goodCca = await issueCca()
const goodPsa = await psaWith([])
const bytes = (length: number, value = 1): Uint8Array => new Uint8Array(length).fill(value)
const sha256 = (message: Uint8Array): Uint8Array => new Uint8Array(createHash('sha256').update(message).digest())

test('says what a CCA token says, and every check it made', async () => {
  const context = armContext()
  const { claims, root, simulated } = await ccaFamily.verify(cca(goodCca), context)
  assert.equal(claims.boundary, 'vm')
  assert.equal(claims.measurement, '11'.repeat(32))
  assert.deepEqual(Object.keys(claims.measurements), [
    'rim',
    'rem0',
    'rem1',
    'rem2',
    'rem3',
    'platform-rmm',
    'platform-ap_bl31',
  ])
  assert.equal(claims.reportData, 'c4'.repeat(64))
  assert.equal(claims.hostData, 'be'.repeat(64))
  assert.equal(claims.platformId, `01${encodeHex(sha256(pointOf(armKeys.cpak)))}`)
  assert.deepEqual([claims.hardware.lifecycle, claims.hardware.lifecycleState], [0x3003, 'secured'])
  assert.deepEqual(claims.hardware.software[0], {
    type: 'RMM',
    measurement: 'a1'.repeat(32),
    version: '1.2.3',
    signerId: '51'.repeat(32),
    description: 'sha-256',
  })
  assert.deepEqual([root, simulated], [rootOf('cca', armKeys.cpak), false])
  assert.deepEqual(
    context.checks.list.map(({ code, outcome }) => `${code} ${outcome}`),
    ['cca-token passed', 'cca-platform-signature passed', 'cca-realm-binding passed', 'cca-realm-signature passed'],
  )
})

test('says what a PSA token says, in each of its profiles the same', async () => {
  const context = armContext()
  const { claims } = await psaFamily.verify(psa(goodPsa), context)
  assert.equal(claims.boundary, 'world')
  assert.equal(claims.measurement, encodeHex(sha256(concatBytes(bytes(32, 0x5e), bytes(32, 0x4e)))))
  assert.deepEqual(claims.measurements, { spe: '5e'.repeat(32), nspe: '4e'.repeat(32) })
  assert.equal(claims.reportData, '0e'.repeat(32))
  assert.deepEqual(
    context.checks.list.map(({ code }) => code),
    ['psa-token', 'psa-signature'],
  )
  const second = await psaWith([
    [265, 'http://arm.com/psa/2.0.0'],
    [268, undefined],
    [2397, bytes(32, 0xb0)],
  ])
  const unnamed = await psaWith([[-75000, undefined]], psaClaims1)
  for (const token of [second, await psaWith([], psaClaims1), unnamed]) {
    const other = (await verifyPsa(token)).claims
    const { profile, ...hardware } = other.hardware
    assert.notEqual(profile, claims.hardware.profile)
    assert.deepEqual({ ...other, hardware: { profile: claims.hardware.profile, ...hardware } }, claims)
  }
})

test('reads the realm’s key in both forms', async () => {
  const legacy: CcaBuild = {
    realm: [
      [265, undefined],
      [44237, pointOf(armKeys.realm)],
    ],
    platform: [
      [265, 'http://arm.com/CCA-SSD/1.0.0'],
      [10, sha256(pointOf(armKeys.realm))],
    ],
  }
  const { claims } = await verifyCca(await issueCca(legacy))
  assert.deepEqual(
    [claims.hardware.realmProfile, claims.hardware.platformProfile],
    [null, 'http://arm.com/CCA-SSD/1.0.0'],
  )
  // Each form only under its own profile.
  await refuses(
    verifyCca(await issueCca({ ...legacy, realm: [[44237, pointOf(armKeys.realm)]] })),
    'ERR_EVIDENCE_MALFORMED',
  )
  await refuses(verifyCca(await issueCca({ realm: [[265, undefined]] })), 'ERR_EVIDENCE_MALFORMED')
})

test('binds the realm’s key by the digest that the realm names', async () => {
  const key = new Map(platformClaims).get(10) as Uint8Array
  for (const hash of ['sha-384', 'sha-512'] as const) {
    await refuses(verifyCca(await issueCca({ realm: [[44240, hash]] })), 'ERR_EVIDENCE_BINDING')
  }
  await refuses(verifyCca(await issueCca({ platform: [[10, bytes(32)]] })), 'ERR_EVIDENCE_BINDING')
  await refuses(verifyCca(await issueCca({ platform: [[10, concatBytes(key, key)]] })), 'ERR_EVIDENCE_BINDING')
  // A realm token of another realm on the same platform, spliced in.
  const point = pointOf(armKeys.stranger)
  const foreign: CcaBuild = {
    realm: [
      [265, undefined],
      [44237, point],
    ],
    realmKey: armKeys.stranger,
  }
  await refuses(verifyCca(await issueCca(foreign)), 'ERR_EVIDENCE_BINDING')
  await refuses(verifyCca(await issueCca({ realmKey: armKeys.stranger })), 'ERR_EVIDENCE_SIGNATURE', /realm token/)
})

test('a device’s key has to be given, trusted for its TEE, and the one that signed', async () => {
  const { cpak, iak, stranger } = armKeys
  for (const [verify, tee, key, token] of [
    [verifyCca, 'cca', cpak, goodCca],
    [verifyPsa, 'psa', iak, goodPsa],
  ] as const) {
    const root = rootOf(tee, key)
    await refuses(
      verify(token, { endorsements: Endorsements.none }),
      'ERR_EVIDENCE_COLLATERAL_MISSING',
      /was not given/,
    )
    await refuses(verify(token, { roots: [] }), 'ERR_EVIDENCE_ROOT_UNKNOWN')
    await refuses(verify(token, { roots: [{ ...root, tee: 'nitro' }] }), 'ERR_EVIDENCE_ROOT_UNKNOWN')
    await refuses(verify(token, { roots: [rootOf(tee, stranger)] }), 'ERR_EVIDENCE_ROOT_UNKNOWN')
    // Its own key not given, another one trusted.
    const other = { roots: [root, rootOf(tee, stranger)], endorsements: keysOf(stranger) }
    await refuses(verify(token, other), 'ERR_EVIDENCE_SIGNATURE', /no trusted/)
    const several = { roots: [root, rootOf(tee, stranger)], endorsements: keysOf(stranger, key) }
    assert.equal((await verify(token, several)).root.spki, root.spki)
    const simulated = rootOf(tee, key, true)
    assert.equal((await verify(token, { roots: [simulated] })).simulated, true)
    assert.equal((await verify(token, { roots: [simulated, root] })).claims.simulated, true)
    assert.equal((await verify(token, { roots: [root, simulated] })).claims.simulated, true)
  }
  await refuses(verifyCca(await issueCca({ platformKey: stranger })), 'ERR_EVIDENCE_SIGNATURE')
})

test('finds the key of a device that is not named after it, and one among many that is', async () => {
  const unnamed = await psaWith([[256, concatBytes(Uint8Array.of(1), bytes(32, 9))]])
  assert.equal((await verifyPsa(unnamed)).root.spki, rootOf('psa', armKeys.iak).spki)
  const many = Array.from({ length: 65 }, () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey)
  const options = {
    roots: [...many, armKeys.iak].map((key) => rootOf('psa', key)),
    endorsements: keysOf(...many, armKeys.iak),
  }
  await verifyPsa(goodPsa, options)
  await refuses(verifyPsa(unnamed, options), 'ERR_EVIDENCE_SIGNATURE', /first 64 of 66/)
})

const malformedPlatform: readonly (readonly [string, Changes])[] = [
  ...platformClaims
    .filter(([key]) => key !== 2400)
    .map(([key]) => [`no platform claim ${key}`, [[key, undefined]] as Changes] as const),
  ...platformClaims.map(([key]) => [`null as platform claim ${key}`, [[key, null]] as Changes] as const),
  ['a platform challenge of 31 bytes', [[10, bytes(31)]]],
  ['an implementation id of 33 bytes', [[2396, bytes(33)]]],
  ['an instance id of another kind', [[256, bytes(33, 2)]]],
  ['an instance id of 32 bytes', [[256, bytes(32)]]],
  ['no software', [[2399, []]]],
  ['65 components', [[2399, Array(65).fill(component('X', 1))]]],
  ['a component without a measurement', [[2399, [new Map([[5, bytes(32)]])]]]],
  ['a component without a signer', [[2399, [new Map([[2, bytes(32)]])]]]],
  ['a component that is no map', [[2399, ['RMM']]]],
  [
    'a type of 257 characters',
    [
      [
        2399,
        [
          new Map<CborKey, CborValue>([
            [1, 'x'.repeat(257)],
            [2, bytes(32)],
            [5, bytes(32)],
          ]),
        ],
      ],
    ],
  ],
  ['a hash that is not known', [[2402, 'sha-1']]],
  ['an empty verification service', [[2400, '']]],
  ...[0x0100, 0x0fff, 0x30ff + 1, 0x7000, 0xffff, -1, 0x13000].map(
    (value) => [`the lifecycle ${value}`, [[2395, value]] as Changes] as const,
  ),
]
const malformedRealm: readonly (readonly [string, Changes])[] = [
  ...[10, 44235, 44236, 44237, 44238, 44239, 44240].flatMap((key): (readonly [string, Changes])[] => [
    [`no realm claim ${key}`, [[key, undefined]]],
    [`null as realm claim ${key}`, [[key, null]]],
  ]),
  ['a realm challenge of 32 bytes', [[10, bytes(32)]]],
  ['a personalisation of 63 bytes', [[44235, bytes(63)]]],
  ['an initial measurement of 20 bytes', [[44238, bytes(20)]]],
  ['three extensible measurements', [[44239, [bytes(32), bytes(32), bytes(32)]]]],
  ['five extensible measurements', [[44239, Array(5).fill(bytes(32))]]],
  ['a realm key that is none', [[44237, bytes(97)]]],
  ['a realm hash that is not known', [[44236, 'sha-1']]],
  ['a key hash that is not known', [[44240, 'md5']]],
]

test('refuses CCA tokens with a claim missing or not of its kind', async () => {
  for (const [name, platform] of malformedPlatform) {
    await assert.rejects(verifyCca(await issueCca({ platform })), { code: 'ERR_EVIDENCE_MALFORMED' }, name)
  }
  for (const [name, realm] of malformedRealm) {
    await assert.rejects(verifyCca(await issueCca({ realm })), { code: 'ERR_EVIDENCE_MALFORMED' }, name)
  }
})

test('refuses collections that are none', async () => {
  const collection = decodeCbor(goodCca, 'token', { bytesMax: 9999 })
  assert.ok(collection.type === 'tag' && collection.content.type === 'map')
  const parts = [...collection.content.entries].map(
    ([key, part]) => [key, part.type === 'bytes' ? part.value : 0] as const,
  )
  const whole = (entries: readonly (readonly [CborKey, CborValue])[]): Uint8Array =>
    encodeCbor(new CborTag(399, new Map(entries)))
  await verifyCca(whole(parts))
  const cmw = (entries: readonly (readonly [CborKey, CborValue])[], type = 263): Uint8Array =>
    encodeCbor(new CborTag(907, new Map(entries.map(([key, part]) => [key, [type, part]]))))
  const { claims } = await verifyCca(cmw(parts))
  assert.deepEqual(claims, (await verifyCca(goodCca)).claims)
  assert.equal(recogniseEvidence(cmw(parts)).form, 'an Arm CCA token')
  const wrong: readonly Uint8Array[] = [
    await issueCca({ tag: 907 }),
    await issueCca({ tag: 398 }),
    cmw(parts, 601),
    cmw(parts.slice(1)),
    cmw([...parts, [44258, parts[0]![1]]]),
    encodeCbor(new CborTag(399, new Map(parts.map(([key, part]) => [key, [263, part]])))),
    encodeCbor(new CborTag(907, new Map(parts.map(([key, part]) => [key, [263, part, 4]])))),
    encodeCbor(new Map(parts)),
    whole(parts.slice(1)),
    whole([...parts, [1, 2]]),
    whole([parts[0]!, [44241, 0]]),
    whole([
      [44234, parts[1]![1]],
      [44241, parts[0]![1]],
    ]),
    goodPsa,
    new Uint8Array(1_000_000),
  ]
  for (const [at, token] of wrong.entries()) {
    await assert.rejects(
      verifyCca(token),
      (error) => error instanceof EvidenceError && /MALFORMED|UNSUPPORTED/.test(error.code),
      `${at}`,
    )
  }
})

test('refuses profiles that it does not read', async () => {
  const profile = 'tag:arm.com,2025:cca_platform#2.0.0'
  await refuses(verifyCca(await issueCca({ platform: [[265, profile]] })), 'ERR_EVIDENCE_UNSUPPORTED', /2\.0\.0/)
  await refuses(verifyCca(await issueCca({ realm: [[265, profile]] })), 'ERR_EVIDENCE_UNSUPPORTED')
  await refuses(verifyPsa(await psaWith([[265, 'http://arm.com/CCA-SSD/1.0.0']])), 'ERR_EVIDENCE_UNSUPPORTED')
  await refuses(verifyPsa(await psaWith([[-75000, 'PSA_IOT_PROFILE_2']], psaClaims1)), 'ERR_EVIDENCE_UNSUPPORTED')
  await refuses(verifyPsa(await psaWith([[265, 1]])), 'ERR_EVIDENCE_MALFORMED')
})

test('refuses PSA tokens with a claim missing or not of its kind', async () => {
  const optional = [268, 2398, 2400]
  const wrong: (readonly [string, Changes])[] = [
    ...psaClaims
      .filter(([key]) => key !== 265 && !optional.includes(key as number))
      .map(([key]) => [`no ${key}`, [[key, undefined]] as Changes] as const),
    ...psaClaims.map(([key]) => [`null as ${key}`, [[key, null]] as Changes] as const),
    ['a nonce of 16 bytes', [[10, bytes(16)]]],
    ['a client id of 2^31', [[2394, 2 ** 31]]],
    ['a boot seed of 7 bytes', [[268, bytes(7)]]],
    ['a boot seed of 33 bytes', [[268, bytes(33)]]],
    ['a certification of another form', [[2398, '1234567890123']]],
    ['the lifecycle 0x3100', [[2395, 0x3100]]],
    ['no software', [[2399, []]]],
  ]
  for (const [name, changes] of wrong) {
    await assert.rejects(verifyPsa(await psaWith(changes)), { code: 'ERR_EVIDENCE_MALFORMED' }, name)
  }
  for (const key of optional) await verifyPsa(await psaWith([[key, undefined]]))
  const first: (readonly [string, Changes])[] = [
    ['no boot seed', [[-75004, undefined]]],
    ['a boot seed of 31 bytes', [[-75004, bytes(31)]]],
    ['software that is listed and not measured', [[-75007, 1]]],
    [
      '2 as the mark of no software',
      [
        [-75006, undefined],
        [-75007, 2],
      ],
    ],
    ['neither software nor its mark', [[-75006, undefined]]],
  ]
  for (const [name, changes] of first) {
    await assert.rejects(verifyPsa(await psaWith(changes, psaClaims1)), { code: 'ERR_EVIDENCE_MALFORMED' }, name)
  }
})

test('a first-profile token may say that nothing was measured', async () => {
  const { claims } = await verifyPsa(
    await psaWith(
      [
        [-75006, undefined],
        [-75007, 1],
      ],
      psaClaims1,
    ),
  )
  assert.deepEqual([claims.measurement, claims.measurements, claims.hardware.software], ['', {}, []])
})

test('refuses a COSE_Mac0 with the reason, and names it', async () => {
  const payload = encodeCbor(new Map(psaClaims))
  const mac = encodeCbor(new CborTag(17, [encodeCbor(new Map([[1, 5]])), new Map(), payload, bytes(32)]))
  await refuses(verifyPsa(mac), 'ERR_EVIDENCE_UNSUPPORTED', /COSE_Mac0, which only a holder of the device's secret key/)
  assert.match(recogniseArm(mac) ?? '', /COSE_Mac0/)
})

test('each lifecycle state is named, and the two that debug are', async () => {
  const states: readonly (readonly [number, string, boolean])[] = [
    [0x0000, 'unknown', false],
    [0x00ff, 'unknown', false],
    [0x1001, 'assembly-and-test', false],
    [0x2000, 'rot-provisioning', false],
    [0x30ff, 'secured', false],
    [0x4000, 'non-rot-debug', true],
    [0x5000, 'recoverable-rot-debug', true],
    [0x60ff, 'decommissioned', false],
  ]
  for (const [value, state, debug] of states) {
    const platform = (await verifyCca(await issueCca({ platform: [[2395, value]] }))).claims
    const device = (await verifyPsa(await psaWith([[2395, value]]))).claims
    for (const claims of [platform, device])
      assert.deepEqual([claims.hardware.lifecycleState, claims.debug], [state, debug])
  }
})

test('components share no name', async () => {
  const nameless = new Map<CborKey, CborValue>([
    [2, bytes(32, 3)],
    [5, bytes(32)],
  ])
  const odd = component('__proto__ with spaces', 4)
  const software = [component('SPE', 1), component('spe', 2), nameless, odd, component('__proto__', 5)]
  const { claims } = await verifyPsa(await psaWith([[2399, software]]))
  assert.deepEqual(Object.keys(claims.measurements), ['spe', 'component1', 'component2', 'component3', '__proto__'])
  assert.equal(Object.getPrototypeOf(claims.measurements), Object.prototype)
})

test('claims that nobody names are passed over', async () => {
  await verifyPsa(
    await psaWith([
      [99999, 'x'],
      ['name', 1],
    ]),
  )
  await verifyCca(await issueCca({ platform: [[99999, 'x']], realm: [[99999, 'x']] }))
})

test('random bytes only ever throw errors of ours', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (random) => {
      for (const read of [ccaEvidenceOf, psaEvidenceOf]) assert.throws(() => read(random), EvidenceError)
      recogniseArm(random)
      try {
        deviceKeyOf(random)
      } catch (error) {
        assert.ok(error instanceof EvidenceError)
      }
    }),
  )
})

test('what is judged is a copy', async () => {
  const token = Uint8Array.from(goodCca)
  const running = verifyCca(token)
  token.fill(0)
  assert.equal((await running).claims.measurement, '11'.repeat(32))
})

test('reads a device’s key from DER, PEM and JWK', () => {
  for (const key of [armKeys.cpak, armKeys.iak]) {
    const publicKey = createPublicKey(key)
    const wanted = { kind: 'public-key', content: spkiOf(key) }
    assert.deepEqual(deviceKeyOf(spkiOf(key)), wanted)
    assert.deepEqual(deviceKeyOf(encodeUtf8(String(publicKey.export({ type: 'spki', format: 'pem' })))), wanted)
    const jwk = publicKey.export({ format: 'jwk' })
    assert.deepEqual(deviceKeyOf(encodeUtf8(JSON.stringify(jwk))), wanted)
    const wrong: readonly unknown[] = [
      key.export({ format: 'jwk' }),
      { ...jwk, kty: 'OKP' },
      { ...jwk, crv: 'P-521' },
      { ...jwk, x: 1 },
      { ...jwk, x: `${jwk.x}AAAA` },
      null,
      [],
    ]
    for (const each of wrong)
      assert.throws(() => deviceKeyOf(encodeUtf8(JSON.stringify(each))), { code: 'ERR_EVIDENCE_MALFORMED' })
    const pem = String(key.export({ type: 'pkcs8', format: 'pem' }))
    for (const text of [pem, '{', '', 'x'.repeat(5000)]) {
      assert.throws(() => deviceKeyOf(encodeUtf8(text)), { code: 'ERR_EVIDENCE_MALFORMED' })
    }
    assert.throws(() => deviceKeyOf(spkiOf(key).subarray(0, -1)), { code: 'ERR_EVIDENCE_MALFORMED' })
  }
})

const reference = {
  type: 'RMM',
  measurements: ['a1'.repeat(32)],
  signerIds: ['51'.repeat(32)],
  versions: 'any',
} as const
const other = { type: 'AP_BL31', measurements: 'any', signerIds: 'any', versions: ['1.2.3'] } as const
const ccaOpen: CcaPolicy = { ...ccaBaseline, software: 'any' }
const psaOpen: PsaPolicy = { ...psaBaseline, software: 'any', callers: 'any' }

test('appraises a CCA token', async () => {
  const verified = await verifyCca(goodCca)
  const codes = (policy: Partial<CcaPolicy>, of = verified) =>
    refusals(ccaFamily, of, { ...ccaOpen, ...policy }).map(({ code }) => code)
  ccaFamily.checkPolicy(ccaOpen, 'policy.tees.cca')
  ccaFamily.checkPolicy({ ...ccaOpen, software: [reference, other] }, 'policy.tees.cca')
  assert.deepEqual(codes({}), [])
  assert.deepEqual(codes({ lifecycles: ['decommissioned'], implementationIds: [], configs: [] }), [
    'arm-lifecycle',
    'arm-implementation-id',
    'arm-config',
  ])
  assert.deepEqual(codes({ implementationIds: ['1d'.repeat(32)], configs: ['cfcfcfcf'] }), [])
  assert.deepEqual(codes({ software: [reference, other] }), [])
  // A component that nobody named, and one that was named and is not there.
  assert.deepEqual(codes({ software: [reference] }), ['arm-software'])
  assert.deepEqual(codes({ software: [reference, other, { ...other, type: 'SCP' }] }), ['arm-software'])
  assert.deepEqual(codes({ software: [reference, { ...other, versions: ['1.2.4'] }] }), ['arm-software'])
  assert.deepEqual(codes({ software: [{ ...reference, signerIds: [] }, other] }), ['arm-software'])
  assert.deepEqual(codes({ software: [{ ...reference, measurements: ['00'] }, reference, other] }), [])
  assert.deepEqual(codes({ software: [] }), ['arm-software', 'arm-software'])
  const provisioning = await verifyCca(await issueCca({ platform: [[2395, 0x2000]] }))
  assert.deepEqual(codes({}, provisioning), ['arm-lifecycle'])
})

test('appraises a PSA token', async () => {
  const verified = await verifyPsa(goodPsa)
  const codes = (policy: Partial<PsaPolicy>, of = verified) =>
    refusals(psaFamily, of, { ...psaOpen, ...policy }).map(({ code }) => code)
  psaFamily.checkPolicy(psaOpen, 'policy.tees.psa')
  assert.deepEqual(codes({ callers: ['secure'], certifications: ['1234567890123-12345'] }), [])
  assert.deepEqual(codes({ certifications: [] }), ['arm-certification'])
  for (const clientId of [0, -1, -(2 ** 31)]) {
    const outside = await verifyPsa(
      await psaWith([
        [2394, clientId],
        [2398, undefined],
      ]),
    )
    assert.deepEqual(codes({ callers: ['secure'], certifications: [] }, outside), ['arm-caller', 'arm-certification'])
    assert.deepEqual(codes({ callers: ['non-secure'] }, outside), [])
  }
  const untyped = new Map<CborKey, CborValue>([
    [2, bytes(32, 3)],
    [5, bytes(32)],
  ])
  const nameless = await verifyPsa(await psaWith([[2399, [untyped]]]))
  const anything = { type: null, measurements: 'any', signerIds: 'any', versions: 'any' } as const
  assert.deepEqual(codes({ software: [anything] }, nameless), [])
  assert.deepEqual(codes({ software: [{ ...anything, versions: ['1'] }] }, nameless), ['arm-software'])
})

test('refuses a policy with a member missing, unknown or not of its kind', () => {
  const shared = [
    { lifecycles: ['locked'] },
    { lifecycles: 'secured' },
    { implementationIds: [1] },
    { software: [1] },
    { software: [{ ...reference, type: undefined }] },
    { software: [{ ...reference, measurements: 1 }] },
    { software: [{ ...reference, extra: 1 }] },
    { extra: 1 },
  ]
  for (const wrong of [...shared, { configs: 1 }]) {
    assert.throws(() => ccaFamily.checkPolicy({ ...ccaOpen, ...wrong }, 'policy.tees.cca'), TypeError)
  }
  for (const wrong of [...shared, { callers: ['host'] }, { certifications: 1 }]) {
    assert.throws(() => psaFamily.checkPolicy({ ...psaOpen, ...wrong }, 'policy.tees.psa'), TypeError)
  }
  for (const name of Object.keys(ccaOpen)) {
    assert.throws(() => ccaFamily.checkPolicy({ ...ccaOpen, [name]: undefined }, 'policy.tees.cca'), TypeError)
  }
  for (const name of Object.keys(psaOpen)) {
    assert.throws(() => psaFamily.checkPolicy({ ...psaOpen, [name]: undefined }, 'policy.tees.psa'), TypeError)
  }
})

test('the vector of the document is the one under test', async () => {
  const page = readFileSync(new URL('../../../../docs/formats/evidence-arm.md', import.meta.url), 'utf8')
  // Blocks of code without their line breaks.
  const blocks = [...page.matchAll(/(?:^ {4}[0-9a-f]+\n)+/gm)].map(([block]) => block.replaceAll(/\s/g, ''))
  const [key, digest] = blocks
  assert.ok(key && digest)
  assert.equal(encodeHex(sha256(Uint8Array.fromHex(key))), digest)
})
