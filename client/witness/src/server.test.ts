import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import {
  emptyRoot,
  encodeAddCheckpoint,
  encodeCheckpointText,
  encodeNote,
  encodeVkey,
  generateNoteSigner,
  parseVkey,
  signNote,
} from '@cella/log'
import { readWitnessConfig } from './config.ts'
import { loadWitnessKeys } from './key-file.ts'
import { startWitnessServer } from './server.ts'
import { createWitness } from './witness.ts'

const log = generateNoteSigner({ name: 'log.example/one', type: 'note' })
const text = encodeCheckpointText({ origin: log.key.name, size: 0, root: emptyRoot(), extensions: [] })
const checkpoint = encodeNote({ text, signatures: [signNote(text, log)] })
const body = Buffer.from(encodeAddCheckpoint({ oldSize: 0, path: [], checkpoint }))

function folder(context: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'witness-'))
  context.after(() => rmSync(path, { recursive: true }))
  return path
}

async function serve(context: TestContext, requestsPerSecond: number): Promise<string> {
  const witness = createWitness({
    file: join(folder(context), 'state.db'),
    keys: [generateNoteSigner({ name: 'witness.example/w', type: 'cosignature' })],
    logs: [encodeVkey(log.key)],
    now: () => 1_760_000_000,
  })
  const server = await startWitnessServer({ witness, listen: { host: '127.0.0.1', port: 0 }, requestsPerSecond })
  context.after(async () => {
    await server.close()
    witness.close()
  })
  return server.url
}

test('serves the protocol and refuses what is none of it', async (context) => {
  const url = await serve(context, 1000)
  const statusOf = async (path: string, init?: RequestInit) => (await fetch(url + path, init)).status
  assert.equal(await statusOf('/healthz'), 200)
  assert.equal(await statusOf('/add-checkpoint', { method: 'POST', body }), 200)
  assert.equal(await statusOf('/add-checkpoint'), 405)
  assert.equal(await statusOf('/add-checkpoint?x', { method: 'POST', body }), 404)
  assert.equal(await statusOf('/', { method: 'POST', body }), 404)
  assert.equal(await statusOf('/add-checkpoint', { method: 'POST', body: Buffer.alloc(129_000, 65) }), 413)
  assert.equal(await statusOf(`/${'0'.repeat(64)}/checkpoint`), 404)
})

test('answers 429 above its rate', async (context) => {
  const url = await serve(context, 2)
  const statuses: number[] = []
  for (let count = 0; count < 12; count++) {
    statuses.push((await fetch(`${url}/add-checkpoint`, { method: 'POST', body })).status)
  }
  assert.ok(statuses.includes(200))
  assert.ok(statuses.includes(429))
})

test('makes its keys once, for its owner alone', (context) => {
  const at = folder(context)
  const config = { name: 'witness.example/w', keyFile: join(at, 'key'), mlDsaKeyFile: undefined }
  const [made] = loadWitnessKeys(config).vkeys
  assert.equal(statSync(config.keyFile).mode & 0o777, 0o600)
  const both = { ...config, mlDsaKeyFile: join(at, 'ml-dsa-key') }
  const { keys, vkeys } = loadWitnessKeys(both)
  assert.equal(vkeys[0], made)
  assert.deepEqual(
    keys.map(({ key }) => [key.name, key.type, key.algorithm]),
    [
      ['witness.example/w', 'cosignature', 'ed25519'],
      ['witness.example/w', 'cosignature', 'ml-dsa-44'],
    ],
  )
  assert.deepEqual(loadWitnessKeys(both).vkeys, vkeys)
  assert.equal(statSync(both.mlDsaKeyFile).mode & 0o777, 0o600)
  const refused = { code: 'ERR_WITNESS_CONFIG' }
  assert.throws(() => loadWitnessKeys({ ...config, name: 'witness.example/v' }), refused)
  assert.throws(() => loadWitnessKeys({ ...config, keyFile: both.mlDsaKeyFile }), refused)
  chmodSync(config.keyFile, 0o640)
  assert.throws(() => loadWitnessKeys(config), refused)
})

test('refuses settings that are unknown, missing or of another form', (context) => {
  const file = join(folder(context), 'config.json')
  const good = { name: 'w', file: 's', keyFile: 'k', logs: [], listen: { path: 'x' } }
  const read = (value: unknown) => {
    writeFileSync(file, JSON.stringify(value))
    return readWitnessConfig(file)
  }
  assert.equal(read(good).requestsPerSecond, 1000)
  assert.equal(read(good).logRequestsPerSecond, 200)
  for (const bad of [
    { ...good, name: 'a b' },
    { ...good, skipConsistency: true },
    { ...good, listen: { host: '::1' } },
    { ...good, listen: { path: 'x', port: 1 } },
    { ...good, logs: [1] },
    { ...good, requestsPerSecond: 0 },
    { ...good, logRequestsPerSecond: '9' },
    { ...good, mlDsaKeyFile: '' },
    { ...good, keyFile: undefined },
    [],
    null,
  ]) {
    assert.throws(() => read(bad), { code: 'ERR_WITNESS_CONFIG' }, JSON.stringify(bad))
  }
})

test('the process serves, keeps what it cosigned over SIGKILL, and ends on SIGTERM', async (context) => {
  const at = folder(context)
  const config = join(at, 'config.json')
  const settings = {
    name: 'witness.example/w',
    file: join(at, 'state.db'),
    keyFile: join(at, 'key'),
    logs: [encodeVkey(log.key)],
    listen: { host: '127.0.0.1', port: 0 },
  }
  writeFileSync(config, JSON.stringify(settings))
  const first = await start(config)
  assert.equal(parseVkey(first.vkey).name, 'witness.example/w')
  assert.equal((await fetch(`${first.url}/add-checkpoint`, { method: 'POST', body })).status, 200)
  first.child.kill('SIGKILL')
  await once(first.child, 'exit')
  const second = await start(config)
  assert.equal(second.vkey, first.vkey)
  assert.ok(!readFileSync(settings.keyFile, 'utf8').includes(first.vkey))
  second.child.kill('SIGTERM')
  const [code] = await once(second.child, 'exit')
  assert.equal(code, 0)
})

test('replaces the socket of a process that was killed, and leaves one that answers', async (context) => {
  const at = folder(context)
  const config = join(at, 'config.json')
  const settings = {
    name: 'witness.example/w',
    file: join(at, 'state.db'),
    keyFile: join(at, 'key'),
    logs: [],
    listen: { path: join(at, 'socket') },
  }
  writeFileSync(config, JSON.stringify(settings))
  const first = await start(config)
  first.child.kill('SIGKILL')
  await once(first.child, 'exit')
  assert.ok(existsSync(settings.listen.path))
  const second = await start(config)
  assert.equal(second.url, `unix:${settings.listen.path}`)
  await assert.rejects(start(config), /EADDRINUSE/)
  second.child.kill('SIGTERM')
  assert.equal((await once(second.child, 'exit'))[0], 0)
})

async function start(config: string) {
  const main = fileURLToPath(new URL('./main.ts', import.meta.url))
  const child = spawn(process.execPath, [main, '--config', config], { stdio: ['ignore', 'pipe', 'pipe'] })
  let errors = ''
  child.stderr.on('data', (part) => {
    errors += part
  })
  const line = await Promise.race([
    once(child.stdout, 'data').then(([data]) => data),
    once(child, 'close').then(() => Promise.reject(new Error(errors))),
  ])
  return { child, ...(JSON.parse(String(line)) as { url: string; vkey: string }) }
}
