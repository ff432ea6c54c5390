import assert from 'node:assert/strict'
import { test } from 'node:test'
import { canonicalJson, encodeBase64url } from '@cella/bytes'
import { ed25519PublicKey } from '@cella/primitives'
import { publicKeys, samples, seedOf, signers } from '../test/samples.ts'
import { encodeDraft, finishDraft, makeDraft, parseDraft, signDocument, signDraft, unsignedBy } from './index.ts'

const payload = samples['cella/terms']
const [first, second] = [seedOf(1), seedOf(2)]

test('signers sign one after the other, in any order, and it is the document that they would have signed together', async () => {
  const drafted = makeDraft(payload)
  assert.deepEqual(unsignedBy(drafted), signers)
  const once = parseDraft(encodeDraft(signDraft(drafted, second)))
  assert.deepEqual(unsignedBy(once), [signers[0]])
  const twice = parseDraft(encodeDraft(signDraft(once, first)))
  assert.deepEqual(unsignedBy(twice), [])
  assert.equal(finishDraft(twice).envelope, (await signDocument(payload, [first, second])).envelope)
  assert.equal(encodeDraft(signDraft(twice, first)), encodeDraft(twice), 'who signs again changes nothing')
})

test('nobody signs whom the payload does not name, and nothing is finished that one has not signed', () => {
  assert.throws(() => signDraft(makeDraft(payload), seedOf(3)), { code: 'ERR_DOCUMENT_SIGNER' })
  assert.throws(() => finishDraft(signDraft(makeDraft(payload), first)), { code: 'ERR_DOCUMENT_SIGNER' })
  assert.throws(() => makeDraft({ ...payload, revision: 0 }), { code: 'ERR_DOCUMENT_MALFORMED' })
})

const signed = JSON.parse(encodeDraft(signDraft(makeDraft(payload), first)))
const [signature] = signed.signatures
const other = JSON.parse(encodeDraft(makeDraft({ ...payload, revision: 3 })))
for (const { name, bent, code } of [
  { name: 'text that is no JSON', bent: 'draft', code: 'ERR_DOCUMENT_MALFORMED' },
  { name: 'an unknown member', bent: { ...signed, more: 1 }, code: 'ERR_DOCUMENT_MALFORMED' },
  { name: 'another format', bent: { ...signed, format: 'cella-draft/2' }, code: 'ERR_DOCUMENT_MALFORMED' },
  { name: 'a payload that is no document', bent: { ...signed, payload: 'e30' }, code: 'ERR_DOCUMENT_MALFORMED' },
  {
    name: 'a signature twice',
    bent: { ...signed, signatures: [signature, signature] },
    code: 'ERR_DOCUMENT_MALFORMED',
  },
  {
    name: 'a signature of another payload',
    bent: { ...signed, payload: other.payload },
    code: 'ERR_DOCUMENT_SIGNATURE',
  },
  {
    name: 'a signature under another signer’s key',
    bent: { ...signed, signatures: [{ ...signature, key: encodeBase64url(publicKeys[1]) }] },
    code: 'ERR_DOCUMENT_SIGNATURE',
  },
  {
    name: 'a signer whom the payload does not name',
    bent: { ...signed, signatures: [{ ...signature, key: encodeBase64url(ed25519PublicKey(seedOf(3))) }] },
    code: 'ERR_DOCUMENT_SIGNER',
  },
  { name: 'more than the largest document', bent: ' '.repeat(262_145), code: 'ERR_DOCUMENT_MALFORMED' },
]) {
  test(`refuses a draft with ${name}`, () => {
    assert.throws(() => parseDraft(typeof bent === 'string' ? bent : canonicalJson(bent)), { code })
  })
}
