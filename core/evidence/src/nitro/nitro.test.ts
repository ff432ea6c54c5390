import assert from 'node:assert/strict'
import { sign } from 'node:crypto'
import { readFileSync } from 'node:fs'
import test from 'node:test'
import { concatBytes, encodeBase64, encodeHex, encodeUtf8 } from '@cella/bytes'
import { CborTag, type CborValue, decodeCbor, encodeCbor } from '@cella/cbor'
import fc from 'fast-check'
import {
  issueNitro,
  moduleId,
  nitroContext,
  nitroKeys,
  nitroRoot,
  now,
  signWith,
  spkiOf,
} from '../../test/nitro-vendor.ts'
import { refusals } from '../../test/policy.ts'
import { ChainCache } from '../cache.ts'
import { issueCoseSign1 } from '../cose/issue.ts'
import { coseSignedBytes, parseCoseSign1 } from '../cose/sign1.ts'
import { Endorsements } from '../endorsements.ts'
import { EvidenceError, type EvidenceErrorCode } from '../error.ts'
import type { VerifyContext } from '../family.ts'
import { parseCertificate } from '../x509/certificate.ts'
import { der, derInteger, derOid, derTag } from '../x509/der.ts'
import { encodeTime } from '../x509/time.ts'
import { parseNitroDocument } from './document.ts'
import type { NitroEntry } from './entry.ts'
import { nitroFamily } from './family.ts'
import { encodeNsmResponse, issueNitroDocument } from './issue.ts'
import { type NitroPolicy, nitroBaseline } from './policy.ts'
import {
  nitroEvidenceOf,
  nitroEvidenceOfBase64,
  nitroEvidenceOfDstack,
  nitroEvidenceOfNsmResponse,
  recogniseNitro,
} from './readers.ts'

const good = await issueNitro()
const verify = (entry: NitroEntry, options: Partial<VerifyContext> = {}) =>
  nitroFamily.verify(entry, nitroContext(options))
const refuses = (run: Promise<unknown>, code: EvidenceErrorCode, problem = /./): Promise<void> =>
  assert.rejects(run, (error) => error instanceof EvidenceError && error.code === code && problem.test(error.message))

/** The good document with members of its payload replaced (`undefined` leaves one out), signed again. */
async function changed(members: { readonly [name: string]: CborValue | undefined }): Promise<NitroEntry> {
  const payload = decodeCbor(parseCoseSign1(good.document, 'd', { bytesMax: 20_000 }).payload, 'p', {
    bytesMax: 20_000,
  })
  assert.ok(payload.type === 'map')
  const entries = [...payload.entries]
    .filter(([name]) => !Object.hasOwn(members, name))
    .map(([name, item]) => {
      const value: CborValue =
        item.type === 'map' ? new Map([...item.entries].map(([key, pcr]) => [key, raw(pcr)])) : raw(item)
      return [name, value] as const
    })
  const added = Object.entries(members).filter(([, value]) => value !== undefined) as [string, CborValue][]
  return signed(encodeCbor(new Map([...entries, ...added])))
}

function raw(item: ReturnType<typeof decodeCbor>): CborValue {
  if (item.type === 'array') return item.items.map(raw)
  if (item.type === 'null') return null
  assert.ok(item.type !== 'map' && item.type !== 'tag')
  return item.value
}

async function signed(payload: Uint8Array, algorithm = -35): Promise<NitroEntry> {
  const document = await issueCoseSign1({ algorithm, payload, sign: signWith(nitroKeys.leaf) })
  return { role: 'cpu', format: 'nitro/1', document }
}

