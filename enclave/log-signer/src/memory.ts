import { canonicalJson, decodeBase64, decodeUtf8, encodeBase64, encodeUtf8 } from '@cella/bytes'
import type { TeeDriver } from '@cella/tee'
import { z } from 'zod'
import { SignerError } from './error.ts'
import { readSealed, writeSealed } from './sealed-files.ts'
import { parsed, type SignerState, stateJson, stateOf, stateSchema } from './state.ts'
import { createState, readState } from './state-file.ts'

/** All that a signer is. Statements are on its key, oldest first; the last is on itself. */
export interface SignerMemory {
  /** 32 bytes. */
  readonly seed: Uint8Array
  readonly statements: readonly Uint8Array[]
  readonly state: SignerState
}

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
  const kept = await readState(tee, { folder, origin })
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
  await createState(tee, { folder, origin }, state)
  const texts = statements.map((statement) => decodeUtf8(statement, 'statement'))
  await writeSealed(tee, folder, 'statements', encodeUtf8(canonicalJson(texts)))
  await writeSealed(tee, folder, 'key', seed)
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
