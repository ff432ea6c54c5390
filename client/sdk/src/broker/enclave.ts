import { type ChildProcess, spawn } from 'node:child_process'
import { copyFile, mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { canonicalJson } from '@cella/bytes'
import { documentBytesMax } from '@cella/documents'
import type { KeyId } from '@cella/primitives'
import { z } from 'zod'
import { SdkError } from '../error.ts'

const readyMsMax = 60_000

const buildsSchema = z.looseObject({
  organisation: z.string().max(documentBytesMax),
  builds: z.looseObject({ vault: z.string().max(documentBytesMax) }),
  options: z.array(z.string().max(200)).max(32),
})
/** Who built the vault, and what it measures. */
export type BrokerBuilds = z.infer<typeof buildsSchema>

/** Which TEE the vault at home runs in. */
export type BrokerTee = { readonly kind: 'hardware' } | { readonly kind: 'simulated'; readonly folder: string }

/**
 * The vault's bundle in `folder`, copied from `enclaves` the first time and kept: what it seals opens under its measurement
 * alone. Throws ERR_BROKER.
 */
export async function keepBundle(folder: string, enclaves: string): Promise<BrokerBuilds> {
  const own = join(folder, 'enclave')
  const read = async (from: string): Promise<BrokerBuilds> =>
    buildsSchema.parse(JSON.parse(await readFile(join(from, 'builds.json'), 'utf8')))
  try {
    return await read(own)
  } catch {
    // Not copied yet.
  }
  try {
    await mkdir(own, { recursive: true, mode: 0o700 })
    for (const name of ['vault.mjs', 'builds.json']) await copyFile(join(enclaves, name), join(own, name))
    return await read(own)
  } catch (cause) {
    throw new SdkError('ERR_BROKER', `there is no vault’s bundle in ${enclaves}`, {
      cause,
      hint: 'npm run build:enclave makes one; --enclaves FOLDER says where it is',
    })
  }
}

/** A vault's process on this machine. */
export interface BrokerEnclave {
  readonly id: KeyId
  /** Loopback. */
  readonly url: string
  readonly process: ChildProcess
  /** Resolves when it ended. */
  readonly ended: Promise<void>
}

/** Starts the vault and waits until it has read the log. Throws ERR_BROKER with what it said last. */
export async function startEnclave(
  folder: string,
  about: { builds: BrokerBuilds; tee: BrokerTee; manager: string; token: string; logPolicy: string },
): Promise<BrokerEnclave> {
  const { builds, tee, manager, token, logPolicy } = about
  // An empty environment and the fixed command line: both are part of what is measured.
  const child = spawn(process.execPath, [...builds.options, join(folder, 'enclave', 'vault.mjs')], {
    stdio: ['pipe', 'pipe', 'ignore'],
    env: {},
  })
  child.stdin.on('error', () => undefined)
  child.stdin.end(
    canonicalJson({
      manager,
      token,
      logPolicy,
      listen: { host: '127.0.0.1', port: 0 },
      folder: join(folder, 'vault'),
      tee: tee.kind === 'hardware' ? { kind: 'hardware' } : { kind: 'simulated', folder: tee.folder },
    }),
  )
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()))
  let listening: { id: KeyId; port: number } | undefined
  let last = 'nothing'
  const ready = new Promise<void>((resolve) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      const said = parse(line)
      if (said.event === 'listening') listening = { id: said.id as KeyId, port: Number(said.port) }
      if (said.event === 'waiting') last = String(said.code)
      if (said.event === 'ready') resolve()
    })
  })
  const late = new AbortController()
  const timer = setTimeout(() => late.abort(), readyMsMax)
  const tooLate = new Promise<void>((resolve) => late.signal.addEventListener('abort', () => resolve()))
  await Promise.race([ready, ended, tooLate])
  clearTimeout(timer)
  if (child.exitCode === null && !late.signal.aborted && listening !== undefined) {
    return { id: listening.id, url: `http://127.0.0.1:${listening.port}`, process: child, ended }
  }
  child.kill('SIGKILL')
  throw new SdkError('ERR_BROKER', `the vault did not come up (exit code ${child.exitCode}); it said: ${last}`, {
    hint: 'is the manager reachable? cella doctor. A vault opens its folder under the same bundle, Node and TEE alone',
  })
}

function parse(line: string): { readonly [name: string]: unknown } {
  try {
    return JSON.parse(line)
  } catch {
    return {}
  }
}