test('says what the document says, and every check it made', async () => {
  const context = nitroContext()
  const { claims, root, simulated, notBefore, notAfter, collateralIssuedAt } = await nitroFamily.verify(good, context)
  assert.equal(claims.boundary, 'vm')
  assert.equal(claims.measurement, '01'.repeat(48))
  assert.deepEqual(Object.keys(claims.measurements), ['pcr0', 'pcr1', 'pcr2', 'pcr3', 'pcr4', 'pcr8'])
  assert.equal(claims.reportData, 'da'.repeat(64))
  assert.equal(claims.platformId, 'i-0123456789abcdef0')
  assert.equal(claims.provider, 'aws')
  assert.equal(claims.debug, false)
  assert.deepEqual(claims.hardware, {
    moduleId,
    timestamp: (now - 30) * 1000,
    region: 'eu-west-1',
    publicKey: '010203',
    nonce: '0e'.repeat(32),
  })
  assert.deepEqual([root, simulated, collateralIssuedAt], [nitroRoot, false, undefined])
  assert.deepEqual([notBefore, notAfter], [now - 60, now + 10_740])
  assert.deepEqual(
    context.checks.list.map(({ code, outcome }) => `${code} ${outcome}`),
    [
      'nitro-document passed',
      'nitro-chain passed',
      'nitro-validity passed',
      'nitro-revocation not-applicable',
      'nitro-signature passed',
    ],
  )
})

test('simulated comes from the root, and counts where a key is named as both', async () => {
  const simulated = { ...nitroRoot, simulated: true }
  assert.equal((await verify(good, { roots: [simulated] })).claims.simulated, true)
  assert.equal((await verify(good, { roots: [nitroRoot, simulated] })).simulated, true)
})

test('debug is zeros in PCR0, PCR1 and PCR2, whether the others are there or not', async () => {
  const zeros = new Uint8Array(48)
  const debugOf = async (...pcrs: [number, Uint8Array][]) =>
    (await verify(await issueNitro({ document: { pcrs: new Map(pcrs) } }))).claims.debug
  const set = new Uint8Array(48).fill(1)
  assert.equal(await debugOf([0, zeros], [1, zeros], [2, zeros], [3, set]), true)
  assert.equal(await debugOf([0, zeros]), true)
  assert.equal(await debugOf([0, zeros], [1, zeros], [2, set]), false)
  assert.equal(await debugOf([0, set], [1, zeros], [2, zeros]), false)
})

test('takes what the specification allows', async () => {
  await verify(
    await issueNitro({
      document: { pcrs: new Map(Array.from({ length: 32 }, (_, at) => [at, new Uint8Array(64).fill(1)])) },
    }),
  )
  await verify(await issueNitro({ document: { pcrs: new Map([[0, new Uint8Array(32).fill(1)]]) } }))
  const bare = await verify(
    await issueNitro({ document: { publicKey: undefined, userData: undefined, nonce: undefined } }),
  )
  assert.deepEqual(
    [bare.claims.reportData, bare.claims.hardware.nonce, bare.claims.hardware.publicKey],
    [null, null, null],
  )
  await verify(await changed({ public_key: undefined, user_data: undefined, nonce: undefined }))
  const empty = await verify(await issueNitro({ document: { userData: new Uint8Array(), nonce: new Uint8Array() } }))
  assert.deepEqual([empty.claims.reportData, empty.claims.hardware.nonce], ['', ''])
  const whole = new Uint8Array(1024).fill(7)
  await verify(await issueNitro({ document: { publicKey: whole, userData: whole, nonce: whole } }))
  const tagged = encodeCbor(new CborTag(18, 0)).subarray(0, 1)
  await verify({ ...good, document: concatBytes(tagged, good.document) })
})

test('reads a payload of indefinite lengths, as the module writes it since 2025', async () => {
  const { payload } = parseCoseSign1(good.document, 'd', { bytesMax: 20_000 })
  assert.equal(payload[0]! >> 5, 5)
  const open = concatBytes(Uint8Array.of(0xbf), payload.subarray(1), Uint8Array.of(0xff))
  assert.deepEqual((await verify(await signed(open))).claims, (await verify(good)).claims)
})

