import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decodeUtf8, encodeUtf8 } from '@cella/bytes'
import { encodeLeaf, LogView, parseLeaf, streamTag, verifyCheckpoint } from '@cella/log'
import { randomBytes } from '@cella/primitives'
import fc from 'fast-check'
import { key, organisation, TestStream, vault, vaultSeed } from '../test/support.ts'
import { auditStream, leavesOf, unfinishedReleases } from './audit.ts'
import { makeEventBody } from './body.ts'
import { encodeDisclosure, leafOfBody, makeDisclosure, parseDisclosure, verifyDisclosure } from './disclosure.ts'
import { encodeStreamExport, makeStreamExport, parseStreamExport, verifyStreamExport } from './export.ts'
import { scanStream } from './scan.ts'
import { signStreamKey } from './stream-key.ts'

const codes = (problems: readonly { code: string; n: number }[]) => problems.map(({ code, n }) => `${code} ${n}`)

async function auditOf(stream: TestStream, bodies = stream.bodies) {
  const { view } = await stream.view()
  return auditStream({ key, leaves: leavesOf(view), bodies })
}

test('who has the key finds every entry among leaves of others; who has another finds none', async () => {
  const stream = new TestStream()
  for (let n = 0; n < 5; n++) {
    await stream.noise(3)
    await stream.add('decision', { allowed: true })
  }
  const { entries, problems, extra, fromStart } = await auditOf(stream)
  assert.deepEqual(
    entries.map(({ n, index, state, type }) => ({ n, index, state, type })),
    [3, 7, 11, 15, 19].map((index, n) => ({ n, index, state: 'read', type: 'decision' })),
  )
  assert.deepEqual([problems, extra, fromStart], [[], [], true])
  const { view } = await stream.view()
  assert.deepEqual(scanStream(randomBytes(32), leavesOf(view)), { first: [], extra: [] })
})

test('an entry that was kept out of the log is a gap by its number', async () => {
  const stream = new TestStream()
  await stream.add('decision')
  stream.body('decision')
  await stream.add('released')
  assert.deepEqual(codes((await auditOf(stream)).problems), ['ERR_STREAM_GAP 1'])
})

test('a body that is missing is named as absent, and as erased once an entry says so', async () => {
  const stream = new TestStream()
  await stream.add('decision')
  await stream.add('decision')
  const bodies = new Map([...stream.bodies].filter(([n]) => n !== 0))
  assert.deepEqual(codes((await auditOf(stream, bodies)).problems), ['ERR_STREAM_ABSENT 0'])
  const { view } = await stream.view()
  const late = auditStream({ key, leaves: leavesOf(view), bodies, closed: new Set([0]) })
  assert.deepEqual([codes(late.problems), late.entries[0]!.state], [['ERR_STREAM_CLOSED 0'], 'closed'])
  await stream.add('erasure', { erased: [0] })
  const without = new Map([...stream.bodies].filter(([n]) => n !== 0))
  const { problems, entries } = await auditOf(stream, without)
  assert.deepEqual([problems, entries[0]!.state], [[], 'erased'])
})

