import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { placeOfBlobs } from '@cella/blobs'
import { z } from 'zod'
import { type Enclaves, signerOf } from './enclaves.ts'
import { SupervisorError } from './error.ts'
import { readJson, writeJson } from './files.ts'
import type { InstallationOptions } from './options.ts'

const stateSchema = z.strictObject({
  origin: z.string(),
  workerToken: z.string(),
  ports: z.array(z.int()),
  witnesses: z.array(z.strictObject({ vkey: z.string(), url: z.string() })),
  /** The version of the log signer that holds the log's key; `host`: a file does. */
  logSigner: z.string().default('host'),
  /** The version that the key is passing to. */
  nextLogSigner: z.string().exactOptional(),
  /** The log's key, once it is known. */
  vkey: z.string().exactOptional(),
  /** Where ciphertext lies: below the data folder, or in which S3 store. */
  blobs: z.string().default('folder'),
  /** The vault's kind of TEE first, then those of the workers. */
  tees: z.array(z.string()).min(2).default(['sev-snp', 'sev-snp']),
})

/** What a data folder keeps of its installation from one start to the next: DATA/state.json. */
export type State = z.infer<typeof stateSchema>

/** What is kept, with what the options add to it; of a new data folder, what it begins with. Throws ERR_DATA_MALFORMED. */
export function readState(options: InstallationOptions, enclaves: Enclaves): State {
  const path = join(options.dataFolder, 'state.json')
  const known = readJson(path)
  const parsed = stateSchema.safeParse(
    known ?? {
      origin: `cella.local/${randomBytes(8).toString('hex')}`,
      workerToken: randomBytes(32).toString('base64url'),
      ports: [],
      witnesses: [],
      blobs: options.blobs === undefined ? 'folder' : placeOfBlobs(options.blobs),
      logSigner: options.logSigner === 'host' ? 'host' : signerOf(options.dataFolder, enclaves).id,
      ...(options.tees.length > 0 && { tees: [options.tees[0], ...options.tees] }),
    },
  )
  if (!parsed.success) {
    throw new SupervisorError('ERR_DATA_MALFORMED', `${path} is not what a supervisor writes`, {
      hint: 'restore it from a backup, or start anew with another --data folder',
    })
  }
  requirePlace(options, parsed.data.blobs)
  const others = options.witnesses.filter(({ vkey }) => !parsed.data.witnesses.some((one) => one.vkey === vkey))
  const [vault, ...workers] = parsed.data.tees
  const tees = options.tees.length > 0 ? options.tees : workers
  return { ...parsed.data, witnesses: [...parsed.data.witnesses, ...others], tees: [vault!, ...tees] }
}

/** Ciphertext that is not found would read as lost. Throws ERR_DATA_MISMATCH for another place than that of before. */
function requirePlace({ blobs }: InstallationOptions, before: string): void {
  const given = blobs === undefined ? 'folder' : placeOfBlobs(blobs)
  if (given === before) return
  const words = (place: string): string => (place === 'folder' ? 'its own folder' : place)
  throw new SupervisorError(
    'ERR_DATA_MISMATCH',
    `the blobs of this installation lie in ${words(before)}, and it was started for ${words(given)}`,
    {
      hint:
        before === 'folder'
          ? 'leave --blobs out; a backup moves them: cella backup restore … --blobs FILE'
          : 'cella up --blobs FILE',
    },
  )
}

export function keepState(dataFolder: string, state: State): State {
  writeJson(join(dataFolder, 'state.json'), state)
  return state
}
