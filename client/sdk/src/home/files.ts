import { mkdir, readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { writeFileAtomically } from '@cella/files'
import type { z } from 'zod'
import { SdkError } from '../error.ts'

const fileBytesMax = 16 * 1024 * 1024

/** The JSON of `path` as `schema` describes it, or undefined where there is no such file. */
export async function readJsonFile<Value>(path: string, schema: z.ZodType<Value>): Promise<Value | undefined> {
  const bytes = await readOptional(path)
  if (bytes === undefined) return undefined
  let json: unknown
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw new SdkError('ERR_HOME_MALFORMED', `${path} is not JSON`, { cause, hint: 'restore it, or move it away' })
  }
  const parsed = schema.safeParse(json)
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]
  throw new SdkError('ERR_HOME_MALFORMED', `${path}: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`, {
    hint: 'it may be of another release; restore it, or move it away',
  })
}

/** Readable and writable by its owner alone; whole or not at all. Folders are made as needed, for the owner alone. */
export async function writeJsonFile(path: string, value: unknown): Promise<void> {
  await writeOwnFile(path, new TextEncoder().encode(`${JSON.stringify(value, undefined, 2)}\n`))
}

/** Bytes instead of JSON, in the same way. */
export async function writeOwnFile(path: string, bytes: Uint8Array): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  await writeFileAtomically(path, bytes, { overwrite: true, mode: 0o600 })
}

/** The bytes of `path`, at most 16 MiB, or undefined where there is no such file. */
export async function readOptional(path: string): Promise<Uint8Array | undefined> {
  let bytes: Uint8Array
  try {
    bytes = await readFile(path)
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new SdkError('ERR_HOME_MALFORMED', `${path} can't be read`, { cause })
  }
  if (bytes.length > fileBytesMax)
    throw new SdkError('ERR_HOME_MALFORMED', `${path} has more than ${fileBytesMax} bytes`)
  return bytes
}