const pcr = new Uint8Array(48)
const malformed: readonly (readonly [string, { readonly [name: string]: CborValue | undefined }])[] = [
  ...(['module_id', 'digest', 'timestamp', 'pcrs', 'certificate', 'cabundle'] as const).map(
    (name) => [`no ${name}`, { [name]: undefined }] as const,
  ),
  ...(['module_id', 'digest', 'timestamp', 'pcrs', 'certificate', 'cabundle'] as const).map(
    (name) => [`null as ${name}`, { [name]: null }] as const,
  ),
  ['an empty module_id', { module_id: '' }],
  ['another digest', { digest: 'SHA512' }],
  ['a timestamp of 0', { timestamp: 0 }],
  ['a negative timestamp', { timestamp: -1 }],
  ['a timestamp above 2^53', { timestamp: 2n ** 60n }],
  ['no registers', { pcrs: new Map() }],
  ['no PCR0', { pcrs: new Map([[1, pcr]]) }],
  [
    'PCR32',
    {
      pcrs: new Map([
        [0, pcr],
        [32, pcr],
      ]),
    },
  ],
  [
    'a negative register',
    {
      pcrs: new Map([
        [0, pcr],
        [-1, pcr],
      ]),
    },
  ],
  [
    'a register by name',
    {
      pcrs: new Map<number | string, CborValue>([
        [0, pcr],
        ['1', pcr],
      ]),
    },
  ],
  ['33 registers', { pcrs: new Map(Array.from({ length: 33 }, (_, at) => [at, pcr])) }],
  ['a register of 47 bytes', { pcrs: new Map([[0, pcr.subarray(1)]]) }],
  ['a register of text', { pcrs: new Map([[0, 'zero']]) }],
  ['an empty cabundle', { cabundle: [] }],
  ['a cabundle of 8', { cabundle: Array(8).fill(pcr) }],
  ['an empty CA', { cabundle: [new Uint8Array()] }],
  ['a CA of 1025 bytes', { cabundle: [new Uint8Array(1025)] }],
  ['a certificate of 1025 bytes', { certificate: new Uint8Array(1025) }],
  ['a certificate that is none', { certificate: pcr }],
  ['a CA that is none', { cabundle: [pcr] }],
  ['an empty public_key', { public_key: new Uint8Array() }],
  ['a public_key of 1025 bytes', { public_key: new Uint8Array(1025) }],
  ['a user_data of 1025 bytes', { user_data: new Uint8Array(1025) }],
  ['a nonce of 1025 bytes', { nonce: new Uint8Array(1025) }],
  ['a nonce of text', { nonce: 'nonce' }],
  ['a member that is not known', { extra: 1 }],
]

for (const [name, members] of malformed) {
  test(`refuses a document with ${name}`, async () => {
    await refuses(verify(await changed(members)), 'ERR_EVIDENCE_MALFORMED')
  })
}

test('refuses a document of a NitroTPM by name', async () => {
  await refuses(
    verify(await changed({ pcrs: undefined, nitrotpm_pcrs: new Map([[0, pcr]]) })),
    'ERR_EVIDENCE_UNSUPPORTED',
    /NitroTPM/,
  )
})

test('refuses other algorithms, unprotected headers and payloads that are no map', async () => {
  const { protectedBytes, payload, signature } = parseCoseSign1(good.document, 'd', { bytesMax: 20_000 })
  await refuses(verify(await signed(payload, -7)), 'ERR_EVIDENCE_MALFORMED', /ES384/)
  const withHeader = encodeCbor([protectedBytes, new Map([[4, payload.subarray(0, 3)]]), payload, signature])
  await refuses(verify({ ...good, document: withHeader }), 'ERR_EVIDENCE_MALFORMED', /unprotected/)
  await refuses(verify(await signed(encodeCbor([]))), 'ERR_EVIDENCE_MALFORMED')
  await refuses(verify(await signed(new Uint8Array(16_385))), 'ERR_EVIDENCE_MALFORMED')
  await refuses(verify({ ...good, document: new Uint8Array(1_000_000) }), 'ERR_EVIDENCE_MALFORMED', /at most/)
})

