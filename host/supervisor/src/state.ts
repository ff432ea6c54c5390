import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
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
      logSigner: options.logSigner === 'host' ? 'host' : signerOf(options.dataFolder, enclaves).id,
      ...(options.tees.length > 0 && { tees: [options.tees[0], ...options.tees] }),
    },
  )
  if (!parsed.success) {
    throw new SupervisorError('ERR_DATA_MALFORMED', `${path} is not what a supervisor writes`, {
      hint: 'restore it from a backup, or start anew with another --data folder',
    })
  }
  const others = options.witnesses.filter(({ vkey }) => !parsed.data.witnesses.some((one) => one.vkey === vkey))
  const [vault, ...workers] = parsed.data.tees
  const tees = options.tees.length > 0 ? options.tees : workers
  return { ...parsed.data, witnesses: [...parsed.data.witnesses, ...others], tees: [vault!, ...tees] }
}

export function keepState(dataFolder: string, state: State): State {
  writeJson(join(dataFolder, 'state.json'), state)
  return state
}
