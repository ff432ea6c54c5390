import type { KeyObject } from 'node:crypto'
import { link, lstat, mkdir, open, readFile, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import {
  canonicalJson,
  type Digest,
  decodeBase64url,
  encodeBase64url,
  encodeHex,
  FormatError,
  type Json,
  parseCanonicalJson,
  Secret,
} from '@cella/bytes'
import type { SnpRoot } from '@cella/evidence'
import { issueArk, issueAsk } from '@cella/evidence/sev-snp-issue'
import { digestOf, randomBytes } from '@cella/primitives'
import { TeeError } from '../error.ts'
import { certificateSigner, exportKey, generateRsaKey, importKey, spkiOf } from './keys.ts'
import { type SimulatedProduct, simulatedProducts } from './products.ts'

const fileName = 'simulated-platform.json'
const fileBytesMax = 32_768
const day = 86_400

/** What takes the place of AMD and of the chip: root keys and a chip, made by this installation and known to no other. */
export interface SimulatedPlatform {
  readonly product: SimulatedProduct
  readonly ark: { readonly key: KeyObject; readonly certificate: Uint8Array }
  readonly ask: { readonly key: KeyObject; readonly certificate: Uint8Array }
  /** 64 bytes, of Turin only the first 8 set. */
  readonly chipId: Uint8Array
  /** Unix seconds. */
  readonly createdAt: number
  /** 32 bytes, the root of all sealing keys. */
  readonly sealingSecret: Secret
}

/** What an organisation puts into its terms when it accepts evidence of this simulated platform. */
export interface SimulatedRoot {
  readonly root: SnpRoot
  /** DER: the intermediate and the root, as they travel with each evidence. */
  readonly certificates: readonly [ask: Uint8Array, ark: Uint8Array]
}

/**
 * Makes a simulated platform in `folder` (made if absent, 0700): an ARK and an ASK with fresh RSA-4096 keys, a random
 * chip and a sealing secret, in one file only its user can read (0600). Takes one to three seconds. Throws TeeError
 * ERR_TEE_EXISTS where there is one already: a root that others trust must not be replaced unseen.
 */
export async function createSimulatedPlatform(
  folder: string,
  options: { readonly product?: SimulatedProduct; readonly now?: number } = {},
): Promise<SimulatedRoot> {
  const product = options.product ?? 'Milan'
  const createdAt = Math.floor(options.now ?? Date.now() / 1000)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const path = join(folder, fileName)
  if (await exists(path)) throw alreadyThere(folder)
  const [arkKey, askKey] = await Promise.all([generateRsaKey(), generateRsaKey()])
  // From the day before, so that a clock a little behind takes it; AMD gives its roots 25 years too.
  const times = { notBefore: createdAt - day, notAfter: createdAt + 25 * 365 * day }
  const sign = certificateSigner(arkKey)
  const [ark, ask] = await Promise.all([
    issueArk({ product, spki: spkiOf(arkKey), sign, ...times }),
    issueAsk({ product, vek: 'vcek', spki: spkiOf(askKey), sign, ...times }),
  ])
  const chipId = new Uint8Array(64)
  chipId.set(randomBytes(simulatedProducts[product].chipIdLength))
  const written = canonicalJson({
    version: 1,
    product,
    created: createdAt,
    chip: encodeHex(chipId),
    sealing: encodeBase64url(randomBytes(32)),
    ark: { key: encodeBase64url(exportKey(arkKey)), certificate: encodeBase64url(ark) },
    ask: { key: encodeBase64url(exportKey(askKey)), certificate: encodeBase64url(ask) },
  })
  await writeOnce(folder, path, written)
  return rootOf(product, ask, ark, spkiOf(arkKey))
}

/** The root of the simulated platform in `folder`. Throws TeeError. */
export async function simulatedRoot(folder: string): Promise<SimulatedRoot> {
  const { product, ark, ask } = await readSimulatedPlatform(folder)
  return rootOf(product, ask.certificate, ark.certificate, spkiOf(ark.key))
}

function rootOf(product: SimulatedProduct, ask: Uint8Array, ark: Uint8Array, spki: Uint8Array): SimulatedRoot {
  const digest: Digest = digestOf(spki)
  return { root: { tee: 'sev-snp', product, spki: digest, simulated: true }, certificates: [ask, ark] }
}

/** Reads the platform in `folder`. Throws TeeError: absent, open to other users, or not as it was written. */
export async function readSimulatedPlatform(folder: string): Promise<SimulatedPlatform> {
  const path = join(folder, fileName)
  let bytes: Uint8Array
  try {
    const status = await lstat(path)
    if (!status.isFile() || status.size > fileBytesMax)
      throw new TeeError('ERR_TEE_MALFORMED', `${path}: is no platform`)
    // Windows has no such bits.
    if (process.platform !== 'win32' && status.mode & 0o077) {
      throw new TeeError('ERR_TEE_UNAVAILABLE', `${path}: other users can read its keys; chmod 600 it`)
    }
    bytes = await readFile(path)
  } catch (cause) {
    if (cause instanceof TeeError) throw cause
    throw new TeeError('ERR_TEE_UNAVAILABLE', `${path}: can't be read; make the platform first`, { cause })
  }
  try {
    return parsePlatform(bytes)
  } catch (cause) {
    // The cause stays out: a key's reader may quote what it read.
    const problem = cause instanceof FormatError ? cause.message : 'holds a key that can’t be read'
    throw new TeeError('ERR_TEE_MALFORMED', `${path}: ${problem}`)
  } finally {
    bytes.fill(0)
  }
}

function parsePlatform(bytes: Uint8Array): SimulatedPlatform {
  const file = fields(parseCanonicalJson(bytes, 'platform', fileBytesMax), [
    'ark',
    'ask',
    'chip',
    'created',
    'product',
    'sealing',
    'version',
  ])
  const { product, created, chip } = file
  if (file.version !== 1) throw new FormatError('version', 'is not 1')
  if (typeof product !== 'string' || !Object.hasOwn(simulatedProducts, product)) {
    throw new FormatError('product', 'is not one that is simulated')
  }
  if (typeof created !== 'number') throw new FormatError('created', 'is not a number')
  if (typeof chip !== 'string' || !/^[0-9a-f]{128}$/.test(chip)) throw new FormatError('chip', 'is not 64 bytes')
  const secret = base64url(file.sealing!, 'sealing')
  if (secret.length !== 32) throw new FormatError('sealing', 'is not 32 bytes')
  return {
    product: product as SimulatedProduct,
    ark: issuer(file.ark!),
    ask: issuer(file.ask!),
    chipId: Uint8Array.fromHex(chip),
    createdAt: created,
    sealingSecret: new Secret(secret),
  }
}

function issuer(value: Json): SimulatedPlatform['ark'] {
  const { key, certificate } = fields(value, ['certificate', 'key'])
  const pkcs8 = base64url(key!, 'key')
  try {
    return { key: importKey(pkcs8), certificate: base64url(certificate!, 'certificate') }
  } finally {
    pkcs8.fill(0)
  }
}

function fields(value: Json, names: readonly string[]): Record<string, Json> {
  const found = typeof value === 'object' && value !== null ? Object.keys(value).sort() : []
  if (found.join() !== names.join()) throw new FormatError('platform', `has not the members ${names.join(', ')}`)
  return value as Record<string, Json>
}

function base64url(value: Json, field: string): Uint8Array {
  if (typeof value !== 'string') throw new FormatError(field, 'is not text')
  return decodeBase64url(value, field)
}

/** Whole or not at all, and never over another: the name is linked only once the bytes are on the disk. */
async function writeOnce(folder: string, path: string, text: string): Promise<void> {
  const temporary = join(folder, `.${fileName}.${encodeHex(randomBytes(8))}`)
  const file = await open(temporary, 'wx', 0o600)
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
  try {
    await link(temporary, path)
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EEXIST') throw alreadyThere(folder)
    throw new TeeError('ERR_TEE_UNAVAILABLE', `${path}: can't be written`, { cause })
  } finally {
    await unlink(temporary)
  }
}

async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  )
}

function alreadyThere(folder: string): TeeError {
  return new TeeError('ERR_TEE_EXISTS', `${folder}: has a simulated platform already; use it or choose another folder`)
}
