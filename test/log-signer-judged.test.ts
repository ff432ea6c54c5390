import assert from 'node:assert/strict'
import { createHash, createPublicKey, verify } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { type Digest, encodeHex, encodeUtf8 } from '@cella/bytes'
import { parseDocumentOf, type Terms } from '@cella/documents'
import {
  encodeDisclosure,
  leafOfBody,
  makeDisclosure,
  makeEventBody,
  makeStreamExport,
  signStreamKey,
} from '@cella/events'
import { encodeSignerStatement, parseSignerStatement } from '@cella/evidence'
import {
  encodeVkey,
  inclusionProof,
  LogView,
  leafHash,
  makeProofFile,
  parseLeaf,
  parseLogPolicy,
  publishedTag,
  receiptKeyOf,
  signerLeaf,
  verifyInclusionReceipt,
  type WitnessedCheckpoint,
} from '@cella/log'
import { createLogServer, type Log, openLog, remoteSigner } from '@cella/log-server'
import { LogSigner } from '@cella/log-signer'
import type { SignerProof } from '@cella/receipt'
import { logSignerReasons, readDocumentSet, readLogSigners } from '@cella/release'
import { termsFor } from '@cella/sdk'
import { encodeProofExtra, type FileAnchors, judgeFile } from '@cella/verify'
import { verifyCheckpoint } from '@sigstore/verify/dist/tlog/checkpoint.js'
import { verifyMerkleInclusion } from '@sigstore/verify/dist/tlog/merkle.js'
import { decode, encode, type Tag } from 'cbor2'
import { leafOf, ServedSigner, SignerWorld } from './support/log-signer.ts'

// Who relies on a log judges the code that holds its key: by a proof file alone, and by terms where the whole log was read.

const origin = 'log.example/judged'
const folder = mkdtempSync(join(tmpdir(), 'cella-signer-judged-'))
const world = await SignerWorld.open(join(folder, 'platform'))
const version = await world.version('1')
const served = new ServedSigner(version, { folder: join(folder, 'signer'), origin })
let log: Log
let view: LogView
let checkpoint: WitnessedCheckpoint
let statement: Uint8Array
let policyText: string

before(async () => {
  const signer = await remoteSigner(await served.start(), origin)
  log = await openLog({
    folder: join(folder, 'log'),
    lastSignedFile: join(folder, 'last-signed'),
    signer,
    witnesses: [],
    onFatal: (error) => assert.fail(error),
  })
  await signer.announce(log)
  await log.append([leafOf(1), leafOf(2)])
  statement = served.signer.statements[0]!
  policyText = `log ${encodeVkey(served.signer.key)}\nquorum none\n`
  const read = { checkpoint: async () => log.checkpoint()!, tile: async (path: string) => (await log.tile(path))! }
  view = new LogView({ policy: parseLogPolicy(encodeUtf8(policyText)), read })
  checkpoint = await view.advance()
})
after(async () => {
  await log.close()
  await served.stop()
  rmSync(folder, { recursive: true, force: true })
})

