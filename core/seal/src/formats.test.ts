import assert from 'node:assert/strict'
import { createDecipheriv, createHash, hkdfSync } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { type Digest, encodeHex, encodeUtf8 } from '@cella/bytes'
import { deriveHpkeKeyPair } from '@cella/primitives'
import { asDek } from './dek.ts'
import { releaseInfo, unwrapDek } from './envelope.ts'
import { openBytes, sealBytes } from './stream.ts'

/** The lines of the block called `name` in a page of docs/formats. */
function block(page: string, name: string): string {
  const text = readFileSync(new URL(`../../../docs/formats/${page}.md`, import.meta.url), 'utf8')
  const found = new RegExp(`\`\`\`${name}\n([^\`]*)\`\`\``).exec(text)?.[1]
  assert.ok(found, `${page}.md has a block called ${name}`)
  return found.replaceAll('\n', '')
}

const count = (from: number, length: number): Uint8Array => Uint8Array.from({ length }, (_, index) => from + index)
const dek = asDek(count(0, 32))
const salt = count(32, 32)

test('the sealed file in docs/formats/sealed-file.md is what sealing gives, and opens', () => {
  const plaintext = encodeUtf8('hello, sealed file')
  const made = sealBytes({ dek, chunkSizeLog2: 16, dangerouslyDeterministicSalt: salt, plaintext })
  assert.equal(encodeHex(made.sealed), block('sealed-file', 'sealed'))
  assert.equal(made.rootDigest, block('sealed-file', 'root'))
  assert.deepEqual(openBytes({ dek, expected: made, sealed: made.sealed, outboard: made.outboard }), plaintext)
  const two = sealBytes({
    ...{ dek, chunkSizeLog2: 16, dangerouslyDeterministicSalt: salt },
    plaintext: new Uint8Array(65_537),
  })
  assert.equal(two.rootDigest, block('sealed-file', 'root-two-chunks'))
})

test('a reader written from the page alone, on node:crypto, opens it and finds the same root', () => {
  const file = Buffer.from(block('sealed-file', 'sealed'), 'hex')
  const header = file.subarray(0, 80)
  const chunk = file.subarray(80)
  const derive = (use: string): Buffer =>
    Buffer.from(hkdfSync('sha256', dek, header.subarray(16, 48), `cella/v1/sealed-file/${use}`, 32))
  assert.deepEqual(derive('commitment'), header.subarray(48))
  const decipher = createDecipheriv('aes-256-gcm', derive('key'), Buffer.from(`${'00'.repeat(11)}01`, 'hex'))
  decipher.setAAD(header).setAuthTag(chunk.subarray(-16))
  const plaintext = Buffer.concat([decipher.update(chunk.subarray(0, -16)), decipher.final()])
  assert.equal(plaintext.toString(), 'hello, sealed file')
  const hash = (prefix: number, ...parts: Buffer[]): Buffer =>
    createHash('sha256')
      .update(Buffer.concat([Buffer.of(prefix), ...parts]))
      .digest()
  assert.equal(hash(1, hash(0, header), hash(0, chunk)).toString('hex'), block('sealed-file', 'root'))
})

test('the envelope in docs/formats/envelope.md opens to its DEK', async () => {
  const { privateKey } = await deriveHpkeKeyPair(count(64, 32))
  const digest = (byte: string): Digest => byte.repeat(32) as Digest
  const info = releaseInfo({
    contract: digest('aa'),
    manifest: digest('bb'),
    decision: digest('cc'),
    run: 3,
    attempt: 1,
  })
  assert.equal(encodeHex(info), block('envelope', 'info'))
  const wrapped = Uint8Array.fromHex(block('envelope', 'wrapped'))
  assert.deepEqual(new Uint8Array(await unwrapDek({ wrapped, recipientPrivateKey: privateKey, info })), count(0, 32))
})
