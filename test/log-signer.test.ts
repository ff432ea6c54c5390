import assert from 'node:assert/strict'
import { copyFileSync, cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { encodeBase64, encodeBase64url, encodeUtf8 } from '@cella/bytes'
import { bindingDigestOf, encodeSignerStatement, parseSignerStatement } from '@cella/evidence'
import {
  consistencyProof,
  encodeCheckpointText,
  encodeVkey,
  inclusionProof,
  LogView,
  leafHash,
  makeProofFile,
  type NoteKey,
  parseLogPolicy,
  signerLeaf,
  signerTag,
  signStreamProtocol,
  TreeBuilder,
  verifyOfflineProof,
} from '@cella/log'
import { beginSuccessor, type Log, openLog, passKey, remoteSigner } from '@cella/log-server'
import { createSuccessorServer, LogSigner, Successor } from '@cella/log-signer'
import { digestOf, randomBytes } from '@cella/primitives'
import { leafOf, newBuilder, ServedSigner, SignerWorld } from './support/log-signer.ts'

// The log's key in an enclave, with a host that would like it to sign two histories, or to pass to other code.

const origin = 'log.example/one'
const folder = mkdtempSync(join(tmpdir(), 'cella-log-signer-'))
after(() => rmSync(folder, { recursive: true, force: true }))
const world = await SignerWorld.open(join(folder, 'platform'))
const first = await world.version('1')

/** A tree over leaves, with all that a host needs to ask for its signature. */
function treeOf(leaves: readonly Uint8Array[]) {
  const nodes = new Map<string, Uint8Array>()
  const tree = new TreeBuilder()
  for (const leaf of leaves) {
    tree.append(leafHash(leaf), (level, index, hash) => nodes.set(`${level}/${index}`, new Uint8Array(hash)))
  }
  const { size } = tree
  const root = tree.root()
  const text = encodeCheckpointText({ origin, size, root, extensions: [] })
  const hashes = async (places: readonly { level: number; index: number }[]) =>
    places.map(({ level, index }) => nodes.get(`${level}/${index}`)!)
  const proof = (from: number) =>
    from === 0 ? Promise.resolve([]) : consistencyProof({ oldSize: from, newSize: size, hashes })
  const entry = async (index: number) => ({ index, path: await inclusionProof({ index, size, hashes }) })
  const request = async (from: number, at?: number) => ({
    text,
    from,
    proof: await proof(from),
    ...(at !== undefined && { entry: await entry(at) }),
  })
  return { size, root, text, hashes, entry, request }
}

const upTo = (size: number): Uint8Array[] => Array.from({ length: size }, (_, n) => leafOf(n))
const code = (name: string) => ({ code: name })
const ownLeaf = (signer: LogSigner): Uint8Array =>
  signerLeaf(signer.key, signer.statements.length - 1, signer.statements.at(-1)!)

test('a signer signs one history: no smaller tree, no other of its size, none that does not continue', async () => {
  const at = { folder: join(folder, 'one'), origin, identity: first.identity }
  const signer = await LogSigner.open(first.tee, at)
  const own = ownLeaf(signer)
  const of = (size: number) => treeOf([own, ...upTo(size - 1)])
  await signer.sign(await treeOf([]).request(0))
  // Nothing before the entry that says who signs, and no other entry in its place.
  for (const bad of [
    await treeOf(upTo(5)).request(0),
    await of(5).request(0),
    await of(5).request(0, 1),
    await treeOf(upTo(5)).request(0, 0),
  ]) {
    await assert.rejects(signer.sign(bad), code('ERR_SIGNER_UNLOGGED'))
  }
  assert.deepEqual([signer.size, signer.entry], [0, undefined])
  const note = await signer.sign(await of(5).request(0, 0))
  assert.match(new TextDecoder().decode(note), /^log\.example\/one\n5\n/)
  assert.equal(signer.entry, 0)
  await signer.sign(await of(9).request(5))
  // The one before, again: no new signature. One before that: no.
  assert.deepEqual(await signer.sign(await of(5).request(0)), note)
  const forked = treeOf([own, ...upTo(7), leafOf(99), leafOf(100)])
  for (const [request, name] of [
    [of(4).request(0), 'ERR_SIGNER_ROLLBACK'],
    [treeOf([own, ...upTo(7), leafOf(99)]).request(0), 'ERR_SIGNER_ROLLBACK'],
    [treeOf([]).request(0), 'ERR_SIGNER_ROLLBACK'],
    [forked.request(9), 'ERR_SIGNER_FORK'],
    [of(12).request(5), 'ERR_SIGNER_BEHIND'],
  ] as const) {
    await assert.rejects(signer.sign(await request), code(name))
  }
  const other = encodeCheckpointText({ origin: 'log.example/two', size: 12, root: randomBytes(32), extensions: [] })
  const extended = encodeCheckpointText({ origin, size: 12, root: randomBytes(32), extensions: ['x'] })
  for (const text of [other, extended, 'nonsense']) {
    await assert.rejects(signer.sign({ text, from: 9, proof: [] }), code('ERR_SIGNER_MALFORMED'))
  }
  assert.equal(signer.size, 9)

  // After a restart it is the same key, statement and last tree; another measurement opens nothing.
  const again = await LogSigner.open(first.tee, at)
  assert.deepEqual([encodeVkey(again.key), again.size, again.entry], [encodeVkey(signer.key), 9, 0])
  assert.deepEqual(again.statements, signer.statements)
  await assert.rejects(again.sign(await forked.request(9)), code('ERR_SIGNER_FORK'))
  const upgraded = await world.version('2')
  await assert.rejects(LogSigner.open(upgraded.tee, { ...at, ...upgraded }), code('ERR_SIGNER_STATE'))
  await assert.rejects(LogSigner.open(first.tee, { ...at, origin: 'log.example/two' }), code('ERR_SIGNER_STATE'))

  // What it kept, with a file less, cut or changed, opens nothing: it does not begin anew.
  for (const name of readdirSync(at.folder)) {
    const bent = { ...at, folder: join(folder, `bent-${name}`) }
    cpSync(at.folder, bent.folder, { recursive: true })
    const bytes = readFileSync(join(bent.folder, name))
    const kept = bytes.subarray(0, -1)
    for (const place of name === 'state.sealed' ? [40, 4136] : [40]) bytes[place]! ^= 1
    for (const bad of [bytes, kept, Buffer.alloc(bytes.length), Buffer.alloc(0)]) {
      writeFileSync(join(bent.folder, name), bad)
      await assert.rejects(LogSigner.open(first.tee, bent), code('ERR_SIGNER_STATE'), name)
    }
    rmSync(join(bent.folder, name))
    await assert.rejects(LogSigner.open(first.tee, bent), code('ERR_SIGNER_STATE'), name)
  }
})

test('a write of what was signed that tore at any point leaves the tree before, and the next one is signed as ever', async () => {
  const at = { folder: join(folder, 'torn'), origin, identity: first.identity }
  const file = join(at.folder, 'state.sealed')
  const signer = await LogSigner.open(first.tee, at)
  const of = (size: number) => treeOf([ownLeaf(signer), ...upTo(size - 1)])
  await signer.sign(await treeOf([]).request(0))
  await signer.sign(await of(3).request(0, 0))
  for (let size = 4; size < 8; size++) {
    // Each slot in its turn is the one that is written.
    const before = readFileSync(file)
    await signer.sign(await of(size).request(size - 1))
    const after = readFileSync(file)
    assert.equal(after.length, before.length)
    const start = [0, 4096].find(
      (place) => !after.subarray(place, place + 4096).equals(before.subarray(place, place + 4096)),
    )!
    assert.deepEqual(start, size % 2 === 0 ? 0 : 4096)
    for (const torn of [1, 8, 9, 100, 512]) {
      // What was there and what was to be, and, as of a bad sector, neither.
      const mixed = Buffer.from(after)
      before.copy(mixed, start + torn, start + torn, start + 4096)
      const wiped = Buffer.from(after).fill(0, start + torn, start + 4096)
      for (const bytes of [mixed, wiped]) {
        const bent = { ...at, folder: join(folder, `torn-${size}-${torn}`) }
        cpSync(at.folder, bent.folder, { recursive: true })
        writeFileSync(join(bent.folder, 'state.sealed'), bytes)
        const again = await LogSigner.open(first.tee, bent)
        assert.equal(again.size, mixed.equals(after) ? size : size - 1, `${size} torn at ${torn}`)
        const forked = treeOf([ownLeaf(signer), ...upTo(size - 3), leafOf(98), leafOf(99), leafOf(100)])
        await assert.rejects(again.sign(await forked.request(again.size)), code('ERR_SIGNER_FORK'))
        await again.sign(await of(size + 1).request(again.size))
        await again.close()
        assert.equal((await LogSigner.open(first.tee, bent)).size, size + 1)
      }
    }
    await rejectsBothTorn(size, after)
  }
  async function rejectsBothTorn(size: number, bytes: Buffer): Promise<void> {
    const bent = { ...at, folder: join(folder, `both-${size}`) }
    cpSync(at.folder, bent.folder, { recursive: true })
    writeFileSync(join(bent.folder, 'state.sealed'), Buffer.from(bytes).fill(0, 100, 200).fill(0, 4196, 4296))
    await assert.rejects(LogSigner.open(first.tee, bent), code('ERR_SIGNER_STATE'))
  }
})

test('a statement binds the key to the code; one that is made up, replayed or of other code is not taken', async () => {
  const signer = await LogSigner.open(first.tee, { folder: join(folder, 'stated'), origin, identity: first.identity })
  const [statement] = signer.statements
  const { binding, evidence } = parseSignerStatement(statement!)
  assert.deepEqual([binding.vkey, binding.number, binding.previous], [encodeVkey(signer.key), 0, null])
  // Every byte counts: a changed statement is malformed or another entry.
  for (let at = 0; at < statement!.length; at += 97) {
    const bent = statement!.slice()
    bent[at]! ^= 1
    assert.notDeepEqual(signerLeaf(signer.key, 0, bent), ownLeaf(signer))
  }
  for (const bent of [
    encodeUtf8('{}'),
    statement!.subarray(0, -1),
    encodeUtf8(`${new TextDecoder().decode(statement)} `),
    encodeSignerStatement({ binding: { ...binding, number: 1 }, evidence, build: first.build }),
  ]) {
    assert.throws(() => parseSignerStatement(bent), code('ERR_EVIDENCE_MALFORMED'))
  }
  // A Build document of other code, of another role, and of another builder.
  const stranger = await newBuilder()
  for (const build of [
    await world.build('2'),
    await world.build('1', { change: { role: 'vault' } }),
    await world.build('1', { seed: stranger.seed }),
    'no document',
  ]) {
    await assert.rejects(world.identity(first.tee, build), code('ERR_SIGNER_BUILD'))
  }
})

test('a key passes to code of the same builder alone, after its entry, and then signs nowhere else', async () => {
  const at = { folder: join(folder, 'old'), origin }
  const signer = await LogSigner.open(first.tee, { ...at, identity: first.identity })
  const own = ownLeaf(signer)
  await signer.sign(await treeOf([]).request(0))
  const second = await world.version('2')
  const open = (name: string, version = second) =>
    Successor.open(version.tee, {
      folder: join(folder, name),
      origin,
      identity: version.identity,
      predecessors: signer.statements.map((statement) => new TextDecoder().decode(statement)),
    })
  const next = (await open('next'))!
  const entryOf = (statement: Uint8Array) => signerLeaf(signer.key, 1, statement)
  // Not before this signer is in the log, nor before the other is.
  const early = treeOf([own, entryOf(next.statement)])
  await assert.rejects(signer.pass(next.statement, await early.entry(1)), code('ERR_SIGNER_SUCCESSOR'))
  await signer.sign(await treeOf([own, ...upTo(3)]).request(0, 0))
  await assert.rejects(signer.pass(next.statement, await early.entry(1)), code('ERR_SIGNER_SUCCESSOR'))

  // Entries alone open nothing: other code, evidence of something else, a replayed statement, another machine's root.
  const stranger = await newBuilder()
  const foreign = await world.version('3')
  const elsewhere = await SignerWorld.open(join(folder, 'elsewhere'))
  const abroad = await elsewhere.version('2')
  const { binding, evidence } = parseSignerStatement(next.statement)
  const handover = { ...binding, handover: encodeBase64url(randomBytes(1216)) }
  const made = (version: typeof second, build: string) =>
    encodeSignerStatement({ ...parseSignerStatement(version === abroad ? abroadStatement : next.statement), build })
  const abroadStatement = await abroad.identity.state({ ...binding })
  const refused: [string, Uint8Array, string][] = [
    ['code that the builder did not release', made(second, await world.build('1')), 'ERR_SIGNER_BUILD'],
    ['a stranger’s Build document', made(second, await world.build('2', { seed: stranger.seed })), 'ERR_SIGNER_BUILD'],
    [
      'another HPKE key than the evidence is of',
      encodeSignerStatement({ binding: handover, evidence, build: second.build }),
      'ERR_SIGNER_SUCCESSOR',
    ],
    ['evidence under another root', made(abroad, second.build), 'ERR_SIGNER_SUCCESSOR'],
    ['its own first statement', signer.statements[0]!, 'ERR_SIGNER_SUCCESSOR'],
    [
      'one on another key',
      await foreign.identity.state({ ...binding, vkey: 'log.example/one+00000000+AQ' }),
      'ERR_SIGNER_SUCCESSOR',
    ],
    [
      'one that follows another',
      await foreign.identity.state({ ...binding, previous: '0'.repeat(64) }),
      'ERR_SIGNER_SUCCESSOR',
    ],
    ['bytes', randomBytes(100), 'ERR_SIGNER_SUCCESSOR'],
  ]
  const leaves = [own, ...upTo(3), ...refused.map(([, statement]) => entryOf(statement)), entryOf(next.statement)]
  const tree = treeOf(leaves)
  await signer.sign(await tree.request(4))
  for (const [index, [name, statement, expected]] of refused.entries()) {
    await assert.rejects(signer.pass(statement, await tree.entry(4 + index)), code(expected), name)
  }
  const place = await tree.entry(leaves.length - 1)
  await assert.rejects(signer.pass(next.statement, { ...place, index: 0 }), code('ERR_SIGNER_SUCCESSOR'))
  const sealed = await signer.pass(next.statement, place)

  // From here on it signs nothing new, says the last tree again, and gives the key to the same code alone.
  const larger = await treeOf([...leaves, leafOf(50)]).request(tree.size)
  await assert.rejects(signer.sign(larger), code('ERR_SIGNER_PASSED'))
  await signer.sign(await tree.request(0))
  const reopened = await LogSigner.open(first.tee, { ...at, identity: first.identity })
  await assert.rejects(reopened.sign(larger), code('ERR_SIGNER_PASSED'))
  const other = (await open('other'))!
  await assert.rejects(reopened.pass(other.statement, place), code('ERR_SIGNER_PASSED'))
  const again = await reopened.pass(next.statement, place)

  // Only the code that was named opens it, also after a restart; altered it opens nowhere.
  await assert.rejects(other.take(sealed), code('ERR_SIGNER_SUCCESSOR'))
  await assert.rejects(next.take(sealed.with(2000, sealed[2000]! ^ 1)), code('ERR_SIGNER_SUCCESSOR'))
  const restarted = (await open('next'))!
  assert.deepEqual(restarted.statement, next.statement)
  await restarted.take(again)
  assert.equal(await open('next'), undefined)
  const now = await LogSigner.open(second.tee, { folder: join(folder, 'next'), origin, identity: second.identity })
  assert.deepEqual([encodeVkey(now.key), now.size, now.entry], [encodeVkey(signer.key), tree.size, leaves.length - 1])
  assert.deepEqual(now.statements, [signer.statements[0], next.statement])
  await now.sign(larger)
  // And it passes on in its turn: the chain of statements goes on.
  assert.equal(parseSignerStatement(now.statements[1]!).binding.previous, digestOf(now.statements[0]!))
})

/** A log in a folder, under a signer behind a port. */
async function logAt(name: string) {
  const at = join(folder, name)
  const served = new ServedSigner(first, { folder: join(at, 'signer'), origin })
  const url = await served.start()
  const fatal: Error[] = []
  const open = async (signerUrl = url): Promise<Log> => {
    const signer = await remoteSigner(signerUrl, origin, { awayMs: 2000 })
    const log = await openLog({
      folder: join(at, 'log'),
      lastSignedFile: join(at, 'last-signed'),
      signer,
      witnesses: [],
      onFatal: (error) => fatal.push(error),
    })
    await signer.announce(log)
    return log
  }
  return { at, served, url, open, fatal }
}

test('a log signs through it, goes on after either ends at any point, and does not start on a restored backup', async (context) => {
  const { at, served, url, open, fatal } = await logAt('signed')
  context.after(() => served.stop())
  await assert.rejects(remoteSigner(url, 'log.example/two'), code('ERR_LOG_SIGNER'))
  await assert.rejects(remoteSigner(url, origin, { vkey: 'log.example/one+00000000+AQ' }), code('ERR_LOG_SIGNER'))
  let log = await open()
  const { key } = served.signer
  const policy = parseLogPolicy(Buffer.from(`log ${encodeVkey(key)}\nquorum none\n`))
  const opened = await log.append([leafOf(0), leafOf(1)])
  // The first entry is the signer's.
  assert.deepEqual([opened.indices, served.signer.entry], [[1, 2], 0])
  await log.append([leafOf(2)])
  await log.close()

  // The log's own record is of the tree before, as when it ended between the signer's write and its own.
  copyFileSync(join(at, 'last-signed'), join(at, 'kept'))
  cpSync(join(at, 'log'), join(at, 'backup'), { recursive: true })
  log = await open()
  await log.append([leafOf(3)])
  await log.close()
  copyFileSync(join(at, 'kept'), join(at, 'last-signed'))
  await served.stop()
  await served.start()
  log = await open()
  const { indices, checkpoint } = await log.append([leafOf(4)])
  // Nothing was stated again.
  assert.deepEqual([indices, served.signer.size, fatal], [[5], 6, []])

  // The signer's record is of the tree before, as when both ended between the log's write and the signer's own.
  const signerFile = join(at, 'signer', 'state.sealed')
  const before = readFileSync(signerFile)
  await log.append([leafOf(39)])
  await log.close()
  await served.stop()
  writeFileSync(signerFile, before)
  await served.start()
  assert.equal(served.signer.size, 6)
  log = await open()
  assert.deepEqual([served.signer.size, fatal], [7, []])

  // Killed while asked, it is asked again once it is there: nothing is lost, and nothing is signed twice.
  const [kept] = await Promise.all([
    log.append([leafOf(40)]),
    served.stop().then(async () => {
      await new Promise((resolve) => setTimeout(resolve, 100))
      return served.start()
    }),
  ])
  assert.deepEqual([kept.indices, served.signer.size, fatal], [[7], 8, []])

  // An old proof and a new one verify under the same key, and so does the first entry.
  const read = { checkpoint: async () => checkpoint, tile: async (path: string) => (await log.tile(path))! }
  const view = new LogView({ policy, read })
  const witnessed = await view.advance()
  const proofFile = await makeProofFile({ checkpoint: witnessed, index: 2, hashes: view.hashes() })
  assert.equal(verifyOfflineProof({ proofFile, leaf: leafOf(1), policy }).size, 6)
  await new LogView({ policy, read }).advance(opened.checkpoint)
  assert.equal(view.firstIndexOf(signerTag(key, 0)), 0)
  assert.equal(view.firstIndexOf(signerTag(key, 1)), undefined)

  const asked = await fetch(`${url}/challenge`, {
    method: 'POST',
    body: JSON.stringify({ nonce: encodeBase64url(new Uint8Array(32)) }),
  })
  const { binding, evidence } = (await asked.json()) as { binding: { vkey: string }; evidence: unknown }
  assert.equal(binding.vkey, encodeVkey(key))
  assert.ok(bindingDigestOf(binding as never, first.tee.bindingLength) !== undefined && evidence !== undefined)
  for (const [path, body, status] of [
    // Trees are signed by frames alone.
    ['/sign', '{}', 400],
    ['/pass', JSON.stringify({ statement: 'x', entry: { index: 0, path: [] } }), 409],
    ['/take', '{}', 400],
    ['/challenge', JSON.stringify({ nonce: 'x' }), 400],
    ['/other', '{}', 400],
    ['/challenge', 'x'.repeat(70_000), 400],
  ] as const) {
    assert.equal((await fetch(`${url}${path}`, { method: 'POST', body })).status, status, path)
  }
  await refusesFrames(url)
  await log.close()

  // A backup of the log with its own record: the signer remembers more.
  rmSync(join(at, 'log'), { recursive: true })
  cpSync(join(at, 'backup'), join(at, 'log'), { recursive: true })
  copyFileSync(join(at, 'kept'), join(at, 'last-signed'))
  await assert.rejects(
    (async () => {
      log = await open()
      await log.append([leafOf(70)])
    })(),
    code('ERR_LOG_SET_BACK'),
  )
  assert.equal(served.signer.size, 8)
})

/** What is not of the protocol is refused or ends the connection, and signs nothing. */
async function refusesFrames(url: string): Promise<void> {
  const frame = (body: string): Buffer => {
    const bytes = Buffer.from(`\0\0\0\0${body}`)
    bytes.writeUInt32BE(bytes.length - 4)
    return bytes
  }
  const answerTo = (parts: readonly Buffer[], upgrade: string = signStreamProtocol): Promise<Buffer> =>
    new Promise((resolve, reject) => {
      const socket = connect(Number(new URL(url).port), '127.0.0.1')
      const heard: Buffer[] = []
      socket.on('data', (part: Buffer) => {
        heard.push(part)
        if (Buffer.concat(heard).includes('}')) socket.destroy()
      })
      // A connection that is ended with bytes unread is reset.
      socket.on('error', () => socket.destroy())
      socket.once('close', () => resolve(Buffer.concat(heard)))
      socket.setTimeout(5_000, () => reject(new Error('neither answered nor closed')))
      socket.write(`GET /sign HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: ${upgrade}\r\n\r\n`)
      socket.once('data', () => {
        for (const part of parts) socket.write(part)
      })
    })
  assert.match((await answerTo([], 'cella-sign/2')).toString(), /^HTTP\/1\.1 400 /)
  const short = { text: 'x', from: 0, proof: [encodeBase64(new Uint8Array(31))] }
  const whole = frame(JSON.stringify(short))
  for (const parts of [
    [frame('{}')],
    [frame('')],
    [frame('[]')],
    [whole],
    // In pieces it is the same.
    [whole.subarray(0, 3), whole.subarray(3, 20), whole.subarray(20)],
  ]) {
    const answer = await answerTo(parts)
    const at = answer.indexOf('\r\n\r\n') + 4
    assert.deepEqual([answer.readUInt32BE(at), answer.readUInt16BE(at + 4)], [answer.length - at - 4, 400])
    assert.equal(JSON.parse(answer.subarray(at + 6).toString()).code, 'ERR_SIGNER_MALFORMED')
  }
  for (const parts of [[frame('x'.repeat(70_000))], [Buffer.concat([frame('{}'), frame('{}')])]]) {
    const answer = await answerTo(parts)
    assert.equal(answer.length, answer.indexOf('\r\n\r\n') + 4)
  }
}

test('a log’s key passes over HTTP, from whatever point it was broken off; a successor of a lost log states its signer', async (context) => {
  const { at, served, open, fatal } = await logAt('passed')
  context.after(() => served.stop())
  let log = await open()
  await log.append([leafOf(0)])
  const second = await world.version('2')
  const where = {
    folder: join(at, 'signer-2'),
    origin,
    identity: second.identity,
    predecessors: served.signer.statements.map((statement) => new TextDecoder().decode(statement)),
  }
  const serveNext = async (taken: () => void) => {
    const server = createSuccessorServer((await Successor.open(second.tee, where))!, taken)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    context.after(() => server.close())
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  }
  const own = await remoteSigner(served.url, origin)
  // The key came and was lost on the way: the next try begins at the same entry.
  const lossy = await serveNext(() => assert.fail('it took nothing'))
  const broken = { ...own, url: `${served.url}/gone` }
  await assert.rejects(passKey(log, broken, lossy), code('ERR_LOG_SIGNER'))
  assert.equal(log.status().size, 3)
  let took = 0
  const index = await passKey(log, own, await serveNext(() => (took += 1)))
  assert.deepEqual([index, log.status().size, took], [2, 3, 1])
  await assert.rejects(log.append([leafOf(1)]), code('ERR_LOG_SIGNER'))
  assert.equal(fatal.length, 1)
  await log.close().catch(() => undefined)

  const next = new ServedSigner(second, { folder: where.folder, origin })
  const nextUrl = await next.start()
  context.after(() => next.stop())
  log = await open(nextUrl)
  assert.deepEqual((await log.append([leafOf(1)])).indices, [3])
  assert.deepEqual([next.signer.entry, next.signer.statements.length], [2, 2])
  await log.close()

  // A log that was lost goes on under another name, whose key is born in a signer too.
  const successorOrigin = 'log.example/after'
  const heir = new ServedSigner(first, { folder: join(at, 'heir'), origin: successorOrigin })
  const heirUrl = await heir.start()
  context.after(() => heir.stop())
  cpSync(join(at, 'log'), join(at, 'log-after'), { recursive: true })
  rmSync(join(at, 'log-after', 'wal'), { recursive: true, force: true })
  const { size } = await beginSuccessor({
    folder: join(at, 'log-after'),
    lastSignedFile: join(at, 'last-signed-after'),
    oldKey: next.signer.key as NoteKey,
    signer: await remoteSigner(heirUrl, successorOrigin),
  })
  assert.deepEqual([size, heir.signer.size, heir.signer.entry], [4, 6, 5])
})
