import assert from 'node:assert/strict'
import { generateKeyPairSync, sign } from 'node:crypto'
import { test } from 'node:test'
import { describeCollateral, type Endorsement, encodeCollateral } from '@cella/evidence'
import { issueIntelCrl, issueIntelRoot } from '@cella/evidence/intel-issue'
import { type CollateralStore, listCollateral } from '../src/store.ts'

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
const spki = new Uint8Array(publicKey.export({ format: 'der', type: 'spki' }))
const signer = (bytes: Uint8Array) =>
  new Uint8Array(sign('sha256', bytes, { key: privateKey, dsaEncoding: 'ieee-p1363' }))
export const now = 1_790_000_000
export const certificate: Uint8Array = await issueIntelRoot({
  spki,
  serial: 1,
  notBefore: now - 9,
  notAfter: now + 9,
  sign: signer,
})

export async function crl(thisUpdate: number, nextUpdate: number = thisUpdate + 1000): Promise<Endorsement> {
  const options = { issuer: 'root', number: 1, thisUpdate, nextUpdate, revoked: [], sign: signer } as const
  return { kind: 'crl', content: await issueIntelCrl(options) }
}

/** What every store of collateral does. `open` opens the same place again for the same name. */
export function collateralSuite(open: (name: string) => Promise<CollateralStore>): void {
  test('keeps what it is given, the newest edition of each, and says what is in force', async () => {
    const store = await open('a')
    assert.deepEqual(await store.pieces(), [])
    await store.add([await crl(now - 50), { kind: 'certificate', content: certificate }])
    await store.add([await crl(now - 90)])
    const again = await open('a')
    const held = await listCollateral(again, now)
    assert.deepEqual(
      held.map(({ subject, notBefore, state }) => [subject.replace(/ [0-9a-f]{12}$/, ''), notBefore, state]),
      [
        ['certificate Intel SGX Root CA', now - 9, 'in-force'],
        ['CRL of Intel SGX Root CA', now - 50, 'in-force'],
      ],
    )
    const { replaced } = await store.add([await crl(now - 10)])
    assert.equal(replaced.length, 1)
    assert.equal((await again.pieces()).length, 2)
    assert.equal((await listCollateral(store, now + 5000))[1]?.state, 'expired')
    assert.equal((await listCollateral(store, now - 11))[1]?.state, 'not-yet')
    // The same again, and all of it in a bundle, change nothing.
    const all = await store.pieces()
    assert.equal((await store.add(all)).added.length, 0)
    assert.deepEqual(encodeCollateral(await again.pieces()), encodeCollateral(all))
    await Promise.all([store.close(), again.close()])
  })

  test('refuses content that is not of its kind, and keeps nothing of it', async () => {
    const store = await open('b')
    const given = [await crl(now), { kind: 'crl', content: certificate } as const]
    await assert.rejects(store.add(given), { code: 'ERR_EVIDENCE_MALFORMED' })
    assert.deepEqual(await store.pieces(), [])
    await store.close()
  })

  test('two writers at once lose nothing', async () => {
    const stores = await Promise.all([open('c'), open('c')])
    const given = await Promise.all([1, 2, 3, 4].map(async (age) => [await crl(now - age)]))
    await Promise.all([
      ...given.map((one, at) => stores[at % 2]!.add(one)),
      stores[0]!.add([{ kind: 'certificate', content: certificate }]),
    ])
    const pieces = await stores[1]!.pieces()
    assert.ok(pieces.some(({ kind }) => kind === 'certificate'))
    const newest = Math.max(...pieces.map((piece) => describeCollateral(piece).notBefore ?? 0))
    assert.equal(newest, now - 1)
    await Promise.all(stores.map((store) => store.close()))
  })
}