test('a body of another entry, one out of its place, a leaf of another kind: each is named', async () => {
  const stream = new TestStream()
  const first = await stream.add('decision')
  await stream.add('decision')
  const swapped = new Map([
    [0, stream.bodies.get(1)!],
    [1, first],
  ])
  assert.deepEqual(codes((await auditOf(stream, swapped)).problems), ['ERR_STREAM_BODY 0', 'ERR_STREAM_BODY 1'])
  // The leaf commits to a body that claims number 0.
  const liar = new TestStream()
  const body = liar.body('decision')
  const leaf = leafOfBody(body, key)
  leaf.set(streamTag(key, 1), 48)
  await liar.log.append([leafOfBody(body, key), leaf])
  const twice = new Map([
    [0, body],
    [1, body],
  ])
  assert.deepEqual(codes((await auditOf(liar, twice)).problems), ['ERR_STREAM_PLACE 1'])
  const forged = new TestStream()
  await forged.add('decision')
  for (const previous of [
    { n: 0, commitment: 'c'.repeat(64) },
    { n: 1, commitment: 'c'.repeat(64) },
  ]) {
    const astray = makeEventBody({ n: 1, previous: previous as never, type: 'decision' }, {})
    const bodies = new Map([...forged.bodies, [1, astray]])
    const { view } = await forged.view()
    const after = { leaf: leafOfBody(astray, key), size: view.size }
    const leafAt = (index: number) => (index < after.size ? view.leafAt(index) : parseLeaf(after.leaf))
    const leaves = { from: 0, end: after.size + 1, before: 0, leafAt }
    assert.deepEqual(codes(auditStream({ key, leaves, bodies }).problems), ['ERR_STREAM_PLACE 1'])
  }
  const foreign = new TestStream()
  await foreign.log.append([encodeLeaf({ kind: 'state', commitment: randomBytes(32), tag: streamTag(key, 0) })])
  assert.deepEqual(codes((await auditOf(foreign)).problems), ['ERR_STREAM_KIND 0', 'ERR_STREAM_ABSENT 0'])
})

test('a repeated tag is extra and the first one counts', async () => {
  const stream = new TestStream()
  const body = await stream.add('decision')
  const late = leafOfBody(body, key)
  late.set(randomBytes(32), 16)
  await stream.log.append([late])
  const { problems, extra } = await auditOf(stream)
  assert.deepEqual([problems, extra], [[], [{ n: 0, index: 1 }]])
})

test('a decision without its release is unfinished', async () => {
  const stream = new TestStream()
  const of = (run: number) => ({ asset: 'a', contract: 'c', run, attempt: 1 })
  await stream.add('decision', { ...of(1), decision: 'd1', allowed: true })
  await stream.add('decision', { ...of(2), decision: 'd2', allowed: false })
  await stream.add('decision', { ...of(3), decision: 'd3', allowed: true })
  await stream.add('decision', { ...of(4), decision: 'd4', allowed: true })
  await stream.add('released', { ...of(1), decision: 'd1' })
  await stream.add('released', { ...of(3), decision: 'd1' })
  await stream.add('decision', { ...of(4), decision: 'd5', allowed: true })
  assert.deepEqual(unfinishedReleases((await auditOf(stream)).entries), [
    { n: 2, index: 2, decision: 'd3' },
    { n: 6, index: 6, decision: 'd5' },
  ])
  await stream.add('decision', { ...of(4), decision: 'd6', allowed: false })
  assert.deepEqual(
    unfinishedReleases((await auditOf(stream)).entries).map(({ decision }) => decision),
    ['d3'],
  )
})

async function exported() {
  const stream = new TestStream()
  await stream.noise(2)
  await stream.add('decision', { allowed: true })
  await stream.noise(300)
  await stream.add('released')
  const old = await stream.log.checkpoint()
  await stream.noise(3)
  await stream.add('decision', { allowed: false })
  await stream.noise(1)
  const { view, checkpoint } = await stream.view()
  const from = verifyCheckpoint(old, stream.policy)
  const { statement, bodies, policy } = stream
  const common = { view, to: checkpoint, organisation, key, statement, bodies }
  return { whole: await makeStreamExport(common), part: await makeStreamExport({ ...common, from }), policy, stream }
}

test('an export between two checkpoints verifies offline and says what it holds', async () => {
  const { whole, part, policy } = await exported()
  const expected = { policy, organisation, vaults: [vault] }
  const all = verifyStreamExport(whole, expected)
  assert.deepEqual([all.audit.entries.length, all.audit.problems, all.from], [3, [], undefined])
  const later = verifyStreamExport(part, expected)
  assert.deepEqual([later.audit.entries.map(({ n }) => n), later.audit.problems], [[2], []])
  assert.deepEqual([later.from?.size, later.to.size, later.audit.fromStart], [304, 309, false])
  assert.deepEqual(encodeStreamExport(parseStreamExport(part)), part)
})

