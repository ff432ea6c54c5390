import { readdir } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { type Digest, encodeHex, encodeUtf8 } from '@cella/bytes'
import { digestField, parseDocument } from '@cella/documents'
import { encodeLogMemory, type LogMemory, parseLogMemory } from '@cella/log'
import { sha256 } from '@cella/primitives'
import { anchorsFileSchema, type StoredAnchors } from '@cella/verify'
import { z } from 'zod'
import { SdkError } from '../error.ts'
import { readJsonFile, readOptional, writeJsonFile, writeOwnFile } from './files.ts'

const profileName = z.string().regex(/^[a-z0-9][a-z0-9._-]{0,63}$/)

const homeSchema = z.strictObject({ format: z.literal('cella-home/1'), profile: profileName })

const profileSchema = z.strictObject({
  format: z.literal('cella-profile/1'),
  /** Address of the manager. */
  manager: z.string().max(2048).nullable(),
  /** SHA-256 of its TLS key's SubjectPublicKeyInfo; null: as certificate authorities say. */
  tlsPin: digestField.nullable().default(null),
  /** Id of one's own organisation, and one's membership in it. */
  organisation: digestField.nullable(),
  membership: digestField.nullable(),
})
export type Profile = Omit<z.infer<typeof profileSchema>, 'format'>

const savedDocumentSchema = z.strictObject({ document: z.string(), salt: z.string() })
/** A document that this profile signed, with the salt of its leaf. */
export type SavedDocument = z.infer<typeof savedDocumentSchema>

/** The folder of one person's Cella: profiles, each with keys, anchors and what it saw of the logs. */
export interface Home {
  readonly folder: string
  /** Name of the profile in use. */
  readonly profileName: string
  /** Where `@cella/keystore` keeps this profile's keys. */
  readonly keystorePath: string
  /** Where `cella up` keeps the server's data. */
  readonly serverFolder: string
  profiles(): Promise<string[]>
  /** Makes a profile the one that is used where none is named. */
  useProfile(name: string): Promise<void>
  profile(): Promise<Profile>
  saveProfile(change: Partial<Profile>): Promise<Profile>
  anchors(): Promise<StoredAnchors>
  saveAnchors(anchors: StoredAnchors): Promise<void>
  /** What was seen last of the log with this origin. */
  logMemory(origin: string): Promise<LogMemory | undefined>
  /** Keeps it; a memory of fewer leaves than the one kept is dropped. */
  saveLogMemory(memory: LogMemory): Promise<void>
  saveDocument(document: string, salt: Uint8Array): Promise<void>
  savedDocument(digest: Digest): Promise<SavedDocument | undefined>
}

export interface HomeOptions {
  /** Default: `CELLA_HOME`, else `.cella` in the person's home folder. */
  readonly folder?: string | undefined
  /** Default: the one named in the home's `config.json`, else `default`. */
  readonly profile?: string | undefined
  readonly env?: Readonly<Record<string, string | undefined>>
}

/** Opens a home; nothing is written before something has to be kept. Throws SdkError ERR_HOME_MALFORMED. */
export async function openHome(options: HomeOptions = {}): Promise<Home> {
  const env = options.env ?? process.env
  const folder = resolve(options.folder ?? (env.CELLA_HOME || join(homedir(), '.cella')))
  const configured = await readJsonFile(join(folder, 'config.json'), homeSchema)
  const name = options.profile ?? (env.CELLA_PROFILE || configured?.profile) ?? 'default'
  if (!profileName.safeParse(name).success) {
    throw new SdkError('ERR_HOME_MALFORMED', `“${name}” is no name of a profile`, {
      hint: 'a to z, digits, “-”, “_”, “.”, at most 64 characters',
    })
  }
  const own = join(folder, 'profiles', name)
  const file = (...path: string[]): string => join(own, ...path)
  const memoryFile = (origin: string): string => file('log', `${encodeHex(sha256(encodeUtf8(origin)))}.json`)

  const profile = async (): Promise<Profile> => {
    const { format: _, ...stored } = (await readJsonFile(file('profile.json'), profileSchema)) ?? {
      format: 'cella-profile/1',
      manager: null,
      tlsPin: null,
      organisation: null,
      membership: null,
    }
    return stored
  }
  const logMemory = async (origin: string): Promise<LogMemory | undefined> => {
    const bytes = await readOptional(memoryFile(origin))
    return bytes && parseLogMemory(bytes)
  }

  return {
    folder,
    profileName: name,
    keystorePath: file('keystore.json'),
    serverFolder: join(folder, 'server'),
    profile,
    logMemory,
    async profiles() {
      try {
        return (await readdir(join(folder, 'profiles'))).filter((entry) => profileName.safeParse(entry).success).sort()
      } catch {
        return []
      }
    },
    async useProfile(wanted) {
      await writeJsonFile(join(folder, 'config.json'), homeSchema.parse({ format: 'cella-home/1', profile: wanted }))
    },
    async saveProfile(change) {
      const before = await profile()
      // What was known of one manager's key says nothing of another's.
      const moved = change.manager !== undefined && change.manager !== before.manager
      const changed = { ...before, ...(moved && { tlsPin: null }), ...change }
      await writeJsonFile(file('profile.json'), { format: 'cella-profile/1', ...changed })
      return changed
    },
    async anchors() {
      const stored = await readJsonFile(file('anchors.json'), anchorsFileSchema)
      return stored ?? { format: 'cella-anchors/1', organisations: [], logs: [], roots: [] }
    },
    async saveAnchors(anchors) {
      await writeJsonFile(file('anchors.json'), anchorsFileSchema.parse(anchors))
    },
    async saveLogMemory(memory) {
      const known = await logMemory(memory.origin)
      if (known !== undefined && known.size > memory.size) return
      await writeOwnFile(memoryFile(memory.origin), encodeLogMemory(memory))
    },
    async saveDocument(document, salt) {
      const { digest } = parseDocument(document)
      await writeJsonFile(file('documents', `${digest}.json`), { document, salt: encodeHex(salt) })
    },
    savedDocument: (digest) => readJsonFile(file('documents', `${digest}.json`), savedDocumentSchema),
  }
}
