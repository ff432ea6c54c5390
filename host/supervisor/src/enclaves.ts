import { copyFileSync, existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { quiet, runToEnd } from './child.ts'
import { SupervisorError } from './error.ts'
import { readJson } from './files.ts'
import type { InstallationOptions } from './options.ts'
import { installSigner, type SignerFolder } from './signer-folder.ts'

const buildsSchema = z.looseObject({
  organisation: z.string(),
  builds: z.strictObject({
    vault: z.string(),
    worker: z.string(),
    attestationService: z.string().exactOptional(),
    logSigner: z.string().exactOptional(),
  }),
  bundles: z.array(z.looseObject({ role: z.string(), file: z.string().regex(/^[a-z-]+\.[cm]js$/) })),
  options: z.array(z.string()),
  /** What may be configured beside what every build knows. */
  settings: z.array(z.string()).default([]),
})

/** A folder of bundles, with what its `builds.json` says of them. */
export interface Enclaves extends z.infer<typeof buildsSchema> {
  readonly folder: string
}

const startedRoles: ReadonlySet<string> = new Set(['vault', 'worker', 'runner', 'attest', 'log-signer'])

/** Throws ERR_ENCLAVES_MISSING. */
export function readEnclaves(folder: string): Enclaves {
  const path = join(folder, 'builds.json')
  const parsed = buildsSchema.safeParse(readJson(path))
  if (!parsed.success) throw new SupervisorError('ERR_ENCLAVES_MISSING', `${path} is not what a build writes`)
  return { ...parsed.data, folder }
}

/**
 * The enclaves of this data folder: copied at its first start and kept, for what a vault seals opens under the same
 * measurement alone. Where there is a source tree and nothing was built yet, they are built first.
 */
export async function ownEnclaves(
  { dataFolder, enclaves, root, logSigner }: InstallationOptions,
  signal: AbortSignal,
): Promise<Enclaves> {
  const own = join(dataFolder, 'enclaves')
  if (existsSync(join(own, 'builds.json'))) return readEnclaves(own)
  const script = join(root, 'scripts/build-enclave.ts')
  if (!existsSync(join(enclaves, 'builds.json')) && existsSync(script)) {
    await runToEnd(process.execPath, [...quiet, script], signal)
  }
  if (!existsSync(join(enclaves, 'builds.json'))) {
    throw new SupervisorError('ERR_ENCLAVES_MISSING', `${join(enclaves, 'builds.json')} is not there`, {
      hint: 'npm run build:enclave makes it',
    })
  }
  const source = readEnclaves(enclaves)
  // What is copied is kept: what it lacks is said before.
  if (logSigner !== 'host') signerBuildOf(source)
  // The builder's key stays where it was made.
  copy(
    enclaves,
    own,
    source.bundles.filter(({ role }) => startedRoles.has(role)).map(({ file }) => file),
  )
  return readEnclaves(own)
}

/** Another build, copied beside the first and kept: what its vault seals opens under its measurement alone. */
export function nextEnclaves(dataFolder: string, source: string | undefined): Enclaves | undefined {
  const folder = join(dataFolder, 'enclaves-next')
  if (!existsSync(join(folder, 'builds.json'))) {
    if (source === undefined) return undefined
    copy(source, folder, [bundleOf(readEnclaves(source), 'vault')])
  }
  return readEnclaves(folder)
}

/** `builds.json` comes last, for it says that all others are there. */
function copy(from: string, to: string, files: readonly string[]): void {
  mkdirSync(to, { recursive: true, mode: 0o700 })
  for (const name of [...files, 'builds.json']) copyFileSync(join(from, name), join(to, name))
}

/** Name of a role's file: what a data folder keeps may be of an older build. */
export function bundleOf({ bundles }: Enclaves, role: string): string {
  const found = bundles.find((bundle) => bundle.role === role)
  if (found === undefined) throw new SupervisorError('ERR_ENCLAVES_MISSING', `builds.json names no ${role}`)
  return found.file
}

/** The log signer of a build, copied to where versions of it are kept. */
export function signerOf(dataFolder: string, enclaves: Enclaves): SignerFolder {
  const { organisation, options, folder } = enclaves
  const build = signerBuildOf(enclaves)
  return installSigner(dataFolder, join(folder, bundleOf(enclaves, 'log-signer')), { organisation, build, options })
}

function signerBuildOf({ builds, folder }: Enclaves): string {
  if (builds.logSigner !== undefined) return builds.logSigner
  throw new SupervisorError('ERR_ENCLAVES_MISSING', `${folder} was built without a log signer`, {
    hint: 'npm run build:enclave makes it; or say --log-signer host',
  })
}
