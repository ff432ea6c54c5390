import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import test from 'node:test'
import { anything } from '../test/policy.ts'
import {
  arkKey,
  askKey,
  type Build,
  issueChain,
  issueEvidence,
  newP384Key,
  now,
  roots,
  snpEvidence,
  spkiOf,
  vekKey,
  verifySnpEvidence,
} from '../test/vendor.ts'
import { amdRoots, appraiseEvidence, ChainCache, type Evidence, EvidenceError, verifyEvidence } from './index.ts'

const options = { roots, now }

for (const product of ['Milan', 'Genoa', 'Turin', 'Venice'] as const) {
  for (const vek of ['vcek', 'vlek'] as const) {
    test(`takes a sound ${product} report under a ${vek} for genuine`, async () => {
      const verified = await verifySnpEvidence(await issueEvidence({ product, vek }), options)
      assert.equal(verified.product, product)
      assert.equal(verified.signer, vek)
      assert.equal(verified.simulated, false)
      const chip = product === 'Milan' || product === 'Genoa' ? 'c1'.repeat(64) : 'c1'.repeat(8)
      assert.equal(verified.platformId, vek === 'vcek' ? chip : undefined)
      assert.equal(verified.provider, vek === 'vlek' ? 'CN=cc-eu-west-1.example.net' : undefined)
      assert.equal(verified.report.policy.debug, false)
    })
  }
}

for (const version of [2, 3, 4, 5] as const) {
  test(`reads reports of version ${version}`, async () => {
    const old = version < 5 ? { launchMitigation: 0n, currentMitigation: 0n } : {}
    const cpuid = version === 2 ? { cpuid: undefined } : {}
    const verified = await verifySnpEvidence(await issueEvidence({ report: { version, ...old, ...cpuid } }), options)
    assert.equal(verified.report.version, version)
    assert.equal(verified.product, 'Milan')
  })
}

const lower = { bootLoader: 4, tee: 1, snp: 26, microcode: 222 }
const raw = Uint8Array.of(4, 1, 0, 0, 0, 0, 26, 222)
const rsa2048 = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey

