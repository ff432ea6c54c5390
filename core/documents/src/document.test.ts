import assert from 'node:assert/strict'
import { test } from 'node:test'
import { canonicalJson, encodeBase64url, encodeUtf8, type Json } from '@cella/bytes'
import { digestOf, ed25519PublicKey, ed25519Sign, type KeyId, keyIdOf } from '@cella/primitives'
import fc from 'fast-check'
import { GeneralSign, generalVerify, importJWK } from 'jose'
import { digest, publicKeys, samples, seedOf, seeds, signers } from '../test/samples.ts'
import {
  DocumentError,
  type DocumentErrorCode,
  type DocumentType,
  documentBytesMax,
  documentSchemas,
  type Payload,
  parseDocument,
  parseDocumentOf,
  type SignedDocument,
  signDocument,
  verifyDocument,
} from './index.ts'

const types = Object.keys(samples) as DocumentType[]
const keys = new Map(publicKeys.map((key) => [keyIdOf(key), key]))
const keyOf = (signer: KeyId) => keys.get(signer)
const sign = (payload: Payload): Promise<SignedDocument> => signDocument(payload, seeds)

interface Envelope {
  payload: string
  signatures: { protected: string; signature: string }[]
}

/** An envelope whose every part a test chooses; each is signed over what it says. */
function envelopeOf(
  payload: Uint8Array | Json,
  options: { headers?: readonly string[]; seeds?: readonly Uint8Array[] } = {},
): Envelope {
  const bytes = payload instanceof Uint8Array ? payload : encodeUtf8(canonicalJson(payload))
  const { type, signer, cosigners = [] } = JSON.parse(new TextDecoder().decode(bytes)) as Payload<'cella/terms'>
  const named = [signer, ...cosigners]
  const headers = options.headers ?? named.map((kid) => canonicalJson({ alg: 'Ed25519', kid, typ: type }))
  const encoded = encodeBase64url(bytes)
  return {
    payload: encoded,
    signatures: headers.map((header, at) => {
      const text = encodeBase64url(encodeUtf8(header))
      const seed = (options.seeds ?? seeds)[at]!
      return { protected: text, signature: encodeBase64url(ed25519Sign(seed, encodeUtf8(`${text}.${encoded}`))) }
    }),
  }
}

const json = (envelope: object): string => canonicalJson(envelope)

/** Reads and verifies; the code of the refusal, or undefined. */
async function refusalOf(envelope: string): Promise<DocumentErrorCode | undefined> {
  try {
    await verifyDocument(parseDocument(envelope), keyOf)
    return undefined
  } catch (error) {
    assert.ok(error instanceof DocumentError, `${error}`)
    return error.code
  }
}

test('there is a sample of every type', () => {
  assert.deepEqual(types.sort(), Object.keys(documentSchemas).sort())
})

const jwkOf = (key: Uint8Array, seed?: Uint8Array) => ({
  ...{ kty: 'OKP', crv: 'Ed25519', alg: 'Ed25519', x: encodeBase64url(key) },
  ...(seed && { d: encodeBase64url(seed) }),
})

test('another implementation of JWS verifies what is signed here, and what it signs is verified here', async () => {
  const ours = await sign(samples['cella/terms'])
  for (const [at, key] of publicKeys.entries()) {
    const envelope = JSON.parse(ours.envelope) as Envelope
    const one = { ...envelope, signatures: [envelope.signatures[at]!] }
    const { payload } = await generalVerify(one, await importJWK(jwkOf(key)))
    assert.deepEqual(JSON.parse(new TextDecoder().decode(payload)), samples['cella/terms'])
  }
  const theirs = new GeneralSign(encodeUtf8(canonicalJson(samples['cella/terms'])))
  for (const [at, kid] of signers.entries()) {
    const key = await importJWK(jwkOf(publicKeys[at]!, seeds[at]!))
    theirs.addSignature(key).setProtectedHeader({ alg: 'Ed25519', kid, typ: 'cella/terms' })
  }
  const { payload, signatures } = await theirs.sign()
  const plain = signatures.map(({ protected: header, signature }) => ({ protected: header!, signature }))
  assert.equal(json({ payload, signatures: plain }), ours.envelope)
  assert.equal(await refusalOf(json({ payload, signatures: plain })), undefined)
})