test('an export of another organisation, vault, log or key is refused', async () => {
  const { part, policy, stream } = await exported()
  const refused = { name: 'EventError', code: 'ERR_STREAM_KEY' }
  const expected = { policy, organisation, vaults: [vault] }
  assert.throws(() => verifyStreamExport(part, { ...expected, vaults: [] }), refused)
  assert.throws(() => verifyStreamExport(part, { ...expected, organisation: 'b'.repeat(64) as never }), refused)
  const made = parseStreamExport(part)
  const about = { key, organisation, log: stream.log.origin, size: 1, count: 0 }
  for (const statement of [
    signStreamKey({ ...about, log: 'log.example/other' }, vaultSeed),
    signStreamKey({ ...about, key: randomBytes(32) }, vaultSeed),
    signStreamKey(about, randomBytes(32)),
    { ...made.statement, count: 0 },
    { ...made.statement, vault: made.statement.vault.replace(/^./, '-') as typeof vault },
  ]) {
    assert.throws(() => verifyStreamExport(encodeStreamExport({ ...made, statement }), expected), refused)
  }
  assert.throws(() => verifyStreamExport(encodeStreamExport({ ...made, key: randomBytes(32) }), expected), refused)
})

test('an export that hides, changes or moves a leaf contradicts its checkpoints', async () => {
  const { part, policy } = await exported()
  const expected = { policy, organisation, vaults: [vault] }
  const made = parseStreamExport(part)
  const contradiction = { name: 'EventError', code: 'ERR_EXPORT_CONTRADICTION' }
  const { leaves, from } = made
  for (const bent of [
    { ...made, leaves: leaves.subarray(64) },
    { ...made, leaves: leaves.subarray(0, -64) },
    { ...made, leaves: leaves.map((byte, at) => (at === 3 * 64 + 50 ? byte ^ 1 : byte)) },
    { ...made, from: { ...from!, edge: from!.edge.slice(1) } },
    { ...made, from: { ...from!, edge: from!.edge.map(() => randomBytes(32)) } },
    { ...made, from: undefined },
    { ...made, organisation: 'b'.repeat(64) as never },
  ]) {
    assert.throws(() => verifyStreamExport(encodeStreamExport(bent), expected), contradiction)
  }
  // A body left out does not contradict: it is missing, and said to be.
  const without = verifyStreamExport(encodeStreamExport({ ...made, bodies: new Map() }), expected)
  assert.deepEqual(codes(without.audit.problems), ['ERR_STREAM_ABSENT 2'])
})

test('an export far into a long stream still finds its entries, by the count that the vault vouches for', async () => {
  const stream = new TestStream()
  for (let n = 0; n < 1100; n++) stream.body('cover')
  await stream.log.append([...stream.bodies.values()].map((body) => leafOfBody(body, key)))
  const from = verifyCheckpoint(await stream.log.checkpoint(), stream.policy)
  await stream.add('decision')
  const { view, checkpoint } = await stream.view()
  const { statement, bodies, policy } = stream
  const bytes = await makeStreamExport({ view, from, to: checkpoint, organisation, key, statement, bodies })
  const { audit } = verifyStreamExport(bytes, { policy, organisation, vaults: [vault] })
  assert.deepEqual([audit.entries.map(({ n }) => n), audit.problems], [[1100], []])
})

test('makers refuse checkpoints out of order and such as were not verified', async () => {
  const { stream } = await exported()
  const { view, checkpoint } = await stream.view()
  const old = new LogView({ policy: stream.policy, read: await stream.log.fork(5) })
  const { statement, bodies } = stream
  const common = { view, organisation, key, statement, bodies }
  const small = await old.advance()
  await assert.rejects(makeStreamExport({ ...common, from: checkpoint, to: small }), RangeError)
  await assert.rejects(makeStreamExport({ ...common, to: { ...checkpoint } as never }), RangeError)
})