const refused: readonly (readonly [string, Build, string])[] = [
  ['a report without a signing key', { report: { signingKey: 'none' } }, 'ERR_EVIDENCE_UNSIGNED'],
  ['a report that the host asked for', { report: { vmpl: 0xffffffff } }, 'ERR_EVIDENCE_UNSIGNED'],
  ['a VCEK where the report says VLEK', { report: { signingKey: 'vlek' } }, 'ERR_EVIDENCE_CHAIN'],
  ['a VLEK where the report says VCEK', { vek: 'vlek', report: { signingKey: 'vcek' } }, 'ERR_EVIDENCE_CHAIN'],
  ['a VCEK under an ASVK', { askKind: 'vlek' }, 'ERR_EVIDENCE_CHAIN'],
  ['a VLEK under an ASK', { vek: 'vlek', askKind: 'vcek' }, 'ERR_EVIDENCE_CHAIN'],
  ['a chain of two products', { arkProduct: 'Genoa' }, 'ERR_EVIDENCE_CHAIN'],
  ['a VCEK that the ASK did not sign', { leafIssuer: arkKey }, 'ERR_EVIDENCE_CHAIN'],
  ['an ASK that the ARK did not sign', { askIssuer: askKey }, 'ERR_EVIDENCE_CHAIN'],
  ['an ARK that did not sign itself', { arkIssuer: askKey }, 'ERR_EVIDENCE_CHAIN'],
  ['an ASK with a key of 2048 bits', { askSpki: spkiOf(rsa2048) }, 'ERR_EVIDENCE_CHAIN'],
  ['a VCEK with an RSA key', { leafSpki: spkiOf(askKey) }, 'ERR_EVIDENCE_CHAIN'],
  ['a VCEK with a point that is not on the curve', { leafSpki: spkiOf(vekKey).fill(7, 100) }, 'ERR_EVIDENCE_SIGNATURE'],
  ['a report that another key signed', { reportKey: newP384Key() }, 'ERR_EVIDENCE_SIGNATURE'],
  ['an expired VCEK', { leafTimes: { notBefore: now - 9, notAfter: now - 1 } }, 'ERR_EVIDENCE_EXPIRED'],
  ['an expired ASK', { askTimes: { notBefore: now - 9, notAfter: now - 1 } }, 'ERR_EVIDENCE_EXPIRED'],
  ['a VCEK of tomorrow', { leafTimes: { notBefore: now + 1, notAfter: now + 9 } }, 'ERR_EVIDENCE_NOT_YET_VALID'],
  [
    'a report of a Genoa under a Milan’s key',
    { report: { cpuid: { family: 0x19, model: 0x11, stepping: 1 } } },
    'ERR_EVIDENCE_PRODUCT_MISMATCH',
  ],
  [
    'a report of an unknown processor',
    { report: { cpuid: { family: 0x17, model: 1, stepping: 1 } } },
    'ERR_EVIDENCE_PRODUCT_MISMATCH',
  ],
  [
    'a certificate of another product than its chain',
    { claims: { product: 'Milan', productName: 'Genoa' } },
    'ERR_EVIDENCE_PRODUCT_MISMATCH',
  ],
  ['a certificate of no product', { claims: { productName: 'Milan-b0' } }, 'ERR_EVIDENCE_MALFORMED'],
  ['a certificate of a lower TCB than the report', { claims: { tcb: lower } }, 'ERR_EVIDENCE_TCB_MISMATCH'],
  ['a report of a lower TCB than its certificate', { report: { reportedTcb: raw } }, 'ERR_EVIDENCE_TCB_MISMATCH'],
  [
    'a current TCB below the reported one',
    { report: { currentTcb: raw, committedTcb: raw } },
    'ERR_EVIDENCE_TCB_MISMATCH',
  ],
  [
    'a current TCB below the committed one',
    { report: { currentTcb: raw, reportedTcb: raw }, claims: { tcb: lower } },
    'ERR_EVIDENCE_TCB_MISMATCH',
  ],
  ['a TCB with a reserved byte', { patch: (report) => report.set([1], 0x1e3) }, 'ERR_EVIDENCE_MALFORMED'],
  ['another chip', { report: { chipId: new Uint8Array(64).fill(9) } }, 'ERR_EVIDENCE_CHIP_MISMATCH'],
  [
    'a Turin chip id that goes on',
    { product: 'Turin', report: { chipId: new Uint8Array(64).fill(0xc1) } },
    'ERR_EVIDENCE_MALFORMED',
  ],
  ['a VCEK without hwID', { claims: { hwId: undefined } }, 'ERR_EVIDENCE_MALFORMED'],
  ['a VCEK with a hwID in a DER header', { claims: { hwId: new Uint8Array(66).fill(0xc1) } }, 'ERR_EVIDENCE_MALFORMED'],
  ['a VCEK with a provider', { claims: { provider: 'CN=x' } }, 'ERR_EVIDENCE_MALFORMED'],
  ['a VLEK without a provider', { vek: 'vlek', claims: { provider: undefined } }, 'ERR_EVIDENCE_MALFORMED'],
  ['a VLEK with a hwID', { vek: 'vlek', claims: { hwId: new Uint8Array(64) } }, 'ERR_EVIDENCE_MALFORMED'],
]
for (const [what, build, code] of refused) {
  test(`refuses ${what}`, async () => {
    const evidence = await issueEvidence(build)
    await assert.rejects(verifyEvidence(evidence, options), { name: 'EvidenceError', code })
  })
}

test('refuses a sound chain that ends at no trusted root', async () => {
  const evidence = await issueEvidence()
  for (const other of [[], amdRoots, roots.filter(({ product }) => product !== 'Milan')]) {
    await assert.rejects(verifyEvidence(evidence, { roots: other, now }), { code: 'ERR_EVIDENCE_ROOT_UNKNOWN' })
  }
})

test('calls evidence simulated when its root is, and only then', async () => {
  const evidence = await issueEvidence()
  const simulated = roots.map((root) => ({ ...root, simulated: true }))
  assert.equal((await verifyEvidence(evidence, { roots: simulated, now })).simulated, true)
  assert.equal((await verifyEvidence(evidence, { roots: [...roots, ...simulated], now })).simulated, true)
  assert.equal((await verifyEvidence(evidence, options)).simulated, false)
})

test('knows the chip of a masked report from its VCEK', async () => {
  const evidence = await issueEvidence({ report: { chipId: new Uint8Array(64) } })
  const verified = await verifySnpEvidence(evidence, options)
  assert.equal(verified.chipIdMasked, true)
  assert.equal(verified.platformId, 'c1'.repeat(64))
})

