import { equalBytes } from '@cella/bytes'
import {
  type AddCheckpoint,
  type Checkpoint,
  cosignNote,
  emptyRoot,
  encodeCosignatures,
  encodeNote,
  encodeWitnessSize,
  LogError,
  mirrorPrefix,
  type Note,
  type NoteKey,
  type NoteSigner,
  parseAddCheckpoint,
  parseCheckpointText,
  parseNote,
  parseVkey,
  verifyConsistency,
  verifyNote,
  witnessSizeType,
} from '@cella/log'
import { refusal, text, type WitnessAnswer } from './answer.ts'
import { Bucket } from './bucket.ts'
import { signSubtree } from './sign-subtree.ts'
import { WitnessState } from './state.ts'
import { WitnessError } from './witness-error.ts'

export interface Witness {
  /** One `add-checkpoint` exchange of c2sp.org/tlog-witness. The state is on disk before this returns 200. */
  addCheckpoint(body: Uint8Array): WitnessAnswer
  /** One `sign-subtree` exchange; 404 where no key signs subtrees. */
  signSubtree(body: Uint8Array): WitnessAnswer
  /** The newest note it cosigned for the origin of this SHA-256 (64 hexadecimal digits), with its cosignatures. */
  latest(originHash: string): Uint8Array | undefined
  close(): void
}

/** A log that asks on every batch stays far below; one that runs wild leaves the others their turn. */
export const logRequestsPerSecond = 200

/**
 * A witness: it cosigns a log's checkpoint when it continues the one it cosigned before, and never another.
 * `logs` are verifier keys, whose names are the origins; `now` gives seconds since 1970. Times that it writes never go
 * backwards, whatever `now` does. Throws ERR_WITNESS_CONFIG or ERR_WITNESS_STATE.
 */
export function createWitness(options: WitnessOptions): Witness {
  checkKeys(options.keys)
  return createWatcher({ ...options, cosigns: true })
}

export interface WitnessOptions {
  /** SQLite file of the state. Whoever sets it back makes the witness forget. */
  readonly file: string
  readonly keys: readonly NoteSigner[]
  readonly logs: readonly string[]
  readonly now: () => number
  /** Requests that a log signed, answered a second (over two seconds); above it is 429. */
  readonly logRequestsPerSecond?: number
}

/** Keys that cosign. Throws ERR_WITNESS_CONFIG. */
export function checkKeys(keys: readonly NoteSigner[]): void {
  if (keys.length === 0 || keys.some((signer) => signer.key.type !== 'cosignature')) {
    throw new WitnessError('ERR_WITNESS_CONFIG', 'a witness or mirror needs at least one key, of type cosignature')
  }
}

/** A witness, or what a mirror remembers of the logs that it is to copy: that answers 200 without a cosignature. */
export function createWatcher(options: WitnessOptions & { readonly cosigns: boolean }): Witness {
  const logs = options.logs.map(logKey)
  const origins = new Map(logs.map((key) => [mirrorPrefix(key.name), key.name]))
  const rate = options.logRequestsPerSecond ?? logRequestsPerSecond
  const buckets = new Map(logs.map(({ name }) => [name, new Bucket(rate)]))
  const state = new WitnessState(options.file)
  const { keys, now, cosigns } = options
  const context: Context = { state, logs, buckets, keys, now, cosigns }
  return {
    addCheckpoint: (body) => answer(body, context),
    signSubtree: (body) => signSubtree(body, context),
    latest: (originHash) => {
      const origin = origins.get(originHash)
      return origin === undefined ? undefined : state.get(origin)?.note
    },
    close: () => state.close(),
  }
}

/** The key of a log to follow. Throws ERR_WITNESS_CONFIG. */
export function logKey(vkey: string): NoteKey {
  try {
    const key = parseVkey(vkey)
    if (key.type === 'note') return key
  } catch (cause) {
    throw new WitnessError('ERR_WITNESS_CONFIG', `the log key ${vkey} can't be read`, { cause })
  }
  throw new WitnessError('ERR_WITNESS_CONFIG', `the log key ${vkey} can only cosign; a log's is of type Ed25519 (1)`)
}

interface Context {
  readonly state: WitnessState
  readonly logs: readonly NoteKey[]
  /** By origin. */
  readonly buckets: ReadonlyMap<string, Bucket>
  readonly keys: readonly NoteSigner[]
  readonly now: () => number
  /** Whether `add-checkpoint` is answered by cosignatures. */
  readonly cosigns: boolean
}

// The order of the checks is that of the text of tlog-witness.
function answer(body: Uint8Array, context: Context): WitnessAnswer {
  let request: AddCheckpoint
  try {
    request = parseAddCheckpoint(body)
  } catch (error) {
    return refusal(400, error)
  }
  let note: Note
  let checkpoint: Checkpoint
  try {
    note = parseNote(request.checkpoint)
    checkpoint = parseCheckpointText(note.text)
  } catch (error) {
    // What is no signed checkpoint has no valid signature of the log.
    return refusal(403, error)
  }
  const keys = context.logs.filter((key) => key.name === checkpoint.origin)
  if (keys.length === 0) return text(404, 'unknown log')
  try {
    if (verifyNote(note, keys).length === 0) return text(403, 'no signature of the log')
  } catch (error) {
    return refusal(403, error)
  }
  // Only now: what no key of the log signed takes nothing away from it.
  if (context.buckets.get(checkpoint.origin)?.take() === false) return text(429, 'too many requests of this log')
  if (request.oldSize > checkpoint.size) return text(400, 'old size is larger than the checkpoint')
  return context.state.exclusively(() => judge({ request, note, checkpoint }, context))
}

function judge(
  submitted: { request: AddCheckpoint; note: Note; checkpoint: Checkpoint },
  { state, logs, keys, now, cosigns }: Context,
): WitnessAnswer {
  const { request, note, checkpoint } = submitted
  const last = state.get(checkpoint.origin)
  if (request.oldSize !== (last?.size ?? 0)) {
    return { status: 409, type: witnessSizeType, body: encodeWitnessSize(last?.size ?? 0) }
  }
  try {
    demandContinuation(request, checkpoint, last?.root ?? emptyRoot())
  } catch (error) {
    return refusal(422, error)
  }
  const time = Math.max(Math.floor(now()), state.time())
  const cosignatures = (cosigns ? keys : []).map((signer) => cosignNote(note.text, signer, time))
  // Signatures of keys that nobody here knows are not passed on.
  const own = note.signatures.filter((line) => logs.some(({ name, id }) => line.name === name && line.keyId === id))
  const { size, root, origin } = checkpoint
  state.replace(
    origin,
    { size, root, note: encodeNote({ text: note.text, signatures: [...own, ...cosignatures] }) },
    time,
  )
  return { status: 200, type: 'text/plain; charset=utf-8', body: encodeCosignatures(cosignatures) }
}

function demandContinuation(request: AddCheckpoint, checkpoint: Checkpoint, oldRoot: Uint8Array): void {
  const { oldSize, path } = request
  if (checkpoint.size === 0 && !equalBytes(checkpoint.root, emptyRoot())) {
    throw new LogError('ERR_LOG_PROOF', 'a tree without leaves has another root')
  }
  if (oldSize > 0) {
    verifyConsistency({ oldSize, newSize: checkpoint.size, oldRoot, newRoot: checkpoint.root, path })
  } else if (path.length > 0) {
    throw new LogError('ERR_LOG_PROOF', 'a consistency proof from size 0 is empty')
  }
}