test('refuses a document that another key signed', async () => {
  await refuses(verify(await issueNitro({ documentKey: nitroKeys.instance })), 'ERR_EVIDENCE_SIGNATURE')
  const other = await issueNitro({ document: { nonce: Uint8Array.of(9) } })
  const [mine, theirs] = [good, other].map(({ document }) => parseCoseSign1(document, 'd', { bytesMax: 20_000 }))
  const spliced = encodeCbor([mine!.protectedBytes, new Map(), mine!.payload, theirs!.signature])
  await refuses(verify({ ...good, document: spliced }), 'ERR_EVIDENCE_SIGNATURE')
})

test('refuses chains that are not of the kind that AWS issues', async () => {
  const chain = (build: Parameters<typeof issueNitro>[0], code: EvidenceErrorCode = 'ERR_EVIDENCE_CHAIN') =>
    issueNitro(build).then((entry) => refuses(verify(entry), code))
  await chain({ leafIsCa: true })
  await chain({ leaf: { sign: signWith(nitroKeys.zone) } })
  await chain({ instance: { sign: signWith(nitroKeys.leaf) } })
  await chain({ region: { sign: signWith(nitroKeys.zone) } })
  await chain({ region: { pathLength: 1 } })
  await chain({ zone: { subject: 'another' } })
  const others = { spki: spkiOf(nitroKeys.stranger), sign: signWith(nitroKeys.stranger) }
  await chain({ root: others, region: { sign: others.sign } }, 'ERR_EVIDENCE_ROOT_UNKNOWN')
  await refuses(verify(good, { roots: [] }), 'ERR_EVIDENCE_ROOT_UNKNOWN')
  await refuses(verify(good, { roots: [{ ...nitroRoot, tee: 'tdx' }] }), 'ERR_EVIDENCE_ROOT_UNKNOWN')
  const { document } = parseNitroDocument(good.document)
  for (const drop of [0, 1, 3]) {
    const cabundle = document.cabundle.filter((_, at) => at !== drop)
    const entry = await changed({ cabundle })
    await refuses(verify(entry), 'ERR_EVIDENCE_CHAIN')
  }
})

test('builds the chain by issuer, whatever the order of the bundle', async () => {
  const { document } = parseNitroDocument(good.document)
  await verify(await changed({ cabundle: [...document.cabundle].reverse() }))
})

test('every certificate of the chain has its window', async () => {
  const times = { notBefore: now - 10, notAfter: now + 10 }
  for (const part of ['root', 'region', 'zone', 'instance', 'leaf'] as const) {
    const entry = await issueNitro({ [part]: times })
    assert.equal((await verify(entry)).notAfter, now + 10)
    await refuses(verify(entry, { now: now + 11 }), 'ERR_EVIDENCE_EXPIRED')
    await refuses(verify(entry, { now: now - 11 }), 'ERR_EVIDENCE_NOT_YET_VALID')
  }
})

test('a kept chain is judged at every use, for its time and for the roots', async () => {
  const cache = new ChainCache()
  await verify(good, { cache })
  assert.equal(cache.count, 1)
  await verify(good, { cache })
  assert.equal(cache.count, 1)
  await refuses(verify(good, { cache, now: now + 10_741 }), 'ERR_EVIDENCE_EXPIRED')
  await refuses(verify(good, { cache, roots: [] }), 'ERR_EVIDENCE_ROOT_UNKNOWN')
  assert.equal((await verify(good, { cache, roots: [{ ...nitroRoot, simulated: true }] })).simulated, true)
  await refuses(verify(await issueNitro({ documentKey: nitroKeys.zone }), { cache }), 'ERR_EVIDENCE_SIGNATURE')
})

