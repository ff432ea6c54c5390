import {
  type AddEntries,
  checkCopy,
  encodeAddCheckpoint,
  encodeAddEntries,
  encodeEntryPackage,
  encodeLeaf,
  encodeVkey,
  generateNoteSigner,
  type LogPolicy,
  type MirrorStore,
  mirrorPrefix,
  type PostToMirror,
  packageRanges,
  parseLogPolicy,
  readEntries,
  subtreeConsistencyProof,
  tileHashes,
} from '@cella/log'
import { MemoryLog } from '@cella/testing/memory-log'
import { createMirror, type Mirror } from '../src/mirror.ts'

export const mirrorKeys = [
  generateNoteSigner({ name: 'mirror.example/m', type: 'cosignature', algorithm: 'ml-dsa-44' }),
  generateNoteSigner({ name: 'mirror.example/m', type: 'cosignature' }),
]
export const now = 1_760_000_000

/** A leaf that is told apart by its number. */
export function leafOf(n: number): Uint8Array {
  const commitment = new Uint8Array(32)
  new DataView(commitment.buffer).setFloat64(0, n)
  return encodeLeaf({ kind: 'document', commitment, tag: commitment.slice(0, 16) })
}

/** Leaves `from` to before `to`. */
export const leaves = (from: number, to: number): Uint8Array[] =>
  Array.from({ length: to - from }, (_, index) => leafOf(from + index))

export async function logOf(size: number, like?: MemoryLog): Promise<MemoryLog> {
  const log = new MemoryLog({ now, witnesses: [], ...(like && { like }) })
  await log.append(leaves(0, size))
  return log
}

export function policyOf(log: MemoryLog): LogPolicy {
  return parseLogPolicy(new TextEncoder().encode(log.policyOf()))
}

/** Files in memory, whose writes can be made to fail. */
export class MemoryStore implements MirrorStore {
  readonly files = new Map<string, Uint8Array>()
  /** Writes that still succeed. */
  writesLeft = Number.POSITIVE_INFINITY

  async read(path: string): Promise<Uint8Array | undefined> {
    return this.files.get(path)
  }

  async write(path: string, bytes: Uint8Array): Promise<void> {
    if (this.writesLeft-- <= 0) throw new Error('no space left')
    this.files.set(path, new Uint8Array(bytes))
  }
}

export interface TestMirror {
  readonly mirror: Mirror
  readonly store: MemoryStore
  /** Bodies go in parts of this many bytes. */
  readonly post: PostToMirror
}

/** A mirror of one log, its state in `file`. */
export function mirrorOf(log: MemoryLog, file: string, store: MemoryStore = new MemoryStore()): TestMirror {
  const mirror = createMirror({
    file,
    keys: mirrorKeys,
    logs: [encodeVkey(log.signer.key)],
    now: () => now,
    logRequestsPerSecond: 10_000,
    storeOf: (prefix) => {
      if (prefix !== mirrorPrefix(log.origin)) throw new Error(`another prefix: ${prefix}`)
      return store
    },
  })
  const post: PostToMirror = async (path, body) =>
    path === 'add-checkpoint' ? mirror.addCheckpoint(body) : mirror.addEntries(inParts(body))
  return { mirror, store, post }
}

export async function* inParts(body: Uint8Array, length = 1000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < body.length; at += length) yield body.subarray(at, at + length)
}

/** The size of the copy, all of whose files are right. */
export async function wholeSize(log: MemoryLog, store: MemoryStore): Promise<number> {
  const { checkpoint, problems } = await checkCopy({ policy: policyOf(log), store })
  if (problems.length > 0) throw new Error(problems.join('; '))
  return checkpoint.size
}

/** Tells a mirror of the log's newest checkpoint, which continues none or the same. */
export async function addCheckpoint({ mirror }: TestMirror, log: MemoryLog, oldSize = 0): Promise<number> {
  const body = encodeAddCheckpoint({ oldSize, path: [], checkpoint: await log.checkpoint() })
  return mirror.addCheckpoint(body).status
}

/** The body of `add-entries` as tlog-mirror has it, of the log's tree of `uploadEnd` leaves. */
export async function uploadOf(
  log: MemoryLog,
  range: Pick<AddEntries, 'uploadStart' | 'uploadEnd'> & Partial<AddEntries>,
): Promise<{ head: Uint8Array; packages: Uint8Array[] }> {
  const head = encodeAddEntries({ origin: log.origin, ticket: new Uint8Array(0), ...range })
  const read = (path: string) => log.tile(path)
  const hashes = tileHashes(read, range.uploadEnd)
  const packages: Uint8Array[] = []
  for (const { start, first, end } of packageRanges(range)) {
    const width = Math.min(256, log.size - start)
    const entries = await readEntries(read, { level: 'entries', index: start / 256, width })
    const path = await subtreeConsistencyProof({ start, end, size: range.uploadEnd, hashes })
    packages.push(encodeEntryPackage({ entries: entries.slice(first - start, end - start), path }))
  }
  return { head, packages }
}