test('every truncation and random bytes are no export', async () => {
  const { part } = await exported()
  const malformed = { name: 'EventError', code: 'ERR_EVENT_MALFORMED' }
  for (let end = 0; end < part.length; end += end % 64 === 0 ? 37 : 27) {
    // Whole leaves cut from the end are still a form; whether they fit the checkpoints is another question.
    if (end > part.length - 6 * 64 && (part.length - end) % 64 === 0) continue
    assert.throws(() => parseStreamExport(part.subarray(0, end)), malformed, `${end}`)
  }
  fc.assert(fc.property(fc.uint8Array(), (bytes) => void assert.throws(() => parseStreamExport(bytes), malformed)))
})

test('chosen fields verify against the leaf, and the others stay hidden', async () => {
  const stream = new TestStream()
  const body = await stream.add('decision', { allowed: true, contract: 'canary-1189', run: 4 })
  await stream.noise(5)
  const proof = await stream.proof(0)
  const all = body.fields.map(({ name }) => name)
  await fc.assert(
    fc.asyncProperty(fc.subarray(all), async (names) => {
      const bytes = encodeDisclosure(makeDisclosure(body, { names, streamKey: key, proof }))
      const { fields, hidden, entry } = verifyDisclosure(bytes, stream.policy)
      assert.deepEqual(
        fields.map(({ name }) => name),
        names.toSorted(),
      )
      assert.deepEqual([hidden, entry.index], [all.length - names.length, 0])
      assert.equal(decodeUtf8(bytes, 'disclosure').includes('canary-1189'), names.includes('contract'))
    }),
    { numRuns: 20 },
  )
  assert.throws(() => makeDisclosure(body, { names: ['nothing'], streamKey: key, proof }), RangeError)
})

test('a disclosure that was bent is refused', async () => {
  const stream = new TestStream()
  const body = await stream.add('decision', { allowed: true })
  const other = await stream.add('decision', { allowed: false })
  const proof = await stream.proof(0)
  const made = makeDisclosure(body, { names: ['allowed', 'type'], streamKey: key, proof })
  const refuse = (bent: typeof made, code: string) =>
    assert.throws(() => verifyDisclosure(encodeDisclosure(bent), stream.policy), { code })
  const lie = made.fields.map((field) => (field.name === 'allowed' ? { ...field, value: false } : field))
  refuse({ ...made, fields: lie }, 'ERR_EVENT_MISMATCH')
  refuse({ ...made, fields: other.fields.slice(0, 1) }, 'ERR_EVENT_MISMATCH')
  refuse({ ...made, digests: made.digests.slice(1) }, 'ERR_EVENT_MISMATCH')
  refuse({ ...made, salt: randomBytes(32) }, 'ERR_EVENT_MISMATCH')
  refuse({ ...made, digests: made.digests.toReversed() }, 'ERR_EVENT_MALFORMED')
  refuse({ ...made, fields: [made.fields[0]!, made.fields[0]!] }, 'ERR_EVENT_MALFORMED')
  refuse({ ...made, leaf: leafOfBody(other, key) }, 'ERR_LOG_PROOF')
  const state = encodeLeaf({ kind: 'state', commitment: randomBytes(32), tag: randomBytes(16) })
  await stream.log.append([state])
  refuse({ ...made, leaf: state, proof: await stream.proof(2) }, 'ERR_EVENT_MISMATCH')
  const bytes = encodeDisclosure(made)
  for (let end = 0; end < bytes.length; end += 7) {
    assert.throws(() => parseDisclosure(bytes.subarray(0, end)), { code: 'ERR_EVENT_MALFORMED' })
  }
  assert.throws(() => parseDisclosure(encodeUtf8('{}')), { code: 'ERR_EVENT_MALFORMED' })
})
