import assert from 'node:assert/strict'
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { digestOf } from '@cella/primitives'
import { FlattenedSign } from 'jose'
import { delivererKey, verifySource } from './sources.ts'

const folder = mkdtempSync(join(tmpdir(), 'cella-sources-'))
after(() => rmSync(folder, { recursive: true }))
const path = join(folder, 'delivered.csv')
const other = join(folder, 'other.csv')
const content = Buffer.from('patient,age\n1,40\n')
writeFileSync(path, content)
writeFileSync(other, 'patient,age\n1,41\n')

const pemOf = (key: KeyObject): string => key.export({ format: 'pem', type: 'spki' }) as string
const laboratory = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const rival = generateKeyPairSync('ed25519')
const key = delivererKey(pemOf(laboratory.publicKey))
const rivalKey = delivererKey(pemOf(rival.publicKey))

const inToto = ((): string => {
  const type = 'application/vnd.in-toto+json'
  const subject = [{ name: 'delivered.csv', digest: { sha256: digestOf(content) } }]
  const statement = {
    _type: 'https://in-toto.io/Statement/v1',
    subject,
    predicateType: 'https://example.org/d',
    predicate: {},
  }
  const payload = Buffer.from(JSON.stringify(statement))
  const message = Buffer.concat([Buffer.from(`DSSEv1 ${type.length} ${type} ${payload.length} `), payload])
  const sig = sign('sha256', message, laboratory.privateKey).toString('base64')
  return JSON.stringify({ payloadType: type, payload: payload.toString('base64'), signatures: [{ keyid: '', sig }] })
})()

async function jws(options: { b64: boolean; key?: KeyObject }): Promise<string> {
  const signer = new FlattenedSign(content).setProtectedHeader({
    alg: options.key === undefined ? 'ES256' : 'EdDSA',
    ...(!options.b64 && { b64: false, crit: ['b64'] }),
  })
  const made = await signer.sign(options.key ?? laboratory.privateKey)
  return `${made.protected}..${made.signature}`
}

test('an in-toto statement or a detached JWS of the deliverer about the file is taken, with the key that signed', async () => {
  const forms = [
    ['in-toto', inToto],
    ['jws', await jws({ b64: true })],
    ['jws', `${await jws({ b64: false })}\n`],
  ] as const
  for (const [form, statement] of forms) {
    const source = await verifySource(path, { statement, keys: [rivalKey, { ...key, name: 'Laboratory' }] })
    assert.deepEqual([source.form, source.original, source.deliverer], [form, digestOf(content), 'Laboratory'])
    assert.equal(source.statement, statement.trim())
  }
})

const refused: [string, () => Promise<unknown>][] = [
  ['an in-toto statement about another file', () => verifySource(other, { statement: inToto, keys: [key] })],
  ['a JWS over another file', async () => verifySource(other, { statement: await jws({ b64: true }), keys: [key] })],
  ['an in-toto statement of another key', () => verifySource(path, { statement: inToto, keys: [rivalKey] })],
  ['a JWS of another key', async () => verifySource(path, { statement: await jws({ b64: true }), keys: [rivalKey] })],
  [
    'a JWS of a key of another kind than its header says',
    async () => verifySource(path, { statement: await jws({ b64: true, key: rival.privateKey }), keys: [key] }),
  ],
  [
    'a JWS without a signature',
    async () => {
      const none = Buffer.from('{"alg":"none"}').toString('base64url')
      return verifySource(path, { statement: `${none}..`, keys: [key] })
    },
  ],
  [
    'a JWS that carries its payload',
    async () => {
      const [header, , signature] = (await jws({ b64: true })).split('.')
      return verifySource(path, { statement: `${header}.${content.toString('base64url')}.${signature}`, keys: [key] })
    },
  ],
  ['text', () => verifySource(path, { statement: 'delivered by me', keys: [key] })],
  ['no key', () => verifySource(path, { statement: inToto, keys: [] })],
  ['a key that is none', async () => delivererKey('-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n')],
]
for (const [name, act] of refused) {
  test(`refuses ${name}`, async () => {
    await assert.rejects(act, { code: 'ERR_SOURCE_REFUSED' })
  })
}
