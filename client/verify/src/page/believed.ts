import { encodeUtf8, FormatError } from '@cella/bytes'
import { digestField, keyIdField } from '@cella/documents'
import { LogError } from '@cella/log'
import { anchorsFileSchema, anchorsOf, type FileAnchors, type StoredAnchors } from '../anchors.ts'
import { parsePublicKey } from '../public-key.ts'

/** Something that the person gave can't be understood. */
export class Wrong extends Error {}

/** What stands in the fields of the page; an empty text says nothing. */
export interface Given {
  readonly anchors: string
  readonly policy: string
  readonly independent: string
  readonly organisations: string
  readonly vaults: string
  readonly key: string
  readonly entry: Uint8Array | undefined
  readonly now: number
}

/** The person's anchors. Throws Wrong, naming the field. */
export function believed(given: Given): {
  anchors: FileAnchors
  entry: Uint8Array | undefined
  key: Uint8Array | undefined
} {
  const stored = storedOf(given.anchors)
  const independentWitnesses = given.independent.split(/[\s,]+/).filter((name) => name !== '')
  const logs =
    given.policy === ''
      ? stored.logs.map((log) => ({
          ...log,
          independentWitnesses: [...log.independentWitnesses, ...independentWitnesses],
        }))
      : [...stored.logs, { policy: `${given.policy}\n`, independentWitnesses }]
  const organisations = [...stored.organisations, ...linesOf(given.organisations).map(organisationOf)]
  const vaults = linesOf(given.vaults).map((line) => {
    const parsed = keyIdField.safeParse(line)
    if (!parsed.success) throw new Wrong(`“${line}” is no id of a vault: it has 43 characters.`)
    return parsed.data
  })
  try {
    return {
      anchors: anchorsOf({ ...stored, logs, organisations }, given.now, vaults),
      entry: given.entry,
      key: given.key === '' ? undefined : parsePublicKey(given.key),
    }
  } catch (error) {
    if (error instanceof LogError) throw new Wrong(`The policy of the log: ${error.message}.`)
    if (error instanceof FormatError) throw new Wrong(`The key: ${error.message}.`)
    throw error
  }
}

function storedOf(text: string): StoredAnchors {
  if (text === '') return { format: 'cella-anchors/1', organisations: [], logs: [], roots: [] }
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    throw new Wrong('The anchors are no JSON.')
  }
  const parsed = anchorsFileSchema.safeParse(json)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  throw new Wrong(`The anchors: ${issue?.path.join('.')}: ${issue?.message}.`)
}

function organisationOf(line: string): StoredAnchors['organisations'][number] {
  const [, id, name] = /^(\S+)(?:\s+(.+))?$/.exec(line) ?? []
  const parsed = digestField.safeParse(id)
  if (!parsed.success)
    throw new Wrong(`“${line}” does not begin with the id of an organisation: 64 hexadecimal digits.`)
  return { id: parsed.data, name: name ?? parsed.data.slice(0, 12) }
}

function linesOf(text: string): string[] {
  if (encodeUtf8(text).length > 1_048_576) throw new Wrong('A field has more than 1 MiB.')
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
}
