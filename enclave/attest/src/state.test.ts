import assert from 'node:assert/strict'
import { createPublicKey, generateKeyPairSync, sign, verify } from 'node:crypto'
import { chmod, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { encodeCollateral } from '@cella/evidence'
import { issueIntelCrl } from '@cella/evidence/intel-issue'
import { calculateJwkThumbprint } from 'jose'
import { now, simulatedMachine, temporary } from '../test/support.ts'
import { Collateral } from './collateral.ts'
import { RateLimit } from './rate-limit.ts'
import { AttestationService, type ServiceParts } from './service.ts'
import { type PublicJwk, SigningKeys } from './signing-keys.ts'

const message = new TextEncoder().encode('message')

function verifies(jwk: PublicJwk, signature: Uint8Array): boolean {
  const key = createPublicKey({ key: { ...jwk }, format: 'jwk' })
  return signature.length === 96 && verify('sha384', message, { key, dsaEncoding: 'ieee-p1363' }, signature)
}

function opened(folder: string, tee?: Parameters<typeof SigningKeys.open>[0]['tee']): Promise<SigningKeys> {
  return SigningKeys.open({ folder, tee, tokenSeconds: 300, now })
}

test('the key is made once, for its user alone, and signs after a restart', async () => {
  const folder = await temporary()
  const first = await opened(folder)
  const second = await opened(folder)
  assert.deepEqual(second.current, first.current)
  assert.ok(verifies(first.current, second.sign(message)))
  assert.equal(first.current.kid, await calculateJwkThumbprint({ ...first.current }))
  assert.deepEqual(await readdir(folder), ['keys.json'])
  if (process.platform !== 'win32') assert.equal((await stat(join(folder, 'keys.json'))).mode & 0o777, 0o600)
})

test('after a rotation another key signs, and the one before is shown until its tokens have ended, then no more', async () => {
  const folder = await temporary()
  const keys = await opened(folder)
  const old = keys.current
  const signature = keys.sign(message)
  await keys.rotate(now)
  for (const reader of [keys, await opened(folder)]) {
    assert.notEqual(reader.current.kid, old.kid)
    assert.deepEqual(
      reader.jwks(now).keys.map(({ kid }) => kid),
      [reader.current.kid, old.kid],
    )
    assert.ok(verifies(reader.jwks(now + 600).keys[1]!, signature))
    assert.equal(reader.jwks(now + 601).keys.length, 1)
  }
  const text = await readFile(join(folder, 'keys.json'), 'utf8')
  // One private key alone is in the file.
  assert.equal(text.match(/"signs"/g)?.length, 1)
  await keys.rotate(now + 1)
  assert.equal(keys.jwks(now + 1).keys.length, 3)
  await keys.rotate(now + 1000)
  assert.equal(keys.jwks(now + 1000).keys.length, 2)
})

test('a key file that is open to others, cut off or of something else is refused, and says no word of it', async () => {
  const folder = await temporary()
  await opened(folder)
  const path = join(folder, 'keys.json')
  const text = await readFile(path, 'utf8')
  const { signs } = JSON.parse(text) as { signs: string }
  const bad = [
    '',
    '{}',
    text.slice(0, -1),
    ` ${text}`,
    text.replace('"version":1', '"version":2'),
    text.replace(signs, signs.slice(0, -8)),
  ]
  for (const contents of bad) {
    await writeFile(path, contents, { mode: 0o600 })
    await assert.rejects(opened(folder), (error: Error & { code: string }) => {
      assert.equal(error.code, 'ERR_STATE_NOT_OPENED')
      assert.ok(!String(error.stack).includes(signs.slice(20, 60)) && error.cause === undefined)
      return true
    })
  }
  if (process.platform === 'win32') return
  await writeFile(path, text)
  await chmod(path, 0o640)
  await assert.rejects(opened(folder), { code: 'ERR_STATE_NOT_OPENED' })
})

test('in a TEE the key is sealed to the measurement', async () => {
  const folder = await temporary()
  const [machine, other] = [await simulatedMachine(), await simulatedMachine()]
  const keys = await opened(folder, machine.tee)
  assert.deepEqual(await readdir(folder), ['keys.sealed'])
  assert.equal((await opened(folder, machine.tee)).current.kid, keys.current.kid)
  await assert.rejects(opened(folder, other.tee), { code: 'ERR_STATE_NOT_OPENED' })
  const sealed = await readFile(join(folder, 'keys.sealed'))
  assert.ok(!sealed.includes('signs'))
  // A TEE without a sealing key of its own keeps nothing: what it sealed would open nowhere.
  const fleeting = { ...machine.tee, describe: () => ({ ...machine.tee.describe(), sealing: 'launch' as const }) }
  const empty = await temporary()
  assert.notEqual((await opened(empty, fleeting)).current.kid, (await opened(empty, fleeting)).current.kid)
  assert.deepEqual(await readdir(empty), [])
})

const signer = generateKeyPairSync('ec', { namedCurve: 'prime256v1' }).privateKey
const crl = (thisUpdate: number, issuer: 'root' | 'platform' | 'processor' = 'root'): Promise<Uint8Array> =>
  issueIntelCrl({
    issuer,
    number: 1,
    thisUpdate,
    nextUpdate: thisUpdate + 100,
    revoked: [],
    sign: (bytes) => new Uint8Array(sign('sha256', bytes, { key: signer, dsaEncoding: 'ieee-p1363' })),
  })

test('collateral is told by its content, and read again when it changes', async () => {
  const folder = await temporary()
  const put = (name: string, content: string | Uint8Array): Promise<void> => writeFile(join(folder, name), content)
  await put('whatever.txt', await crl(now))
  await put('bundle.json', encodeCollateral([{ kind: 'crl', content: await crl(now - 200, 'platform') }]))
  await put('.hidden', 'anything')
  const collateral = await Collateral.open(folder, now)
  const { current } = collateral
  assert.equal(current.all('crl').length, 2)
  assert.equal(collateral.expired(now), 1)
  assert.equal(await collateral.refresh(now + 1), false)
  assert.equal(collateral.current, current)
  const [older, newer] = await Promise.all([crl(now - 1, 'processor'), crl(now - 2, 'processor')])
  await put('processor.crl', older)
  assert.equal(await collateral.refresh(now + 2), true)
  assert.equal(collateral.current.all('crl').length, 3)
  // Perhaps the same length, and the time set back.
  await put('processor.crl', newer)
  await utimes(join(folder, 'processor.crl'), now - 10, now - 10)
  assert.equal(await collateral.refresh(now + 3), true)
  assert.ok(collateral.current.all('crl').some(({ content }) => Buffer.from(newer).equals(content)))
})

test('a change that can’t be read leaves in use what was there, and is told once', async () => {
  const folder = await temporary()
  await writeFile(join(folder, 'root.crl'), await crl(now))
  const collateral = await Collateral.open(folder, now)
  await writeFile(join(folder, 'notes.txt'), 'x')
  assert.equal(await collateral.refresh(now + 1), true)
  assert.match(collateral.status.problem!, /notes\.txt: collateral: is no certificate/)
  assert.equal(await collateral.refresh(now + 2), false)
  assert.equal(collateral.current.all('crl').length, 1)
  await rm(join(folder, 'notes.txt'))
  assert.equal(await collateral.refresh(now + 3), true)
  assert.deepEqual(collateral.status, { files: 1, pieces: 1, readAt: now + 3, problem: null })
})

const unreadable: readonly (readonly [string, string | Uint8Array, RegExp])[] = [
  ['an empty file', '', /is no certificate/],
  ['JSON of something else', '{"tcb":1}', /is not text/],
  ['an answer cut off', '{"tcbInfo":', /tcb-info/],
  ['bytes that are nothing', Uint8Array.of(0x30, 0x03, 0x02, 0x01, 0x05), /is no certificate/],
  ['a file that is too large', new Uint8Array(1_048_577).fill(0x30), /at most/],
]
for (const [what, content, problem] of unreadable) {
  test(`refuses to start on ${what}`, async () => {
    const folder = await temporary()
    await writeFile(join(folder, 'file'), content)
    await assert.rejects(Collateral.open(folder, now), (error: Error & { code: string }) => {
      assert.equal(error.code, 'ERR_COLLATERAL_UNREADABLE')
      assert.match(error.message, problem)
      return true
    })
  })
}

test('a folder that is not there is no empty folder', async () => {
  await assert.rejects(Collateral.open(join(await temporary(), 'absent'), now), { code: 'ERR_COLLATERAL_UNREADABLE' })
  assert.equal((await Collateral.open(undefined, now)).status.files, 0)
})

test('too many nonces that nobody used are no reason for more memory', () => {
  // Of what a service is made of, nonces use nothing.
  const service = new AttestationService({ organisationPerSecond: 1 } as ServiceParts)
  for (let count = 0; count < 100_000; count++) service.nonce()
  assert.throws(() => service.nonce(), { code: 'ERR_SERVICE_FULL' })
})

test('a rate holds over time, tells when to come back, and is each name’s own', () => {
  let clock = 0
  const limit = new RateLimit({ perSecond: 10, what: 'x', clock: () => clock })
  for (let count = 0; count < 20; count++) limit.take('a')
  assert.throws(() => limit.take('a'), { code: 'ERR_RATE_LIMITED', retryAfterSeconds: 1 })
  limit.take('b')
  clock = 100
  limit.take('a')
  assert.throws(() => limit.take('a'), { code: 'ERR_RATE_LIMITED' })
  // What costs more than a full bucket is paid later.
  limit.take('c', 100)
  assert.throws(() => limit.take('c'), { code: 'ERR_RATE_LIMITED', retryAfterSeconds: 9 })
  clock += 1000 * 60
  for (let count = 0; count < 20; count++) limit.take('a')
  assert.throws(() => limit.take('a'), { code: 'ERR_RATE_LIMITED' })
})
