import { createHash } from 'node:crypto'
import { copyFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { z } from 'zod'
import { SupervisorError } from './error.ts'
import { readJson, writeJson } from './files.ts'

// DATA/log-signer/ID: one version of the log signer with what it sealed. ID is the beginning of its bundle's digest: what
// one version sealed, no other opens.

const buildSchema = z.strictObject({
  organisation: z.string(),
  build: z.string(),
  options: z.array(z.string()),
  file: z.string(),
})

/** One version of the log signer of a data folder. */
export interface SignerFolder extends z.infer<typeof buildSchema> {
  readonly id: string
  readonly folder: string
  readonly bundle: string
}

/** Copies the bundle of a log signer, once; its `build.json` comes last. */
export function installSigner(
  dataFolder: string,
  source: string,
  { organisation, build, options }: Omit<z.infer<typeof buildSchema>, 'file'>,
): SignerFolder {
  if (!existsSync(source)) {
    throw new SupervisorError('ERR_ENCLAVES_MISSING', `${source} is not there`, {
      hint: 'npm run build:enclave makes it',
    })
  }
  const id = createHash('sha256').update(readFileSync(source)).digest('hex').slice(0, 16)
  const folder = join(dataFolder, 'log-signer', id)
  if (!existsSync(join(folder, 'build.json'))) {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    const file = basename(source)
    copyFileSync(source, join(folder, file))
    writeJson(join(folder, 'build.json'), { organisation, build, options, file })
  }
  return openSigner(dataFolder, id)
}

/** Throws ERR_DATA_MALFORMED where the folder lacks what was copied. */
export function openSigner(dataFolder: string, id: string): SignerFolder {
  const folder = join(dataFolder, 'log-signer', id)
  const parsed = buildSchema.safeParse(readJson(join(folder, 'build.json')))
  if (!parsed.success) {
    throw new SupervisorError('ERR_DATA_MALFORMED', `${folder} lacks the log signer that holds this log’s key`, {
      hint: 'no backup holds it: after a restore, cella log succeed gives the log a successor',
    })
  }
  return { ...parsed.data, id, folder, bundle: join(folder, parsed.data.file) }
}
