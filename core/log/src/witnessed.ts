import { type Checkpoint, parseCheckpointText } from './checkpoint.ts'
import { LogError } from './log-error.ts'
import { encodeNote, type Note, parseNote, verifyNote } from './note.ts'
import { evaluateQuorum, type LogPolicy } from './policy.ts'

/** What the clocks of the witnesses that count say, in seconds since 1970. */
export interface WitnessTimes {
  /** For beginnings of validity: nothing begins before all that count agree that it has. */
  readonly earliest: number
  /** For ends of validity: what ended by one of their clocks has ended. */
  readonly latest: number
}

// Known to this module alone: nothing else can call the constructor, cast or not.
const door: unique symbol = Symbol('verifyCheckpoint')

class Witnessed implements Checkpoint {
  // A private member makes the type nominal: no object literal has it.
  readonly #verified = true
  readonly origin: string
  readonly size: number
  readonly root: Uint8Array
  readonly extensions: readonly string[]
  /** The note as received. */
  readonly bytes: Uint8Array
  /** Policy names and times of the cosignatures that count for the quorum. */
  readonly witnesses: readonly { readonly name: string; readonly time: number }[]
  /** `undefined` when the policy asks for no witness: then there is no time but the host's. */
  readonly times: WitnessTimes | undefined

  constructor(key: typeof door, checkpoint: Checkpoint, bytes: Uint8Array, witnesses: Witnessed['witnesses']) {
    if (key !== door) throw new TypeError('a witnessed checkpoint is made by verifyCheckpoint alone')
    this.origin = checkpoint.origin
    this.size = checkpoint.size
    this.root = checkpoint.root
    this.extensions = checkpoint.extensions
    this.bytes = bytes
    this.witnesses = witnesses
    const times = witnesses.map((witness) => witness.time)
    this.times = times.length === 0 ? undefined : { earliest: Math.min(...times), latest: Math.max(...times) }
    Object.freeze(this)
  }

  static is(value: unknown): value is Witnessed {
    return typeof value === 'object' && value !== null && #verified in value && value.#verified
  }
}

/** A checkpoint whose log signature and quorum were verified. Only `verifyCheckpoint` makes one. */
export type WitnessedCheckpoint = Witnessed

/** Whether `value` came out of `verifyCheckpoint`, whatever its type says. */
export function isWitnessedCheckpoint(value: unknown): value is WitnessedCheckpoint {
  return Witnessed.is(value)
}

/**
 * A signed checkpoint, checked against the policy: origin and signature of one of its logs, cosignatures of its quorum.
 * Throws ERR_LOG_MALFORMED, ERR_LOG_ORIGIN, ERR_LOG_SIGNATURE or ERR_LOG_QUORUM. Whether it continues a tree that was
 * seen before is not checked here.
 */
export function verifyCheckpoint(bytes: Uint8Array, policy: LogPolicy): WitnessedCheckpoint {
  const note = parseNote(bytes)
  const checkpoint = parseCheckpointText(note.text)
  verifyLogSignature(note, checkpoint, policy)
  const cosigned = verifyNote(
    note,
    policy.witnesses.map((witness) => witness.key),
  )
  const times = new Map<string, number>()
  for (const witness of policy.witnesses) {
    const signature = cosigned.find(({ key }) => key === witness.key)
    if (signature?.time !== undefined) times.set(witness.name, signature.time)
  }
  const quorum = evaluateQuorum(policy, new Set(times.keys()))
  if (!quorum.satisfied) {
    const seen = quorum.witnesses.map((witness) => witness.name).join(', ') || 'none'
    throw new LogError(
      'ERR_LOG_QUORUM',
      `the checkpoint of ${checkpoint.origin} at size ${checkpoint.size} needs the quorum ${policy.quorum}; ` +
        `cosigned by: ${seen}; ask the log again once its witnesses answer`,
    )
  }
  const witnesses = quorum.witnesses.map(({ name }) => ({ name, time: times.get(name)! }))
  return new Witnessed(door, checkpoint, new Uint8Array(bytes), witnesses)
}

function verifyLogSignature(note: Note, checkpoint: Checkpoint, policy: LogPolicy): void {
  // The vkey's name is the origin (tlog-policy): a log can't sign for another.
  const keys = policy.logs.map((log) => log.key).filter((key) => key.name === checkpoint.origin)
  if (keys.length === 0) {
    throw new LogError('ERR_LOG_ORIGIN', `the checkpoint is of ${checkpoint.origin}, which the policy does not name`)
  }
  if (verifyNote(note, keys).length === 0) {
    throw new LogError('ERR_LOG_SIGNATURE', `the checkpoint is not signed by the log ${checkpoint.origin}`)
  }
}

/** A checkpoint note with more signature lines, as a log adds cosignatures. Bytes are not verified. */
export function addSignatures(bytes: Uint8Array, signatures: Note['signatures']): Uint8Array {
  const note = parseNote(bytes)
  return encodeNote({ text: note.text, signatures: [...note.signatures, ...signatures] })
}