/** A list of the zone's CA (version 2, ecdsa-with-SHA384) on which the instance's certificate is or is not. */
function zoneCrl(serials: readonly Uint8Array[]): Uint8Array {
  const { document } = parseNitroDocument(good.document)
  const algorithm = der(derTag.sequence, derOid('1.2.840.10045.4.3.3'))
  const revoked = serials.map((serial) => der(derTag.sequence, der(derTag.integer, serial), encodeTime(now - 9)))
  const tbs = der(
    derTag.sequence,
    derInteger(1),
    algorithm,
    parseCertificate(document.cabundle[2]!, 'zone').subject,
    encodeTime(now - 10),
    encodeTime(now + 10),
    ...(revoked.length > 0 ? [der(derTag.sequence, ...revoked)] : []),
  )
  const signature = sign('sha384', tbs, nitroKeys.zone)
  return der(derTag.sequence, tbs, algorithm, der(derTag.bitString, concatBytes(Uint8Array.of(0), signature)))
}

test('a revocation list is judged where one is given', async () => {
  const endorsed = (content: Uint8Array) => ({ endorsements: new Endorsements([{ kind: 'crl', content }]) })
  const context = nitroContext(endorsed(zoneCrl([])))
  const { notAfter, collateralIssuedAt } = await nitroFamily.verify(good, context)
  assert.deepEqual([notAfter, collateralIssuedAt], [now + 10, now - 10])
  assert.ok(context.checks.list.some(({ code, outcome }) => code === 'nitro-revocation' && outcome === 'passed'))
  const { document } = parseNitroDocument(good.document)
  const { serial } = parseCertificate(document.cabundle[3]!, 'instance')
  await refuses(verify(good, endorsed(zoneCrl([serial]))), 'ERR_EVIDENCE_REVOKED')
  await refuses(verify(good, { ...endorsed(zoneCrl([])), now: now + 11 }), 'ERR_EVIDENCE_COLLATERAL_EXPIRED')
  await refuses(verify(good, endorsed(Uint8Array.of(0x30))), 'ERR_EVIDENCE_COLLATERAL_INVALID')
})

test('region and partition are said only where the certificates name them', async () => {
  const leaf = await verify(await issueNitro({ leaf: { subject: 'another.eu-west-1.aws' } }))
  assert.deepEqual([leaf.claims.hardware.region, leaf.claims.provider], [null, 'aws'])
  const root = await issueNitro({
    root: { subject: 'simulated', issuer: 'simulated' },
    region: { issuer: 'simulated' },
  })
  const verified = await verify(root)
  assert.deepEqual([verified.claims.hardware.region, verified.claims.provider], [null, null])
  const module = await verify(await issueNitro({ document: { moduleId: 'something else' } }))
  assert.deepEqual([module.claims.hardware.region, module.claims.platformId], [null, null])
})

test('what is judged is a copy', async () => {
  const entry = await issueNitro()
  const running = verify(entry)
  entry.document.fill(0)
  assert.equal((await running).claims.measurement, '01'.repeat(48))
})

const open: NitroPolicy = { ...nitroBaseline, nonce: 'any', ageSecondsMax: 'any' }
const verified = await verify(good)
const reasons = (policy: Partial<NitroPolicy>, of = verified) =>
  refusals(nitroFamily, of, { ...open, ...policy }).map(({ code }) => code)

