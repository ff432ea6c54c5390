import assert from 'node:assert/strict'
import test from 'node:test'
import { encodeHex, encodeUtf8 } from '@cella/bytes'
import { digestOf } from '@cella/primitives'
import fc from 'fast-check'
import { agileLog, extended, join, u32 } from '../../test/event-log.ts'
import { refusals } from '../../test/policy.ts'
import {
  be,
  eccAks,
  hashOf,
  issueQuote,
  issueTpm,
  now,
  rsaAk,
  signQuote,
  spkiOf,
  tpmContext,
  tpmRoots,
  type WantedQuote,
} from '../../test/tpm-vendor.ts'
import { caNow, certify, extension, newCa, rootOf, usages } from '../../test/x509.ts'
import { CheckLog } from '../checks.ts'
import { Endorsements } from '../endorsements.ts'
import { EvidenceError, type EvidenceErrorCode } from '../error.ts'
import type { VerifyContext } from '../family.ts'
import { der, derOid, derTag } from '../x509/der.ts'
import { quoteAlgorithms } from './algorithms.ts'
import type { TpmEvidenceEntry } from './entry.ts'
import { tpmFamily } from './family.ts'
import { type TpmPolicy, tpmBaseline } from './policy.ts'
import type { VerifiedTpm } from './verify.ts'

const verify = (entry: TpmEvidenceEntry, context: Partial<VerifyContext> = {}): Promise<VerifiedTpm> =>
  tpmFamily.verify(entry, tpmContext(context))

async function refuses(
  code: EvidenceErrorCode,
  entry: TpmEvidenceEntry,
  context: Partial<VerifyContext> = {},
  message = /./,
): Promise<void> {
  await assert.rejects(verify(entry, context), (error) => {
    assert.ok(error instanceof EvidenceError, String(error))
    assert.equal(error.code, code, error.message)
    assert.match(error.message, message)
    return true
  })
}

const algorithms: readonly WantedQuote[] = [
  { scheme: 'ecdsa', hash: 'sha256' },
  { scheme: 'ecdsa', hash: 'sha384' },
  { scheme: 'ecdsa', hash: 'sha512' },
  { scheme: 'rsassa', hash: 'sha1' },
  { scheme: 'rsassa', hash: 'sha256' },
  { scheme: 'rsassa', hash: 'sha384' },
  { scheme: 'rsassa', hash: 'sha512' },
  { scheme: 'rsapss', hash: 'sha256' },
  { scheme: 'rsapss', hash: 'sha384' },
  { scheme: 'rsapss', hash: 'sha512' },
]

test('quotes of every algorithm verify, and a change to any part of them does not', async () => {
  const seen = new Set<string>()
  for (const wanted of algorithms) {
    const entry = issueTpm(wanted)
    const verified = await verify(entry)
    seen.add(verified.algorithm)
    assert.equal(verified.claims.reportData, '07'.repeat(32))
    assert.equal(verified.claims.boundary, null)
    assert.equal(verified.claims.measurements.pcr4, '05'.repeat(32))
    assert.equal(verified.claims.measurement, encodeHex(hashOf(wanted.hash!, entry.pcrs!)))
    const changed = entry.quote.slice()
    changed[50]! ^= 1
    await refuses('ERR_EVIDENCE_SIGNATURE', { ...entry, quote: changed })
    const other = entry.signature.slice()
    other[other.length - 1]! ^= 1
    await refuses('ERR_EVIDENCE_SIGNATURE', { ...entry, signature: other })
    const pcrs = entry.pcrs!.slice()
    pcrs[0]! ^= 1
    await refuses('ERR_EVIDENCE_BINDING', { ...entry, pcrs }, {}, /sign/)
  }
  assert.deepEqual([...seen].sort(), [...quoteAlgorithms].sort())
})

