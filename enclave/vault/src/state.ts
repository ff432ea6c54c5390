import { mkdir, open, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { type Digest, encodeUtf8 } from '@cella/bytes'
import { encodeLogMemory, type LogMemory, parseLogMemory } from '@cella/log'
import { ed25519PublicKey, type KeyId, keyIdOf, randomBytes } from '@cella/primitives'
import type { TeeDriver } from '@cella/tee'
import { VaultError } from './error.ts'

const organisationsMax = 10_000

/**
 * What a vault keeps over a restart: its signing key, one secret for each organisation, and how far it has read the log.
 * All of it is sealed to the measurement; the files lie with the host, who can lose them or bring back old ones. An old
 * secret is the same secret; an old memory of the log is caught by the witnesses, who remember more.
 */
export class VaultState {
  readonly #tee: TeeDriver
  readonly #folder: string
  readonly #secrets = new Map<Digest, Uint8Array>()
  /** Secrets on their way to the disk: whoever asks meanwhile gets the same one. */
  readonly #births = new Map<Digest, Promise<Uint8Array>>()
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

  /** The organisation's secret, 32 bytes; born here at the first call and durable before it is returned. */
  async secretOf(organisation: Digest): Promise<Uint8Array> {
    const birth = this.#births.get(organisation) ?? this.#bear(organisation)
    this.#births.set(organisation, birth)
    try {
      return await birth
    } finally {
      this.#births.delete(organisation)
    }
  }

  async #bear(organisation: Digest): Promise<Uint8Array> {
    const secret = await this.knownSecretOf(organisation)
    if (secret !== undefined) return secret
    if (this.#secrets.size >= organisationsMax) {
      throw new VaultError('ERR_VAULT_FULL', `this vault holds ${organisationsMax} organisations`)
    }
    const fresh = randomBytes(32)
    await writeSealed(this.#tee, this.#folder, secretName(organisation), fresh)
    this.#secrets.set(organisation, fresh)
    return fresh
  }

  /** The organisation's secret if it was born already. */
  async knownSecretOf(organisation: Digest): Promise<Uint8Array | undefined> {
    const held = this.#secrets.get(organisation)
    if (held !== undefined) return held
    const sealed = await readSealed(this.#tee, this.#folder, secretName(organisation))
    if (sealed !== undefined) this.#secrets.set(organisation, sealed)
    return sealed
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

function secretName(organisation: Digest): string {
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