test('appraises nonce, key, age, registers and region', async () => {
  nitroFamily.checkPolicy(open, 'nitro')
  assert.deepEqual(reasons({}), [])
  const nonce = new Uint8Array(32).fill(0x0e)
  assert.deepEqual(reasons({ nonce }), [])
  assert.deepEqual(reasons({ nonce: nonce.subarray(1) }), ['nitro-nonce'])
  assert.deepEqual(reasons({ publicKey: 'required' }), [])
  assert.deepEqual(reasons({ publicKey: Uint8Array.of(1, 2, 3) }), [])
  assert.deepEqual(reasons({ publicKey: Uint8Array.of(1, 2) }), ['nitro-public-key'])
  assert.deepEqual(reasons({ ageSecondsMax: 30 }), [])
  assert.deepEqual(reasons({ ageSecondsMax: 29 }), ['nitro-age'])
  const ahead = await verify(await issueNitro({ document: { timestamp: (now + 61) * 1000 } }))
  assert.deepEqual(reasons({ ageSecondsMax: 60 }, ahead), ['nitro-age'])
  assert.deepEqual(reasons({ ageSecondsMax: 61 }, ahead), [])
  assert.deepEqual(reasons({ pcrs: { pcr8: ['00', '09'.repeat(48)], pcr0: ['01'.repeat(48)] } }), [])
  assert.deepEqual(reasons({ pcrs: { pcr8: ['09'], pcr0: [], pcr31: ['00'] } }), [
    'nitro-pcr',
    'nitro-pcr',
    'nitro-pcr',
  ])
  assert.deepEqual(reasons({ regions: ['eu-west-1'] }), [])
  assert.deepEqual(reasons({ regions: ['us-east-1'] }), ['nitro-region'])
  const bare = await verify(await issueNitro({ document: { publicKey: undefined, nonce: undefined } }))
  assert.deepEqual(reasons({ nonce, publicKey: 'required' }, bare), ['nitro-nonce', 'nitro-public-key'])
  assert.deepEqual(reasons({ publicKey: Uint8Array.of(1) }, bare), ['nitro-public-key'])
})

test('refuses a policy with a member missing, unknown or not of its kind', () => {
  const wrong: readonly unknown[] = [
    null,
    nitroBaseline,
    { ...open, extra: 1 },
    { ...open, nonce: 'required' },
    { ...open, nonce: new Uint8Array() },
    { ...open, publicKey: 'refused' },
    { ...open, ageSecondsMax: -1 },
    { ...open, ageSecondsMax: Number.NaN },
    { ...open, regions: 'eu-west-1' },
    { ...open, pcrs: { pcr32: [] } },
    { ...open, pcrs: { PCR0: [] } },
    { ...open, pcrs: { pcr0: 'any' } },
    { ...open, pcrs: { pcr0: [1] } },
    ...Object.keys(open).map((name) => ({ ...open, [name]: undefined })),
  ]
  for (const policy of wrong) assert.throws(() => nitroFamily.checkPolicy(policy, 'policy.tees.nitro'), TypeError)
})

// SCALE: version 0, kind 2 (Nitro enclave), document, no or some events, report data, configuration.
const compact = (length: number): Uint8Array =>
  length < 64 ? Uint8Array.of(length << 2) : Uint8Array.of(((length << 2) | 1) & 0xff, length >> 6)
const scale = (bytes: Uint8Array): Uint8Array => concatBytes(compact(bytes.length), bytes)
const dstack = (document: Uint8Array, events: readonly Uint8Array[] = []): Uint8Array =>
  concatBytes(
    Uint8Array.of(0, 2),
    scale(document),
    compact(events.length),
    ...events,
    new Uint8Array(64),
    scale(encodeUtf8('{}')),
  )

test('reads the forms in which documents travel', () => {
  const { document } = good
  assert.deepEqual(nitroEvidenceOf(document), good)
  assert.deepEqual(nitroEvidenceOfBase64(`${encodeBase64(document)}\n`), good)
  assert.deepEqual(nitroEvidenceOfNsmResponse(encodeNsmResponse(document)), good)
  assert.deepEqual(nitroEvidenceOfDstack(dstack(document)), good)
  const event = concatBytes(scale(encodeUtf8('app-id')), scale(Uint8Array.of(1, 2)))
  assert.deepEqual(nitroEvidenceOfDstack(dstack(document, [event, event])), good)
  assert.equal(recogniseNitro(document), 'an AWS Nitro attestation document')
  assert.equal(recogniseNitro(encodeNsmResponse(document)), 'an answer of the AWS Nitro security module')
  assert.equal(recogniseNitro(dstack(document)), 'a dstack attestation of AWS Nitro')
  assert.equal(recogniseNitro(encodeUtf8(encodeBase64(document))), 'an AWS Nitro attestation document in base64')
  assert.equal(recogniseNitro(new Uint8Array(1_000_000)), undefined)
})

