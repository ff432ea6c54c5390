import assert from 'node:assert/strict'
import { copyFileSync, cpSync, mkdtempSync, rmSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { type Digest, encodeBase64, encodeBase64url } from '@cella/bytes'
import { bindingDigestOf } from '@cella/evidence'
import {
  consistencyProof,
  encodeCheckpointText,
  encodeLeaf,
  encodeVkey,
  LogView,
  leafHash,
  makeProofFile,
  parseLogPolicy,
  TreeBuilder,
  verifyOfflineProof,
} from '@cella/log'
import { type Log, openLog, remoteSigner } from '@cella/log-server'
import { createSignerServer, LogSigner } from '@cella/log-signer'
import { randomBytes } from '@cella/primitives'
import { createSimulatedPlatform, openTee, type SimulatedLaunch } from '@cella/tee'

// The log's key in an enclave, with a host that would like it to sign two histories.

const origin = 'log.example/one'
const folder = mkdtempSync(join(tmpdir(), 'cella-log-signer-'))
after(() => rmSync(folder, { recursive: true, force: true }))
const platform = join(folder, 'platform')
await createSimulatedPlatform(platform)
const launch = (digit: string): SimulatedLaunch => ({
  nodeDigest: 'a'.repeat(64) as Digest,
  bundleDigest: digit.repeat(64) as Digest,
  commandLine: ['--no-addons'],
})
const tee = await openTee({ kind: 'simulated', folder: platform, measured: launch('b') })

function leafOf(n: number): Uint8Array {
  const commitment = new Uint8Array(32)
  new DataView(commitment.buffer).setFloat64(0, n)
  return encodeLeaf({ kind: 'document', commitment, tag: commitment.slice(0, 16) })
}

/** A tree over leaves, with all that a host needs to ask for its signature. */
function treeOf(numbers: readonly number[]) {
  const nodes = new Map<string, Uint8Array>()
  const tree = new TreeBuilder()
  for (const n of numbers) {
    tree.append(leafHash(leafOf(n)), (level, index, hash) => nodes.set(`${level}/${index}`, new Uint8Array(hash)))
  }
  const { size } = tree
  const root = tree.root()
  const text = encodeCheckpointText({ origin, size, root, extensions: [] })
  const hashes = async (places: readonly { level: number; index: number }[]) =>
    places.map(({ level, index }) => nodes.get(`${level}/${index}`)!)
  const proof = (from: number) =>
    from === 0 ? Promise.resolve([]) : consistencyProof({ oldSize: from, newSize: size, hashes })
  return { size, root, text, hashes, request: async (from: number) => ({ text, from, proof: await proof(from) }) }
}

const upTo = (size: number): number[] => Array.from({ length: size }, (_, n) => n)
const code = (name: string) => ({ code: name })

test('a signer signs one history: no smaller tree, no other of its size, none that does not continue', async () => {
  const at = join(folder, 'one')
  const signer = await LogSigner.open(tee, { folder: at, origin })
  const note = await signer.sign(await treeOf(upTo(5)).request(0))
  assert.match(new TextDecoder().decode(note), /^log\.example\/one\n5\n/)
  await signer.sign(await treeOf(upTo(9)).request(5))
  // The one before, again: no new signature. One before that: no.
  assert.deepEqual(await signer.sign(await treeOf(upTo(5)).request(0)), note)
  await assert.rejects(
    treeOf(upTo(4))
      .request(0)
      .then((one) => signer.sign(one)),
    code('ERR_SIGNER_ROLLBACK'),
  )
  await assert.rejects(
    treeOf([...upTo(8), 99])
      .request(0)
      .then((one) => signer.sign(one)),
    code('ERR_SIGNER_ROLLBACK'),
  )
  await assert.rejects(
    treeOf([...upTo(8), 99, 100])
      .request(9)
      .then((one) => signer.sign(one)),
    code('ERR_SIGNER_FORK'),
  )
  await assert.rejects(
    treeOf(upTo(12))
      .request(5)
      .then((one) => signer.sign(one)),
    code('ERR_SIGNER_BEHIND'),
  )
  const other = encodeCheckpointText({ origin: 'log.example/two', size: 12, root: randomBytes(32), extensions: [] })
  const extended = encodeCheckpointText({ origin, size: 12, root: randomBytes(32), extensions: ['x'] })
  for (const text of [other, extended, 'nonsense']) {
    await assert.rejects(signer.sign({ text, from: 9, proof: [] }), code('ERR_SIGNER_MALFORMED'))
  }
  assert.equal(signer.size, 9)

  // After a restart it is the same key and the same last tree; another measurement opens nothing.
  const again = await LogSigner.open(tee, { folder: at, origin })
  assert.deepEqual([encodeVkey(again.key), again.size], [encodeVkey(signer.key), 9])
  await assert.rejects(
    treeOf([...upTo(8), 99, 100])
      .request(9)
      .then((one) => again.sign(one)),
    code('ERR_SIGNER_FORK'),
  )
  const upgraded = await openTee({ kind: 'simulated', folder: platform, measured: launch('c') })
  await assert.rejects(LogSigner.open(upgraded, { folder: at, origin }), code('ERR_SIGNER_STATE'))
  await assert.rejects(LogSigner.open(tee, { folder: at, origin: 'log.example/two' }), code('ERR_SIGNER_STATE'))
})

test('a log signs through it, goes on after either ends at any point, and does not start on a restored backup', async (context) => {
  const at = join(folder, 'signed')
  const port = { value: 0 }
  const serve = async () => {
    const signer = await LogSigner.open(tee, { folder: join(at, 'signer'), origin })
    const server = createSignerServer({ signer, tee, configuration: 'd'.repeat(64) })
    await new Promise<void>((resolve) => server.listen(port.value, '127.0.0.1', resolve))
    port.value = (server.address() as AddressInfo).port
    const stop = (): Promise<void> =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      })
    return { signer, stop }
  }
  let running = await serve()
  context.after(() => running.stop())
  const url = `http://127.0.0.1:${port.value}`
  const fatal: Error[] = []
  const open = async (): Promise<Log> =>
    openLog({
      folder: join(at, 'log'),
      lastSignedFile: join(at, 'last-signed'),
      signer: await remoteSigner(url, origin),
      witnesses: [],
      onFatal: (error) => fatal.push(error),
    })
  await assert.rejects(remoteSigner(url, 'log.example/two'), code('ERR_LOG_CONFIG'))
  let log = await open()
  const policy = parseLogPolicy(Buffer.from(`log ${encodeVkey(running.signer.key)}\nquorum none\n`))
  const first = await log.append([leafOf(0), leafOf(1)])
  await log.append([leafOf(2)])
  await log.close()

  // The log's own record is of the tree before, as when it ended between the signer's write and its own.
  copyFileSync(join(at, 'last-signed'), join(at, 'kept'))
  cpSync(join(at, 'log'), join(at, 'backup'), { recursive: true })
  log = await open()
  await log.append([leafOf(3)])
  await log.close()
  copyFileSync(join(at, 'kept'), join(at, 'last-signed'))
  await running.stop()
  running = await serve()
  log = await open()
  const { indices, checkpoint } = await log.append([leafOf(4)])
  assert.deepEqual([indices, running.signer.size, fatal], [[4], 5, []])

  // An old proof and a new one verify under the same key.
  const read = { checkpoint: async () => checkpoint, tile: async (path: string) => (await log.tile(path))! }
  const view = new LogView({ policy, read })
  const witnessed = await view.advance()
  const proofFile = await makeProofFile({ checkpoint: witnessed, index: 1, hashes: view.hashes() })
  assert.equal(verifyOfflineProof({ proofFile, leaf: leafOf(1), policy }).size, 5)
  await new LogView({ policy, read }).advance(first.checkpoint)

  const asked = await fetch(`${url}/challenge`, {
    method: 'POST',
    body: JSON.stringify({ nonce: encodeBase64url(new Uint8Array(32)) }),
  })
  const { binding, evidence } = (await asked.json()) as { binding: { vkey: string }; evidence: unknown }
  assert.equal(binding.vkey, encodeVkey(running.signer.key))
  assert.ok(bindingDigestOf(binding as never, tee.bindingLength) !== undefined && evidence !== undefined)
  for (const [path, body, status] of [
    ['/sign', '{}', 400],
    ['/sign', JSON.stringify({ text: 'x', from: 0, proof: [encodeBase64(new Uint8Array(31))] }), 400],
    ['/challenge', JSON.stringify({ nonce: 'x' }), 400],
    ['/other', '{}', 400],
    ['/sign', 'x'.repeat(70_000), 400],
  ] as const) {
    assert.equal((await fetch(`${url}${path}`, { method: 'POST', body })).status, status, path)
  }
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
    (error: { code?: string }) => error.code === 'ERR_LOG_SET_BACK',
  )
  assert.equal(running.signer.size, 5)
})
