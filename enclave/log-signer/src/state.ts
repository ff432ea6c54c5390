import { decodeBase64, encodeBase64, FormatError, parseCanonicalJson } from '@cella/bytes'
import { z } from 'zod'
import { SignerError } from './error.ts'

export interface Tree {
  readonly size: number
  readonly root: Uint8Array
}

/** What changes with every signature. */
export interface SignerState {
  /** Before the first signature: none. */
  readonly last: Tree | undefined
  readonly before: Tree | undefined
  /** Where the statement on this code stands in the log; `undefined` until that was shown. */
  readonly entry: number | undefined
  /** Digest of the statement of the code that the key was passed to: nothing is signed any more. */
  readonly passedTo: string | undefined
}

export const nothingSigned: SignerState = { last: undefined, before: undefined, entry: undefined, passedTo: undefined }

const treeSchema = z.strictObject({ root: z.string().length(44), size: z.int().min(0) })
export const stateSchema = z.strictObject({
  before: treeSchema.nullable(),
  entry: z.int().min(0).nullable(),
  last: treeSchema.nullable(),
  origin: z.string(),
  passedTo: z.string().nullable(),
  version: z.literal(1),
})
const keptSchema = z.strictObject({ generation: z.int().min(0), state: stateSchema })

/** The inverse of canonical JSON over `{"generation", "state"}`, where `stateJson` made the state. Throws ERR_SIGNER_STATE. */
export function parseState(bytes: Uint8Array, origin: string): { generation: number; state: SignerState } {
  const { generation, state } = parsed(keptSchema, bytes, 4096)
  return { generation, state: stateOf(state, origin) }
}

export function stateJson({ last, before, entry, passedTo }: SignerState, origin: string) {
  const tree = (one: Tree | undefined) => (one === undefined ? null : { root: encodeBase64(one.root), size: one.size })
  return {
    before: tree(before),
    entry: entry ?? null,
    last: tree(last),
    origin,
    passedTo: passedTo ?? null,
    version: 1,
  }
}

export function stateOf(json: z.infer<typeof stateSchema>, origin: string): SignerState {
  if (json.origin !== origin) throw new SignerError('ERR_SIGNER_STATE', `the state is of the log ${json.origin}`)
  const tree = (one: z.infer<typeof treeSchema> | null): Tree | undefined =>
    one === null ? undefined : { size: one.size, root: decodeBase64(one.root, 'root') }
  return {
    last: tree(json.last),
    before: tree(json.before),
    entry: json.entry ?? undefined,
    passedTo: json.passedTo ?? undefined,
  }
}

/** The value of canonical JSON of this form. Throws ERR_SIGNER_STATE. */
export function parsed<T>(schema: z.ZodType<T>, bytes: Uint8Array, bytesMax: number): T {
  try {
    const result = schema.safeParse(parseCanonicalJson(bytes, 'state', bytesMax))
    if (result.success) return result.data
  } catch (cause) {
    if (!(cause instanceof FormatError)) throw cause
  }
  throw new SignerError('ERR_SIGNER_STATE', 'what was kept is not of this version')
}