test('a proof file shows which code holds the key, by its own evidence under the same checkpoint', async () => {
  const [index, leaf] = [1, leafOf(1)]
  const anchors: FileAnchors = {
    organisations: [],
    roots: [world.root as FileAnchors['roots'][number]],
    logs: [{ policy: parseLogPolicy(encodeUtf8(policyText)), independentWitnesses: [] }],
    vaults: [],
    now: Math.floor(Date.now() / 1000),
  }
  const hashes = view.hashes()
  const path = await inclusionProof({ index: 0, size: checkpoint.size, hashes })
  const judged = async (signer: Parameters<typeof encodeProofExtra>[0]['signer'], more: Partial<FileAnchors> = {}) => {
    const extra = encodeProofExtra({ leaf, document: undefined, signer })
    const bytes = await makeProofFile({ checkpoint, index, hashes, extra })
    const { verdict } = await judgeFile(bytes, { anchors: { ...anchors, ...more }, startEngine: async () => undefined })
    const codes = (list: readonly { code: string }[]) =>
      list.map(({ code }) => code).filter((code) => code.startsWith('SIGNER'))
    return [verdict.outcome, codes(verdict.statements), codes(verdict.notProved), codes(verdict.wrong)]
  }
  const sound = { index: 0, path, statement }
  assert.deepEqual(await judged(sound), ['proved', ['SIGNER_SIMULATED'], ['SIGNER_LATER'], []])
  assert.deepEqual(await judged(undefined), ['proved', [], ['SIGNER_UNSHOWN'], []])
  // Who names no such root learns that there is something to judge; nothing is taken on trust.
  assert.deepEqual(await judged(sound, { roots: [] }), ['proved', [], ['SIGNER_UNJUDGED'], []])

  // What is not in the log, not on this key, not of this evidence or not of this code is wrong, and said.
  const other = await LogSigner.open(version.tee, { folder: join(folder, 'other'), origin, identity: version.identity })
  const { binding, evidence, build } = parseSignerStatement(statement)
  const unlogged = await version.identity.state({ ...binding })
  for (const [name, bad] of [
    ['another place', { ...sound, index: 1 }],
    ['a path cut', { ...sound, path: path.slice(1) }],
    ['a statement that was never logged', { ...sound, statement: unlogged }],
    ['a statement on another key', { ...sound, statement: other.statements[0]! }],
    [
      'evidence with another binding',
      {
        ...sound,
        statement: encodeSignerStatement({ binding: { ...binding, configuration: '0'.repeat(64) }, evidence, build }),
      },
    ],
    ['no statement', { ...sound, statement: encodeUtf8('{}') }],
  ] as const) {
    assert.deepEqual(await judged(bad), ['disproved', [], [], ['SIGNER']], name)
  }
})

test('a COSE receipt by the enclave’s key is read and verified by others’ CBOR and crypto', async (context) => {
  const { key } = served.signer
  const server = createLogServer(log, await remoteSigner(served.url, origin))
  const url = await server.listen({ host: '127.0.0.1', port: 0 })
  context.after(() => server.close())
  const receipt = new Uint8Array(await (await fetch(`${url}/receipt?index=1`)).arrayBuffer())
  assert.equal((await fetch(`${url}/receipt?index=99`)).status, 404)
  await verifyInclusionReceipt({ receipt, leaf: leafHash(leafOf(1)), key: receiptKeyOf(key) })

  // RFC 9942 §5.2 by cbor2 and node:crypto: nothing of ours.
  const tagged = decode<Tag>(receipt)
  const [header, unprotected, payload, signature] = tagged.contents as [
    Uint8Array,
    Map<number, unknown>,
    null,
    Uint8Array,
  ]
  assert.deepEqual([Number(tagged.tag), payload], [18, null])
  const headers = decode<Map<number, unknown>>(header)
  assert.deepEqual([headers.get(1), headers.get(395)], [-8, 1])
  const [proof] = (unprotected.get(396) as Map<number, Uint8Array[]>).get(-1)!
  const [size, index, path] = decode<[number, number, Uint8Array[]]>(proof!)
  assert.deepEqual([size, index], [3, 1])
  const sha = (...parts: Uint8Array[]) => createHash('sha256').update(Buffer.concat(parts)).digest()
  // Index 1 of 3: its left sibling, then the lone third leaf to the right.
  const leaf = sha(Uint8Array.of(0), leafOf(1))
  const root = sha(Uint8Array.of(1), sha(Uint8Array.of(1), path[0]!, leaf), path[1]!)
  const signed = encode(['Signature1', header, new Uint8Array(0), new Uint8Array(root)])
  const spki = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), key.publicKey])
  const publicKey = createPublicKey({ key: spki, format: 'der', type: 'spki' })
  assert.ok(verify(null, signed, publicKey, signature))
  assert.ok(!verify(null, signed.with(40, signed[40]! ^ 1), publicKey, signature))
})

