import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Digest, decodeHex, encodeUtf8 } from '@cella/bytes'
import { type Payload, type SignedDocument, signDocument } from '@cella/documents'
import {
  commitmentOf,
  encodeLeaf,
  type LeafKind,
  LogView,
  type ProvenEntry,
  parseLogPolicy,
  proveEntry,
  randomTag,
} from '@cella/log'
import { ed25519PublicKey, keyIdOf, randomBytes } from '@cella/primitives'
import { MemoryLog } from '@cella/testing/memory-log'
import { isProvenDecision, type ProvenDecision, proveDecision } from './index.ts'

const seed = randomBytes(32)
const vault = keyIdOf(ed25519PublicKey(seed))
const digest = (digit: string) => digit.repeat(64) as Digest

function decisionBy(
  key: Uint8Array,
  change: Partial<Payload<'cella/decision'>> = {},
): Promise<SignedDocument<'cella/decision'>> {
  const payload: Payload<'cella/decision'> = {
    type: 'cella/decision',
    version: 1,
    organisation: digest('e'),
    signer: keyIdOf(ed25519PublicKey(key)),
    contract: digest('c'),
    run: 1,
    attempt: 1,
    manifest: digest('b'),
    workerEvidence: digest('d'),
    allowed: true,
    use: 1,
    reasons: [],
    sealedReasons: null,
    time: { earliest: 1, latest: 2, size: 3 },
    ...change,
  }
  return signDocument<'cella/decision'>(payload, [key])
}

/** The entry of this document's leaf in a log, proven. */
async function logged(
  document: SignedDocument<'cella/decision'>,
  options: { kind?: LeafKind; salt: Uint8Array },
): Promise<ProvenEntry> {
  const log = new MemoryLog({ now: 1_760_000_000 })
  const { kind = 'decision', salt } = options
  const commitment = commitmentOf(kind, salt, decodeHex(document.digest, 'decision'))
  const leaf = encodeLeaf({ kind, commitment, tag: randomTag() })
  await log.append([leaf])
  const view = new LogView({ policy: parseLogPolicy(encodeUtf8(log.policyOf())), read: log })
  return proveEntry(view, await view.advance(), 0, leaf)
}

const salt = randomBytes(32)
const decision = await decisionBy(seed)
const entry = await logged(decision, { salt })

test('a decision that allows, by this vault, in the log, is proven', () => {
  const proven = proveDecision(decision, { salt, entry, vault })
  assert.ok(isProvenDecision(proven))
  assert.equal(proven.decision, decision)
  assert.equal(proven.entry, entry)
  assert.ok(Object.isFrozen(proven))
})

const otherSeed = randomBytes(32)
const denying = await decisionBy(seed, { allowed: false, use: null, reasons: ['ERR_EXPIRED'] })
const another = await decisionBy(seed, { run: 2 })
const foreign = await decisionBy(otherSeed)

const refusals: { name: string; prove: () => unknown }[] = [
  { name: 'another salt', prove: () => proveDecision(decision, { salt: randomBytes(32), entry, vault }) },
  { name: 'the entry of another decision', prove: () => proveDecision(another, { salt, entry, vault }) },
  {
    name: 'an entry of its fields alone',
    prove: () =>
      proveDecision(decision, { salt, entry: { ...entry, leaf: entry.leaf } as unknown as ProvenEntry, vault }),
  },
]
for (const { name, prove } of refusals) {
  test(`refuses ${name}`, () => {
    assert.throws(prove, { code: 'ERR_DECISION_NOT_PROVEN' })
  })
}

test('refuses a leaf of another kind over the same digest', async () => {
  for (const kind of ['document', 'release', 'receipt', 'state', 'reservation', 'revocation'] as const) {
    const wrong = await logged(decision, { salt, kind })
    assert.throws(() => proveDecision(decision, { salt, entry: wrong, vault }), { code: 'ERR_DECISION_NOT_PROVEN' })
  }
})

test('refuses another vault’s decision, also where that is in the log', async () => {
  const theirs = await logged(foreign, { salt })
  assert.throws(() => proveDecision(foreign, { salt, entry: theirs, vault }), { code: 'ERR_DECISION_NOT_PROVEN' })
})

test('refuses a decision that denies', async () => {
  const theirs = await logged(denying, { salt })
  assert.throws(() => proveDecision(denying, { salt, entry: theirs, vault }), { code: 'ERR_DECISION_NOT_PROVEN' })
})

test('nothing else makes a proven decision: no literal, no prototype, no constructor', () => {
  const proven = proveDecision(decision, { salt, entry, vault })
  // @ts-expect-error: an object of the same members is none.
  const literal: ProvenDecision = { decision, entry }
  assert.ok(!isProvenDecision(literal))
  assert.ok(!isProvenDecision({ ...proven }))
  assert.ok(!isProvenDecision(Object.create(proven)))
  assert.ok(!isProvenDecision(Object.create(Object.getPrototypeOf(proven))))
  assert.ok(!isProvenDecision(null))
  const { constructor: Made } = proven as unknown as { constructor: new (...parts: unknown[]) => unknown }
  assert.throws(() => new Made(Symbol('proveDecision'), denying, entry), TypeError)
  assert.throws(() => Reflect.construct(Made, [undefined, denying, entry]), TypeError)
})
