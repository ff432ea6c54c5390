import assert from 'node:assert/strict'
import { test } from 'node:test'
import { agileLog, digest, extended, type TestEvent } from '../../test/event-log.ts'
import { issueTdx, now, roots } from '../../test/intel-vendor.ts'
import { CheckLog } from '../checks.ts'
import { Endorsements } from '../endorsements.ts'
import { EvidenceError } from '../error.ts'
import { type VerifiedTdx, verifyTdx } from './verify.ts'

const text = (value: string): Uint8Array => new TextEncoder().encode(value)
// Registers of a CC log count from 1: RTMR0 to RTMR3.
const events: readonly TestEvent[] = [
  { register: 1, type: 0x80000001, data: text('secure boot') },
  { register: 2, type: 0x80000003, data: text('a path'), digestOf: text('the kernel') },
  { register: 1, type: 4, data: new Uint8Array(4) },
  { register: 3, type: 13, data: text('command line') },
]
const eventLog = agileLog(['sha384'], events, 1)
const zero = new Uint8Array(48)

function rtmr(register: number): Uint8Array {
  const digests = events
    .filter((event) => event.register === register + 1)
    .map(({ data, digestOf }) => digest('sha384', digestOf ?? data))
  return extended('sha384', zero, digests)
}

const sound = [rtmr(0), rtmr(1), rtmr(2), zero] as const

async function verify(rtmrs: typeof sound, log: Uint8Array, checks = new CheckLog()): Promise<VerifiedTdx> {
  const entry = { ...(await issueTdx({ td: { rtmrs } })), eventLog: log }
  return verifyTdx(entry, { roots, issuers: [], endorsements: Endorsements.none, now, cache: undefined, checks })
}

test('an event log that leads to the RTMRs names the ones it proves', async () => {
  const checks = new CheckLog()
  const { claims, replayed } = await verify(sound, eventLog, checks)
  assert.deepEqual(replayed, [0, 1, 2])
  assert.deepEqual(claims.hardware.replayed, ['rtmr0', 'rtmr1', 'rtmr2'])
  assert.equal(checks.list.at(-1)?.code, 'tdx-event-log')
  assert.equal(checks.list.at(-1)?.outcome, 'passed')
})

test('an RTMR that was extended without an event is not proven, and the check says so', async () => {
  const checks = new CheckLog()
  const { claims } = await verify([rtmr(0), rtmr(1), rtmr(2), zero.slice().fill(1)], eventLog, checks)
  assert.deepEqual(claims.hardware.replayed, ['rtmr0', 'rtmr1', 'rtmr2'])
  assert.match(checks.list.at(-1)?.found ?? '', /without events: RTMR3/)
})

test('refuses a log that leads elsewhere: ERR_EVIDENCE_EVENT_LOG', async () => {
  for (const register of [0, 1, 2]) {
    const rtmrs = sound.map((value, at) => (at === register ? zero.slice().fill(9) : value)) as unknown as typeof sound
    await assert.rejects(verify(rtmrs, eventLog), { code: 'ERR_EVIDENCE_EVENT_LOG' })
  }
})

test('of the log’s digests those of SHA-384 count, whatever others it has; without them it proves nothing', async () => {
  for (const algorithms of [
    ['sha256', 'sha384'],
    ['sha384', 'sha1'],
    ['sm3-256', 'sha384'],
  ] as const) {
    const { replayed } = await verify(sound, agileLog(algorithms, events, 1))
    assert.deepEqual(replayed, [0, 1, 2])
  }
  for (const algorithms of [['sha256'], ['sha1', 'sha512']] as const) {
    await assert.rejects(verify(sound, agileLog(algorithms, events, 1)), { code: 'ERR_EVIDENCE_EVENT_LOG' })
  }
  // A digest that is true of SHA-256 and another of SHA-384: the registers are of the latter.
  const mixed = agileLog(['sha256', 'sha384'], [...events.slice(0, -1), { ...events.at(-1)!, data: text('other') }], 1)
  await assert.rejects(verify(sound, mixed), { code: 'ERR_EVIDENCE_EVENT_LOG' })
})

test('every truncation and every changed byte of a log ends in an EvidenceError or proves no other registers', async () => {
  for (let length = 0; length < eventLog.length; length += 5) {
    const outcome = await verify(sound, eventLog.subarray(0, length)).catch((error: unknown) => error)
    assert.ok(outcome instanceof EvidenceError, String(length))
  }
  for (let at = 0; at < eventLog.length; at += 3) {
    const changed = Uint8Array.from(eventLog)
    changed[at]! ^= 1
    const outcome = await verify(sound, changed).catch((error: unknown) => error)
    if (outcome instanceof EvidenceError) continue
    // What an event says beside its digest is not covered by the registers.
    assert.deepEqual((outcome as VerifiedTdx).replayed, [0, 1, 2])
  }
})