test('Sigstore’s client verifies our checkpoint and inclusion proofs, and refuses altered ones', async () => {
  // Its code for Rekor v2, which speaks the same formats (signed note, checkpoint, RFC 6962).
  const note = new TextDecoder().decode(checkpoint.bytes)
  const [keyName, keyId] = encodeVkey(served.signer.key).split('+')
  const spki = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), served.signer.key.publicKey])
  const instance = {
    logID: Buffer.concat([Buffer.from(keyId!, 'hex'), Buffer.alloc(28)]),
    publicKey: createPublicKey({ key: spki, format: 'der', type: 'spki' }),
    baseURL: `https://${keyName}`,
    validFor: { start: new Date(0), end: new Date() },
  }
  const entryOf = async (index: number, leaf: Uint8Array, envelope = note) => ({
    canonicalizedBody: Buffer.from(leaf),
    inclusionProof: {
      logIndex: `${index}`,
      treeSize: `${checkpoint.size}`,
      rootHash: Buffer.alloc(0),
      hashes: (await inclusionProof({ index, size: checkpoint.size, hashes: view.hashes() })).map((one) =>
        Buffer.from(one),
      ),
      checkpoint: { envelope },
    },
  })
  type Entry = Parameters<typeof verifyCheckpoint>[0]
  const verifyEntry = async (entry: Awaited<ReturnType<typeof entryOf>>): Promise<void> => {
    const verified = verifyCheckpoint(entry as Entry, [instance])
    assert.deepEqual([verified.origin, Number(verified.logSize)], [origin, checkpoint.size])
    verifyMerkleInclusion(entry as Entry, verified)
  }
  const leaves = [signerLeaf(served.signer.key, 0, statement), leafOf(1), leafOf(2)]
  for (const [index, leaf] of leaves.entries()) await verifyEntry(await entryOf(index, leaf))
  const refused = { code: 'TLOG_INCLUSION_PROOF_ERROR' }
  await assert.rejects(verifyEntry(await entryOf(1, leafOf(9))), refused)
  await assert.rejects(verifyEntry(await entryOf(2, leafOf(1))), refused)
  await assert.rejects(verifyEntry(await entryOf(1, leafOf(1), note.replace('\n3\n', '\n4\n'))), refused)
})

test('terms accept a log by the builds of its signers: none unnamed, none hidden, none in place of another', async () => {
  const { builder } = world
  const { digest } = parseDocumentOf('cella/build', version.build)
  const published = [parseDocumentOf('cella/organisation', builder).digest, digest].map((one) =>
    encodeHex(publishedTag(one)),
  )
  const documents = await readDocumentSet([builder, version.build], {
    firstIndexOf: (tag) => {
      const at = published.indexOf(encodeHex(tag))
      return at < 0 ? undefined : at
    },
  })
  const terms = (logSigner: readonly Digest[] | undefined, more: object = {}): Terms => ({
    ...(termsFor({
      roots: [world.root as Terms['roots'][number]],
      builds: { vault: [digest], worker: [digest], ...(logSigner && { logSigner: [...logSigner] }) },
      log: policyText,
    }) as Terms),
    ...more,
  })
  const now = Math.floor(Date.now() / 1000)
  const { key } = served.signer
  const codes = async (own: Terms, shown: readonly Uint8Array[], of: LogView = view, on = key) =>
    (await logSignerReasons(own, readLogSigners(of, on, shown), { documents, now })).map(({ code }) => code)

  assert.deepEqual(await codes(terms([digest]), [statement]), [])
  assert.deepEqual(await codes(terms(undefined), []), [])
  // Asked of a log that does not say it, in words of another, or not shown: refused.
  const unlogged = await version.identity.state({ ...parseSignerStatement(statement).binding })
  const other = await LogSigner.open(version.tee, {
    folder: join(folder, 'hidden'),
    origin,
    identity: version.identity,
  })
  assert.deepEqual(await codes(terms([digest]), []), ['ERR_LOG_SIGNER_UNKNOWN'])
  assert.deepEqual(await codes(terms([digest]), [unlogged]), ['ERR_LOG_SIGNER_UNKNOWN'])
  assert.deepEqual(await codes(terms([digest]), [other.statements[0]!], view, other.key), ['ERR_LOG_SIGNER_UNKNOWN'])
  assert.deepEqual(await codes(terms(['9'.repeat(64) as Digest]), [statement]), ['ERR_TEE_MEASUREMENT'])
  assert.deepEqual(await codes(terms([digest], { simulated: false }), [statement]), ['ERR_TEE_SIMULATED'])
  const elsewhere = { ...world.root, spki: '0'.repeat(64) }
  assert.deepEqual(await codes(terms([digest], { roots: [elsewhere] }), [statement]), ['ERR_EVIDENCE_ROOT_UNKNOWN'])

  // A later entry that nobody explains: the key may be anywhere.
  const hidden = signerLeaf(key, 1, encodeUtf8('never shown'))
  await log.append([hidden])
  await view.advance()
  assert.ok(view.holds(3, parseLeaf(hidden)))
  assert.deepEqual(await codes(terms([digest]), [statement]), ['ERR_LOG_SIGNER_UNKNOWN'])
  assert.deepEqual(await codes(terms([digest]), [statement, encodeUtf8('never shown')]), ['ERR_LOG_SIGNER_UNKNOWN'])
})