test('claims name the qualifying data, the counters and the PCRs of several banks', async () => {
  const banks = [
    { hash: 'sha1', pcrs: [23] },
    { hash: 'sha384', pcrs: [0, 16] },
  ] as const
  const { claims } = await verify(issueTpm({ banks, extraData: new Uint8Array(0), safe: 0, resetCount: 2 ** 32 - 1 }))
  assert.equal(claims.reportData, null)
  assert.deepEqual(Object.keys(claims.measurements), ['pcr-digest', 'sha1-pcr23', 'sha384-pcr0', 'sha384-pcr16'])
  assert.equal(claims.hardware.clockSafe, false)
  assert.equal(claims.hardware.resetCount, 2 ** 32 - 1)
  assert.equal(claims.hardware.nameAlgorithm, 'sha256')
  assert.equal(claims.hardware.firmwareVersion, '2020031200120003')
  assert.equal(claims.platformId, digestOf(spkiOf(eccAks.sha256)))
  const nameless = await verify(issueTpm({ name: new Uint8Array(0) }))
  assert.equal(nameless.claims.hardware.nameAlgorithm, null)
})

test('a quote without PCR values says their digest alone', async () => {
  const { pcrs: _, ...entry } = issueTpm()
  const { claims } = await verify(entry)
  assert.deepEqual(Object.keys(claims.measurements), ['pcr-digest'])
  await refuses('ERR_EVIDENCE_MALFORMED', { ...entry, eventLog: new Uint8Array(40) }, {}, /pcrs/)
})

test('what is no quote is refused as malformed', async () => {
  const cases: readonly WantedQuote[] = [
    { magic: 0xff544348 },
    { type: 0x8017 },
    { name: be(2, 11) },
    { name: join(be(2, 11), new Uint8Array(33)) },
    { name: join(be(2, 0x12), new Uint8Array(32)) },
    { extraData: new Uint8Array(67) },
    { safe: 2 },
    { banks: [] },
    { banks: [{ hash: 'sha256', pcrs: [1], id: 0x12 }] },
    {
      banks: [
        { hash: 'sha256', pcrs: [1] },
        { hash: 'sha256', pcrs: [2] },
      ],
    },
    { pcrDigest: new Uint8Array(65) },
  ]
  for (const wanted of cases) await refuses('ERR_EVIDENCE_MALFORMED', issueTpm(wanted))
  const entry = issueTpm()
  await refuses('ERR_EVIDENCE_MALFORMED', { ...entry, quote: join(entry.quote, new Uint8Array(1)) })
  await refuses('ERR_EVIDENCE_MALFORMED', { ...entry, quote: new Uint8Array(2049) })
  await refuses('ERR_EVIDENCE_MALFORMED', { ...entry, signature: new Uint8Array(1101) })
  await refuses('ERR_EVIDENCE_MALFORMED', { ...entry, signature: join(entry.signature, new Uint8Array(1)) })
  for (const [at, byte] of [
    [1, 0x05],
    [3, 0x04],
    [3, 0x12],
  ] as const) {
    const signature = entry.signature.slice()
    signature[at] = byte
    await refuses('ERR_EVIDENCE_MALFORMED', { ...entry, signature })
  }
  const rsa = issueTpm({ scheme: 'rsassa' })
  for (const [at, byte] of [
    [0, 1],
    [3, 0x27],
    [4, 3],
    [5, 1],
  ] as const) {
    const signature = rsa.signature.slice()
    signature[at] = byte
    await refuses('ERR_EVIDENCE_MALFORMED', { ...rsa, signature })
  }
  const sha1Pss = rsa.signature.slice()
  sha1Pss.set([0, 0x16, 0, 4])
  await refuses('ERR_EVIDENCE_MALFORMED', { ...rsa, signature: sha1Pss })
  for (const length of [-1, 1]) {
    const pcrs = length < 0 ? entry.pcrs!.slice(0, -1) : join(entry.pcrs!, new Uint8Array(1))
    await refuses('ERR_EVIDENCE_MALFORMED', { ...entry, pcrs })
  }
})

test('leading zeros that a TPM leaves out of an ECDSA signature are put back', async () => {
  for (let tries = 0; tries < 4000; tries++) {
    const { quote, pcrs } = issueQuote()
    const signature = signQuote(quote, { scheme: 'ecdsa', hash: 'sha256' })
    if (signature[6] !== 0) continue
    const short = join(signature.subarray(0, 4), be(2, 31), signature.subarray(7))
    await verify({ ...issueTpm(), quote, pcrs, signature: short })
    return
  }
  assert.fail('no signature began with a zero byte')
})

