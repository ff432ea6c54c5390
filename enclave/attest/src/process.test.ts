import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { canonicalJson, encodeBase64url } from '@cella/bytes'
import { enclaveOptions } from '@cella/channel'
import { parseEvidenceJson, verifyEvidence } from '@cella/evidence'
import { randomBytes } from '@cella/primitives'
import { createLocalJWKSet, jwtVerify } from 'jose'
import { callerOf } from '../test/service.ts'
import { configurationFor, now, party, policyFor, simulatedMachine, temporary } from '../test/support.ts'
import type { AttestConfiguration } from './configuration.ts'

// What an operator starts, as `scripts/test.ts` built it.
const main = fileURLToPath(new URL('../../../dist/enclave/attest.mjs', import.meta.url))
const machine = await simulatedMachine()
const clinic = await party('Clinic')
const signed = async (revision: number) => ({
  organisation: clinic.envelopes,
  policy: (await clinic.policy({ policy: policyFor(machine), roots: [machine.root] as never, revision })).envelope,
})

interface Line {
  readonly event: string
  readonly url: string
  readonly code?: string
  readonly message?: string
}

interface Started {
  readonly child: ChildProcess
  /** The first line that says how the start went. */
  readonly line: Line
  readonly call: ReturnType<typeof callerOf>
  /** Exit code after SIGTERM. */
  stop(): Promise<number | null>
}

async function start(
  context: TestContext,
  configuration: AttestConfiguration | string,
  options: { env?: Record<string, string>; node?: readonly string[] } = {},
): Promise<Started> {
  const child = spawn(process.execPath, [...(options.node ?? enclaveOptions), main], {
    stdio: ['pipe', 'pipe', 'ignore'],
    env: options.env ?? {},
  })
  const ended = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)))
  context.after(() => void child.kill('SIGKILL'))
  child.stdin.on('error', () => undefined)
  child.stdin.end(typeof configuration === 'string' ? configuration : canonicalJson(configuration))
  const line = await new Promise<Line>((resolve) => {
    createInterface({ input: child.stdout }).on('line', (text) => {
      const parsed: Line = JSON.parse(text)
      if (parsed.event === 'ready' || parsed.event === 'failed') resolve(parsed)
    })
    void ended.then((code) => resolve({ event: `exit ${code}`, url: '' }))
  })
  return {
    child,
    line,
    call: callerOf(line.url),
    stop: () => {
      child.kill('SIGTERM')
      return ended
    },
  }
}

test('a killed process has lost neither policies nor keys: tokens from before verify after', async (context) => {
  const folder = await temporary()
  const first = await start(context, configurationFor(folder))
  assert.equal(first.line.event, 'ready')
  assert.equal((await first.call('PUT', '/v1/policies', await signed(2))).status, 200)
  const attest = async ({ call }: Started): Promise<string> => {
    const { nonce } = (await call('POST', '/v1/nonces', {})).json
    const evidence = await machine.evidence({ nonce })
    const about = { organisation: clinic.id, policy: 'production', audience: ['gateway'] }
    const { json } = await call('POST', '/v1/attest', { evidence, nonce, ...about })
    assert.equal(json.allowed, true)
    return json.token
  }
  const token = await attest(first)
  first.child.kill('SIGKILL')
  const second = await start(context, configurationFor(folder, { rotate: true }))
  const keys = (await second.call('GET', '/.well-known/jwks.json')).json
  assert.equal(keys.keys.length, 2)
  await jwtVerify(token, createLocalJWKSet(keys), { issuer: first.line.url, audience: 'gateway' })
  await jwtVerify(await attest(second), createLocalJWKSet(keys), { issuer: second.line.url, audience: 'gateway' })
  assert.equal((await second.call('PUT', '/v1/policies', await signed(1))).code, 'ERR_POLICY_OLDER')
  assert.equal(await second.stop(), 0)
})

test('a request under way is answered after SIGTERM, and nothing new is taken', async (context) => {
  const running = await start(context, configurationFor(await temporary()))
  const asked = running.call('POST', '/v1/nonces', {})
  await asked
  const stopped = running.stop()
  assert.equal(await stopped, 0)
  await assert.rejects(running.call('GET', '/healthz'))
})

test('with a simulated TEE, named, it shows evidence of its own process', async (context) => {
  const tee = { kind: 'simulated', folder: machine.folder } as const
  const running = await start(context, configurationFor(await temporary(), { tee }))
  assert.equal(running.line.event, 'ready')
  const nonce = encodeBase64url(randomBytes(32))
  const { json } = await running.call('POST', '/challenge', { nonce })
  const { claims } = await verifyEvidence(parseEvidenceJson(json.evidence), { roots: [machine.root], now })
  assert.equal(claims.simulated, true)
  assert.notEqual(claims.measurement, machine.tee.describe().measurement)
  assert.equal(await running.stop(), 0)
})

test('policies in files are taken at start, and an older one does not come back', async (context) => {
  const folder = await temporary()
  const file = join(await temporary(), 'policy.json')
  await writeFile(file, JSON.stringify(await signed(1)))
  const change = { policies: [file], organisations: [clinic.id] }
  const first = await start(context, configurationFor(folder, change))
  assert.equal((await first.call('PUT', '/v1/policies', await signed(3))).status, 200)
  await first.stop()
  const second = await start(context, configurationFor(folder, change))
  const { json } = await second.call('GET', `/v1/policies?organisation=${clinic.id}`)
  assert.deepEqual(
    json.policies.map(({ name, revision }: { name: string; revision: number }) => [name, revision]),
    [['production', 3]],
  )
  await second.stop()
})

test('what keeps it from starting is said by code, and ends it', async (context) => {
  const folder = await temporary()
  const cases: [AttestConfiguration, string][] = [
    [configurationFor(folder, { collateral: join(folder, 'absent') }), 'ERR_COLLATERAL_UNREADABLE'],
    [configurationFor(folder, { policies: [join(folder, 'absent')] }), 'ERR_POLICY_MALFORMED'],
    [configurationFor(folder, { tee: { kind: 'simulated', folder } }), 'ERR_TEE_UNAVAILABLE'],
  ]
  for (const [configuration, code] of cases) {
    const { line } = await start(context, configuration)
    assert.deepEqual([line.event, line.code], ['failed', code])
  }
  await writeFile(join(folder, 'keys.json'), '{}', { mode: 0o600 })
  assert.equal((await start(context, configurationFor(folder))).line.code, 'ERR_STATE_NOT_OPENED')
})

test('it runs on the fixed command line, with an empty environment and a known configuration, or not at all', async (context) => {
  const configuration = configurationFor(await temporary())
  const refused = [
    await start(context, configuration, { node: [] }),
    await start(context, configuration, { env: { NODE_OPTIONS: '--no-warnings' } }),
    await start(context, '{}'),
    await start(context, `${canonicalJson(configuration)} `),
    await start(context, canonicalJson({ ...configuration, extra: 1 })),
    await start(context, canonicalJson({ ...configuration, issuer: 'http://attest.example.org' })),
    await start(context, canonicalJson({ ...configuration, issuer: 'https://attest.example.org/' })),
  ]
  for (const { line } of refused) assert.equal(line.event, 'exit 1')
})
