import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { encodeUtf8 } from '@cella/bytes'
import {
  cosignNote,
  encodeCosignatures,
  encodeLeaf,
  encodeVkey,
  encodeWitnessSize,
  generateNoteSigner,
  type LogPolicy,
  type NoteSigner,
  parseAddCheckpoint,
  parseCheckpointText,
  parseLogPolicy,
  parseNote,
  verifyConsistency,
  witnessSizeType,
} from '@cella/log'
import { type EmbeddedLogOptions, fsck, type Log, localSigner, openLog, type WitnessSetting } from '../src/index.ts'
import type { LogOptions } from '../src/log.ts'

export function temporaryFolder(context: Pick<TestContext, 'after'>): string {
  const path = mkdtempSync(join(tmpdir(), 'log-'))
  context.after(() => rmSync(path, { recursive: true, force: true }))
  return path
}

/** Leaf `n`: always the same bytes. */
export function leafOf(n: number): Uint8Array {
  const commitment = new Uint8Array(32)
  new DataView(commitment.buffer).setFloat64(0, n)
  return encodeLeaf({ kind: 'document', commitment, tag: commitment.slice(0, 16) })
}

export interface TestWitness {
  readonly setting: WitnessSetting
  /** What it has cosigned; a test may set it. */
  state: { size: number; root: Uint8Array }
  /** While set, it answers only this status. */
  failing: number | undefined
  requests: number
}

/** A witness with its state in memory, which a test can bend. */
export async function startTestWitness(context: Pick<TestContext, 'after'>, name: string): Promise<TestWitness> {
  const signer = generateNoteSigner({ name, type: 'cosignature' })
  const server = createServer((request, response) => {
    const parts: Uint8Array[] = []
    request.on('data', (part: Uint8Array) => parts.push(part))
    request.on('end', () => {
      witness.requests += 1
      const { status, type, body } = answer(new Uint8Array(Buffer.concat(parts)), signer, witness)
      response.writeHead(status, { 'Content-Type': type ?? 'text/plain' }).end(body)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  context.after(() => {
    server.close()
    server.closeAllConnections()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const witness: TestWitness = {
    setting: { key: signer.key, url },
    state: { size: 0, root: new Uint8Array(32) },
    failing: undefined,
    requests: 0,
  }
  return witness
}

function answer(
  bytes: Uint8Array,
  signer: NoteSigner,
  witness: TestWitness,
): { status: number; type?: string; body: Uint8Array } {
  const nothing = new Uint8Array(0)
  if (witness.failing !== undefined) return { status: witness.failing, body: nothing }
  const { oldSize, path, checkpoint: note } = parseAddCheckpoint(bytes)
  const { text } = parseNote(note)
  const { size, root } = parseCheckpointText(text)
  const { state } = witness
  if (oldSize !== state.size) return { status: 409, type: witnessSizeType, body: encodeWitnessSize(state.size) }
  try {
    if (oldSize > 0) verifyConsistency({ oldSize, newSize: size, oldRoot: state.root, newRoot: root, path })
  } catch {
    return { status: 422, body: nothing }
  }
  witness.state = { size, root }
  return { status: 200, body: encodeCosignatures([cosignNote(text, signer, 1_760_000_000)]) }
}

/** A place for a log with its key; logs opened there are closed after the test, and what they leave passes fsck. */
export interface TestPlace {
  readonly lastSignedFile: string
  readonly signer: NoteSigner
  readonly policy: LogPolicy
  /** What ended it, if something did. */
  readonly fatal: Error[]
  /** Set by a test that bends or removes what the log wrote: there is no fsck after it. */
  isBent: boolean
  open(options?: Partial<LogOptions>): Promise<Log>
}

export interface TestLog extends TestPlace {
  readonly folder: string
  open(options?: Partial<EmbeddedLogOptions>): Promise<Log>
}

/** A policy that asks for all of the witnesses. */
export function policyOf(signer: NoteSigner, witnesses: readonly TestWitness[]): LogPolicy {
  const lines = witnesses.map(({ setting }, at) => `witness w${at} ${encodeVkey(setting.key)}\n`).join('')
  const members = witnesses.map((_, at) => `w${at}`).join(' ')
  const quorum = witnesses.length === 0 ? 'quorum none\n' : `group all-of-them all ${members}\nquorum all-of-them\n`
  return parseLogPolicy(encodeUtf8(`log ${encodeVkey(signer.key)}\n${lines}${quorum}`))
}

/** After the test: closes the logs, checks what lies in the folder if anything was published there, and removes it. */
export function endPlace(
  context: Pick<TestContext, 'after'>,
  { root, logs, check }: { root: string; logs: readonly Log[]; check: () => Promise<readonly string[]> },
): void {
  context.after(async () => {
    await Promise.all(logs.map((log) => log.close().catch(() => undefined)))
    try {
      assert.deepEqual(await check(), [], 'fsck after the test')
    } finally {
      rmSync(root, { recursive: true, force: true })
    }
  })
}

/** Problems of a folder in which a checkpoint was published; whoever cosigned it. */
export async function problemsIn(folder: string, signer: NoteSigner): Promise<readonly string[]> {
  return existsSync(join(folder, 'checkpoint')) ? (await fsck(folder, policyOf(signer, []))).problems : []
}

export function placeForLog(context: Pick<TestContext, 'after'>, witnesses: readonly TestWitness[] = []): TestLog {
  const root = mkdtempSync(join(tmpdir(), 'log-'))
  const signer = generateNoteSigner({ name: 'log.example/one', type: 'note' })
  const fatal: Error[] = []
  const logs: Log[] = []
  endPlace(context, { root, logs, check: async () => (place.isBent ? [] : problemsIn(place.folder, signer)) })
  const place: TestLog = {
    folder: join(root, 'log'),
    lastSignedFile: join(root, 'last-signed'),
    signer,
    policy: policyOf(signer, witnesses),
    fatal,
    isBent: false,
    open: async (options = {}) => {
      const log = await openLog({
        folder: place.folder,
        lastSignedFile: place.lastSignedFile,
        signer: localSigner(signer),
        witnesses: witnesses.map(({ setting }) => setting),
        publishIntervalMs: 20,
        onFatal: (error) => fatal.push(error),
        ...options,
      })
      logs.push(log)
      return log
    },
  }
  return place
}
