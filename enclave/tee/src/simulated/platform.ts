import { join } from 'node:path'
import {
  canonicalJson,
  type Digest,
  encodeBase64url,
  encodeHex,
  FormatError,
  parseCanonicalJson,
  Secret,
} from '@cella/bytes'
import type { SnpRoot } from '@cella/evidence'
import { issueArk, issueAsk } from '@cella/evidence/sev-snp-issue'
import { digestOf, randomBytes } from '@cella/primitives'
import { TeeError } from '../error.ts'
import {
  base64url,
  exists,
  fields,
  issuerJson,
  readIssuer,
  readPrivate,
  type SimulatedIssuer,
  writeNew,
} from './folder.ts'
import { certificateSigner, generateRsaKey, spkiOf } from './keys.ts'
import { type SimulatedProduct, simulatedProducts } from './products.ts'

const fileName = 'simulated-platform.json'
const fileBytesMax = 32_768
const day = 86_400
/** Seconds: certificates are as of a machine that was bought a year ago, so that a clock that is behind takes them. */
export const certifiedBefore: number = 365 * day

/** What takes the place of AMD and of the chip: root keys and a chip, made by this installation and known to no other. */
export interface SimulatedPlatform {
  readonly product: SimulatedProduct
  readonly ark: SimulatedIssuer
  readonly ask: SimulatedIssuer
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
  const path = join(folder, fileName)
  if (await exists(path)) throw alreadyThere(folder)
  const [arkKey, askKey] = await Promise.all([generateRsaKey(), generateRsaKey()])
  // AMD gives its roots 25 years too.
  const times = { notBefore: createdAt - certifiedBefore, notAfter: createdAt + 25 * 365 * day }
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
    ark: issuerJson({ key: arkKey, certificate: ark }),
    ask: issuerJson({ key: askKey, certificate: ask }),
  })
  if (!(await writeNew(path, written))) throw alreadyThere(folder)
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
export function readSimulatedPlatform(folder: string): Promise<SimulatedPlatform> {
  return readPrivate(join(folder, fileName), fileBytesMax, parsePlatform)
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
    ark: readIssuer(file.ark!),
    ask: readIssuer(file.ask!),
    chipId: Uint8Array.fromHex(chip),
    createdAt: created,
    sealingSecret: new Secret(secret),
  }
}

function alreadyThere(folder: string): TeeError {
  return new TeeError('ERR_TEE_EXISTS', `${folder}: has a simulated platform already; use it or choose another folder`)
}
