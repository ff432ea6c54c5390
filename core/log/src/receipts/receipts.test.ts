import assert from 'node:assert/strict'
import { createHash, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { decodeBase64, encodeBase64, encodeHex, encodeUtf8 } from '@cella/bytes'
import { CborTag, type CborValue, encodeCbor } from '@cella/cbor'
import { sharedPath, sharedTest } from '@cella/testing'
import { ccfCase, sigsumCase } from '@cella/testing/foreign-proofs'
import { everyBend } from '../../test/bend.ts'
import { leafOf, origin, TestLog } from '../../test/support.ts'
import {
  encodeVkey,
  generateNoteSigner,
  type LogError,
  leafHash,
  makeConsistencyReceipt,
  makeInclusionReceipt,
  noteKey,
  parseLogPolicy,
  receiptKeyOf,
  receiptsOf,
  tileHashes,
  verifyCcfReceipt,
  verifyConsistencyReceipt,
  verifyInclusionReceipt,
  verifyRekorEntry,
  verifySigsumProof,
} from '../index.ts'

const log = new TestLog(Array.from({ length: 21 }, (_, index) => leafOf(index)))
const key = receiptKeyOf(log.signer.key)
const sha = (...parts: Uint8Array[]): Buffer => createHash('sha256').update(Buffer.concat(parts)).digest()
const spkiOf = (publicKey: KeyObject): Uint8Array => new Uint8Array(publicKey.export({ format: 'der', type: 'spki' }))

function treeOf(size: number) {
  return { size, root: log.tree(size).root() }
}

async function inclusion(size: number, index: number): Promise<Uint8Array> {
  const hashes = tileHashes((path) => log.tile(path), size)
  return makeInclusionReceipt({ signer: log.signer, tree: treeOf(size), index, hashes })
}

async function consistency(oldSize: number, size: number): Promise<Uint8Array> {
  const hashes = tileHashes((path) => log.tile(path), size)
  return makeConsistencyReceipt({ signer: log.signer, tree: treeOf(size), oldSize, hashes })
}

async function codeOf(run: () => unknown): Promise<string> {
  try {
    await run()
  } catch (error) {
    return (error as LogError).code
  }
  return 'accepted'
}

test('inclusion receipts of every leaf verify, for that leaf and key alone', async () => {
  const other = receiptKeyOf(generateNoteSigner({ name: origin, type: 'note' }).key)
  for (const size of [2, 3, 7, 8, 21]) {
    for (let index = 0; index < size; index++) {
      const receipt = await inclusion(size, index)
      const leaf = leafHash(log.leaves[index]!)
      assert.deepEqual(await verifyInclusionReceipt({ receipt, leaf, key }), { index, ...treeOf(size) })
      const wrong = leafHash(leafOf(99))
      assert.equal(await codeOf(() => verifyInclusionReceipt({ receipt, leaf: wrong, key })), 'ERR_LOG_SIGNATURE')
      assert.equal(await codeOf(() => verifyInclusionReceipt({ receipt, leaf, key: other })), 'ERR_LOG_SIGNATURE')
    }
  }
  const receipt = await inclusion(8, 5)
  const leaf = leafHash(log.leaves[5]!)
  const renamed = { ...key, issuer: 'log.example/two' }
  assert.equal(await codeOf(() => verifyInclusionReceipt({ receipt, leaf, key: renamed })), 'ERR_LOG_ORIGIN')
  await verifyInclusionReceipt({ receipt, leaf, key: { ...key, issuer: undefined } })
})

test('a tree of one leaf has no receipt, and neither have equal sizes', async () => {
  assert.equal(await codeOf(() => inclusion(1, 0)), 'ERR_LOG_PROOF')
  assert.equal(await codeOf(() => consistency(8, 8)), 'ERR_LOG_PROOF')
  const receipt = await inclusion(2, 1)
  const at = Buffer.from(receipt).indexOf(Buffer.from(encodeCbor([2, 1])).subarray(1))
  assert.ok(at > 0)
  const none = encodeCbor([1, 0, []])
  const empty = encodeCbor(
    new CborTag(18, [
      encodeCbor(
        new Map<number, CborValue>([
          [1, -8],
          [395, 1],
        ]),
      ),
      new Map([[396, new Map([[-1, [none]]])]]),
      null,
      new Uint8Array(64),
    ]),
  )
  const leaf = leafHash(log.leaves[0]!)
  assert.equal(await codeOf(() => verifyInclusionReceipt({ receipt: empty, leaf, key })), 'ERR_LOG_MALFORMED')
})

test('consistency receipts verify from the older root alone', async () => {
  for (const [oldSize, size] of [
    [1, 2],
    [3, 8],
    [4, 8],
    [7, 21],
    [20, 21],
  ] as const) {
    const receipt = await consistency(oldSize, size)
    const oldRoot = treeOf(oldSize).root
    const newRoot = treeOf(size).root
    assert.deepEqual(await verifyConsistencyReceipt({ receipt, oldRoot, key }), { oldSize, newSize: size, newRoot })
    await verifyConsistencyReceipt({ receipt, oldRoot, newRoot, key })
    const fork = treeOf(oldSize === 20 ? 19 : 20).root
    assert.equal(await codeOf(() => verifyConsistencyReceipt({ receipt, oldRoot: fork, key })), 'ERR_LOG_PROOF')
    assert.equal(
      await codeOf(() => verifyConsistencyReceipt({ receipt, oldRoot, newRoot: fork, key })),
      'ERR_LOG_PROOF',
    )
  }
})

test('every cut and every changed byte of a receipt is refused', async () => {
  const leaf = leafHash(log.leaves[2]!)
  for (const bent of everyBend(await inclusion(3, 2))) {
    assert.match(await codeOf(() => verifyInclusionReceipt({ receipt: bent, leaf, key })), /^ERR_LOG_/)
  }
  const oldRoot = treeOf(3).root
  for (const bent of everyBend(await consistency(3, 8))) {
    assert.match(await codeOf(() => verifyConsistencyReceipt({ receipt: bent, oldRoot, key })), /^ERR_LOG_/)
  }
})

test('the size in a receipt is not signed: the same path in a tree of another size leads to the same root', async () => {
  const receipt = Buffer.from(await inclusion(8, 0))
  const at = receipt.indexOf(Buffer.from('83080083', 'hex'))
  assert.ok(at > 0)
  receipt[at + 1] = 7
  const leaf = leafHash(log.leaves[0]!)
  const shown = await verifyInclusionReceipt({ receipt: new Uint8Array(receipt), leaf, key })
  assert.deepEqual(shown, { size: 7, index: 0, root: treeOf(8).root })
})

test('receipts of another structure, kind, algorithm or form are refused', async () => {
  const leaf = leafHash(log.leaves[2]!)
  const proof = encodeCbor([3, 2, [treeOf(2).root]])
  const protectedOf = (entries: [number, CborValue][]) => encodeCbor(new Map(entries))
  const alg: [number, CborValue] = [1, -8]
  const vds: [number, CborValue] = [395, 1]
  const good: CborValue[] = [
    protectedOf([alg, vds]),
    new Map([[396, new Map([[-1, [proof]]])]]),
    null,
    new Uint8Array(64),
  ]
  const cases: [string, CborValue, string][] = [
    ['well-formed', new CborTag(18, good), 'ERR_LOG_SIGNATURE'],
    ['untagged', good, 'ERR_LOG_MALFORMED'],
    ['vds 2', new CborTag(18, good.with(0, protectedOf([alg, [395, 2]]))), 'ERR_LOG_MALFORMED'],
    ['no vds', new CborTag(18, good.with(0, protectedOf([alg]))), 'ERR_LOG_MALFORMED'],
    ['alg HS256', new CborTag(18, good.with(0, protectedOf([[1, 5], vds]))), 'ERR_LOG_MALFORMED'],
    ['crit', new CborTag(18, good.with(0, protectedOf([alg, [2, [395]], vds]))), 'ERR_LOG_MALFORMED'],
    ['consistency', new CborTag(18, good.with(1, new Map([[396, new Map([[-2, [proof]]])]]))), 'ERR_LOG_MALFORMED'],
    [
      'two proofs',
      new CborTag(18, good.with(1, new Map([[396, new Map([[-1, [proof, proof]]])]]))),
      'ERR_LOG_MALFORMED',
    ],
    [
      'unsigned header',
      new CborTag(
        18,
        good.with(
          1,
          new Map<number, CborValue>([
            [4, proof],
            [396, new Map([[-1, [proof]]])],
          ]),
        ),
      ),
      'ERR_LOG_MALFORMED',
    ],
    ['another root inside', new CborTag(18, good.with(2, treeOf(3).root.toReversed())), 'ERR_LOG_PROOF'],
    [
      'index outside',
      new CborTag(18, good.with(1, new Map([[396, new Map([[-1, [encodeCbor([3, 3, [leaf]])]]])]]))),
      'ERR_LOG_PROOF',
    ],
  ]
  for (const [name, value, code] of cases) {
    const receipt = encodeCbor(value)
    const anyone = { ...key, issuer: undefined }
    assert.equal(await codeOf(() => verifyInclusionReceipt({ receipt, leaf, key: anyone })), code, name)
  }
  assert.throws(
    () =>
      receiptKeyOf(
        noteKey({ ...log.signer.key, type: 'cosignature', algorithm: 'ml-dsa-44', publicKey: new Uint8Array(1312) }),
      ),
    RangeError,
  )
  const witness = makeInclusionReceipt({
    signer: log.witness,
    tree: treeOf(3),
    index: 0,
    hashes: tileHashes((path) => log.tile(path), 3),
  })
  await assert.rejects(witness, RangeError)
})

sharedTest('reads the inclusion receipt of the working group up to its signature', 'vectors/tlog/cose', async () => {
  const receipt = new Uint8Array(readFileSync(sharedPath('vectors/tlog/cose/inclusion-receipt.cbor')))
  const spki = spkiOf(generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey)
  const leaf = new Uint8Array(32)
  const issuer = 'https://transparency-service.example.com'
  // Its key is not published: only that all else is read, and that the key decides.
  assert.equal(
    await codeOf(() => verifyInclusionReceipt({ receipt, leaf, key: { spki, issuer } })),
    'ERR_LOG_SIGNATURE',
  )
  assert.equal(
    await codeOf(() => verifyInclusionReceipt({ receipt, leaf, key: { spki, issuer: 'x' } })),
    'ERR_LOG_ORIGIN',
  )
})

test('CCF: a receipt is over its statement alone; every cut and changed byte is refused', async () => {
  const { receipt, statement, key, root, evidence } = ccfCase()
  assert.deepEqual(receiptsOf(statement), [receipt])
  const proven = await verifyCcfReceipt({ receipt, statement, key })
  assert.deepEqual([encodeHex(proven.root), proven.evidence], [encodeHex(root), evidence])
  for (const bent of everyBend(receipt)) {
    assert.match(await codeOf(() => verifyCcfReceipt({ receipt: bent, statement, key })), /^ERR_LOG_/)
  }
  const other = Uint8Array.from(statement)
  other[other.length - 1]! ^= 1
  assert.equal(await codeOf(() => verifyCcfReceipt({ receipt, statement: other, key })), 'ERR_LOG_ENTRY')
  const stranger = { ...key, spki: spkiOf(generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey) }
  assert.equal(await codeOf(() => verifyCcfReceipt({ receipt, statement, key: stranger })), 'ERR_LOG_SIGNATURE')
  assert.equal(await codeOf(() => verifyCcfReceipt({ receipt: encodeUtf8('x'), statement, key })), 'ERR_LOG_MALFORMED')
})

sharedTest('CCF: the receipt of a ledger in service is over its statement', 'vectors/tlog/cose', async () => {
  const file = sharedPath('vectors/tlog/cose/ccf-transparent-statement-uvm_0.2.10.cose')
  const statement = new Uint8Array(readFileSync(file))
  const [receipt] = receiptsOf(statement)
  const spki = spkiOf(generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey)
  const key = { spki, issuer: 'esrp-cts-db.confidential-ledger.azure.com' }
  // The ledger's key is not published with it: all but the signature is checked.
  assert.equal(await codeOf(() => verifyCcfReceipt({ receipt: receipt!, statement, key })), 'ERR_LOG_SIGNATURE')
  statement[statement.length - 1]! ^= 1
  assert.equal(await codeOf(() => verifyCcfReceipt({ receipt: receipt!, statement, key })), 'ERR_LOG_ENTRY')
})

test('Sigsum: proofs of both versions verify; every cut and changed byte is refused', async () => {
  for (const version of [1, 2] as const) {
    const sample = sigsumCase(version)
    const time = 1_760_000_000
    assert.deepEqual(verifySigsumProof(sample), {
      size: 2,
      index: 1,
      witnesses: ['w'],
      times: { earliest: time, latest: time },
    })
    for (const proof of everyBend(sample.proof)) {
      assert.match(await codeOf(() => verifySigsumProof({ ...sample, proof })), /^ERR_LOG_/)
    }
    const message = new Uint8Array(32)
    assert.match(await codeOf(() => verifySigsumProof({ ...sample, message })), /^ERR_LOG_(?:ENTRY|SIGNATURE)$/)
    assert.equal(await codeOf(() => verifySigsumProof({ ...sample, submitter: message })), 'ERR_LOG_ENTRY')
    assert.equal(await codeOf(() => verifySigsumProof({ ...sample, policy: sigsumCase(2).policy })), 'ERR_LOG_ORIGIN')
    const unwitnessed = encodeUtf8(new TextDecoder().decode(sample.proof).replace(/cosignature=.*\n/, ''))
    assert.equal(await codeOf(() => verifySigsumProof({ ...sample, proof: unwitnessed })), 'ERR_LOG_QUORUM')
    assert.throws(() => verifySigsumProof({ ...sample, message: message.subarray(1) }), RangeError)
  }
})

sharedTest('Sigsum: proofs of its own tools verify', 'vectors/tlog/sigsum', () => {
  const { proofs, sshKeysInFile } = JSON.parse(readFileSync(sharedPath('vectors/tlog/sigsum/proofs.json'), 'utf8')) as {
    proofs: string[]
    sshKeysInFile: string[]
  }
  const keys = sshKeysInFile.map((line) => decodeBase64(line.split(' ')[1]!, 'key').slice(-32))
  const keyOf = (hash: string): Uint8Array | undefined => keys.find((raw) => sha(raw).toString('hex') === hash)
  let verified = 0
  for (const text of proofs) {
    const logKey = keyOf(/^log=(\w+)$/m.exec(text)![1]!)
    const submitter = keyOf(/^leaf=(\w+) /m.exec(text)![1]!)
    if (logKey === undefined || submitter === undefined) continue
    const vkey = encodeVkey(noteKey({ name: 'sigsum', type: 'note', publicKey: logKey }))
    const policy = parseLogPolicy(encodeUtf8(`log ${vkey}\nquorum none\n`))
    const message = encodeUtf8('foo-4\n'.padStart(32))
    const result = verifySigsumProof({ proof: encodeUtf8(text), message, submitter, policy })
    assert.deepEqual([result.size, result.index, result.times], [4, 3, undefined])
    verified += 1
  }
  assert.ok(verified > 0)
})

function rekorEntry(vector: Record<string, unknown>): Uint8Array {
  const envelope = String(vector.checkpointSource).slice(1, -1).replaceAll('\\n', '\n')
  const { logIndex, rootHash, treeSize, hashes, canonicalizedBody } = vector
  const inclusionProof = { logIndex, rootHash, treeSize, hashes, checkpoint: { envelope } }
  return encodeUtf8(JSON.stringify({ logIndex, inclusionProof, canonicalizedBody }))
}

sharedTest('Rekor v2: an entry of the public log verifies, no other does', 'vectors/tlog/sigstore', async () => {
  const [vector] = JSON.parse(readFileSync(sharedPath('vectors/tlog/sigstore/rekor-inclusion.json'), 'utf8'))
  // The public key of log2025-1 in Sigstore's trusted root.
  const publicKey = decodeBase64('t8rlp1knGwjfbcXAYPYAkn0XiLz1x8O4t0YkEhie244=', 'key')
  const logKey = noteKey({ name: 'log2025-1.rekor.sigstore.dev', type: 'note', publicKey })
  const policy = parseLogPolicy(encodeUtf8(`log ${encodeVkey(logKey)}\nquorum none\n`))
  const entry = rekorEntry(vector)
  const proven = verifyRekorEntry(entry, policy)
  assert.equal(proven.index, 544_346)
  assert.equal(proven.checkpoint.size, 544_347)
  assert.equal(JSON.parse(new TextDecoder().decode(proven.body)).kind, 'dsse')
  for (const change of [
    { logIndex: '544345' },
    { rootHash: encodeBase64(new Uint8Array(32)) },
    { treeSize: '544348' },
    { hashes: vector.hashes.slice(1) },
    { hashes: vector.hashes.with(0, encodeBase64(new Uint8Array(32))) },
    { canonicalizedBody: encodeBase64(encodeUtf8('{}')) },
    { checkpointSource: vector.checkpointSource.replace('rekor', 'recor') },
    { logIndex: 544346 },
    { hashes: 'x' },
  ]) {
    assert.match(await codeOf(() => verifyRekorEntry(rekorEntry({ ...vector, ...change }), policy)), /^ERR_LOG_/)
  }
})

test('Rekor v2: an entry put together by hand verifies; every cut is refused', async () => {
  const body = log.leaves[2]!
  const envelope = new TextDecoder().decode(log.signed(3))
  const hashes = [encodeBase64(treeOf(2).root)]
  const inclusionProof = {
    logIndex: '2',
    rootHash: encodeBase64(treeOf(3).root),
    treeSize: '3',
    hashes,
    checkpoint: { envelope },
  }
  const json = { logIndex: '2', integratedTime: '0', inclusionProof, canonicalizedBody: encodeBase64(body) }
  const entry = encodeUtf8(JSON.stringify(json))
  const { checkpoint, index } = verifyRekorEntry(entry, log.policy)
  assert.deepEqual([index, checkpoint.size, checkpoint.times?.latest], [2, 3, log.time])
  for (let length = 0; length < entry.length; length++) {
    assert.equal(await codeOf(() => verifyRekorEntry(entry.subarray(0, length), log.policy)), 'ERR_LOG_MALFORMED')
  }
  const v1 = encodeUtf8(JSON.stringify({ ...json, logIndex: '9' }))
  assert.equal(await codeOf(() => verifyRekorEntry(v1, log.policy)), 'ERR_LOG_MALFORMED')
})