for (const type of types) {
  test(`${type}: what was signed is what is read and verified`, async () => {
    const payload = samples[type]
    const signed = await sign(payload)
    const read = parseDocument(signed.envelope)
    assert.deepEqual(read.payload, payload)
    assert.equal(read.type, type)
    assert.equal(read.digest, digestOf(encodeUtf8(canonicalJson(payload))))
    assert.deepEqual(read.signers, 'cosigners' in payload ? signers : [signers[0]])
    assert.deepEqual(await verifyDocument(read, keyOf), read)
    assert.equal(json(JSON.parse(signed.envelope)), signed.envelope)
    assert.equal(parseDocumentOf(type, signed.envelope).digest, signed.digest)
  })

  test(`${type}: refuses an unknown member and a missing one`, () => {
    const payload = samples[type] as { [name: string]: Json }
    for (const name of ['extra', '__proto__', 'constructor', 'toString']) {
      const text = canonicalJson(Object.fromEntries([...Object.entries(payload), [name, 1]]))
      assert.throws(() => parseDocument(json(envelopeOf(encodeUtf8(text)))), { code: 'ERR_DOCUMENT_MALFORMED' }, name)
    }
    for (const name of Object.keys(payload).filter((member) => !['signer', 'cosigners'].includes(member))) {
      const { [name]: _, ...rest } = payload
      assert.throws(() => parseDocument(json(envelopeOf(rest))), { code: 'ERR_DOCUMENT_MALFORMED' }, name)
    }
  })

  test(`${type}: refuses another version`, () => {
    for (const version of [0, 2, '1', null]) {
      assert.throws(() => parseDocument(json(envelopeOf({ ...samples[type], version } as unknown as Json))), {
        code: 'ERR_DOCUMENT_MALFORMED',
      })
    }
  })

  test(`${type}: every truncation of its envelope is refused`, async () => {
    const { envelope } = await sign(samples[type])
    for (let length = 0; length < envelope.length; length++) {
      assert.throws(() => parseDocument(envelope.slice(0, length)), { code: 'ERR_DOCUMENT_MALFORMED' })
    }
  })
}

for (const type of ['cella/approval', 'cella/organisation', 'cella/decision'] as const) {
  test(`${type}: every changed character of its envelope is refused`, async () => {
    const { envelope } = await sign(samples[type])
    for (let at = 0; at < envelope.length; at++) {
      const character = envelope[at]!
      // The neighbour in the alphabet, and another case: both keep base64url what it is.
      const others = new Set([String.fromCharCode(character.charCodeAt(0) ^ 1), character === 'A' ? 'B' : 'A'])
      for (const other of others) {
        const changed = envelope.slice(0, at) + other + envelope.slice(at + 1)
        assert.notEqual(await refusalOf(changed), undefined, `${at}: ${character} to ${other}`)
      }
    }
  })
}

test('anything after the end is refused', async () => {
  const { envelope } = await sign(samples['cella/approval'])
  for (const more of [' ', '\n', '\u0000', '{}', envelope]) {
    assert.throws(() => parseDocument(envelope + more), { code: 'ERR_DOCUMENT_MALFORMED' })
  }
})

test('random text only ever throws DocumentError', async () => {
  const { envelope } = await sign(samples['cella/approval'])
  const refuses = (text: string) =>
    assert.throws(
      () => parseDocument(text),
      (error) => error instanceof DocumentError && error.code !== 'ERR_DOCUMENT_SIGNER',
    )
  fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 200 }), refuses))
  fc.assert(fc.property(fc.json(), refuses))
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => refuses(json(rawEnvelope(bytes)))))
  refuses('\ud800')
  refuses(envelope.replace('payload', 'pay\ud800load'))
  refuses(`${'['.repeat(5000)}${']'.repeat(5000)}`)
})

