import { constants } from 'node:fs'
import { basename, dirname } from 'node:path'
import type { TestContext } from 'node:test'
import type { Files, OpenFile } from '@cella/blobs'

// A disk in memory that knows what a power loss takes: every write to a file since its last sync, every name made, moved or
// removed since the last sync of its folder. Any part of that may survive, in any order, writes torn at sectors.

const sectorBytes = 512

type Change = { readonly at: number; readonly bytes: Uint8Array } | { readonly length: number }

class FileNode {
  bytes: Uint8Array
  durable: Uint8Array
  changes: Change[] = []

  constructor(durable: Uint8Array = new Uint8Array(0)) {
    this.bytes = durable
    this.durable = durable
  }

  change(change: Change): void {
    this.bytes = apply(this.bytes, change)
    this.changes.push(change)
  }

  sync(): void {
    this.durable = this.bytes
    this.changes = []
  }
}

class FolderNode {
  readonly names: Map<string, FileNode | FolderNode>
  readonly durable: Map<string, FileNode | FolderNode>
  /** One change of names each; what belongs together, as a move does, happens or does not. */
  changes: ReadonlyMap<string, FileNode | FolderNode | undefined>[] = []

  constructor(durable: ReadonlyMap<string, FileNode | FolderNode> = new Map()) {
    this.names = new Map(durable)
    this.durable = new Map(durable)
  }

  change(names: ReadonlyMap<string, FileNode | FolderNode | undefined>): void {
    rename(this.names, names)
    this.changes.push(names)
  }

  sync(): void {
    for (const names of this.changes.splice(0)) rename(this.durable, names)
  }
}

/** What a call of this disk does instead of its work. */
export type Fault = { readonly code: 'EIO' | 'ENOSPC' } | 'off'

export class SimulatedDisk implements Files {
  readonly #root: FolderNode
  /** Calls so far. */
  calls = 0
  /** Asked before each call, with its number and name. */
  fault: (call: number, name: string) => Fault | undefined = () => undefined

  constructor(root: FolderNode = new FolderNode()) {
    this.#root = root
  }

  /** A disk as it is after the power went off now; `survives` decides about each thing that was not synced. */
  afterPowerLoss(survives: () => boolean): SimulatedDisk {
    const copies = new Map<FileNode | FolderNode, FileNode | FolderNode>()
    const copy = (node: FileNode | FolderNode): FileNode | FolderNode => {
      const known = copies.get(node)
      if (known !== undefined) return known
      if (node instanceof FileNode) {
        const made = new FileNode(remains(node, survives))
        copies.set(node, made)
        return made
      }
      const names = new Map(node.durable)
      for (const change of node.changes) if (survives()) rename(names, change)
      const made = new FolderNode(new Map([...names].map(([name, child]) => [name, copy(child)])))
      copies.set(node, made)
      return made
    }
    return new SimulatedDisk(copy(this.#root) as FolderNode)
  }

  async open(path: string, flags: number): Promise<OpenFile> {
    this.#call('open')
    const folder = this.#folder(dirname(path))
    let node = path === '/' ? this.#root : folder.names.get(basename(path))
    if (node !== undefined && (flags & constants.O_EXCL) !== 0) throw failure('EEXIST', path)
    if (node === undefined) {
      if ((flags & constants.O_CREAT) === 0) throw failure('ENOENT', path)
      node = new FileNode()
      folder.change(new Map([[basename(path), node]]))
    }
    return this.#handle(node)
  }

  async mkdir(path: string): Promise<void> {
    this.#call('mkdir')
    const folder = this.#folder(dirname(path))
    if (folder.names.has(basename(path))) throw failure('EEXIST', path)
    folder.change(new Map([[basename(path), new FolderNode()]]))
  }

  async readFile(path: string): Promise<Uint8Array> {
    this.#call('readFile')
    const node = this.#folder(dirname(path)).names.get(basename(path))
    if (!(node instanceof FileNode)) throw failure('ENOENT', path)
    return node.bytes.slice()
  }

  async readdir(path: string): Promise<string[]> {
    this.#call('readdir')
    return [...this.#folder(path).names.keys()]
  }

  async rename(from: string, to: string): Promise<void> {
    this.#call('rename')
    if (dirname(from) !== dirname(to)) throw new RangeError('the log moves files inside a folder only')
    const folder = this.#folder(dirname(from))
    const node = folder.names.get(basename(from))
    if (node === undefined) throw failure('ENOENT', from)
    folder.change(
      new Map([
        [basename(from), undefined],
        [basename(to), node],
      ]),
    )
  }

  async rm(path: string): Promise<void> {
    this.#call('rm')
    const folder = this.#find(dirname(path))
    if (folder?.names.has(basename(path))) folder.change(new Map([[basename(path), undefined]]))
  }

  #handle(node: FileNode | FolderNode): OpenFile {
    const file = node as FileNode
    const sync = async (name: string): Promise<void> => {
      try {
        this.#call(name)
      } catch (error) {
        // As a real one does: the pages count as clean from now on, and never reach the disk.
        if (node instanceof FileNode) node.changes = []
        throw error
      }
      node.sync()
    }
    return {
      read: async (bytes, offset, length, position) => {
        this.#call('read')
        const part = file.bytes.subarray(position, position + length)
        bytes.set(part, offset)
        return { bytesRead: part.length }
      },
      write: async (bytes, offset, length, position) => {
        this.#call('write', () => file.change({ at: position, bytes: bytes.slice(offset, offset + (length >> 1)) }))
        file.change({ at: position, bytes: bytes.slice(offset, offset + length) })
        return { bytesWritten: length }
      },
      stat: async () => {
        this.#call('stat')
        return { size: file.bytes.length }
      },
      truncate: async (length) => {
        this.#call('truncate')
        file.change({ length })
      },
      datasync: () => sync('datasync'),
      sync: () => sync('sync'),
      close: async () => undefined,
    }
  }

  /** `partly` is what a failing call did before it failed. */
  #call(name: string, partly: () => void = () => undefined): void {
    this.calls += 1
    const fault = this.fault(this.calls, name)
    if (fault === undefined) return
    if (fault === 'off') throw failure('EIO', 'the power is off')
    partly()
    throw failure(fault.code, name)
  }

  #folder(path: string): FolderNode {
    const found = this.#find(path)
    if (found === undefined) throw failure('ENOENT', path)
    return found
  }

