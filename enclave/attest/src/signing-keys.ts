import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import {
  canonicalJson,
  decodeBase64url,
  encodeBase64url,
  encodeUtf8,
  FormatError,
  parseCanonicalJson,
} from '@cella/bytes'
import { bytesField, timeField } from '@cella/documents'
import { type TeeDriver, TeeError } from '@cella/tee'
import { z } from 'zod'
import { AttestError } from './error.ts'
import { makeFolder, readBounded, writeDurably } from './files.ts'

const fileBytesMax = 65_536
const label = 'cella/v1/attest/keys'
/** How long after a token's end its key is still shown: clocks differ. */
const marginSeconds = 300

/** A public key as it stands in the JWKS. RFC 7517, RFC 7518 §6.2. */
export interface PublicJwk {
  readonly kty: 'EC'
  readonly crv: 'P-384'
  readonly x: string
  readonly y: string
  readonly alg: 'ES384'
  readonly use: 'sig'
  /** RFC 7638 thumbprint. */
  readonly kid: string
}

const coordinate = bytesField({ exactly: 48 })
const fileSchema = z.strictObject({
  version: z.literal(1),
  /** PKCS #8 of the key that signs. */
  signs: bytesField({ atMost: 512 }),
  since: timeField,
  /** Public halves of keys that signed before; their private halves are gone. */
  retired: z.array(z.strictObject({ x: coordinate, y: coordinate, until: timeField })).max(64),
})
type KeyFile = z.infer<typeof fileSchema>

export interface SigningKeyOptions {
  readonly folder: string
  /**
   * Seals the file to the measurement; without one it is readable by its user alone. A TEE that has no key of its own to
   * seal with keeps nothing: each start begins with another key.
   */
  readonly tee: TeeDriver | undefined
  /** How long a token is valid: a key that was replaced is shown that much longer. */
  readonly tokenSeconds: number
  /** Unix seconds. */
  readonly now: number
}

/**
 * The service's ES384 key (ECDSA P-384 with SHA-384), made at the first start and durable before it signs. A rotation
 * makes another and forgets the private half of the one before, which stays in the JWKS until its last token has ended.
 */
export class SigningKeys {
  readonly #options: SigningKeyOptions
  #file: KeyFile
  #key: KeyObject
  #public: PublicJwk

  private constructor(options: SigningKeyOptions, file: KeyFile, key: KeyObject) {
    this.#options = options
    this.#file = file
    this.#key = key
    this.#public = jwkOf(createPublicKey(key))
  }

  /** Throws ERR_STATE_NOT_OPENED for a key file that is not whole, or open to others. */
  static async open(options: SigningKeyOptions): Promise<SigningKeys> {
    await makeFolder(options.folder)
    const known = await readKeys(options)
    if (known !== undefined) return new SigningKeys(options, known.file, known.key)
    const fresh = freshFile(options.now, [])
    await writeKeys(options, fresh.file)
    return new SigningKeys(options, fresh.file, fresh.key)
  }

  /** The key that signs. */
  get current(): PublicJwk {
    return this.#public
  }

  /** Since when it does, unix seconds. */
  get since(): number {
    return this.#file.since
  }

  /** ES384 signature: r ‖ s, big-endian, 96 bytes. RFC 7518 §3.4. */
  sign(bytes: Uint8Array): Uint8Array {
    return new Uint8Array(sign('sha384', bytes, { key: this.#key, dsaEncoding: 'ieee-p1363' }))
  }

  /** The key that signs, and those before whose tokens may still be valid at `now`. */
  jwks(now: number): { readonly keys: readonly PublicJwk[] } {
    const retired = this.#file.retired.filter(({ until }) => now <= until)
    return { keys: [this.#public, ...retired.map(({ x, y }) => publicJwk(x, y))] }
  }

  /** Signs with another key from now on. */
  async rotate(now: number): Promise<void> {
    const { x, y } = this.#public
    const until = now + this.#options.tokenSeconds + marginSeconds
    const kept = this.#file.retired.filter((key) => now <= key.until).slice(-62)
    const fresh = freshFile(now, [...kept, { x, y, until }])
    // First to the disk: a token must not outlive the key that verifies it.
    await writeKeys(this.#options, fresh.file)
    this.#file = fresh.file
    this.#key = fresh.key
    this.#public = jwkOf(createPublicKey(fresh.key))
  }
}

function freshFile(now: number, retired: KeyFile['retired']): { file: KeyFile; key: KeyObject } {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'secp384r1' })
  const pkcs8 = new Uint8Array(privateKey.export({ format: 'der', type: 'pkcs8' }))
  return { file: { version: 1, signs: encodeBase64url(pkcs8), since: now, retired }, key: privateKey }
}

function pathOf({ folder, tee }: SigningKeyOptions): string {
  return join(folder, tee === undefined ? 'keys.json' : 'keys.sealed')
}

function isKept({ tee }: SigningKeyOptions): boolean {
  return tee === undefined || tee.describe().sealing === 'measurement'
}

async function writeKeys(options: SigningKeyOptions, file: KeyFile): Promise<void> {
  if (!isKept(options)) return
  const bytes = encodeUtf8(canonicalJson(file))
  await writeDurably(pathOf(options), options.tee === undefined ? bytes : await options.tee.seal(label, bytes))
}

async function readKeys(options: SigningKeyOptions): Promise<{ file: KeyFile; key: KeyObject } | undefined> {
  if (!isKept(options)) return undefined
  const path = pathOf(options)
  const stored = await readBounded(path, fileBytesMax)
  if (stored === undefined) return undefined
  // Windows has no such bits.
  if (options.tee === undefined && process.platform !== 'win32' && ((await stat(path)).mode & 0o077) !== 0) {
    throw refused(path, `is open to others; run: chmod 600 ${path}`)
  }
  const bytes = options.tee === undefined ? stored : await unseal(options.tee, stored, path)
  try {
    const file = fileSchema.parse(parseCanonicalJson(bytes, 'keys', fileBytesMax))
    const key = createPrivateKey({
      key: Buffer.from(decodeBase64url(file.signs, 'signs')),
      format: 'der',
      type: 'pkcs8',
    })
    if (key.asymmetricKeyType !== 'ec' || key.asymmetricKeyDetails?.namedCurve !== 'secp384r1') {
      throw new FormatError('signs', 'is no P-384 key')
    }
    return { file, key }
  } catch {
    // Without the cause: a reader may quote what it read.
    throw refused(path, 'is not as this service wrote it; restore it, or remove it to begin with another key')
  }
}

async function unseal(tee: TeeDriver, sealed: Uint8Array, path: string): Promise<Uint8Array> {
  try {
    return await tee.unseal(label, sealed)
  } catch (cause) {
    if (!(cause instanceof TeeError)) throw cause
    throw refused(path, 'was sealed by another measurement or altered; remove it to begin with another key')
  }
}

function refused(path: string, problem: string): AttestError {
  return new AttestError('ERR_STATE_NOT_OPENED', `${path}: ${problem}`)
}

function jwkOf(key: KeyObject): PublicJwk {
  const { x, y } = key.export({ format: 'jwk' }) as { x: string; y: string }
  return publicJwk(x, y)
}

function publicJwk(x: string, y: string): PublicJwk {
  // RFC 7638 §3.2: the required members in their order, without white space.
  const members = `{"crv":"P-384","kty":"EC","x":"${x}","y":"${y}"}`
  const kid = createHash('sha256').update(members).digest('base64url')
  return { kty: 'EC', crv: 'P-384', x, y, alg: 'ES384', use: 'sig', kid }
}
