import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import test from 'node:test'
import { encodeHex, encodeUtf8 } from '@cella/bytes'
import { sharedPath, sharedTest } from '@cella/testing'
import fc from 'fast-check'
import {
  agileEvent,
  agileLog,
  digest,
  extended,
  join,
  legacyEvent,
  specId,
  type TestEvent,
  u32,
} from '../../test/event-log.ts'
import { EvidenceError, type EvidenceErrorCode } from '../error.ts'
import type { EventLog } from './log.ts'
import { parseCcEventLog, parseTcgEventLog, recogniseEventLog } from './parse.ts'
import { checkReplay, measuredData, replayRegisters } from './replay.ts'

const algorithms = ['sha1', 'sha256', 'sha384'] as const
const zero = (length: number): Uint8Array => new Uint8Array(length)
const locality = (value: number): TestEvent => ({
  register: 0,
  type: 3,
  data: join(encodeUtf8('StartupLocality\0'), Uint8Array.of(value)),
})
const events: readonly TestEvent[] = [
  locality(3),
  { register: 0, type: 8, data: encodeUtf8('version') },
  { register: 4, type: 0x80000003, data: encodeUtf8('path of an image'), digestOf: encodeUtf8('the image') },
  { register: 0, type: 4, data: u32(0) },
  { register: 4, type: 4, data: u32(0xffffffff) },
  { register: 0xffffffff, type: 3, data: encodeUtf8('platform') },
  { register: 8, type: 13, data: encodeUtf8('kernel command line') },
]
const agile = agileLog(algorithms, events)

function refuses(code: EvidenceErrorCode, run: () => unknown, message?: RegExp): void {
  assert.throws(run, (error) => {
    assert.ok(error instanceof EvidenceError, String(error))
    assert.equal(error.code, code, error.message)
    if (message) assert.match(error.message, message)
    return true
  })
}

test('a crypto-agile log replays to what its digests extend to, in each bank', () => {
  const log = parseTcgEventLog(agile)
  assert.deepEqual(log.algorithms, algorithms)
  assert.equal(log.events.length, events.length)
  for (const name of algorithms) {
    const length = digest(name, zero(0)).length
    const start = zero(length)
    start[length - 1] = 3
    const { registers, startupLocality, separators } = replayRegisters(log, name)
    assert.equal(startupLocality, 3)
    assert.deepEqual([...registers.keys()], [0, 4, 8])
    assert.deepEqual(
      [...separators],
      [
        [0, 'closed'],
        [4, 'closed'],
      ],
    )
    const hex = (start: Uint8Array, ...data: Uint8Array[]): string =>
      encodeHex(
        extended(
          name,
          start,
          data.map((part) => digest(name, part)),
        ),
      )
    assert.equal(encodeHex(registers.get(0)!), hex(start, encodeUtf8('version'), u32(0)))
    assert.equal(encodeHex(registers.get(4)!), hex(zero(length), encodeUtf8('the image'), u32(0xffffffff)))
  }
})

test('a log of the older form is read with SHA-1 alone, whatever its first event is', () => {
  for (const first of [[], [{ register: 0, type: 3, data: encodeUtf8('Spec ID Event02\0rest') }]]) {
    const log = parseTcgEventLog(join(...[...first, ...events].map(legacyEvent)))
    assert.deepEqual(log.algorithms, ['sha1'])
    assert.equal(log.events.length, first.length + events.length)
    const agileReplay = replayRegisters(parseTcgEventLog(agile), 'sha1')
    assert.deepEqual(replayRegisters(log, 'sha1').registers, agileReplay.registers)
    refuses('ERR_EVIDENCE_EVENT_LOG', () => replayRegisters(log, 'sha256'), /only sha1/)
  }
})

const ccEvents: readonly TestEvent[] = [
  { register: 1, type: 0x8000000b, data: encodeUtf8('td hob') },
  { register: 1, type: 4, data: u32(0) },
  { register: 2, type: 4, data: u32(0) },
  // Ends like padding of either kind.
  { register: 3, type: 13, data: Uint8Array.of(1, 0, 0, 0) },
]
const cc = agileLog(['sha384'], ccEvents, 1)

