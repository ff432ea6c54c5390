import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { encodeUtf8 } from '@cella/bytes'
import { encodeVkey, type LogPolicy, parseLogPolicy } from '@cella/log'
import { type TestWitness, temporaryFolder } from './support.ts'

export interface Running {
  readonly child: ChildProcess
  readonly url: string
  readonly vkey: string
}

/** Starts the log's own process, under `wrapper` if given; rejects with what it wrote to standard error when it ends. */
export async function start(config: string, wrapper: readonly string[] = []): Promise<Running> {
  const main = fileURLToPath(new URL('../src/main.ts', import.meta.url))
  const [command, ...words] = [...wrapper, process.execPath, main, '--config', config]
  const child = spawn(command!, words, { stdio: ['ignore', 'pipe', 'pipe'] })
  let errors = ''
  child.stderr.on('data', (part) => {
    errors += part
  })
  const line = await Promise.race([
    once(child.stdout, 'data').then(([data]) => String(data)),
    once(child, 'close').then(() => Promise.reject(new Error(`the log ended: ${errors}`))),
  ])
  return { child, ...(JSON.parse(line) as { url: string; vkey: string }) }
}

export async function kill(running: Running, signal: 'SIGKILL' | 'SIGTERM'): Promise<number | null> {
  const exit = once(running.child, 'exit')
  running.child.kill(signal)
  return (await exit)[0]
}

export interface SettledLog {
  readonly config: string
  readonly settings: { readonly folder: string; readonly keyFile: string; readonly [name: string]: unknown }
  policyOf(vkey: string): LogPolicy
}

export function settle(context: TestContext, witness: TestWitness): SettledLog {
  const folder = temporaryFolder(context)
  const vkey = encodeVkey(witness.setting.key)
  const settings = {
    origin: 'log.example/process',
    folder: join(folder, 'log'),
    lastSigned: join(folder, 'last-signed'),
    keyFile: join(folder, 'key'),
    witnesses: [{ vkey, url: witness.setting.url }],
    listen: { host: '127.0.0.1', port: 0 },
  }
  const config = join(folder, 'config.json')
  writeFileSync(config, JSON.stringify(settings))
  return {
    config,
    settings,
    policyOf: (log) => parseLogPolicy(encodeUtf8(`log ${log}\nwitness w ${vkey}\nquorum w\n`)),
  }
}

export async function post(
  url: string,
  leaves: readonly Uint8Array[],
): Promise<{ indices: number[]; checkpoint: string }> {
  const response = await fetch(`${url}/entries`, { method: 'POST', body: Buffer.concat(leaves) })
  assert.equal(response.status, 200)
  return (await response.json()) as { indices: number[]; checkpoint: string }
}
