import { encodeUtf8 } from '@cella/bytes'
import type { Terms } from '@cella/documents'
import { ChainCache, EvidenceError, parseSignerStatement, type SignerStatement } from '@cella/evidence'
import { encodeVkey, type Leaf, type NoteKey, parseLeaf, parseLogPolicy, signerLeaf, signerTag } from '@cella/log'
import { digestOf } from '@cella/primitives'
import { appraiseEnclave } from './appraise.ts'
import type { DocumentSet } from './document-set.ts'
import { type Reason, reason } from './reasons.ts'

/** Statements, the newest, that one file holds at most. */
export const logSignersShownMax = 16

/** Which code held a log's key, one after the other, as entries of the log say. */
export interface LogSigners {
  /** The log's key, as C2SP writes it. */
  readonly vkey: string
  /** How many entries say so: nobody can hide one from who read every leaf. */
  readonly count: number
  /** What they say, oldest first; fewer than `count` where a statement was not shown or is not the entry. */
  readonly statements: readonly { readonly index: number; readonly statement: SignerStatement }[]
}

/** A view in which every leaf was read. */
interface WholeView {
  firstIndexOf(tag: Uint8Array): number | undefined
  holds(index: number, leaf: Leaf): boolean
}

/** How many entries of the log say which code holds its key. */
export function countLogSigners(view: WholeView, key: NoteKey): number {
  let count = 0
  while (view.firstIndexOf(signerTag(key, count)) !== undefined) count += 1
  return count
}

/** Those of `shown`, which anybody may have made, that are the log's own entries and follow one another. */
export function readLogSigners(view: WholeView, key: NoteKey, shown: readonly Uint8Array[]): LogSigners {
  const vkey = encodeVkey(key)
  const count = countLogSigners(view, key)
  const statements: { index: number; statement: SignerStatement }[] = []
  for (const [number, bytes] of shown.slice(0, count).entries()) {
    const index = view.firstIndexOf(signerTag(key, number))!
    if (!view.holds(index, parseLeaf(signerLeaf(key, number, bytes)))) break
    const statement = parsed(bytes)
    const previous = number === 0 ? null : digestOf(shown[number - 1]!)
    const { binding } = statement ?? {}
    if (binding?.vkey !== vkey || binding.number !== number || binding.previous !== previous) break
    statements.push({ index, statement: statement! })
  }
  return { vkey, count, statements }
}

// A signer's evidence stays the same for as long as its enclave runs.
const chains = new ChainCache()

/**
 * Why an owner's terms don't accept the code that holds the log's key, or held it before; none where they don't ask.
 * Judged like any enclave: genuine evidence, bound to the statement, of a build that the terms name.
 */
export async function logSignerReasons(
  terms: Terms,
  signers: LogSigners | 'unseen',
  { documents, now }: { documents: DocumentSet; now: number },
): Promise<Reason[]> {
  if (terms.logSigner === undefined || signers === 'unseen') return []
  const expected = 'a log whose entries say, with evidence, which code holds its key'
  const refuse = (got: string): Reason[] => [
    reason('ERR_LOG_SIGNER_UNKNOWN', 'terms.logSigner', { expected, got, whoCanChange: 'operator' }),
  ]
  const named = parseLogPolicy(encodeUtf8(terms.log)).logs.map(({ key }) => encodeVkey(key))
  if (!named.includes(signers.vkey)) return refuse(`statements on ${signers.vkey}`)
  if (signers.count === 0) return refuse('no entry that says so')
  if (signers.statements.length < signers.count) {
    return refuse(`${signers.count} entries, of which ${signers.statements.length} were shown`)
  }
  const judged = await Promise.all(
    signers.statements.map(async ({ index, statement: { binding, evidence } }) => {
      const { reasons } = await appraiseEnclave(
        { role: 'log-signer', evidence, binding: { ...binding }, isolation: 0 },
        { terms, documents, now, cache: chains },
      )
      return reasons.map((one) => ({ ...one, clause: `log entry ${index}: ${one.clause}` }))
    }),
  )
  return judged.flat()
}

function parsed(bytes: Uint8Array): SignerStatement | undefined {
  try {
    return parseSignerStatement(bytes)
  } catch (error) {
    if (error instanceof EvidenceError) return undefined
    throw error
  }
}
