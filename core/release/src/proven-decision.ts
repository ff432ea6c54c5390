import { decodeHex, equalBytes } from '@cella/bytes'
import type { SignedDocument } from '@cella/documents'
import { commitmentOf, isProvenEntry, type ProvenEntry } from '@cella/log'
import type { KeyId } from '@cella/primitives'
import { ReleaseError } from './error.ts'

// Known to this module alone: nothing else can call the constructor, cast or not.
const door: unique symbol = Symbol('proveDecision')

type DecisionType = 'cella/decision' | 'cella/secret-decision'

class Decided<Type extends DecisionType> {
  // A private member makes the type nominal: no object literal has it.
  readonly #proven = true
  readonly decision: SignedDocument<Type>
  readonly entry: ProvenEntry

  constructor(key: typeof door, decision: SignedDocument<Type>, entry: ProvenEntry) {
    if (key !== door) throw new TypeError('a proven decision is made by proveDecision alone')
    this.decision = decision
    this.entry = entry
    Object.freeze(this)
  }

  static is(value: unknown): value is Decided<DecisionType> {
    return typeof value === 'object' && value !== null && #proven in value && value.#proven
  }
}

/** An `allowed` that a vault signed and that stands in the witnessed log. What unwrapping a key takes. */
export type ProvenDecision<Type extends DecisionType = DecisionType> = Decided<Type>

/** Whether `value` came out of `proveDecision`, whatever its type says. */
export function isProvenDecision(value: unknown): value is ProvenDecision {
  return Decided.is(value)
}

/**
 * Joins a decision with its entry in the log. Throws ERR_DECISION_NOT_PROVEN unless the entry is a decision leaf that
 * commits to exactly this document, the document is of `vault`, and it allows.
 */
export function proveDecision<Type extends DecisionType>(
  decision: SignedDocument<Type>,
  { salt, entry, vault }: { salt: Uint8Array; entry: ProvenEntry; vault: KeyId },
): ProvenDecision<Type> {
  const problem = (what: string) => new ReleaseError('ERR_DECISION_NOT_PROVEN', `decision ${decision.digest}: ${what}`)
  if (!isProvenEntry(entry)) throw problem('its entry was not proven')
  const commitment = commitmentOf('decision', salt, decodeHex(decision.digest, 'decision'))
  if (entry.leaf.kind !== 'decision' || !equalBytes(entry.leaf.commitment, commitment)) {
    throw problem(`the log entry at ${entry.index} is of something else`)
  }
  if (decision.payload.signer !== vault) throw problem(`was made by ${decision.payload.signer}, not by ${vault}`)
  if (!decision.payload.allowed) throw problem('it denies')
  return new Decided(door, decision, entry)
}
