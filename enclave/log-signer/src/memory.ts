import {
  canonicalJson,
  decodeBase64,
  decodeUtf8,
  encodeBase64,
  encodeUtf8,
  FormatError,
  parseCanonicalJson,
} from '@cella/bytes'
import type { TeeDriver } from '@cella/tee'
import { z } from 'zod'
import { SignerError } from './error.ts'
import { readSealed, writeSealed } from './sealed-files.ts'

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

/** All that a signer is. Statements are on its key, oldest first; the last is on itself. */
export interface SignerMemory {
  /** 32 bytes. */
  readonly seed: Uint8Array
  readonly statements: readonly Uint8Array[]
  readonly state: SignerState
}

const treeSchema = z.strictObject({ root: z.string().length(44), size: z.int().min(0) })
const stateSchema = z.strictObject({
  before: treeSchema.nullable(),
  entry: z.int().min(0).nullable(),
  last: treeSchema.nullable(),
  origin: z.string(),
  passedTo: z.string().nullable(),
  version: z.literal(1),
})
const statementsSchema = z.array(z.string()).min(1).max(1025)
const memorySchema = z.strictObject({ seed: z.string().length(44), state: stateSchema, statements: statementsSchema })
const statementsBytesMax = 67_108_864

/** What was sealed in a folder; `undefined` where nothing was. Throws ERR_SIGNER_STATE. */
export async function readMemory(
  tee: TeeDriver,
  { folder, origin }: { folder: string; origin: string },
): Promise<SignerMemory | undefined> {
  const seed = await readSealed(tee, folder, 'key')
  const statements = await readSealed(tee, folder, 'statements')
  const state = await readSealed(tee, folder, 'state')
  const kept = state && stateOf(parsed(stateSchema, state, 4096), origin)
  if (seed === undefined) {
    if (kept?.last !== undefined) throw new SignerError('ERR_SIGNER_STATE', 'the key is lost')
    return undefined
  }
  if (statements === undefined || kept === undefined) {
    throw new SignerError('ERR_SIGNER_STATE', 'the key is here, and what was signed with it is lost')
  }
  return { seed, statements: parsed(statementsSchema, statements, statementsBytesMax).map(encodeUtf8), state: kept }
}

/** The state first and the key last: without its key, nothing of it counts. */
export async function writeMemory(
  tee: TeeDriver,
  { folder, origin }: { folder: string; origin: string },
  { seed, statements, state }: SignerMemory,
): Promise<void> {
  await writeState(tee, { folder, origin }, state)
  const texts = statements.map((statement) => decodeUtf8(statement, 'statement'))
  await writeSealed(tee, folder, 'statements', encodeUtf8(canonicalJson(texts)))
  await writeSealed(tee, folder, 'key', seed)
}

export async function writeState(
  tee: TeeDriver,
  { folder, origin }: { folder: string; origin: string },
  state: SignerState,
): Promise<void> {
  await writeSealed(tee, folder, 'state', encodeUtf8(canonicalJson(stateJson(state, origin))))
}

/** As it goes to the next signer, encrypted to it. */
export function encodeMemory({ seed, statements, state }: SignerMemory, origin: string): Uint8Array {
  return encodeUtf8(
    canonicalJson({
      seed: encodeBase64(seed),
      state: stateJson(state, origin),
      statements: statements.map((statement) => decodeUtf8(statement, 'statement')),
    }),
  )
}

/** The inverse of `encodeMemory`. Throws ERR_SIGNER_STATE. */
export function parseMemory(bytes: Uint8Array, origin: string): SignerMemory {
  const { seed, state, statements } = parsed(memorySchema, bytes, statementsBytesMax)
  return {
    seed: decodeBase64(seed, 'seed'),
    statements: statements.map(encodeUtf8),
    state: stateOf(state, origin),
  }
}

function stateJson({ last, before, entry, passedTo }: SignerState, origin: string) {
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

function stateOf(json: z.infer<typeof stateSchema>, origin: string): SignerState {
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

function parsed<T>(schema: z.ZodType<T>, bytes: Uint8Array, bytesMax: number): T {
  try {
    const result = schema.safeParse(parseCanonicalJson(bytes, 'state', bytesMax))
    if (result.success) return result.data
  } catch (cause) {
    if (!(cause instanceof FormatError)) throw cause
  }
  throw new SignerError('ERR_SIGNER_STATE', 'what was kept is not of this version')
}