test('a key is trusted by its digest alone, from the entry or from the endorsements', async () => {
  const entry = issueTpm()
  await refuses('ERR_EVIDENCE_ROOT_UNKNOWN', entry, { roots: [] }, /not trusted for tpm/)
  await refuses('ERR_EVIDENCE_ROOT_UNKNOWN', entry, {
    roots: tpmRoots.map((root) => ({ ...root, tee: 'psa' }) as never),
  })
  const { key, ...keyless } = entry
  await refuses('ERR_EVIDENCE_ROOT_UNKNOWN', keyless, {}, /public key/)
  const endorsements = new Endorsements(
    [spkiOf(rsaAk), spkiOf(eccAks.sha384), key!].map((content) => ({ kind: 'public-key', content })),
  )
  await verify(keyless, { endorsements })
  await refuses(
    'ERR_EVIDENCE_SIGNATURE',
    { ...keyless, signature: signQuote(entry.quote, { scheme: 'ecdsa', hash: 'sha256', key: newCa('x').key }) },
    { endorsements },
  )
  // An endorsed key that no root names vouches for nothing.
  await refuses('ERR_EVIDENCE_ROOT_UNKNOWN', keyless, { endorsements, roots: [] })
  await refuses('ERR_EVIDENCE_SIGNATURE', { ...entry, key: spkiOf(rsaAk) })
})

test('simulated comes from the root, and wins where a key is listed twice', async () => {
  const [first] = tpmRoots.filter(({ spki }) => spki === digestOf(spkiOf(eccAks.sha256)))
  const twice = [first!, { ...first!, simulated: true }]
  for (const roots of [twice, [...twice].reverse()]) assert.equal((await verify(issueTpm(), { roots })).simulated, true)
  assert.equal((await verify(issueTpm())).simulated, false)
})

const root = newCa('TPM root')
const intermediate = newCa('TPM intermediate')
const ak = newCa('AK')
const purpose = (...oids: string[]): Uint8Array =>
  extension('2.5.29.37', der(derTag.sequence, ...oids.map((oid) => derOid(oid))))
const leafOptions = { ca: false, usage: usages.digitalSignature, extensions: [purpose('2.23.133.8.3')] }
const rootCertificate = certify(root, root)
const intermediateCertificate = certify(intermediate, root)
const roots = [{ ...rootOf(root), tee: 'tpm' as const }]
const certified = (leaf = certify(ak, intermediate, leafOptions)): TpmEvidenceEntry => {
  const { key: _, ...entry } = issueTpm({ key: ak.key })
  return { ...entry, certificates: [leaf.der, rootCertificate.der, intermediateCertificate.der] }
}

test('a key is trusted by a certificate whose chain ends at a root', async () => {
  const context = { roots, now: caNow }
  const verified = await verify(certified(), context)
  assert.equal(verified.notAfter, caNow + 1000)
  for (const oid of ['2.23.133.8.1', '2.23.133.8.3']) {
    await verify(
      certified(certify(ak, intermediate, { ...leafOptions, extensions: [purpose('1.3.6.1.5.5.7.3.2', oid)] })),
      context,
    )
  }
  // The issuers may come from a store, whatever else is in it.
  const [leaf] = certified().certificates!
  const endorsements = new Endorsements(
    [intermediateCertificate.der, Uint8Array.of(1, 2), rootCertificate.der].map((content) => ({
      kind: 'certificate',
      content,
    })),
  )
  await verify({ ...certified(), certificates: [leaf!] }, { ...context, endorsements })
  await refuses('ERR_EVIDENCE_CHAIN', { ...certified(), certificates: [leaf!] }, context)
  await refuses('ERR_EVIDENCE_ROOT_UNKNOWN', certified(), { ...context, roots: [] })
  await refuses('ERR_EVIDENCE_EXPIRED', certified(), { roots, now: caNow + 1001 })
  await refuses('ERR_EVIDENCE_NOT_YET_VALID', certified(), { roots, now: caNow - 1001 })
  await refuses('ERR_EVIDENCE_MALFORMED', { ...certified(), certificates: [leaf!.subarray(1)] }, context)
  await refuses('ERR_EVIDENCE_BINDING', { ...certified(), key: spkiOf(rsaAk) }, context)
  await refuses('ERR_EVIDENCE_SIGNATURE', { ...certified(), ...issueQuote() }, context)
})

