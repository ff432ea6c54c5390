import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import {
  type Ca,
  certify,
  crlBytes,
  extension,
  issueCrl,
  newCa,
  caNow as now,
  rootOf,
  usages,
} from '../../test/x509.ts'
import { Endorsements } from '../endorsements.ts'
import { EvidenceError } from '../error.ts'
import { crlsOf, parseCrl } from './crl.ts'
import { buildPath, judgePath, verifyPath } from './path.ts'

const [root, middle, lower, device, stranger] = ['root', 'middle', 'lower', 'device', 'root'].map(newCa) as [
  Ca,
  Ca,
  Ca,
  Ca,
  Ca,
]
const rootCertificate = certify(root, root)
const middleCertificate = certify(middle, root, { serial: 2 })
const lowerCertificate = certify(lower, middle, { serial: 3 })
const leaf = certify(device, lower, { serial: 4, ca: false, usage: usages.digitalSignature })
const pool = [rootCertificate, middleCertificate, lowerCertificate]
const options = { tee: 'nitro', roots: [rootOf(root)], pool, name: 'device certificate' } as const
const code = (wanted: string) => ({ name: 'EvidenceError', code: wanted })

test('finds the path whatever the order of the pool and whatever else is in it', async () => {
  const others = [certify(stranger, stranger), certify(middle, stranger), leaf]
  await fc.assert(
    fc.asyncProperty(fc.shuffledSubarray([...pool, ...others], { minLength: 6, maxLength: 6 }), async (mixed) => {
      const path = await buildPath(leaf, { ...options, pool: mixed })
      assert.deepEqual(
        path.certificates.map(({ serial }) => serial[0]),
        [4, 3, 2, 1],
      )
      assert.equal(path.root.simulated, false)
    }),
    { numRuns: 30 },
  )
})

test('a root in another certificate with the same key is the same root', async () => {
  const renewed = certify(root, root, { serial: 9, notAfter: now + 9 })
  const path = await buildPath(leaf, { ...options, pool: [renewed, ...pool.slice(1)] })
  assert.equal(path.certificates.at(-1), renewed)
})

test('one key listed as real and as simulated counts as simulated', async () => {
  const roots = [rootOf(root), rootOf(root, true)]
  assert.equal((await buildPath(leaf, { ...options, roots })).root.simulated, true)
})

const chains: readonly (readonly [string, Parameters<typeof buildPath>[1], string])[] = [
  ['a missing intermediate', { ...options, pool: [rootCertificate, middleCertificate] }, 'ERR_EVIDENCE_CHAIN'],
  ['a missing root', { ...options, pool: pool.slice(1) }, 'ERR_EVIDENCE_CHAIN'],
  ['no certificates', { ...options, pool: [] }, 'ERR_EVIDENCE_CHAIN'],
  ['a root that is not trusted', { ...options, roots: [] }, 'ERR_EVIDENCE_ROOT_UNKNOWN'],
  ['a root of another TEE', { ...options, tee: 'sgx' }, 'ERR_EVIDENCE_ROOT_UNKNOWN'],
  [
    'a look-alike root with the same name',
    { ...options, pool: [certify(stranger, stranger), ...pool.slice(1)] },
    'ERR_EVIDENCE_CHAIN',
  ],
  [
    'an intermediate that is no CA',
    { ...options, pool: [rootCertificate, middleCertificate, certify(lower, middle, { ca: false })] },
    'ERR_EVIDENCE_CHAIN',
  ],
  [
    'an intermediate that may not sign certificates',
    { ...options, pool: [rootCertificate, middleCertificate, certify(lower, middle, { usage: usages.cRLSign })] },
    'ERR_EVIDENCE_CHAIN',
  ],
  [
    'an intermediate without key usage',
    { ...options, pool: [rootCertificate, middleCertificate, certify(lower, middle, { usage: null })] },
    'ERR_EVIDENCE_CHAIN',
  ],
  [
    'a path longer than an issuer allows',
    { ...options, pool: [rootCertificate, certify(middle, root, { pathLength: 0 }), lowerCertificate] },
    'ERR_EVIDENCE_CHAIN',
  ],
  [
    'a critical extension that nobody reads',
    {
      ...options,
      pool: [
        rootCertificate,
        middleCertificate,
        certify(lower, middle, { extensions: [extension('1.2.3.4', Uint8Array.of(5, 0), true)] }),
      ],
    },
    'ERR_EVIDENCE_CHAIN',
  ],
]
for (const [what, bad, expected] of chains) {
  test(`refuses ${what}`, async () => {
    await assert.rejects(buildPath(leaf, bad), code(expected))
  })
}

test('a chain of exactly the length that an issuer allows passes', async () => {
  const exact = [certify(root, root, { pathLength: 2 }), certify(middle, root, { pathLength: 1 }), lowerCertificate]
  await buildPath(leaf, { ...options, pool: exact })
})

test('a leaf that is its own issuer is no path', async () => {
  await assert.rejects(buildPath(certify(device, device), options), code('ERR_EVIDENCE_CHAIN'))
})

test('a pool in which everybody signed for everybody ends with an error, not with the day', async () => {
  const crowd = Array.from({ length: 12 }, () => newCa('same'))
  const web = crowd.flatMap((subject) => crowd.map((issuer) => certify(subject, issuer)))
  await assert.rejects(buildPath(certify(device, crowd[0]!), { ...options, pool: web }), code('ERR_EVIDENCE_CHAIN'))
})

