import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { cpSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { canonicalJson } from '@cella/bytes'
import { enclaveOptions } from '@cella/channel'
import { asking, type Place, place, scenarioFor, simulatedPlatform, temporaryFolder } from '@cella/testing/vaults'
import type { Vault } from './vault.ts'

const bundle = fileURLToPath(new URL('../../../dist/enclave/vault.mjs', import.meta.url))

interface Running {
  readonly id: string
  call(name: string, body: object): Promise<{ [name: string]: unknown }>
}

/** The vault's bundle as a process of its own, on what lies in `folder`. */
async function start(context: TestContext, here: Place, folder: string): Promise<Running> {
  const child = spawn(process.execPath, [...enclaveOptions, bundle], { stdio: ['pipe', 'pipe', 'inherit'], env: {} })
  context.after(() => void child.kill('SIGKILL'))
  child.stdin.end(
    canonicalJson({
      manager: here.host.url,
      token: 'shown to the host',
      logPolicy: here.log.policyOf(),
      listen: { host: '127.0.0.1', port: 0 },
      folder,
      tee: { kind: 'simulated', folder: simulatedPlatform },
    }),
  )
  const lines = createInterface({ input: child.stdout })
  const listening = await new Promise<{ id: string; port: number }>((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`the vault ended with ${code}`)))
    let known: { id: string; port: number }
    lines.on('line', (line) => {
      const parsed = JSON.parse(line)
      if (parsed.event === 'listening') known = parsed
      if (parsed.event === 'ready') resolve(known)
    })
  })
  return {
    id: listening.id,
    call: async (name, body) => {
      const url = `http://127.0.0.1:${listening.port}/${name}`
      return (await fetch(url, { method: 'POST', body: JSON.stringify(body) })).json()
    },
  }
}

/** What a scenario and a worker ask of a vault, answered by the process. */
async function faceOf(running: Running): Promise<Vault> {
  const nonce = await running.call('nonce', {})
  const kek = (organisation: string, own: string) => running.call('kek', { organisation, nonce: own })
  return { id: running.id, nonce: () => nonce, kek } as unknown as Vault
}

test('two processes with one sealed identity, on copies of its folder, race for the last use: one wins', async (context) => {
  const here = await place(context)
  const one = await start(context, here, here.folder)
  const scenario = await scenarioFor(here, await faceOf(one), { manifest: { runs: 1 }, approval: { runs: 9 } })
  const folder = join(temporaryFolder(), 'copy')
  cpSync(here.folder, folder, { recursive: true })
  const two = await start(context, here, folder)
  assert.equal(two.id, one.id)
  const asked = await Promise.all(
    [1, 2, 3, 4, 5, 6].map(async (run) => {
      const running = run % 2 === 0 ? one : two
      return { running, request: (await asking(await faceOf(running), scenario, { run })).request }
    }),
  )
  const answers = await Promise.all(asked.map(({ running, request }) => running.call('decide', request)))
  const allowed = answers.filter(({ decisions }) =>
    (decisions as { document: string }[]).every(({ document }) => {
      const { payload } = JSON.parse(document) as { payload: string }
      return (JSON.parse(Buffer.from(payload, 'base64url').toString()) as { allowed: boolean }).allowed
    }),
  )
  assert.equal(allowed.length, 1)
})
