import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeUtf8 } from '@cella/bytes'
import { leafOf, TestLog } from '../test/support.ts'
import {
  cosignNote,
  encodeCosignatures,
  encodeMirrorInfo,
  encodeWitnessSize,
  generateNoteSigner,
  type MirrorAnswer,
  type MirrorInfo,
  mirrorInfoType,
  pushLog,
  signNote,
  witnessSizeType,
} from './index.ts'

// A mirror that lies to who pushes: nothing of it is believed but its signature, and it can't keep its client sending.

const log = new TestLog(Array.from({ length: 600 }, (_, n) => leafOf(n)))
const signer = generateNoteSigner({ name: 'mirror.example/m', type: 'cosignature' })
const stranger = generateNoteSigner({ name: 'mirror.example/m', type: 'cosignature' })
const ok = (body: Uint8Array = new Uint8Array(0)): MirrorAnswer => ({ status: 200, type: 'text/plain', body })
const info = (status: number, about: Partial<MirrorInfo>): MirrorAnswer => ({
  status,
  type: mirrorInfoType,
  body: encodeMirrorInfo({ size: 600, nextEntry: 0, ticket: new Uint8Array(0), ...about }),
})

/** Pushes to a mirror that answers as it is told; how many requests it got. */
async function push(answers: { checkpoint?: MirrorAnswer; entries: (request: number) => MirrorAnswer }) {
  let requests = 0
  const { checkpoint = ok(), entries } = answers
  try {
    const { cosignatures } = await pushLog({
      policy: log.policy,
      log,
      keys: [signer.key],
      post: async (path) => {
        requests += 1
        assert.ok(requests < 50, 'it goes on for ever')
        return path === 'add-checkpoint' ? checkpoint : entries(requests - 2)
      },
    })
    return cosignatures.map(({ time }) => time)
  } catch (error) {
    return (error as { code?: string }).code
  }
}

test('takes the cosignature of the mirror’s own key on the very checkpoint, and no other', async () => {
  const text = log.text()
  const signed = (by = signer, of = text) => ok(encodeCosignatures([cosignNote(of, by, 7)]))
  assert.deepEqual(await push({ entries: () => signed() }), [7])
  for (const [name, entries, code] of [
    ['a stranger’s', () => signed(stranger), 'ERR_LOG_SIGNATURE'],
    ['on another tree', () => signed(signer, log.text(599)), 'ERR_LOG_SIGNATURE'],
    ['none', () => ok(), 'ERR_LOG_MALFORMED'],
    ['the log’s own', () => ok(encodeCosignatures([signNote(text, log.signer)])), 'ERR_LOG_SIGNATURE'],
    ['no signature', () => ok(encodeUtf8('hello\n')), 'ERR_LOG_MALFORMED'],
  ] as const) {
    assert.equal(await push({ entries }), code, name)
  }
})

test('a mirror that takes nothing, goes back, or answers what it must not ends the push', async () => {
  for (const [name, entries, code] of [
    ['always elsewhere', () => info(409, {}), 'ERR_LOG_UNAVAILABLE'],
    ['takes and takes nothing', () => info(202, {}), 'ERR_LOG_UNAVAILABLE'],
    [
      'forth and back',
      (n: number) => info(n % 2 === 0 ? 202 : 409, { nextEntry: (n % 2) * 256 }),
      'ERR_LOG_UNAVAILABLE',
    ],
    ['beyond the end', () => info(202, { nextEntry: 2 ** 40 }), 'ERR_LOG_UNAVAILABLE'],
    ['another tree', () => info(409, { size: 601 }), 'ERR_LOG_UNAVAILABLE'],
    ['no info', () => ({ status: 409, type: mirrorInfoType, body: encodeUtf8('600\n0\n') }), 'ERR_LOG_MALFORMED'],
    ['of another type', () => ({ ...info(409, {}), type: 'text/plain' }), 'ERR_LOG_UNAVAILABLE'],
    ['an error', () => ({ status: 500, type: undefined, body: encodeUtf8('no\x1b[2J') }), 'ERR_LOG_UNAVAILABLE'],
  ] as const) {
    assert.equal(await push({ entries }), code, name)
  }
  const entries = () => ok()
  const size = (seen: number): MirrorAnswer => ({ status: 409, type: witnessSizeType, body: encodeWitnessSize(seen) })
  assert.equal(await push({ checkpoint: size(601), entries }), 'ERR_LOG_ROLLED_BACK')
  assert.equal(await push({ checkpoint: size(300), entries }), 'ERR_LOG_UNAVAILABLE')
  assert.equal(await push({ checkpoint: { ...ok(), status: 422 }, entries }), 'ERR_LOG_FORKED')
  assert.equal(await push({ checkpoint: { ...ok(), status: 403 }, entries }), 'ERR_LOG_UNAVAILABLE')
})