test('refuses certificates out of order, missing, doubled, or with bytes after them', async () => {
  const { entries } = await issueEvidence()
  const entry = entries[0]!
  const [leaf, ask, ark] = await issueChain()
  for (const [certificates, code] of [
    [[ark, ask, leaf], 'ERR_EVIDENCE_CHAIN'],
    [[leaf, ark, ask], 'ERR_EVIDENCE_CHAIN'],
    [[leaf, ask], 'ERR_EVIDENCE_CHAIN'],
    [[leaf, ask, ark, ark], 'ERR_EVIDENCE_CHAIN'],
    [[leaf, leaf, ark], 'ERR_EVIDENCE_CHAIN'],
    [[], 'ERR_EVIDENCE_CHAIN'],
    [[Uint8Array.of(...leaf, 0), ask, ark], 'ERR_EVIDENCE_MALFORMED'],
    [[new Uint8Array(9000), ask, ark], 'ERR_EVIDENCE_MALFORMED'],
  ] as const) {
    await assert.rejects(verifyEvidence(snpEvidence({ ...entry, certificates }), options), { code })
  }
})

test('refuses evidence of no entry, of two, of another role, of an unknown format', async () => {
  const [entry] = (await issueEvidence()).entries
  for (const [entries, code] of [
    [[], 'ERR_EVIDENCE_MALFORMED'],
    [[entry!, entry!], 'ERR_EVIDENCE_MALFORMED'],
    [[{ ...entry!, role: 'gpu' }], 'ERR_EVIDENCE_MALFORMED'],
    [[{ ...entry!, format: 'toString' }], 'ERR_EVIDENCE_FORMAT_UNKNOWN'],
  ] as const) {
    await assert.rejects(verifyEvidence({ entries } as unknown as Evidence, options), { code })
  }
})

test('refuses every truncation and every changed byte of each certificate', async () => {
  const evidence = await issueEvidence()
  const entry = evidence.entries[0]!
  for (const which of [0, 1, 2]) {
    const whole = entry.certificates[which]!
    for (let at = 0; at < whole.length; at += which === 0 ? 1 : 7) {
      const changed = Uint8Array.from(whole)
      changed[at]! ^= 1 << (at % 8)
      for (const bad of [whole.subarray(0, at), changed]) {
        const certificates = entry.certificates.with(which, bad)
        await assert.rejects(
          verifyEvidence(snpEvidence({ ...entry, certificates }), options),
          (error) => error instanceof EvidenceError,
          `certificate ${which} byte ${at}`,
        )
      }
    }
  }
})

test('refuses every truncation and every changed byte of a report', async () => {
  const evidence = await issueEvidence()
  const entry = evidence.entries[0]!
  const cache = new ChainCache()
  await verifyEvidence(evidence, { ...options, cache })
  for (let at = 0; at < entry.report.length; at++) {
    const changed = Uint8Array.from(entry.report)
    changed[at]! ^= 1 << (at % 8)
    for (const report of [entry.report.subarray(0, at), changed]) {
      await assert.rejects(
        verifyEvidence(snpEvidence({ ...entry, report }), { ...options, cache }),
        (error) => error instanceof EvidenceError,
        `byte ${at}`,
      )
    }
  }
})

test('a cached chain is judged by time and roots again at each use', async () => {
  const cache = new ChainCache()
  const evidence = await issueEvidence()
  await verifyEvidence(evidence, { ...options, cache })
  assert.equal(cache.count, 1)
  await verifyEvidence(evidence, { ...options, cache })
  assert.equal(cache.count, 1)
  await assert.rejects(verifyEvidence(evidence, { roots, now: now + 2000, cache }), { code: 'ERR_EVIDENCE_EXPIRED' })
  await assert.rejects(verifyEvidence(evidence, { roots: amdRoots, now, cache }), { code: 'ERR_EVIDENCE_ROOT_UNKNOWN' })
})

test('a cache holds no chain that failed, and no more than its bound', async () => {
  const cache = new ChainCache(2)
  await assert.rejects(verifyEvidence(await issueEvidence({ leafIssuer: arkKey }), { ...options, cache }))
  assert.equal(cache.count, 0)
  for (const product of ['Milan', 'Genoa', 'Turin'] as const) {
    await verifyEvidence(await issueEvidence({ product }), { ...options, cache })
  }
  assert.equal(cache.count, 2)
  assert.throws(() => new ChainCache(0), RangeError)
})

test('refuses a `now` that is no number', async () => {
  const evidence = await issueEvidence()
  await assert.rejects(verifyEvidence(evidence, { roots, now: Number.NaN }), RangeError)
})

test('appraises nothing that a cast called verified', async () => {
  const verified = await verifyEvidence(await issueEvidence(), options)
  assert.throws(() => appraiseEvidence({ ...verified }, anything), TypeError)
  assert.throws(() => Object.assign(verified, { simulated: true }), TypeError)
})
