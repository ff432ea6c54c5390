import assert from 'node:assert/strict'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import fc from 'fast-check'
import { bundledSandbox, command, text, trial } from './fixtures.test-support.ts'
import { createSandbox, SandboxError } from './index.ts'
import { FrameAssembler, frameHeader } from './protocol.ts'

const folder = mkdtempSync(join(tmpdir(), 'cella-evil-'))
after(() => rmSync(folder, { recursive: true }))

function file(name: string, content: string): string {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}

describe('a runner that a program took over', () => {
  const end = (change: object): string =>
    JSON.stringify({ status: 'ok', exitCode: 0, trapText: null, fuelUsed: '1', memoryPeakPages: 1, ...change })
  const cases: [string, string][] = [
    ['sends more output than declared', `frame(17, Buffer.alloc(4097 + 4))`],
    ['sends an output that was not declared', `frame(17, Buffer.from([0, 0, 0, 1, 65]))`],
    ['sends an output without its index', `frame(17, Buffer.from([0]))`],
    ['floods stderr', `frame(19, Buffer.alloc(4097))`],
    ['announces a frame of 4 GiB', `fs.writeSync(4, Buffer.from([255, 255, 255, 255, 17]))`],
    ['says it is ready again', `frame(16, Buffer.from('{"granted":[]}'))`],
    ['makes up a status', `frame(20, Buffer.from('${end({ status: 'secret=1' })}'))`],
    ['claims the deadline', `frame(20, Buffer.from('${end({ status: 'deadline' })}'))`],
    ['claims more fuel than it had', `frame(20, Buffer.from('${end({ fuelUsed: '99999999999999' })}'))`],
    ['claims fuel that is no number', `frame(20, Buffer.from('${end({ fuelUsed: 'much' })}'))`],
    ['sends a report that is no JSON', `frame(20, Buffer.from('{'))`],
    ['sends a report of 100 KiB', `frame(20, Buffer.from('${end({})}' + ' '.repeat(100000)))`],
    ['just leaves', `process.exit(0)`],
  ]
  for (const [index, [name, act]] of cases.entries()) {
    test(`is runner-lost when it ${name}`, async () => {
      const runnerPath = file(
        `evil-${index}.mjs`,
        `import fs from 'node:fs'
         const frame = (type, payload) => {
           const header = Buffer.alloc(5)
           header.writeUInt32BE(payload.length)
           header[4] = type
           fs.writeSync(4, Buffer.concat([header, payload]))
         }
         frame(16, Buffer.from('{"granted":[]}'))
         fs.readSync(3, Buffer.alloc(5))
         ${act}
         setInterval(() => {}, 1000)`,
      )
      const sandbox = createSandbox({ nodePath: process.execPath, runnerPath, poolSize: 0 })
      const result = await trial(sandbox, { module: command('') })
      assert.equal(result.status, 'runner-lost')
      assert.equal(result.outputs.size, 0)
      assert.equal(result.diagnostics.stderr.length, 0)
      await sandbox.close()
    })
  }
})

test('a runner outside of the permission model is refused before it sees a program', async () => {
  const nodePath = file(
    'node.sh',
    `#!/bin/sh
for argument; do shift; case "$argument" in --permission|--allow-*) ;; *) set -- "$@" "$argument" ;; esac; done
exec "${process.execPath}" "$@"\n`,
  )
  chmodSync(nodePath, 0o755)
  const runnerPath = file('honest.mjs', '')
  writeFileSync(
    runnerPath,
    `import { writeSync } from 'node:fs'
    const text = JSON.stringify({ granted: process.permission ? [] : ['everything'] })
    writeSync(4, Buffer.from([0, 0, 0, text.length, 16, ...Buffer.from(text)]))
    setInterval(() => {}, 1000)`,
  )
  const sandbox = createSandbox({ nodePath, runnerPath, poolSize: 0 })
  await assert.rejects(
    trial(sandbox, { module: command('') }),
    (error) =>
      error instanceof SandboxError && error.code === 'ERR_RUNNER_UNAVAILABLE' && /everything/.test(error.message),
  )
})

test('what a runner could do to the machine is denied to it', async () => {
  const runnerPath = file(
    'probe.mjs',
    `import fs from 'node:fs'
     import net from 'node:net'
     import child from 'node:child_process'
     import worker from 'node:worker_threads'
     const done = []
     const attempt = async (name, act) => { try { await act(); done.push(name) } catch {} }
     const frame = (type, payload) => fs.writeSync(4, Buffer.from([0, 0, payload.length >> 8, payload.length & 255, type, ...payload]))
     frame(16, Buffer.from('{"granted":[]}'))
     fs.readSync(3, Buffer.alloc(5))
     await attempt('read', () => fs.readFileSync('/etc/passwd'))
     await attempt('list', () => fs.readdirSync(${JSON.stringify(folder)}))
     await attempt('write', () => fs.writeFileSync(${JSON.stringify(join(folder, 'written'))}, 'x'))
     await attempt('spawn', () => child.execFileSync('/bin/true'))
     await attempt('thread', () => new worker.Worker('0', { eval: true }))
     await attempt('eval', () => new Function('return 1')())
     await attempt('connect', () => new Promise((resolve, reject) => net.connect(9, '127.0.0.1', resolve).on('error', (error) => error.code === 'ECONNREFUSED' ? resolve() : reject(error))))
     await attempt('environment', () => { if (Object.keys(process.env).length === 0) throw new Error('empty') })
     frame(18, Buffer.from(done.join()))
     frame(20, Buffer.from('{"status":"ok","exitCode":0,"trapText":null,"fuelUsed":"1","memoryPeakPages":1}'))`,
  )
  const sandbox = createSandbox({ nodePath: process.execPath, runnerPath, poolSize: 0 })
  const result = await trial(sandbox, { module: command('') })
  assert.equal(result.status, 'ok')
  assert.equal(text(result.diagnostics.stdout), '')
})

test('the deadline ends a run whose input has stalled', async () => {
  const sandbox = await bundledSandbox(0)
  const stalled: AsyncIterable<Uint8Array> = { [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => {}) }) }
  const result = await sandbox.run({
    module: command('(loop br 0)'),
    args: [],
    seed: new Uint8Array(32),
    inputs: [{ name: 'never', length: 1, bytes: stalled }],
    outputs: [],
    budgets: { fuel: 2n ** 62n, memoryPages: 1, callDepth: 1, wallMs: 300, diagnosticsBytesMax: 0 },
  })
  assert.equal(result.status, 'deadline')
})

test('frames are the same however the socket cut them', () => {
  const frames = fc.array(fc.tuple(fc.nat({ max: 255 }), fc.uint8Array({ maxLength: 40 })), { maxLength: 5 })
  fc.assert(
    fc.property(frames, fc.integer({ min: 1, max: 20 }), (sent, length) => {
      const bytes = Buffer.concat(sent.flatMap(([type, payload]) => [frameHeader(type, payload.length), payload]))
      const got: [number, Uint8Array][] = []
      const assembler = new FrameAssembler((type, payload) => got.push([type, payload]))
      for (let at = 0; at < bytes.length; at += length) assembler.push(bytes.subarray(at, at + length))
      assert.deepEqual(
        got,
        sent.map(([type, payload]) => [type, payload]),
      )
    }),
  )
})