function rawEnvelope(payload: Uint8Array): Envelope {
  return { payload: encodeBase64url(payload), signatures: [{ protected: '', signature: '' }] }
}

const approval = samples['cella/approval']
const header = { alg: 'Ed25519', kid: signers[0]!, typ: 'cella/approval' }
const good = envelopeOf(approval as unknown as Json)
const onlySignature = good.signatures[0]!
const withHeader = (value: Json): string =>
  json(envelopeOf(approval as unknown as Json, { headers: [canonicalJson(value)] }))

const refusals: { name: string; envelope: string; code: DocumentErrorCode }[] = [
  { name: 'alg none', envelope: withHeader({ ...header, alg: 'none' }), code: 'ERR_DOCUMENT_SIGNATURE' },
  { name: 'alg HS256', envelope: withHeader({ ...header, alg: 'HS256' }), code: 'ERR_DOCUMENT_SIGNATURE' },
  { name: 'alg EdDSA', envelope: withHeader({ ...header, alg: 'EdDSA' }), code: 'ERR_DOCUMENT_SIGNATURE' },
  { name: 'no alg', envelope: withHeader({ kid: header.kid, typ: header.typ }), code: 'ERR_DOCUMENT_SIGNATURE' },
  {
    name: 'a typ of another document',
    envelope: withHeader({ ...header, typ: 'cella/contract' }),
    code: 'ERR_DOCUMENT_SIGNATURE',
  },
  { name: 'a kid of another', envelope: withHeader({ ...header, kid: signers[1]! }), code: 'ERR_DOCUMENT_SIGNATURE' },
  { name: 'one more header', envelope: withHeader({ ...header, jku: 'x' }), code: 'ERR_DOCUMENT_SIGNATURE' },
  { name: 'crit', envelope: withHeader({ ...header, b64: false, crit: ['b64'] }), code: 'ERR_DOCUMENT_SIGNATURE' },
  { name: 'an embedded key', envelope: withHeader({ ...header, jwk: {} }), code: 'ERR_DOCUMENT_SIGNATURE' },
  {
    name: 'a header in another order',
    envelope: json(
      envelopeOf(approval as unknown as Json, {
        headers: [`{"typ":"cella/approval","alg":"Ed25519","kid":"${header.kid}"}`],
      }),
    ),
    code: 'ERR_DOCUMENT_SIGNATURE',
  },
  {
    name: 'an unprotected header',
    envelope: json({ ...good, signatures: [{ ...onlySignature, header: { alg: 'none' } }] }),
    code: 'ERR_DOCUMENT_MALFORMED',
  },
  { name: 'no signature', envelope: json({ ...good, signatures: [] }), code: 'ERR_DOCUMENT_MALFORMED' },
  {
    name: 'one signature too many',
    envelope: json({ ...good, signatures: [onlySignature, onlySignature] }),
    code: 'ERR_DOCUMENT_MALFORMED',
  },
  { name: 'a member beside the signatures', envelope: json({ ...good, extra: 1 }), code: 'ERR_DOCUMENT_MALFORMED' },
  {
    name: 'the flattened serialization',
    envelope: json({ payload: good.payload, ...onlySignature }),
    code: 'ERR_DOCUMENT_MALFORMED',
  },
  {
    name: 'the compact serialization',
    envelope: `${onlySignature.protected}.${good.payload}.x`,
    code: 'ERR_DOCUMENT_MALFORMED',
  },
  { name: 'padding', envelope: json({ ...good, payload: `${good.payload}=` }), code: 'ERR_DOCUMENT_MALFORMED' },
  { name: 'white space', envelope: json(good).replace(':', ': '), code: 'ERR_DOCUMENT_MALFORMED' },
  { name: 'a byte-order mark', envelope: `\ufeff${json(good)}`, code: 'ERR_DOCUMENT_MALFORMED' },
  {
    name: 'a payload twice',
    envelope: json(good).replace('{"payload"', `{"payload":"${good.payload}","payload"`),
    code: 'ERR_DOCUMENT_MALFORMED',
  },
  {
    name: 'a member of the payload twice',
    envelope: json(envelopeOf(encodeUtf8(canonicalJson(approval).replace('"runs":10', '"runs":10,"runs":10')))),
    code: 'ERR_DOCUMENT_MALFORMED',
  },
  {
    name: 'a number in another spelling',
    envelope: json(envelopeOf(encodeUtf8(canonicalJson(approval).replace('"runs":10', '"runs":1e1')))),
    code: 'ERR_DOCUMENT_MALFORMED',
  },
  {
    name: 'a type that nobody knows',
    envelope: json(envelopeOf({ ...approval, type: 'cella/other' } as unknown as Json)),
    code: 'ERR_DOCUMENT_MALFORMED',
  },
  {
    name: 'a type from the prototype',
    envelope: json(envelopeOf({ ...approval, type: 'toString' } as unknown as Json)),
    code: 'ERR_DOCUMENT_MALFORMED',
  },
  {
    name: 'a signature of 63 bytes',
    envelope: json({
      ...good,
      signatures: [{ ...onlySignature, signature: encodeBase64url(new Uint8Array(63)) }],
    }),
    code: 'ERR_DOCUMENT_MALFORMED',
  },
  {
    name: 'someone else’s signature over the same payload',
    envelope: json(envelopeOf(approval as unknown as Json, { seeds: [seedOf(2)] })),
    code: 'ERR_DOCUMENT_SIGNATURE',
  },
  {
    name: 'a signature over another payload',
    envelope: json({ ...good, payload: envelopeOf({ ...approval, runs: 11 } as unknown as Json).payload }),
    code: 'ERR_DOCUMENT_SIGNATURE',
  },
  {
    name: 'a signer whom nobody knows',
    envelope: json(
      envelopeOf({ ...approval, signer: keyIdOf(ed25519PublicKey(seedOf(3))) } as unknown as Json, {
        seeds: [seedOf(3)],
      }),
    ),
    code: 'ERR_DOCUMENT_SIGNER',
  },
  {
    name: 'signatures in another order',
    envelope: (() => {
      const { payload, signatures } = envelopeOf(samples['cella/terms'] as unknown as Json)
      return json({ payload, signatures: [...signatures].reverse() })
    })(),
    code: 'ERR_DOCUMENT_SIGNATURE',
  },
  {
    name: 'the same signer twice',
    envelope: json(
      envelopeOf({ ...samples['cella/terms'], cosigners: [signers[0]!] } as unknown as Json, {
        seeds: [seedOf(1), seedOf(1)],
      }),
    ),
    code: 'ERR_DOCUMENT_MALFORMED',
  },
  {
    name: 'a cosigner without a signature',
    envelope: (() => {
      const { payload, signatures } = envelopeOf(samples['cella/terms'] as unknown as Json)
      return json({ payload, signatures: signatures.slice(0, 1) })
    })(),
    code: 'ERR_DOCUMENT_MALFORMED',
  },
  {
    name: 'one signature that is wrong among two',
    envelope: json(envelopeOf(samples['cella/terms'] as unknown as Json, { seeds: [seedOf(1), seedOf(1)] })),
    code: 'ERR_DOCUMENT_SIGNATURE',
  },
]