test('refuses forms that are broken, cut or have something after them', () => {
  const { document } = good
  const bad: readonly (() => unknown)[] = [
    () => nitroEvidenceOf(document.subarray(1)),
    () => nitroEvidenceOf(concatBytes(document, document)),
    () => nitroEvidenceOfBase64(encodeBase64(document).slice(4)),
    () => nitroEvidenceOfBase64(`${encodeBase64(document)}!`),
    () => nitroEvidenceOfBase64('A'.repeat(1_000_000)),
    () => nitroEvidenceOfNsmResponse(encodeCbor(new Map([['Error', 'InvalidOperation']]))),
    () => nitroEvidenceOfNsmResponse(encodeCbor(new Map([['Attestation', new Map()]]))),
    () => nitroEvidenceOfNsmResponse(encodeCbor('LockPCR')),
    () => nitroEvidenceOfNsmResponse(new Uint8Array(0x3001)),
    () => nitroEvidenceOfDstack(concatBytes(dstack(document), Uint8Array.of(0))),
    () => nitroEvidenceOfDstack(dstack(document).subarray(0, -1)),
    () => nitroEvidenceOfDstack(concatBytes(Uint8Array.of(1), dstack(document).subarray(1))),
    () => nitroEvidenceOfDstack(concatBytes(Uint8Array.of(0, 1), dstack(document).subarray(2))),
    () => nitroEvidenceOfDstack(concatBytes(Uint8Array.of(0, 2, 1, 0), document)),
    () => nitroEvidenceOfDstack(Uint8Array.of(0, 2, 3, 0, 0, 0, 0)),
    () => nitroEvidenceOfDstack(new Uint8Array(65_537)),
  ]
  for (const [at, read] of bad.entries()) {
    assert.throws(
      read,
      (error) => error instanceof EvidenceError && error.code === 'ERR_EVIDENCE_MALFORMED',
      `case ${at}`,
    )
  }
  for (const whole of [encodeNsmResponse(document), dstack(document)]) {
    const read = whole[0] === 0 ? nitroEvidenceOfDstack : nitroEvidenceOfNsmResponse
    for (let length = 0; length < whole.length; length += 13) {
      assert.throws(() => read(whole.subarray(0, length)), EvidenceError)
    }
  }
})

test('random bytes only ever throw errors of ours', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      for (const read of [nitroEvidenceOf, nitroEvidenceOfNsmResponse, nitroEvidenceOfDstack]) {
        assert.throws(() => read(bytes), EvidenceError)
      }
      assert.equal(recogniseNitro(bytes), undefined)
    }),
  )
})

test('issues what it reads', async () => {
  const { document } = parseNitroDocument(good.document)
  const again = await issueNitroDocument(document, signWith(nitroKeys.leaf))
  assert.deepEqual(parseNitroDocument(again).document, document)
})

test('the vector of the document is the one under test', () => {
  const vector = '846a5369676e61747572653144a10138224041a0'
  const parts = { protectedBytes: encodeCbor(new Map([[1, -35]])), payload: encodeCbor(new Map()) }
  assert.equal(encodeHex(coseSignedBytes(parts)), vector)
  const page = readFileSync(new URL('../../../../docs/formats/evidence-nitro.md', import.meta.url), 'utf8')
  assert.ok(page.includes(vector))
})