test('a certificate of a key that may not quote is refused', async () => {
  const context = { roots, now: caNow }
  for (const options of [
    { ...leafOptions, usage: 0x20 }, // keyEncipherment: an endorsement key
    { ...leafOptions, usage: null },
    { ...leafOptions, extensions: [] },
    { ...leafOptions, extensions: [purpose('1.3.6.1.5.5.7.3.2')] },
  ]) {
    await refuses('ERR_EVIDENCE_CHAIN', certified(certify(ak, intermediate, options)), context)
  }
})

const logEvents = [
  { register: 0, type: 8, data: encodeUtf8('firmware') },
  ...[0, 1, 4, 7].map((register) => ({ register, type: 4, data: u32(0) })),
  { register: 8, type: 13, data: encodeUtf8('command line') },
]
const eventLog = agileLog(['sha256'], logEvents)
const logged = (_: unknown, pcr: number): Uint8Array =>
  extended(
    'sha256',
    new Uint8Array(32),
    logEvents.filter(({ register }) => register === pcr).map(({ data }) => hashOf('sha256', data)),
  )

test('an event log has to lead to the PCR values', async () => {
  const checks = new CheckLog()
  const verified = await verify(issueTpm({ values: logged }, { eventLog }), { checks })
  assert.deepEqual(verified.logs, [
    { hash: 'sha256', proven: [0, 1, 4, 7, 8], unlogged: [], open: [], startupLocality: null },
  ])
  assert.ok(checks.list.some(({ code, outcome }) => code === 'tpm-event-log' && outcome === 'passed'))
  await refuses('ERR_EVIDENCE_EVENT_LOG', issueTpm({}, { eventLog }), {}, /PCR 0/)
  await refuses('ERR_EVIDENCE_MALFORMED', issueTpm({ values: logged }, { eventLog: eventLog.subarray(1) }))
  const sha1Log = agileLog(['sha1'], logEvents)
  await refuses('ERR_EVIDENCE_EVENT_LOG', issueTpm({ values: logged }, { eventLog: sha1Log }), {}, /bank/)
})

const anyTpm: TpmPolicy = {
  signatureAlgorithms: 'any',
  pcrBanks: 'any',
  requiredPcrs: 'any',
  minimumFirmware: 'any',
  safeClock: 'any',
  resetCount: 'any',
  restartCount: 'any',
  eventLog: 'any',
  unloggedPcrs: 'any',
  separators: 'any',
}