test('a disclosure and a completeness export show it too, and what is made up in them is found', async () => {
  const streamKey = new Uint8Array(32).fill(7)
  const organisation = '5'.repeat(64) as Digest
  const body = makeEventBody({ type: 'decision', n: 0, previous: null }, { allowed: true })
  const { indices } = await log.append([leafOfBody(body, streamKey)])
  const to = await view.advance()
  const hashes = view.hashes()
  const path = await inclusionProof({ index: 0, size: to.size, hashes })
  const proofOf = async (index: number, signer: SignerProof | undefined): Promise<Uint8Array> => {
    const extra = encodeProofExtra({ leaf: view.leafBytesAt(index), document: undefined, signer })
    return makeProofFile({ checkpoint: to, index, hashes, extra })
  }
  const stream = signStreamKey({ key: streamKey, organisation, log: origin, size: to.size, count: 1 }, streamKey)
  const anchors: FileAnchors = {
    organisations: [{ id: organisation, name: 'Clinic' }],
    roots: [world.root as FileAnchors['roots'][number]],
    logs: [{ policy: parseLogPolicy(encodeUtf8(policyText)), independentWitnesses: [] }],
    vaults: [stream.vault],
    now: Math.floor(Date.now() / 1000),
  }
  const disclosed = async (signer: SignerProof | undefined): Promise<Uint8Array> => {
    const proof = await proofOf(indices[0]!, signer)
    return encodeDisclosure(makeDisclosure(body, { names: ['allowed'], streamKey, proof }))
  }
  const exported = async (signer: SignerProof | undefined): Promise<Uint8Array> =>
    makeStreamExport({
      view,
      to,
      organisation,
      key: streamKey,
      statement: stream,
      bodies: new Map([[0, body]]),
      logSigner: signer && (await proofOf(signer.index, signer)),
    })
  const { binding, evidence, build } = parseSignerStatement(statement)
  const bent = encodeSignerStatement({ binding: { ...binding, configuration: '0'.repeat(64) }, evidence, build })
  for (const made of [disclosed, exported]) {
    const judged = async (signer: SignerProof | undefined) => {
      const bytes = await made(signer)
      const { verdict, about } = await judgeFile(bytes, { anchors, startEngine: async () => undefined })
      const all = [...verdict.statements, ...verdict.notProved, ...verdict.wrong].map(({ code }) => code)
      const { measurement } = (about.signer ?? {}) as { measurement?: string }
      return [verdict.outcome, all.filter((code) => code.startsWith('SIGNER')), measurement]
    }
    const { measurement } = version.tee.describe()
    const sound = { index: 0, path, statement }
    assert.deepEqual(await judged(sound), ['proved', ['SIGNER_SIMULATED', 'SIGNER_LATER'], measurement])
    assert.deepEqual(await judged(undefined), ['proved', ['SIGNER_UNSHOWN'], undefined])
    const disproved = ['disproved', ['SIGNER'], undefined]
    assert.deepEqual(await judged({ ...sound, statement: bent }), disproved)
    assert.deepEqual(await judged({ ...sound, path: path.slice(1) }), disproved)
  }
})
