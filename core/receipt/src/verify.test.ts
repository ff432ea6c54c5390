import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { before, describe, test } from 'node:test'
import { canonicalJson, decodeBase64url, decodeUtf8, encodeBase64url, encodeUtf8, type Json } from '@cella/bytes'
import { parseLogPolicy } from '@cella/log'
import { initPolicyEngine, policyEngineUrl } from '@cella/policy'
import fc from 'fast-check'
import {
  type Anchors,
  encodeReceiptBundle,
  parseReceiptBundle,
  type ReceiptBundle,
  ReceiptError,
  verifyReceipt,
} from './index.ts'

const fileOf = (name: string): Uint8Array =>
  new Uint8Array(readFileSync(new URL(`../testdata/${name}`, import.meta.url)))
const bytes = fileOf('run.cella-receipt')
const bundle = parseReceiptBundle(bytes)
const anchors = anchorsOf('anchors.json')
const policy: string = JSON.parse(decodeUtf8(fileOf('anchors.json'), 'anchors')).logs[0].policy

function anchorsOf(name: string): Anchors {
  const { organisations, logs, roots } = JSON.parse(decodeUtf8(fileOf(name), name))
  return {
    organisations,
    logs: logs.map(({ policy }: { policy: string }) => ({
      policy: parseLogPolicy(encodeUtf8(policy)),
      independentWitnesses: [],
    })),
    roots,
    now: 4_102_444_800,
  }
}

type Envelope = { payload: string; signatures: { protected: string; signature: string }[] }
type Payload = Record<string, Json>

const payloadOf = (envelope: string): Payload =>
  JSON.parse(decodeUtf8(decodeBase64url((JSON.parse(envelope) as Envelope).payload, 'payload'), 'payload'))

/** The envelope with its payload changed and its signatures left: what a forger without keys can make. */
function forged(envelope: string, change: (payload: Payload) => void): string {
  const outer = JSON.parse(envelope) as Envelope
  const payload = payloadOf(envelope)
  change(payload)
  return canonicalJson({ ...outer, payload: encodeBase64url(encodeUtf8(canonicalJson(payload))) })
}

function altered(change: (copy: Draft) => void): ReceiptBundle {
  const copy = structuredClone(bundle) as Draft
  change(copy)
  return copy as ReceiptBundle
}
type Mutable<Value> = {
  -readonly [Name in keyof Value]: Value[Name] extends object ? Mutable<Value[Name]> : Value[Name]
}
type Draft = Mutable<ReceiptBundle>

const typeOf = (envelope: string): Json | undefined => payloadOf(envelope).type
const flip = (text: string): string => {
  const raw = decodeBase64url(text, 'bytes')
  raw[raw.length >> 1]! ^= 1
  return encodeBase64url(raw)
}

before(async () => {
  await initPolicyEngine(new Uint8Array(readFileSync(policyEngineUrl())))
})

