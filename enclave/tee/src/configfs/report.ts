import { join } from 'node:path'
import { encodeHex, encodeUtf8 } from '@cella/bytes'
import { randomBytes } from '@cella/primitives'
import { TeeError, type TeeErrorCode } from '../error.ts'
import { errorName, within } from '../files.ts'
import type { TsmFiles } from './tsm-files.ts'

// One report of Linux configfs-tsm: Documentation/ABI/testing/configfs-tsm-report. Kernel 6.7 and later.

const providers = ['sev_guest', 'tdx_guest', 'arm_cca_guest'] as const
export type TsmProvider = (typeof providers)[number]

/** The kernel's own cap was 32 KiB and grew; evidence of more could not travel. */
const blobBytesMax = 65_536
const attributeBytesMax = 64
const tries = 4
/** Another guest process holds the firmware, a signal came, or the configuration changed under us. */
const passing: readonly string[] = ['EBUSY', 'EAGAIN', 'EINTR']

export interface TsmBlobs {
  readonly out: Uint8Array
  /** Empty where the provider has none. */
  readonly aux: Uint8Array
}

/** Where reports are made, and how long one try may take. */
export interface TsmPlace {
  readonly folder: string
  readonly files: TsmFiles
  readonly timeoutMs: number
}

/** Asks which provider is registered, and for nothing else. Throws TeeError. */
export function tsmProvider(place: TsmPlace): Promise<TsmProvider> {
  return inPrivateFolder(place, (path) => readProvider(place.files, path))
}

/**
 * A report over `binding` (64 bytes), with a fresh folder for each of at most four tries. Throws TeeError: ERR_TEE_BUSY
 * where another process kept disturbing, ERR_TEE_TIMEOUT, ERR_TEE_REFUSED, ERR_TEE_UNAVAILABLE or ERR_TEE_MALFORMED.
 */
export async function tsmReport(
  place: TsmPlace,
  provider: TsmProvider,
  binding: Uint8Array,
  privilegeLevel: number | undefined,
): Promise<TsmBlobs> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await inPrivateFolder(place, async (path) => {
        const found = await readProvider(place.files, path)
        if (found !== provider) {
          throw new TeeError('ERR_TEE_MALFORMED', `${path}: provider is ${found}, was ${provider}`)
        }
        return await oneReport(place.files, path, binding, privilegeLevel)
      })
    } catch (error) {
      if (!(error instanceof TeeError) || error.code !== 'ERR_TEE_BUSY' || attempt === tries) throw error
      await new Promise((resolve) => setTimeout(resolve, 4 ** attempt))
    }
  }
}

async function oneReport(
  files: TsmFiles,
  path: string,
  binding: Uint8Array,
  privilegeLevel: number | undefined,
): Promise<TsmBlobs> {
  const before = await generation(files, path)
  let writes = 1n
  if (privilegeLevel !== undefined) {
    await choosePrivilegeLevel(files, path, privilegeLevel)
    writes += 1n
  }
  await files.write(join(path, 'inblob'), binding)
  const out = await files.read(join(path, 'outblob'), blobBytesMax)
  const aux = (await optional(files, join(path, 'auxblob'), blobBytesMax)) ?? new Uint8Array()
  // Each write counts one up: anything else means that someone else wrote, and that the report may be over their bytes.
  const after = await generation(files, path)
  if (after !== before + writes) {
    const problem = `generation is ${after}, expected ${before + writes}: another process wrote here`
    throw new TeeError('ERR_TEE_BUSY', `${path}: ${problem}`)
  }
  return { out, aux }
}

async function choosePrivilegeLevel(files: TsmFiles, path: string, level: number): Promise<void> {
  const floor = Number((await text(files, join(path, 'privlevel_floor'))) ?? 0)
  if (!(Number.isInteger(level) && level >= floor && level <= 3)) {
    throw new TeeError('ERR_TEE_REFUSED', `privilege level ${level}: this kernel gives reports of ${floor} to 3`)
  }
  await files.write(join(path, 'privlevel'), encodeUtf8(String(level)))
}

/** Runs `work` in a folder of a name that nobody can guess, and takes it away again whatever happens. */
async function inPrivateFolder<T>(
  { folder, files, timeoutMs }: TsmPlace,
  work: (path: string) => Promise<T>,
): Promise<T> {
  const path = join(folder, `cella-${encodeHex(randomBytes(16))}`)
  const [outcome] = await Promise.allSettled([
    within(timeoutMs, folder, files.makeFolder(path)).then(async () => {
      const [inside] = await Promise.allSettled([within(timeoutMs, folder, work(path))])
      await files.removeFolder(path)
      return inside
    }),
  ])
  if (outcome.status === 'rejected') throw told(folder, outcome.reason)
  if (outcome.value.status === 'rejected') throw told(folder, outcome.value.reason)
  return outcome.value.value
}

async function readProvider(files: TsmFiles, path: string): Promise<TsmProvider> {
  const found = (await text(files, join(path, 'provider'))) ?? ''
  const provider = providers.find((name) => name === found)
  if (provider === undefined) {
    throw new TeeError('ERR_TEE_UNAVAILABLE', `provider is ${JSON.stringify(found)}, known are ${providers.join(', ')}`)
  }
  return provider
}

async function generation(files: TsmFiles, path: string): Promise<bigint> {
  const found = (await text(files, join(path, 'generation'))) ?? ''
  if (!/^[0-9]{1,20}$/.test(found)) throw new TeeError('ERR_TEE_MALFORMED', `${path}/generation: is not a number`)
  return BigInt(found)
}

/** A text attribute without its line end; undefined where the kernel has no such attribute. */
async function text(files: TsmFiles, path: string): Promise<string | undefined> {
  const bytes = await optional(files, path, attributeBytesMax)
  return bytes && new TextDecoder().decode(bytes).replace(/\n$/, '')
}

async function optional(files: TsmFiles, path: string, bytesMax: number): Promise<Uint8Array | undefined> {
  try {
    return await files.read(path, bytesMax)
  } catch (error) {
    if (errorName(error) === 'ENOENT') return undefined
    throw error
  }
}

function told(folder: string, error: unknown): Error {
  if (error instanceof TeeError) return error
  const name = errorName(error)
  const [code, why] = passing.includes(name) ? busy : (explanations[name] ?? refused)
  return new TeeError(code, `${folder}: ${name}: ${why}`, { cause: error })
}

type Explanation = readonly [TeeErrorCode, string]
const busy: Explanation = ['ERR_TEE_BUSY', 'still busy after all tries']
const refused: Explanation = ['ERR_TEE_REFUSED', 'the kernel refused the report']
const noProvider: Explanation = ['ERR_TEE_UNAVAILABLE', 'load sev-guest, tdx_guest or arm-cca-guest']
const notAllowed: Explanation = ['ERR_TEE_UNAVAILABLE', 'run as root or give the folder to this user']
const explanations: Readonly<Record<string, Explanation>> = {
  EFBIG: ['ERR_TEE_REFUSED', 'the report is larger than this kernel hands out; a newer one may'],
  ETIMEDOUT: ['ERR_TEE_TIMEOUT', 'the host’s quote service does not answer'],
  ENOTTY: noProvider,
  ENXIO: noProvider,
  ENOENT: noProvider,
  EACCES: notAllowed,
  EPERM: notAllowed,
}