for (const { name, envelope, code } of refusals) {
  test(`refuses ${name}`, async () => {
    assert.equal(await refusalOf(envelope), code)
  })
}

test('the envelope that the refusals above change is accepted as it is', async () => {
  assert.equal(await refusalOf(json(good)), undefined)
  assert.equal(await refusalOf(json(envelopeOf(samples['cella/terms'] as unknown as Json))), undefined)
})

test('refuses more than the largest document before reading it', async () => {
  const long = ' '.repeat(documentBytesMax + 1)
  assert.throws(() => parseDocument(long), { code: 'ERR_DOCUMENT_MALFORMED', message: /at most 262144 are read/ })
  // Fewer characters than the bound, more bytes.
  assert.throws(() => parseDocument('é'.repeat(documentBytesMax / 2 + 1)), { code: 'ERR_DOCUMENT_MALFORMED' })
})

test('a document of another type than the one asked for is refused', async () => {
  const { envelope } = await sign(approval)
  assert.throws(() => parseDocumentOf('cella/contract', envelope), { code: 'ERR_DOCUMENT_MALFORMED' })
})

test('nobody signs what nobody would accept', async () => {
  await assert.rejects(signDocument({ ...approval, runs: 0 }, seeds), { code: 'ERR_DOCUMENT_MALFORMED' })
  await assert.rejects(signDocument({ ...approval, note: 'x' } as typeof approval, seeds), {
    code: 'ERR_DOCUMENT_MALFORMED',
  })
  await assert.rejects(signDocument(approval, [seedOf(9)]), TypeError)
})

