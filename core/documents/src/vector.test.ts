import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { ed25519PublicKey } from '@cella/primitives'
import { parseDocument, signDocument, verifyDocument } from './index.ts'

const page = readFileSync(new URL('../../../docs/formats/documents.md', import.meta.url), 'utf8')
const block = (language: string): string => new RegExp(`\`\`\`${language}\\n(.*)\\n\`\`\``).exec(page)![1]!

test('the vector of docs/formats/documents.md reads, verifies, and is what signing gives', async () => {
  const seed = new Uint8Array(32).fill(1)
  const document = parseDocument(block('json'))
  assert.equal(document.digest, block('text'))
  const signed = await verifyDocument(document, () => ed25519PublicKey(seed))
  const again = await signDocument(signed.payload, [seed])
  assert.equal(again.envelope, block('json'))
})
