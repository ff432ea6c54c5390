import { mkdir, open, readdir, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { type Digest, encodeUtf8 } from '@cella/bytes'
import { encodeLogMemory, type LogMemory, parseLogMemory } from '@cella/log'
import { ed25519PublicKey, type KeyId, keyIdOf, randomBytes } from '@cella/primitives'
import type { TeeDriver } from '@cella/tee'
import { VaultError } from './error.ts'
import { encodeHolding, type Holding, parseHolding } from './holding.ts'

const organisationsMax = 10_000

/** For which organisation something is held, and which vault it granted to: this one, or one that this one stands in for. */
export interface Place {
  readonly organisation: Digest
  readonly vault: KeyId
}

/**
 * What a vault keeps over a restart: its signing key, what it holds for each organisation, and how far it has read the log.
 * All of it is sealed to the measurement; the files lie with the host, who can lose them or bring back old ones. An old
 * epoch is caught by the log, which says that it is over; an old memory of the log by the witnesses, who remember more.
 */
export class VaultState {
  readonly #tee: TeeDriver
  readonly #folder: string
  readonly #holdings = new Map<string, Holding>()
  /** Of all that lies in the folder, by name. */
  readonly #places: Map<string, Place>
  /** Holdings on their way to the disk: whoever asks meanwhile gets the same one. */
  readonly #births = new Map<Digest, Promise<Holding>>()
  #lastKept: Promise<void> = Promise.resolve()
  readonly signingSeed: Uint8Array
  readonly signingKey: Uint8Array
  readonly id: KeyId

  private constructor(tee: TeeDriver, folder: string, signingSeed: Uint8Array, taken: readonly Place[]) {
    this.#tee = tee
    this.#folder = folder
    this.signingSeed = signingSeed
    this.signingKey = ed25519PublicKey(signingSeed)
    this.id = keyIdOf(this.signingKey)
    this.#places = new Map(taken.map((place) => [this.#name(place), place]))
  }

  /** Everything that is held: for whom, and to which vault they granted. */
  places(): Place[] {
    return [...this.#places.values()]
  }

  static async open(tee: TeeDriver, folder: string): Promise<VaultState> {
    await mkdir(join(folder, 'organisations'), { recursive: true, mode: 0o700 })
    const seed = await readSealed(tee, folder, 'identity')
    if (seed !== undefined) {
      const id = keyIdOf(ed25519PublicKey(seed))
      return new VaultState(tee, folder, seed, placesIn(await readdir(join(folder, 'organisations')), id))
    }
    const born = randomBytes(32)
    await writeSealed(tee, folder, 'identity', born)
    return new VaultState(tee, folder, born, [])
  }

  /** How much is held, in numbers alone: for who runs this vault. */
  async standing(): Promise<{ organisations: number; standsInFor: number; epochs: Record<string, number> }> {
    const epochs: Record<string, number> = {}
    let standsInFor = 0
    for (const { organisation, vault } of this.places()) {
      const { epoch } = (await this.holding(organisation, vault)) ?? { epoch: 0 }
      epochs[epoch] = (epochs[epoch] ?? 0) + 1
      if (vault !== this.id) standsInFor += 1
    }
    return { organisations: this.#places.size - standsInFor, standsInFor, epochs }
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

  /**
   * What is held for an organisation, if it was born already; `vault` is the one that it granted to, where this vault stands in
   * for another.
   */
  async holding(organisation: Digest, vault: KeyId = this.id): Promise<Holding | undefined> {
    const name = this.#name({ organisation, vault })
    const held = this.#holdings.get(name)
    if (held !== undefined) return held
    const sealed = await readSealed(this.#tee, this.#folder, name)
    if (sealed === undefined) return undefined
    const holding = parseHolding(sealed)
    this.#holdings.set(name, holding)
    return holding
  }

  /** Durable in place of what was held before, and what was held before is erased from memory. */
  async keep(organisation: Digest, holding: Holding, vault: KeyId = this.id): Promise<void> {
    const name = this.#name({ organisation, vault })
    if (!this.#holdings.has(name) && this.#holdings.size >= organisationsMax) {
      throw new VaultError('ERR_VAULT_FULL', `this vault holds ${organisationsMax} organisations`)
    }
    const before = this.#holdings.get(name)
    await writeSealed(this.#tee, this.#folder, name, encodeHolding(holding))
    this.#holdings.set(name, holding)
    this.#places.set(name, { organisation, vault })
    for (const old of [before?.kek, before?.next?.kek]) {
      if (old !== undefined && old !== holding.kek && old !== holding.next?.kek) old.fill(0)
    }
  }

  #name({ organisation, vault }: Place): string {
    return join('organisations', vault === this.id ? organisation : `${organisation}.${vault}`)
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

function placesIn(files: readonly string[], id: KeyId): Place[] {
  return files.flatMap((file) => {
    const [, organisation, vault] = /^([0-9a-f]{64})(?:\.([A-Za-z0-9_-]{43}))?\.sealed$/.exec(file) ?? []
    return organisation === undefined ? [] : [{ organisation: organisation as Digest, vault: (vault as KeyId) ?? id }]
  })
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