describe('a real receipt', () => {
  test('is proved under the receiver’s anchors, and says what it does not prove', async () => {
    const verdict = await verifyReceipt(bundle, anchors)
    assert.deepEqual([verdict.outcome, verdict.wrong, verdict.missing], ['proved', [], []])
    const codes = verdict.statements.map(({ code }) => code)
    for (const code of [
      'RECEIPT_LOGGED',
      'CONTRACT',
      'INPUT',
      'PROGRAM',
      'ENCLAVE',
      'DECISION',
      'POLICY',
      'APPROVAL',
      'OUTPUT',
      'STATUS_OK',
    ]) {
      assert.ok(codes.includes(code), code)
    }
    assert.deepEqual(
      verdict.notProved.map(({ code }) => code),
      [
        'SIMULATED_TEE',
        'NOBODY_INDEPENDENT_WATCHED',
        // It is older than receipts that show it.
        'SIGNER_UNSHOWN',
        'PROGRAM_HONESTY',
        'INPUT_TRUTH',
        'PURPOSE_IS_A_WORD',
        'ONLY_RECEIPT',
        'REVOKED_SINCE',
        'SIDE_CHANNELS',
      ],
    )
    // One owner's group of two was too small to speak of.
    assert.match(verdict.statements.find(({ code }) => code === 'OUTPUT')!.text, /1 row in it was emptied/)
  })

  test('names a witness as independent only where the verifier does', async () => {
    const independentWitnesses = anchors.logs[0]!.policy.witnesses.map(({ name }) => name)
    const logs = anchors.logs.map(({ policy }) => ({ policy, independentWitnesses }))
    const verdict = await verifyReceipt(bundle, { ...anchors, logs })
    assert.equal(verdict.outcome, 'proved')
    assert.ok(!verdict.notProved.some(({ code }) => code === 'NOBODY_INDEPENDENT_WATCHED'))
  })

  test('shows which code signed for the log, and that an owner who names builds of it accepts them', async () => {
    const own = anchorsOf('log-signers-anchors.json')
    const read = parseReceiptBundle(fileOf('log-signers.cella-receipt'))
    const verdict = await verifyReceipt(read, own)
    assert.deepEqual([verdict.outcome, verdict.wrong, verdict.missing], ['proved', [], []])
    const said = verdict.statements.filter(({ code }) => code.includes('SIGNER'))
    assert.deepEqual([...new Set(said.map(({ code }) => code))], ['SIGNER_SIMULATED', 'LOG_SIGNER'])
    assert.match(said[0]!.text, /code measured [0-9a-f]{96} in a SIMULATED sev-snp/)
    // Evidence that is genuine, of another log.
    const [shown] = read.logSigners!
    const foreign = await verifyReceipt({ ...bundle, logSigners: [shown!] }, anchors)
    assert.deepEqual([foreign.outcome, foreign.wrong.map(({ code }) => code)], ['disproved', ['SIGNER']])
    assert.match(foreign.wrong[0]!.text, /another key than the log’s/)
  })

  test('encodes to the bytes that were read', () => {
    assert.deepEqual(encodeReceiptBundle(bundle), bytes)
  })
})

describe('anchors are the verifier’s own', () => {
  const lacking: [string, Partial<Anchors>, string][] = [
    ['an unknown log', { logs: [] }, 'LOG_UNKNOWN'],
    ['unknown organisations', { organisations: [] }, 'ORGANISATION_UNKNOWN'],
    ['an unknown root', { roots: [] }, 'ROOT_UNKNOWN'],
  ]
  for (const [name, change, code] of lacking) {
    test(`${name} leaves it untold, and the sentence says what to obtain`, async () => {
      const verdict = await verifyReceipt(bundle, { ...anchors, ...change })
      assert.equal(verdict.outcome, 'cannot-tell')
      assert.deepEqual(verdict.statements, [])
      assert.ok(verdict.missing.some((statement) => statement.code === code))
    })
  }

  test('each single organisation that it rests on is asked for', async () => {
    for (const { id } of anchors.organisations) {
      const organisations = anchors.organisations.filter((one) => one.id !== id)
      const verdict = await verifyReceipt(bundle, { ...anchors, organisations })
      assert.equal(verdict.outcome, 'cannot-tell')
      assert.deepEqual(
        verdict.missing.map(({ parameters }) => parameters.organisation),
        [id],
      )
    }
  })

  test('a root that the verifier holds for real does not make simulated hardware real', async () => {
    const roots = anchors.roots.map((root) => ({ ...root, simulated: false }))
    assert.equal((await verifyReceipt(bundle, { ...anchors, roots })).outcome, 'disproved')
  })

  test('a policy that demands another witness is not satisfied', async () => {
    const vkey = 'witness.example+0afe2cbd+BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB'
    assert.ok(policy.includes('quorum'))
    const other = policy.replace(/^witness .*$/m, (line) => line.replace(/ [^ ]+\+[^ ]+/, ` ${vkey}`))
    let parsed: ReturnType<typeof parseLogPolicy>
    try {
      parsed = parseLogPolicy(encodeUtf8(other))
    } catch {
      // The made-up key id may not fit its key; then a quorum over nobody known does.
      parsed = { ...anchors.logs[0]!.policy, witnesses: [], groups: [], quorum: 'nobody' }
    }
    const verdict = await verifyReceipt(bundle, { ...anchors, logs: [{ policy: parsed, independentWitnesses: [] }] })
    assert.equal(verdict.outcome, 'disproved')
    assert.equal(
      verdict.wrong.some(({ code }) => code === 'RECEIPT_PROOF'),
      true,
    )
  })

  test('a receipt from the future is refused', async () => {
    const verdict = await verifyReceipt(bundle, { ...anchors, now: 1_000_000_000 })
    assert.deepEqual([verdict.outcome, verdict.wrong.map(({ code }) => code)], ['disproved', ['FUTURE']])
  })
})

