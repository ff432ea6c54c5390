import assert from 'node:assert/strict'
import test from 'node:test'
import { encodeHex, encodeUtf8 } from '@cella/bytes'
import fc from 'fast-check'
import {
  bindingDigest,
  type Evidence,
  EvidenceError,
  encodeEvidence,
  evidenceBytesMax,
  evidenceDigest,
  evidenceJson,
  parseEvidence,
  parseEvidenceJson,
  type SnpEvidenceEntry,
} from './index.ts'

const bytes = fc.uint8Array({ maxLength: 40 })
const anyEvidence: fc.Arbitrary<Evidence> = fc.record({
  entries: fc.array(
    fc.record({
      role: fc.constantFrom('cpu', 'gpu', 'vtpm', 'container-group'),
      format: fc.constant('sev-snp/1'),
      report: bytes,
      certificates: fc.array(bytes, { minLength: 1, maxLength: 8 }),
    }),
    { minLength: 1, maxLength: 8 },
  ),
})
const entry: SnpEvidenceEntry = {
  role: 'cpu',
  format: 'sev-snp/1',
  report: Uint8Array.of(1, 2, 3),
  certificates: [Uint8Array.of(255, 254)],
}
const small: Evidence = { entries: [entry] }
// docs/formats/evidence.md shows these.
const smallText = '{"entries":[{"certificates":["__4"],"format":"sev-snp/1","report":"AQID","role":"cpu"}]}'

test('the wire form is the one that the document shows', () => {
  assert.equal(new TextDecoder().decode(encodeEvidence(small)), smallText)
  assert.equal(evidenceDigest(small), 'e2ac28c0f408321d1648b56ab7e5e4640daf0bcb2e4f5050b1441560f6c7948e')
})

test('the binding digest is the one that the document shows', () => {
  const digest = bindingDigest({ role: 'worker', nonces: { b: '2', a: '1' } })
  assert.equal(digest.length, 64)
  assert.equal(encodeHex(digest), encodeHex(bindingDigest({ nonces: { a: '1', b: '2' }, role: 'worker' })))
  assert.equal(
    encodeHex(digest),
    'f85bf7f2e5ce0aad291e39b8c3fc05721f48870e9c8b467bff3e484ec488526fbb074f6756799ae71b387f4d75e3d63a0a777afc4482472a12fd0c4e82b9a0e0',
  )
})

test('what was encoded is read back, from bytes and as a part of a document', () => {
  fc.assert(
    fc.property(anyEvidence, (evidence) => {
      const plain = JSON.stringify(evidenceJson(evidence))
      assert.equal(JSON.stringify(evidenceJson(parseEvidence(encodeEvidence(evidence)))), plain)
      assert.equal(JSON.stringify(evidenceJson(parseEvidenceJson(evidenceJson(evidence)))), plain)
    }),
  )
})

const refused: readonly (readonly [string, string, string])[] = [
  ['white space', smallText.replace(',', ', '), 'ERR_EVIDENCE_MALFORMED'],
  ['bytes after the end', `${smallText}\n`, 'ERR_EVIDENCE_MALFORMED'],
  [
    'another order',
    '{"entries":[{"format":"sev-snp/1","certificates":["__4"],"report":"AQID","role":"cpu"}]}',
    'ERR_EVIDENCE_MALFORMED',
  ],
  ['a doubled member', smallText.replace('"role"', '"role":"cpu","role"'), 'ERR_EVIDENCE_MALFORMED'],
  [
    'an unknown member',
    smallText.replace('"role"', '"simulated":false,"role"').replace('"report":"AQID",', ''),
    'ERR_EVIDENCE_MALFORMED',
  ],
  ['an unknown member beside the entries', smallText.replace('}]}', '}],"x":1}'), 'ERR_EVIDENCE_MALFORMED'],
  ['a missing report', smallText.replace('"report":"AQID",', ''), 'ERR_EVIDENCE_MALFORMED'],
  ['a missing format', smallText.replace('"format":"sev-snp/1",', ''), 'ERR_EVIDENCE_MALFORMED'],
  ['a format that is a number', smallText.replace('"sev-snp/1"', '1'), 'ERR_EVIDENCE_MALFORMED'],
  ['another format', smallText.replace('sev-snp/1', 'sev-snp/2'), 'ERR_EVIDENCE_FORMAT_UNKNOWN'],
  ['another role', smallText.replace('"cpu"', '"CPU"'), 'ERR_EVIDENCE_MALFORMED'],
  ['a report with padding', smallText.replace('AQID', 'AQI='), 'ERR_EVIDENCE_MALFORMED'],
  ['a report with spare bits', smallText.replace('AQID', 'AQJ'), 'ERR_EVIDENCE_MALFORMED'],
  ['a report that is a list', smallText.replace('"AQID"', '[1,2,3]'), 'ERR_EVIDENCE_MALFORMED'],
  ['nine certificates', smallText.replace('"__4"', Array(9).fill('"__4"').join()), 'ERR_EVIDENCE_MALFORMED'],
  ['no entries', '{"entries":[]}', 'ERR_EVIDENCE_MALFORMED'],
  ['entries that are an object', '{"entries":{}}', 'ERR_EVIDENCE_MALFORMED'],
  ['a list', '[]', 'ERR_EVIDENCE_MALFORMED'],
  ['null', 'null', 'ERR_EVIDENCE_MALFORMED'],
  ['an entry that is null', '{"entries":[null]}', 'ERR_EVIDENCE_MALFORMED'],
  ['no JSON', 'evidence', 'ERR_EVIDENCE_MALFORMED'],
  ['too much', `"${'x'.repeat(evidenceBytesMax)}"`, 'ERR_EVIDENCE_MALFORMED'],
]
for (const [what, text, code] of refused) {
  test(`refuses evidence with ${what}`, () => {
    assert.throws(() => parseEvidence(encodeUtf8(text)), { name: 'EvidenceError', code })
  })
}

test('each truncation and each changed byte is refused or means something else', () => {
  const whole = encodeUtf8(smallText)
  for (let at = 0; at < whole.length; at++) {
    assert.throws(() => parseEvidence(whole.subarray(0, at)), EvidenceError)
    for (let bit = 0; bit < 8; bit++) {
      const changed = Uint8Array.from(whole)
      changed[at]! ^= 1 << bit
      try {
        assert.notEqual(JSON.stringify(evidenceJson(parseEvidence(changed))), JSON.stringify(evidenceJson(small)))
      } catch (error) {
        assert.ok(error instanceof EvidenceError, String(error))
      }
    }
  }
})

test('random bytes throw nothing but EvidenceError', () => {
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 200 }), fc.json().map(encodeUtf8)), (input) => {
      assert.throws(() => parseEvidence(input), EvidenceError)
    }),
  )
})