  #find(path: string): FolderNode | undefined {
    let node: FileNode | FolderNode | undefined = this.#root
    for (const name of path.split('/').filter((part) => part !== '')) {
      if (!(node instanceof FolderNode)) return undefined
      node = node.names.get(name)
    }
    return node instanceof FolderNode ? node : undefined
  }
}

function remains(node: FileNode, survives: () => boolean): Uint8Array {
  let bytes = node.durable
  for (const change of node.changes) {
    if ('length' in change) {
      if (survives()) bytes = apply(bytes, change)
      continue
    }
    // Whole, not at all, or some of its sectors.
    const whole = survives()
    for (let at = 0; at < change.bytes.length; ) {
      const end = Math.min(change.bytes.length, at + sectorBytes - ((change.at + at) % sectorBytes))
      if (whole || survives()) bytes = apply(bytes, { at: change.at + at, bytes: change.bytes.subarray(at, end) })
      at = end
      // A long write of zeros ahead of the records need not be decided sector by sector.
      if (!whole && at > 64 * sectorBytes) break
    }
  }
  return bytes
}

function apply(bytes: Uint8Array, change: Change): Uint8Array {
  const length = 'length' in change ? change.length : Math.max(bytes.length, change.at + change.bytes.length)
  const next = new Uint8Array(length)
  next.set(bytes.subarray(0, length))
  if ('bytes' in change) next.set(change.bytes, change.at)
  return next
}

function rename(
  names: Map<string, FileNode | FolderNode>,
  change: ReadonlyMap<string, FileNode | FolderNode | undefined>,
): void {
  for (const [name, node] of change) {
    if (node === undefined) names.delete(name)
    else names.set(name, node)
  }
}

function failure(code: string, what: string): Error {
  return Object.assign(new Error(`${code}: ${what}`), { code })
}

/** What a test would do at its end, done at the end of a block: thousands of logs are opened here. */
export function newScope(): AsyncDisposable & Pick<TestContext, 'after'> {
  const ends: (() => unknown)[] = []
  return {
    after: (end) => void ends.push(end as () => unknown),
    [Symbol.asyncDispose]: async () => {
      for (const end of ends.reverse()) await end()
    },
  }
}

/** Whether a call can fail so. */
export function mayFail(code: 'EIO' | 'ENOSPC', name: string): boolean {
  return code === 'EIO' || /^(?:open|write|mkdir|rename|datasync|sync)$/.test(name)
}

/** Mulberry32: the same numbers for the same start, from 0 to 1. */
export function randomFrom(start: number): () => number {
  let state = start
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let value = Math.imul(state ^ (state >>> 15), state | 1)
    value ^= value + Math.imul(value ^ (value >>> 7), value | 61)
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32
  }
}