test('a CC log names RTMR0 to RTMR3 and may be followed by padding of 0xff or zero alone', () => {
  const expected = replayRegisters(parseCcEventLog(cc), 'sha384')
  assert.deepEqual([...expected.registers.keys()], [0, 1, 2])
  assert.equal(expected.startupLocality, undefined)
  for (const filler of [0, 0xff]) {
    for (const length of [1, 3, 7, 8, 500]) {
      const padded = join(cc, zero(length).fill(filler))
      assert.deepEqual(replayRegisters(parseCcEventLog(padded), 'sha384').registers, expected.registers)
      for (const at of [0, length >> 1]) {
        const spoilt = padded.slice()
        spoilt[cc.length + at] = 0x5a
        if (at < length) refuses('ERR_EVIDENCE_MALFORMED', () => parseCcEventLog(spoilt))
      }
    }
  }
  refuses('ERR_EVIDENCE_MALFORMED', () => parseCcEventLog(join(cc, zero(4), zero(4).fill(0xff))))
})

test('a TPM log ends with its last event: padding is refused', () => {
  for (const filler of [0, 0xff]) {
    for (const length of [1, 8, 64]) {
      refuses('ERR_EVIDENCE_MALFORMED', () => parseTcgEventLog(join(agile, zero(length).fill(filler))))
    }
  }
})

test('what a log may not be is refused as malformed', () => {
  const body = agileEvent(events[1]!, algorithms)
  const head = (data: Uint8Array, register = 0): Uint8Array => join(legacyEvent({ register, type: 3, data }), body)
  const one = specId(algorithms)
  const cases: readonly (readonly [string, Uint8Array])[] = [
    ['empty', zero(0)],
    ['platform class', head(specId(algorithms, { 16: 2 }))],
    ['version', head(specId(algorithms, { 21: 1 }))],
    ['minor version', head(specId(algorithms, { 20: 1 }))],
    ['uintn size', head(specId(algorithms, { 23: 3 }))],
    ['no algorithm', head(specId(algorithms, { 24: 0 }))],
    ['many algorithms', head(specId(algorithms, { 24: 9 }))],
    ['unknown algorithm', head(specId(algorithms, { 28: 0x99 }))],
    ['algorithm twice', head(specId(algorithms, { 32: 4, 34: 20 }))],
    ['digest size', head(specId(algorithms, { 30: 21 }))],
    ['vendor info too short', head(specId(algorithms, { [one.length - 3]: 1 }))],
    ['vendor info too long', head(specId(algorithms, { [one.length - 3]: 3 }))],
    ['digest count', join(agileLog(algorithms, []), agileEvent(events[1]!, ['sha1']))],
    ['digest twice', join(agileLog(algorithms, []), agileEvent(events[1]!, ['sha1', 'sha256', 'sha256']))],
    ['algorithm not of the log', join(agileLog(algorithms, []), agileEvent(events[1]!, ['sha1', 'sha256', 'sha512']))],
    ['register 24', agileLog(algorithms, [{ register: 24, type: 13, data: zero(1) }])],
    ['no register', agileLog(algorithms, [{ register: 0xffffffff, type: 13, data: zero(1) }])],
    ['too many bytes', zero(1_048_577)],
    ['too many events', join(...Array<Uint8Array>(8193).fill(legacyEvent(events[1]!)))],
  ]
  for (const [name, bytes] of cases) {
    assert.throws(() => parseTcgEventLog(bytes), { name: 'EvidenceError', code: 'ERR_EVIDENCE_MALFORMED' }, name)
  }
  const spoilt = agile.slice()
  spoilt[8] = 1
  refuses('ERR_EVIDENCE_MALFORMED', () => parseTcgEventLog(spoilt), /not zero/)
  for (const register of [0, 5, 0xffffffff]) {
    refuses('ERR_EVIDENCE_MALFORMED', () => parseCcEventLog(agileLog(['sha384'], [{ ...ccEvents[0]!, register }], 1)))
  }
  refuses('ERR_EVIDENCE_MALFORMED', () => parseCcEventLog(legacyEvent(ccEvents[0]!)), /Spec ID/)
  assert.ok(cases.length > 15)
})

test('a replay that contradicts itself is refused', () => {
  const of = (...list: TestEvent[]): EventLog => parseTcgEventLog(agileLog(algorithms, list))
  const code = 'ERR_EVIDENCE_EVENT_LOG'
  refuses(code, () => replayRegisters(of(locality(3), locality(3)), 'sha256'), /twice/)
  refuses(code, () => replayRegisters(of(events[1]!, locality(3)), 'sha256'), /after/)
  refuses(code, () => replayRegisters(of(locality(1)), 'sha256'))
  refuses(code, () => replayRegisters(of({ ...locality(3), data: join(locality(3).data, zero(1)) }), 'sha256'))
  const separator = { register: 7, type: 4, data: u32(0) }
  refuses(code, () => replayRegisters(of({ ...separator, digestOf: u32(5) }), 'sha256'), /register 7/)
  for (const data of [u32(1), encodeUtf8('what went wrong')]) {
    const { separators } = replayRegisters(of({ ...separator, data, digestOf: u32(1) }, separator), 'sha256')
    assert.equal(separators.get(7), 'error')
  }
  const other = parseTcgEventLog(agileLog(['sha256', 'sm3-256'], [events[1]!]))
  refuses('ERR_EVIDENCE_UNSUPPORTED', () => replayRegisters(other, 'sm3-256'))
})