test('a key under another’s id does not verify', async () => {
  const document = parseDocument((await sign(approval)).envelope)
  await assert.rejects(
    verifyDocument(document, () => publicKeys[1]),
    { code: 'ERR_DOCUMENT_SIGNER' },
  )
})

test('an unverified document is no signed one, by type', async () => {
  const document = parseDocument((await sign(approval)).envelope)
  // @ts-expect-error: only verifyDocument and signDocument make a SignedDocument.
  const signed: SignedDocument = document
  assert.ok(signed)
})

const fields: { name: string; payload: Payload }[] = [
  { name: 'a digest in upper case', payload: { ...approval, contract: digest('A') } },
  { name: 'a digest that is too short', payload: { ...approval, contract: 'aa' as never } },
  { name: 'a time before 1970', payload: { ...approval, notBefore: -1 } },
  { name: 'a time after the year 9999', payload: { ...approval, notAfter: 253_402_300_800 } },
  { name: 'a fraction of a second', payload: { ...approval, notBefore: 0.5 } },
  { name: 'a name with a line feed', payload: { ...samples['cella/membership'], name: 'a\nb' } },
  { name: 'a name that turns text around', payload: { ...samples['cella/membership'], name: 'a\u202eb' } },
  { name: 'an empty name', payload: { ...samples['cella/membership'], name: '' } },
  { name: 'a path in a plain name', payload: { ...samples['cella/manifest'], series: '../x' } },
  { name: 'a role that nobody knows', payload: { ...samples['cella/membership'], roles: ['admin' as never] } },
  { name: 'an HPKE key of another length', payload: { ...samples['cella/membership'], hpkeKey: 'AAAA' } },
  { name: 'a threshold of 0', payload: { ...samples['cella/organisation'], threshold: 0 } },
  { name: 'terms without a root', payload: { ...samples['cella/terms'], roots: [] } },
  { name: 'a level that nobody knows', payload: { ...samples['cella/terms'], level: 'unlogged' as never } },
  { name: 'a level of no seconds', payload: { ...samples['cella/terms'], level: 'witnessed-within 0' } },
  { name: 'a level in another spelling', payload: { ...samples['cella/terms'], level: 'witnessed-within 060' } },
  { name: 'a level in another unit', payload: { ...samples['cella/terms'], level: 'witnessed-within 1h' } },
  { name: 'a vault that is not named', payload: { ...samples['cella/contract'], vaults: [] } },
  { name: 'a reason that is no code', payload: { ...samples['cella/decision'], reasons: ['patient 7 is ill'] } },
  { name: 'a status that is not of the list', payload: { ...samples['cella/receipt'], status: 'crash' as never } },
]

for (const { name, payload } of fields) {
  test(`refuses ${name}`, async () => {
    await assert.rejects(sign(payload), { code: 'ERR_DOCUMENT_MALFORMED' })
  })
}