describe('nothing in a receipt can be altered', () => {
  const cases: [string, (copy: Draft) => void, string | RegExp][] = [
    [
      'the receipt’s status',
      (copy) => (copy.receipt.document = forged(copy.receipt.document, (p) => (p.status = 'trap'))),
      'RECEIPT_PROOF',
    ],
    [
      'an output’s digest',
      (copy) =>
        (copy.receipt.document = forged(copy.receipt.document, (p) => ((p.outputs as Payload[])[0]!.suppressed = 0))),
      'RECEIPT_PROOF',
    ],
    ['the receipt’s salt', (copy) => (copy.receipt.salt = flip(copy.receipt.salt)), 'RECEIPT_PROOF'],
    ['the receipt’s leaf', (copy) => (copy.receipt.leaf = flip(copy.receipt.leaf)), 'RECEIPT_PROOF'],
    [
      'the receipt’s signature',
      (copy) => {
        const outer = JSON.parse(copy.receipt.document) as Envelope
        outer.signatures[0]!.signature = flip(outer.signatures[0]!.signature)
        copy.receipt.document = canonicalJson(outer)
      },
      'RECEIPT_SIGNATURE',
    ],
    ['a decision in place of the receipt', (copy) => Object.assign(copy.receipt, copy.decisions[0]), 'DOCUMENT_WRONG'],
    ['a decision’s salt', (copy) => (copy.decisions[0]!.salt = flip(copy.decisions[0]!.salt)), 'DECISION_WRONG'],
    [
      'a decision’s use',
      (copy) => (copy.decisions[0]!.document = forged(copy.decisions[0]!.document, (p) => (p.use = 7))),
      'DECISION_WRONG',
    ],
    ['a decision left out', (copy) => copy.decisions.splice(0, 1), 'DECISION_MISSING'],
    ['a decision given twice', (copy) => copy.decisions.push(copy.decisions[0]!), 'RECEIPT_DIFFERS'],
    ['the worker’s binding: run', (copy) => (copy.evidence.worker.binding.run = 9), 'BINDING_DIFFERS'],
    [
      'the worker’s binding: key',
      (copy) => (copy.evidence.worker.binding.signingKey = flip(String(copy.evidence.worker.binding.signingKey))),
      'RECEIPT_SIGNATURE',
    ],
    ['the worker’s binding: isolation', (copy) => (copy.evidence.worker.binding.isolation = 3), 'BINDING_DIFFERS'],
    ['the worker’s binding: contracts served', (copy) => (copy.evidence.worker.binding.served = 99), 'EVIDENCE_WRONG'],
    [
      'the worker’s evidence',
      (copy) => {
        const entry = (copy.evidence.worker.evidence as { entries: { report: string }[] }).entries[0]!
        entry.report = flip(entry.report)
      },
      'EVIDENCE_WRONG',
    ],
    [
      'the vault’s evidence in place of the worker’s',
      (copy) => (copy.evidence.worker = copy.evidence.vaults[0]!),
      'EVIDENCE_WRONG',
    ],
    [
      'the worker’s evidence in place of the vault’s',
      (copy) => (copy.evidence.vaults[0] = copy.evidence.worker),
      'EVIDENCE_WRONG',
    ],
    ['the vault’s nonce', (copy) => (copy.evidence.vaults[0]!.binding.nonce = 'ab'.repeat(32)), 'BINDING_DIFFERS'],
    [
      'the vault’s key',
      (copy) =>
        (copy.evidence.vaults[0]!.binding.signingKey = flip(String(copy.evidence.vaults[0]!.binding.signingKey))),
      'BINDING_DIFFERS',
    ],
    ['a document’s proof', (copy) => (copy.documents[0]!.proof = copy.documents[1]!.proof), 'DOCUMENT_PROOF'],
    ['a document’s leaf', (copy) => (copy.documents[0]!.leaf = copy.documents[1]!.leaf), 'DOCUMENT_PROOF'],
  ]
  for (const [name, change, code] of cases) {
    test(`${name} is refused as ${code}`, async () => {
      const verdict = await verifyReceipt(altered(change), anchors)
      assert.equal(verdict.outcome, 'disproved', JSON.stringify(verdict.missing))
      assert.deepEqual([verdict.statements, verdict.notProved], [[], []])
      assert.ok(
        verdict.wrong.some((statement) => statement.code === code),
        JSON.stringify(verdict.wrong.map((one) => one.text)),
      )
    })
  }

  test('no document can be changed, whatever its type', async () => {
    for (const [index, { document }] of bundle.documents.entries()) {
      const type = typeOf(document)
      const verdict = await verifyReceipt(
        altered((copy) => {
          copy.documents[index]!.document = forged(document, (payload) => {
            const field = ['title', 'name', 'runs', 'release', 'isolation', 'vault'].find(
              (member) => member in payload,
            )!
            const value = payload[field]
            payload[field] = typeof value === 'number' ? value + 1 : typeof value === 'string' ? `${value}x` : value!
            if (type === 'cella/grant') payload.runs = 1
          })
        }),
        anchors,
      )
      assert.notEqual(verdict.outcome, 'proved', `${type}`)
    }
  })

  test('no document that it rests on can be left out', async () => {
    for (const [index, { document }] of bundle.documents.entries()) {
      const type = typeOf(document)
      const verdict = await verifyReceipt(
        altered((copy) => {
          copy.documents.splice(index, 1)
        }),
        anchors,
      )
      if (restsOn(document)) assert.notEqual(verdict.outcome, 'proved', `${type}`)
    }
  })
})