test('a replay is compared register by register', () => {
  const replay = replayRegisters(parseTcgEventLog(agile), 'sha256')
  const signed = new Map([...replay.registers, [1, zero(32)], [10, zero(32).fill(7)], [17, zero(32).fill(0xff)]])
  assert.deepEqual(checkReplay(replay, signed), { proven: [0, 4, 8], unlogged: [10] })
  const differing = new Map(signed).set(8, zero(32))
  refuses('ERR_EVIDENCE_EVENT_LOG', () => checkReplay(replay, differing), /PCR 8 is 0000/)
  refuses('ERR_EVIDENCE_EVENT_LOG', () => checkReplay(replay, new Map([[1, zero(32)]])), /no event of any register/)
  refuses('ERR_EVIDENCE_EVENT_LOG', () => checkReplay(replay, new Map([[1, zero(32).fill(0xff)]])))
})

test('event data count as measured only where the digest is of them', () => {
  const log = parseTcgEventLog(agile)
  assert.deepEqual(measuredData(log.events[1]!, 'sha256'), encodeUtf8('version'))
  assert.equal(measuredData(log.events[2]!, 'sha256'), undefined)
  assert.equal(measuredData(log.events[1]!, 'sha512'), undefined)
})

test('a log keeps a copy of what it was read from', () => {
  const bytes = agile.slice()
  const log = parseTcgEventLog(bytes)
  const before = replayRegisters(log, 'sha384').registers
  bytes.fill(0)
  assert.deepEqual(replayRegisters(log, 'sha384').registers, before)
})

test('every truncation is refused or ends at an event; no changed byte ends in another error', () => {
  const whole = parseTcgEventLog(agile).events.length
  for (let length = 0; length < agile.length; length++) {
    try {
      assert.ok(parseTcgEventLog(agile.subarray(0, length)).events.length < whole)
    } catch (error) {
      assert.ok(error instanceof EvidenceError && error.code === 'ERR_EVIDENCE_MALFORMED', String(error))
    }
  }
  for (const [bytes, parse] of [
    [agile, parseTcgEventLog],
    [cc, parseCcEventLog],
  ] as const) {
    for (let at = 0; at < bytes.length; at++) {
      for (const mask of [1, 0x80, 0xff]) {
        const changed = bytes.slice()
        changed[at]! ^= mask
        try {
          replayRegisters(parse(changed), 'sha384')
        } catch (error) {
          assert.ok(error instanceof EvidenceError, `byte ${at}: ${error}`)
        }
      }
    }
  }
})

test('random bytes end in an EvidenceError', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.boolean(), (tail, prefixed) => {
      for (const parse of [parseTcgEventLog, parseCcEventLog]) {
        try {
          parse(prefixed ? join(agileLog(['sha384'], [], 1), tail) : tail)
        } catch (error) {
          assert.ok(error instanceof EvidenceError, String(error))
        }
      }
    }),
  )
})

test('a log is recognised by its first event', () => {
  assert.match(recogniseEventLog(agile) ?? '', /event log/)
  assert.match(recogniseEventLog(cc) ?? '', /event log/)
  for (const bytes of [zero(100), legacyEvent(events[1]!), agile.subarray(0, 40)]) {
    assert.equal(recogniseEventLog(bytes), undefined)
  }
})

// PCR 0 and 7 of the SHA-256 bank, or SHA-1 where the log has no other.
const real: readonly (readonly [string, number, string])[] = [
  ['cos-101-amd-sev', 48, '0f35c214608d93c7'],
  ['ubuntu-2404-amd-sevsnp', 116, '50597a27846e91d0'],
  ['debian-10', 25, '0f2d3a2a1adaa479'],
]
for (const [name, count, pcr0] of real) {
  sharedTest(`the log of a real machine is read to its end: ${name}`, `vectors/tpm/eventlogs/${name}.bin`, () => {
    const log = parseTcgEventLog(readFileSync(sharedPath(`vectors/tpm/eventlogs/${name}.bin`)))
    assert.equal(log.events.length, count)
    const { registers, separators } = replayRegisters(log, log.algorithms[1] ?? 'sha1')
    assert.ok(encodeHex(registers.get(0)!).startsWith(pcr0))
    for (let pcr = 0; pcr < 8; pcr++) assert.equal(separators.get(pcr), 'closed')
  })
}
