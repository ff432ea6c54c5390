import { mkdir, open, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { type Digest, encodeUtf8 } from '@cella/bytes'
import { encodeLogMemory, type LogMemory, parseLogMemory } from '@cella/log'
import { ed25519PublicKey, type KeyId, keyIdOf, randomBytes } from '@cella/primitives'
import type { TeeDriver } from '@cella/tee'
import { VaultError } from './error.ts'
import { encodeHolding, type Holding, parseHolding } from './holding.ts'

const organisationsMax = 10_000

/**
 * What a vault keeps over a restart: its signing key, what it holds for each organisation, and how far it has read the log.
 * All of it is sealed to the measurement; the files lie with the host, who can lose them or bring back old ones. An old
 * epoch is caught by the log, which says that it is over; an old memory of the log by the witnesses, who remember more.
 */
export class VaultState {
  readonly #tee: TeeDriver
  readonly #folder: string
  readonly #holdings = new Map<string, Holding>()
  /** Holdings on their way to the disk: whoever asks meanwhile gets the same one. */
  readonly #births = new Map<Digest, Promise<Holding>>()
  #lastKept: Promise<void> = Promise.resolve()
  readonly signingSeed: Uint8Array
  readonly signingKey: Uint8Array
  readonly id: KeyId

  private constructor(tee: TeeDriver, folder: string, signingSeed: Uint8Array) {
    this.#tee = tee
    this.#folder = folder
    this.signingSeed = signingSeed
    this.signingKey = ed25519PublicKey(signingSeed)
    this.id = keyIdOf(this.signingKey)
  }

  static async open(tee: TeeDriver, folder: string): Promise<VaultState> {
    await mkdir(join(folder, 'organisations'), { recursive: true, mode: 0o700 })
    const known = await readSealed(tee, folder, 'identity')
    if (known !== undefined) return new VaultState(tee, folder, known)
    const seed = randomBytes(32)
    await writeSealed(tee, folder, 'identity', seed)
    return new VaultState(tee, folder, seed)
  }

  /** What is held for an organisation; born here at the first call and durable before it is returned. */
  async bear(organisation: Digest): Promise<Holding> {
    const birth = this.#births.get(organisation) ?? this.#bear(organisation)
    this.#births.set(organisation, birth)
    try {
      return await birth
    } finally {
      this.#births.delete(organisation)
    }
  }

  async #bear(organisation: Digest): Promise<Holding> {
    const known = await this.holding(organisation)
    if (known !== undefined) return known
    const fresh = { secret: randomBytes(32), epoch: 1, kek: randomBytes(32), rewrapped: new Map(), next: null }
    await this.keep(organisation, fresh)
    return fresh
  }

  /** What is held for an organisation, if it was born already. */
  async holding(organisation: Digest): Promise<Holding | undefined> {
    const held = this.#holdings.get(organisation)
    if (held !== undefined) return held
    const sealed = await readSealed(this.#tee, this.#folder, holdingName(organisation))
    if (sealed === undefined) return undefined
    const holding = parseHolding(sealed)
    this.#holdings.set(organisation, holding)
    return holding
  }

  /** Durable in place of what was held before, and what was held before is erased from memory. */
  async keep(organisation: Digest, holding: Holding): Promise<void> {
    if (!this.#holdings.has(organisation) && this.#holdings.size >= organisationsMax) {
      throw new VaultError('ERR_VAULT_FULL', `this vault holds ${organisationsMax} organisations`)
    }
    const before = this.#holdings.get(organisation)
    await writeSealed(this.#tee, this.#folder, holdingName(organisation), encodeHolding(holding))
    this.#holdings.set(organisation, holding)
    for (const old of [before?.kek, before?.next?.kek]) {
      if (old !== undefined && old !== holding.kek && old !== holding.next?.kek) old.fill(0)
    }
  }

  async logMemory(): Promise<LogMemory | undefined> {
    const bytes = await readSealed(this.#tee, this.#folder, 'log-memory')
    return bytes === undefined ? undefined : parseLogMemory(bytes)
  }

  /** One after the other, in the order of calls: two at once would share a temporary file. */
  async keepLogMemory(memory: LogMemory): Promise<void> {
    const bytes = encodeLogMemory(memory)
    const kept = this.#lastKept.then(() => writeSealed(this.#tee, this.#folder, 'log-memory', bytes))
    this.#lastKept = kept.catch(() => undefined)
    return kept
  }
}

function holdingName(organisation: Digest): string {
  return join('organisations', organisation)
}

async function readSealed(tee: TeeDriver, folder: string, name: string): Promise<Uint8Array | undefined> {
  let sealed: Uint8Array
  try {
    sealed = await readFile(join(folder, `${name}.sealed`))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  try {
    return await tee.unseal(`cella/v1/vault/${name}`, sealed)
  } catch (cause) {
    throw new VaultError('ERR_STATE_NOT_OPENED', `${name}: sealed by another measurement or altered`, { cause })
  }
}

// Temporary file, fsync, rename, fsync of the folder: after a crash there is the old state or the new one.
async function writeSealed(tee: TeeDriver, folder: string, name: string, bytes: Uint8Array): Promise<void> {
  const path = join(folder, `${name}.sealed`)
  const temporary = `${path}.${process.pid}.tmp`
  const file = await open(temporary, 'w', 0o600)
  try {
    await file.writeFile(await tee.seal(`cella/v1/vault/${name}`, bytes))
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(temporary, path)
  const parent = await open(join(path, '..'), 'r')
  try {
    await parent.sync()
  } finally {
    await parent.close()
  }
}

/** HKDF info: label ‖ 0x00 ‖ the parts, each of a fixed length. */
export function label(name: string): Uint8Array {
  return encodeUtf8(`${name}\u0000`)
}
