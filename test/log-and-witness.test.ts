import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { encodeLeaf, LogView, parseLogPolicy, proveEntry, randomTag } from '@cella/log'
import { randomBytes } from '@cella/primitives'

interface Running {
  readonly child: ChildProcess
  readonly url: string
  readonly vkey: string
}

const logMain = 'host/log/src/main.ts'
const witnessMain = 'client/witness/src/main.ts'

test('log and witness as processes: cosigned, resumed after SIGKILL of either, a restored backup refused', async (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'log-and-witness-'))
  const children: ChildProcess[] = []
  context.after(() => {
    for (const child of children) child.kill('SIGKILL')
    rmSync(folder, { recursive: true, force: true })
  })
  const settle = (name: string, settings: object): string => {
    const file = join(folder, `${name}.json`)
    writeFileSync(file, JSON.stringify(settings))
    return file
  }
  const start = async (main: string, config: string): Promise<Running> => {
    const running = await run(main, ['--config', config])
    children.push(running.child)
    return running
  }

  const at = (name: string): string => join(folder, 'log', name)
  const logSettings = {
    origin: 'log.example/one',
    folder: join(folder, 'log'),
    lastSigned: join(folder, 'last-signed'),
    keyFile: join(folder, 'log.key'),
    witnesses: [] as { vkey: string; url: string }[],
    listen: { host: '127.0.0.1', port: 0 },
  }
  const logKey = (await run(logMain, ['--config', settle('log', logSettings), '--init'])).vkey
  const witnessConfig = settle('witness', {
    name: 'witness.example/w',
    file: join(folder, 'witness.db'),
    keyFile: join(folder, 'witness.key'),
    logs: [logKey],
    listen: { host: '127.0.0.1', port: await freePort() },
  })
  let witness = await start(witnessMain, witnessConfig)
  const logConfig = settle('log', { ...logSettings, witnesses: [{ vkey: witness.vkey, url: witness.url }] })
  let log = await start(logMain, logConfig)
  assert.equal(log.vkey, logKey)

  const policy = parseLogPolicy(Buffer.from(`log ${logKey}\nwitness w ${witness.vkey}\nquorum w\n`))
  const read = {
    checkpoint: () => bytesAt(`${log.url}/checkpoint`),
    tile: (path: string) => bytesAt(`${log.url}/${path}`),
  }
  const view = new LogView({ policy, read })
  const append = async (): Promise<void> => {
    const leaf = encodeLeaf({ kind: 'decision', commitment: randomBytes(32), tag: randomTag() })
    const response = await fetch(`${log.url}/entries`, { method: 'POST', body: Buffer.from(leaf) })
    assert.equal(response.status, 200)
    const { indices, checkpoint } = (await response.json()) as { indices: number[]; checkpoint: string }
    const witnessed = await view.advance(Buffer.from(checkpoint))
    const entry = proveEntry(view, witnessed, indices[0]!, leaf)
    assert.equal(entry.firstIndex, entry.index)
    const now = Date.now() / 1000
    assert.ok(entry.times !== undefined && entry.times.earliest > now - 60 && entry.times.latest <= now)
  }

  await append()
  await end(witness, 'SIGKILL')
  witness = await start(witnessMain, witnessConfig)
  await append()
  await end(log, 'SIGTERM')
  cpSync(folder, `${folder}-backup`, { recursive: true })
  context.after(() => rmSync(`${folder}-backup`, { recursive: true }))
  log = await start(logMain, logConfig)
  await append()
  await end(log, 'SIGKILL')
  log = await start(logMain, logConfig)
  await append()
  assert.equal(view.size, 4)

  // Yesterday's folder, with yesterday's file of the last signed checkpoint: only the witness knows better.
  await end(log, 'SIGTERM')
  rmSync(at(''), { recursive: true })
  cpSync(join(`${folder}-backup`, 'log'), at(''), { recursive: true })
  cpSync(join(`${folder}-backup`, 'last-signed'), join(folder, 'last-signed'))
  await assert.rejects(start(logMain, logConfig), /has cosigned 4 leaves of log.example\/one, this log has signed 2/)
})

async function run(main: string, words: string[]): Promise<Running> {
  const file = fileURLToPath(new URL(`../${main}`, import.meta.url))
  const child = spawn(process.execPath, [file, ...words], { stdio: ['ignore', 'pipe', 'pipe'] })
  let errors = ''
  child.stderr.on('data', (part) => {
    errors += part
  })
  const line = await Promise.race([
    once(child.stdout, 'data').then(([data]) => String(data)),
    once(child, 'close').then(() => Promise.reject(new Error(`${main} ended: ${errors}`))),
  ])
  return { child, ...(JSON.parse(line) as { url: string; vkey: string }) }
}

async function end({ child }: Running, signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
  const exit = once(child, 'exit')
  child.kill(signal)
  await exit
}

async function bytesAt(url: string): Promise<Uint8Array> {
  const response = await fetch(url)
  assert.equal(response.status, 200, url)
  return new Uint8Array(await response.arrayBuffer())
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  return typeof address === 'object' && address !== null ? address.port : 0
}
