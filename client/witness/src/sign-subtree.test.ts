import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { decodeUtf8, encodeUtf8 } from '@cella/bytes'
import {
  cosignSubtree,
  encodeSignSubtree,
  encodeVkey,
  leafHash,
  mirrorPrefix,
  parseCosignatures,
  parseNote,
  pushLog,
  subtreeConsistencyProof,
  TreeBuilder,
  tileHashes,
  verifyNote,
  verifySubtree,
} from '@cella/log'
import { leaves, logOf, mirrorKeys, mirrorOf, now, policyOf } from '../test/mirrors.ts'
import { createWitness } from './witness.ts'

const keys = mirrorKeys.map(({ key }) => key)
let files = 0
const folder = mkdtempSync(join(tmpdir(), 'sign-subtree-'))
after(() => rmSync(folder, { recursive: true }))
const fileOf = (): string => join(folder, `${files++}.db`)

test('a part of what was cosigned is cosigned by ML-DSA-44, and nothing that was not', async (context) => {
  const log = await logOf(700)
  const { mirror, post } = mirrorOf(log, fileOf())
  context.after(() => mirror.close())
  await pushLog({ policy: policyOf(log), log, keys, post })
  const own = (await mirror.file(mirrorPrefix(log.origin), 'checkpoint'))!
  const hashes = tileHashes((path) => log.tile(path), 700)
  const rootOf = (start: number, end: number): Uint8Array => {
    const tree = new TreeBuilder()
    for (const leaf of leaves(start, end)) tree.append(leafHash(leaf))
    return tree.root()
  }
  const ask = async (start: number, end: number, change: Partial<Parameters<typeof encodeSignSubtree>[0]> = {}) => {
    const path = await subtreeConsistencyProof({ start, end, size: 700, hashes })
    return encodeSignSubtree({ start, end, root: rootOf(start, end), path, checkpoint: own, ...change })
  }
  for (const [start, end] of [
    [0, 700],
    [0, 1],
    [512, 700],
    [256, 512],
    [696, 699],
    [699, 700],
  ] as const) {
    const answer = mirror.signSubtree(await ask(start, end))
    assert.equal(answer.status, 200, decodeUtf8(answer.body, 'body'))
    const lines = parseCosignatures(answer.body)
    const subtree = { origin: log.origin, start, end, root: rootOf(start, end) }
    assert.deepEqual(verifySubtree(subtree, lines, keys), [keys[0]])
    for (const other of [
      { ...subtree, end: end - 1 },
      { ...subtree, origin: 'x' },
      { ...subtree, root: new Uint8Array(32) },
    ]) {
      assert.throws(() => verifySubtree(other, lines, keys), { code: 'ERR_LOG_SIGNATURE' })
    }
    // It has no time, so it is no witness's word on the newest tree: nobody counts it.
    if (start === 0 && end === 700) {
      const { text } = parseNote(own)
      assert.deepEqual(verifyNote({ text, signatures: lines }, keys), [{ key: keys[0], time: undefined }])
    }
  }
  const note = decodeUtf8(own, 'note')
  const wanted = decodeUtf8(await ask(512, 700), 'request')
  const cases: [string, string | Uint8Array, number][] = [
    ['nothing', '', 400],
    ['what no tree has', wanted.replace('subtree 512 700', 'subtree 513 700'), 400],
    ['another spelling', wanted.replace('subtree 512', 'subtree 0512'), 400],
    ['beyond the checkpoint', wanted.replace('subtree 512 700', 'subtree 512 701'), 400],
    ['another root', await ask(512, 700, { root: rootOf(0, 10) }), 422],
    ['another path', await ask(512, 700, { path: [] }), 422],
    ['another range', wanted.replace('subtree 512 700', 'subtree 512 699'), 422],
    [
      'a log that it does not follow',
      await ask(512, 700, { checkpoint: encodeUtf8(note.replace(log.origin, 'other')) }),
      404,
    ],
    ['what the log alone signed', await ask(512, 700, { checkpoint: await log.checkpoint() }), 403],
    ['a changed checkpoint', await ask(512, 700, { checkpoint: encodeUtf8(note.replace('\n700\n', '\n701\n')) }), 403],
  ]
  for (const [name, body, status] of cases) {
    assert.equal(mirror.signSubtree(typeof body === 'string' ? encodeUtf8(body) : body).status, status, name)
  }
  assert.throws(() => cosignSubtree({ origin: 'x', start: 0, end: 1, root: rootOf(0, 1) }, mirrorKeys[1]!), RangeError)

  // Who has no key for it does not speak it.
  const logs = [encodeVkey(log.signer.key)]
  const plain = createWitness({ file: fileOf(), keys: [mirrorKeys[1]!], logs, now: () => now })
  context.after(() => plain.close())
  assert.equal(plain.signSubtree(await ask(0, 700)).status, 404)
})