test('each demand of a policy refuses with its own code what does not meet it', async () => {
  const open = agileLog(['sha256'], [logEvents[0]!, logEvents[5]!])
  const opened = (_: unknown, pcr: number): Uint8Array =>
    pcr === 0 || pcr === 8
      ? extended('sha256', new Uint8Array(32), [hashOf('sha256', logEvents[pcr === 0 ? 0 : 5]!.data)])
      : new Uint8Array(32).fill(pcr === 4 ? 1 : 0)
  const cases: readonly (readonly [string, Partial<TpmPolicy>, TpmEvidenceEntry, TpmEvidenceEntry])[] = [
    [
      'tpm-signature-algorithm',
      { signatureAlgorithms: tpmBaseline.signatureAlgorithms },
      issueTpm({ scheme: 'rsassa', hash: 'sha1' }),
      issueTpm(),
    ],
    [
      'tpm-pcr-bank',
      { pcrBanks: ['sha256'] },
      issueTpm({
        banks: [
          { hash: 'sha1', pcrs: [1] },
          { hash: 'sha256', pcrs: [1] },
        ],
      }),
      issueTpm(),
    ],
    ['tpm-pcr', { requiredPcrs: [4, 7] }, issueTpm({ banks: [{ hash: 'sha256', pcrs: [4] }] }), issueTpm()],
    ['tpm-firmware', { minimumFirmware: '2020031200120003' }, issueTpm({ firmware: 0x2020031200120002n }), issueTpm()],
    ['tpm-clock', { safeClock: 'required' }, issueTpm({ safe: 0 }), issueTpm()],
    ['tpm-reset-count', { resetCount: 5 }, issueTpm({ resetCount: 6 }), issueTpm()],
    ['tpm-restart-count', { restartCount: 6 }, issueTpm({ restartCount: 7 }), issueTpm()],
    ['tpm-event-log', { eventLog: 'required' }, issueTpm(), issueTpm({ values: logged }, { eventLog })],
    [
      'tpm-unlogged-pcr',
      { unloggedPcrs: 'refused' },
      issueTpm({ values: opened }, { eventLog: open }),
      issueTpm({ values: logged }, { eventLog }),
    ],
    [
      'tpm-separator',
      { separators: 'required' },
      issueTpm({ values: opened }, { eventLog: open }),
      issueTpm({ values: logged }, { eventLog }),
    ],
  ]
  for (const [code, part, bad, good] of cases) {
    const policy = { ...anyTpm, ...part }
    tpmFamily.checkPolicy(policy, 'policy')
    assert.deepEqual(
      refusals(tpmFamily, await verify(bad), policy).map((finding) => finding.code),
      [code],
    )
    assert.deepEqual(refusals(tpmFamily, await verify(good), policy), [])
  }
  const { pcrs: _, ...bare } = issueTpm()
  assert.deepEqual(
    refusals(tpmFamily, await verify(bare), {
      ...anyTpm,
      requiredPcrs: [0],
      eventLog: 'required',
      unloggedPcrs: 'refused',
      separators: 'required',
    }).map(({ code }) => code),
    ['tpm-pcr', 'tpm-event-log', 'tpm-unlogged-pcr', 'tpm-separator'],
  )
})

test('a policy with a field missing, unknown or of another kind is a TypeError', () => {
  tpmFamily.checkPolicy({ ...tpmBaseline, requiredPcrs: 'any' }, 'policy')
  for (const [name] of Object.entries(anyTpm)) {
    const { [name as 'pcrBanks']: _, ...rest } = anyTpm
    assert.throws(() => tpmFamily.checkPolicy(rest, 'policy'), TypeError, name)
    assert.throws(() => tpmFamily.checkPolicy({ ...anyTpm, [name]: ['other'] }, 'policy'), TypeError, name)
  }
  for (const part of [{ extra: 1 }, { requiredPcrs: [24] }, { minimumFirmware: 'A'.repeat(16) }, { resetCount: -1 }]) {
    assert.throws(() => tpmFamily.checkPolicy({ ...anyTpm, ...part }, 'policy'), TypeError)
  }
})

test('every truncation and every changed byte of each part ends in an EvidenceError', async () => {
  const entry = issueTpm({ values: logged }, { eventLog })
  for (const name of ['quote', 'signature', 'pcrs', 'eventLog', 'key'] as const) {
    const bytes = entry[name]!
    for (let at = 0; at < bytes.length; at++) {
      const changed = bytes.slice()
      changed[at]! ^= 1 << (at & 7)
      for (const value of [bytes.subarray(0, at), changed]) {
        try {
          await verify({ ...entry, [name]: value })
          // A log that ends early or has other data in an event can still lead to the same registers.
          assert.equal(name, 'eventLog', `${name} byte ${at}`)
        } catch (error) {
          assert.ok(error instanceof EvidenceError, `${name} byte ${at}: ${error}`)
        }
      }
    }
  }
})

test('random parts end in an EvidenceError', async () => {
  const bytes = fc.uint8Array({ maxLength: 200 })
  await fc.assert(
    fc.asyncProperty(bytes, bytes, bytes, async (quote, signature, pcrs) => {
      await assert.rejects(verify({ ...issueTpm(), quote, signature, pcrs }, { now }), EvidenceError)
    }),
    { numRuns: 50 },
  )
})
