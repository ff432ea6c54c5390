import { digestField, keyIdField, rootField } from '@cella/documents'
import { type InstallationTerms, readInvitation } from '@cella/sdk'
import { z } from 'zod'
import { CliError } from './error.ts'
import { readTextFile } from './files.ts'

const builds = z.array(digestField).min(1).max(64)

/**
 * What `cella up` writes about a server of one's own: enough to trust it, so it is read from one's own disk and never
 * from a manager.
 */
const installationSchema = z.object({
  format: z.literal('cella-installation/1'),
  manager: z.string().max(2048),
  /** Where others reach it, and SHA-256 of its TLS key's SubjectPublicKeyInfo. Absent from files of 0.1. */
  public: z
    .strictObject({ url: z.string().max(2048), tlsPin: digestField })
    .nullable()
    .default(null),
  /** A C2SP tlog-policy. */
  logPolicy: z.string().min(1).max(16_384),
  roots: z.array(rootField).min(1).max(16),
  /** Signing keys of the vaults. */
  vaults: z.array(keyIdField).min(1).max(64),
  /** Digests of the Build documents. */
  builds: z.object({
    vault: builds,
    worker: builds,
    attestationService: builds.exactOptional(),
    logSigner: builds.exactOptional(),
  }),
})
export type Installation = z.infer<typeof installationSchema>

/** Whether an address is of this machine alone, where plain HTTP will do. */
export function isThisMachine(url: string): boolean {
  return /^http:\/\/(?:localhost|\[::1\]|127(?:\.[0-9]{1,3}){3})(?::|\/|$)/.test(url)
}

/** What terms are made of, from the description of an installation or from an invitation to one. Throws ERR_FILE. */
export async function readInstallationTerms(path: string): Promise<InstallationTerms> {
  const text = await readTextFile(path)
  if (text.startsWith('{"format":"cella-invitation/')) return readInvitation(text).payload
  const { roots, builds, logPolicy } = parseInstallation(path, text)
  return { roots, builds, log: logPolicy }
}

/** Throws ERR_FILE. */
export async function readInstallation(path: string): Promise<Installation> {
  return parseInstallation(path, await readTextFile(path))
}

function parseInstallation(path: string, text: string): Installation {
  const wrong = (problem: string, cause?: unknown): CliError =>
    new CliError(
      'ERR_FILE',
      `${path} is no description of an installation: ${problem}`,
      '`cella up` writes one and says where; with an invitation, cella join FILE comes first',
      {
        cause,
      },
    )
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (cause) {
    throw wrong('it is not JSON', cause)
  }
  const parsed = installationSchema.safeParse(json)
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]
  throw wrong(`${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`)
}
