import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { after, test } from 'node:test'
import { encodeLeaf, encodeVkey, generateNoteSigner, mirrorPrefix } from '@cella/log'
import { MemoryLog } from '@cella/testing/memory-log'
import { loadWitnessKeys, openWitness, type WitnessConfig } from '@cella/witness'
import { runCella } from '../cella.ts'

const folder = mkdtempSync(join(tmpdir(), 'cella-push-'))
after(() => rmSync(folder, { recursive: true, force: true }))

async function cella(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()]
  const io = { stdin: new PassThrough(), stdout, stderr, env: {} } as never
  const code = await runCella(['--home', join(folder, 'home'), ...args], io)
  return { code, stdout: String(stdout.read() ?? ''), stderr: String(stderr.read() ?? '') }
}

async function append(log: MemoryLog, count: number): Promise<void> {
  const leaf = (n: number): Uint8Array => {
    const commitment = new Uint8Array(32)
    new DataView(commitment.buffer).setFloat64(0, n)
    return encodeLeaf({ kind: 'document', commitment, tag: commitment.slice(0, 16) })
  }
  await log.append(Array.from({ length: count }, (_, n) => leaf(log.size + n)))
}

test('a log is pushed to a mirror, whose copy is checked; a log set back and a stranger’s key are named', async (context) => {
  const log = new MemoryLog({ now: 1_760_000_000, witnesses: [] })
  await append(log, 600)
  let served = log
  const server = createServer((request, response) => {
    const path = request.url!.slice(1)
    const bytes = path === 'checkpoint' ? served.checkpoint() : served.tile(path)
    bytes.then(
      (found) => response.end(found),
      () => response.writeHead(404).end(),
    )
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const config: WitnessConfig = {
    name: 'mirror.example/m',
    file: join(folder, 'state.db'),
    keyFile: join(folder, 'key'),
    mlDsaKeyFile: undefined,
    logs: [encodeVkey(log.signer.key)],
    copies: join(folder, 'copies'),
    listen: { host: '127.0.0.1', port: 0 },
    requestsPerSecond: 1000,
    logRequestsPerSecond: 1000,
  }
  const { vkeys } = loadWitnessKeys(config)
  const mirror = await openWitness(config)
  context.after(async () => {
    server.close()
    server.closeAllConnections()
    await mirror.close().catch(() => undefined)
  })
  const policy = join(folder, 'policy.txt')
  writeFileSync(policy, log.policyOf())
  const from = ['--url', `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, '--policy', policy]
  const push = (key: string) => cella('--json', 'log', 'push', mirror.url, '--key', key, ...from)

  const pushed = await push(vkeys[0]!)
  assert.equal(pushed.code, 0, pushed.stderr)
  assert.deepEqual(JSON.parse(pushed.stdout), {
    origin: log.origin,
    mirror: mirror.url,
    size: 600,
    cosigned: ['mirror.example/m'],
  })
  await append(log, 10)
  assert.equal(JSON.parse((await push(vkeys[0]!)).stdout).size, 610)
  const copy = `${mirror.url}/${mirrorPrefix(log.origin)}/`
  const checked = await cella('--json', 'log', 'check', copy, '--policy', policy)
  assert.deepEqual([checked.code, JSON.parse(checked.stdout).size], [0, 610])

  const stranger = encodeVkey(generateNoteSigner({ name: 'mirror.example/m', type: 'cosignature' }).key)
  assert.match((await push(stranger)).stdout + (await push(stranger)).stderr, /ERR_LOG_SIGNATURE/)
  served = await log.fork(300)
  const back = await push(vkeys[0]!)
  assert.deepEqual([back.code, /ERR_LOG_ROLLED_BACK/.test(back.stdout + back.stderr)], [1, true])
  assert.equal((await push(vkeys[0]!.replace('+', ''))).code, 2)
  assert.equal((await push(encodeVkey(log.signer.key))).code, 2)
  await mirror.close()
  assert.equal((await push(vkeys[0]!)).code, 3)
})