/** A bundle may hold documents of a receiver or of the builder on which nothing depends. */
function restsOn(document: string): boolean {
  const payload = payloadOf(document)
  const owners = bundle.documents
    .map((one) => payloadOf(one.document))
    .flatMap((one) => (one.type === 'cella/manifest' ? [one.organisation] : []))
  if (payload.type === 'cella/terms') return owners.includes(payload.organisation)
  return ['cella/contract', 'cella/manifest', 'cella/approval', 'cella/grant', 'cella/build'].includes(
    String(payload.type),
  )
}

describe('reading', () => {
  test('refuses every truncation', () => {
    for (let length = 0; length < bytes.length; length += 97) {
      assert.throws(() => parseReceiptBundle(bytes.subarray(0, length)), ReceiptError)
    }
  })

  test('refuses unknown members, other formats, duplicates and what follows the end', () => {
    const text = decodeUtf8(bytes, 'receipt')
    const texts = [
      `${text}\n`,
      ` ${text}`,
      text.replace('{"decisions"', '{"decisions":[],"decisions"'),
      text.replace('"format":"cella-receipt/1"', '"format":"cella-receipt/2"'),
      canonicalJson({ ...(JSON.parse(text) as object), extra: 1 }),
      canonicalJson({ ...(JSON.parse(text) as object), decisions: [] }),
    ]
    for (const one of texts) {
      assert.throws(() => parseReceiptBundle(encodeUtf8(one)), { name: 'ReceiptError', code: 'ERR_RECEIPT_MALFORMED' })
    }
  })

  test('a changed byte is refused or never proves the same', async () => {
    const positions = fc.sample(fc.nat(bytes.length - 1), { numRuns: 60, seed: 7 })
    for (const position of positions) {
      const changed = bytes.slice()
      changed[position]! ^= 1 << (position % 7)
      let parsed: ReceiptBundle
      try {
        parsed = parseReceiptBundle(changed)
      } catch (error) {
        assert.ok(error instanceof ReceiptError, String(error))
        continue
      }
      const { outcome } = await verifyReceipt(parsed, anchors)
      assert.notEqual(outcome, 'proved', `byte ${position}`)
    }
  })

  test('random bytes only ever throw ReceiptError', () => {
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 300 }), fc.json().map(encodeUtf8)), (input) => {
        assert.throws(() => parseReceiptBundle(input), ReceiptError)
      }),
    )
  })
})