test('each certificate is judged at the time that is given', async () => {
  const path = await buildPath(leaf, options)
  const judge = (at: number) => judgePath(path, { now: at, crls: [], revocation: 'if-given' })
  const { notBefore, notAfter, revocation, collateralIssuedAt } = await judge(now)
  assert.deepEqual(
    [notBefore, notAfter, revocation, collateralIssuedAt],
    [now - 1000, now + 1000, 'not-checked', undefined],
  )
  await judge(now + 1000)
  await assert.rejects(judge(now + 1001), code('ERR_EVIDENCE_EXPIRED'))
  await assert.rejects(judge(now - 1001), code('ERR_EVIDENCE_NOT_YET_VALID'))
  await assert.rejects(judge(Number.NaN), RangeError)
})

const lists = [issueCrl(root), issueCrl(middle), issueCrl(lower, { thisUpdate: now - 50, nextUpdate: now + 50 })]

test('with the list of every issuer the path counts as checked, for as long as the shortest list', async () => {
  const judged = await verifyPath(leaf, { ...options, now, crls: lists, revocation: 'required' })
  assert.equal(judged.revocation, 'checked')
  assert.equal(judged.collateralIssuedAt, now - 100)
  assert.equal(judged.notBefore, now - 50)
  assert.equal(judged.notAfter, now + 50)
})

for (const [what, issuer, serial] of [
  ['leaf', lower, 4],
  ['intermediate', middle, 3],
  ['intermediate under the root', root, 2],
] as const) {
  test(`refuses a revoked ${what}`, async () => {
    for (const reason of [undefined, 1]) {
      const crls = [issueCrl(issuer, { revoked: [{ serial: 77 }, { serial, ...(reason && { reason }) }] })]
      await assert.rejects(
        verifyPath(leaf, { ...options, now, crls, revocation: 'if-given' }),
        code('ERR_EVIDENCE_REVOKED'),
      )
    }
    const crls = [issueCrl(issuer, { revoked: [{ serial, reason: 6 }] })]
    await assert.rejects(verifyPath(leaf, { ...options, now, crls, revocation: 'if-given' }), /put on hold/)
  })
}

test('refuses lists that are missing, stale, of the future; takes none that another key signed', async () => {
  const judge = (crls: Parameters<typeof verifyPath>[1]['crls'], revocation: 'required' | 'if-given') =>
    verifyPath(leaf, { ...options, now, crls, revocation })
  await assert.rejects(judge(lists.slice(0, 2), 'required'), code('ERR_EVIDENCE_COLLATERAL_MISSING'))
  const stale = issueCrl(lower, { thisUpdate: now - 90, nextUpdate: now - 1 })
  await assert.rejects(judge([stale], 'if-given'), code('ERR_EVIDENCE_COLLATERAL_EXPIRED'))
  const future = issueCrl(lower, { thisUpdate: now + 1, nextUpdate: now + 9 })
  await assert.rejects(judge([future], 'if-given'), code('ERR_EVIDENCE_COLLATERAL_EXPIRED'))
  const forged = issueCrl(newCa('lower'), { revoked: [{ serial: 4 }] })
  assert.equal((await judge([forged], 'if-given')).revocation, 'not-checked')
  await assert.rejects(judge([forged, lists[0]!, lists[1]!], 'required'), code('ERR_EVIDENCE_COLLATERAL_MISSING'))
})

test('an older list that is still in force does not hide what the newer one revokes', async () => {
  const older = issueCrl(lower, { thisUpdate: now - 90 })
  const newer = issueCrl(lower, { thisUpdate: now - 10, revoked: [{ serial: 4 }] })
  for (const crls of [
    [older, newer],
    [newer, older],
  ]) {
    await assert.rejects(
      verifyPath(leaf, { ...options, now, crls, revocation: 'if-given' }),
      code('ERR_EVIDENCE_REVOKED'),
    )
  }
})

test('an issuer that may not sign lists has signed none', async () => {
  const noLists = certify(lower, middle, { usage: usages.keyCertSign })
  const judged = await verifyPath(leaf, {
    ...options,
    pool: [rootCertificate, middleCertificate, noLists],
    now,
    crls: [issueCrl(lower, { revoked: [{ serial: 4 }] })],
    revocation: 'if-given',
  })
  assert.equal(judged.revocation, 'not-checked')
})

test('a list that speaks of some certificates only is refused', () => {
  for (const oid of ['2.5.29.27', '2.5.29.28']) {
    const partial = crlBytes(root, { extensions: [extension(oid, Uint8Array.of(0x30, 0), true)] })
    assert.throws(() => parseCrl(partial, 'CRL'), /critical/)
  }
})

test('every truncation and every changed byte of a list is refused, or signed by nobody', async () => {
  const whole = crlBytes(lower, { revoked: [{ serial: 4, reason: 6 }] })
  for (let at = 0; at < whole.length; at++) {
    assert.throws(() => crlsOf(endorsed(whole.subarray(0, at))), code('ERR_EVIDENCE_COLLATERAL_INVALID'))
    const changed = Uint8Array.from(whole)
    changed[at]! ^= 1 << (at % 8)
    try {
      const crls = crlsOf(endorsed(changed))
      const judged = await verifyPath(leaf, { ...options, now, crls, revocation: 'if-given' })
      assert.equal(judged.revocation, 'not-checked', `byte ${at}`)
    } catch (error) {
      assert.ok(error instanceof EvidenceError, `byte ${at}: ${error}`)
      assert.notEqual(error.code, 'ERR_EVIDENCE_REVOKED', `byte ${at}`)
    }
  }
  assert.throws(() => crlsOf(endorsed(Uint8Array.of(...whole, 0))), code('ERR_EVIDENCE_COLLATERAL_INVALID'))
})

function endorsed(content: Uint8Array): Endorsements {
  return new Endorsements([{ kind: 'crl', content }])
}
