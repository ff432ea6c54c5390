import { canonicalJson, decodeUtf8, encodeUtf8, equalBytes, parseCanonicalJson } from '@cella/bytes'
import { digestOf } from '@cella/primitives'
import { encodeVkey, type NoteKey, parseVkey } from './keys.ts'
import { commitmentOf, encodeLeaf, parseLeaf, publishedTag } from './leaf.ts'
import { LogError } from './log-error.ts'
import { malformed, parsing } from './parsing.ts'
import type { LogPolicy } from './policy.ts'
import type { LogMemory, LogView } from './view.ts'
import { verifyCheckpoint } from './witnessed.ts'

// A log that lost what it signed can't go on under its name: it would sign a second history. Its successor is the same tree
// under another name and key: all leaves of the old log up to a witnessed checkpoint, then one leaf that commits to the
// statement below, then its own. So indices and tags keep their meaning, and uses and revocations count on.
//
// Canonical JSON: {"from":{"checkpoint":<the old log's note, cosigned>,"vkey":…},"to":{"vkey":…},"type":"cella/succession","version":1}

const bytesMax = 200_000
/** The statement is public: nothing is to be hidden by its commitment. */
const noSalt = new Uint8Array(32)

/** That one log goes on where another ended. Not signed: each reader checks it, and each owner's terms accept it or don't. */
export interface Succession {
  readonly from: { readonly key: NoteKey; readonly checkpoint: Uint8Array }
  readonly to: { readonly key: NoteKey }
}

export function encodeSuccession({ from, to }: Succession): Uint8Array {
  return encodeUtf8(
    canonicalJson({
      from: { checkpoint: decodeUtf8(from.checkpoint, 'checkpoint'), vkey: encodeVkey(from.key) },
      to: { vkey: encodeVkey(to.key) },
      type: 'cella/succession',
      version: 1,
    }),
  )
}

/** The inverse of `encodeSuccession`. Throws ERR_LOG_MALFORMED. Whether it is true is not looked at. */
export function parseSuccession(bytes: Uint8Array): Succession {
  const value = parsing(() => parseCanonicalJson(bytes, 'succession', bytesMax)) as {
    from?: { checkpoint?: unknown; vkey?: unknown }
    to?: { vkey?: unknown }
  } | null
  const [checkpoint, before, next] = [value?.from?.checkpoint, value?.from?.vkey, value?.to?.vkey]
  if (typeof checkpoint !== 'string' || typeof before !== 'string' || typeof next !== 'string') {
    throw malformed('succession', 'lacks a checkpoint or a key')
  }
  const succession = {
    from: { key: parseVkey(before), checkpoint: encodeUtf8(checkpoint) },
    to: { key: parseVkey(next) },
  }
  // One spelling, and no member more than these.
  if (!equalBytes(encodeSuccession(succession), bytes)) throw malformed('succession', 'has another form')
  return succession
}

/** The leaf of a succession, 64 bytes: in the successor it stands where the old log's checkpoint ends. */
export function successionLeaf(bytes: Uint8Array): Uint8Array {
  return encodeLeaf({
    kind: 'document',
    commitment: commitmentOf('document', noSalt, bytes),
    tag: publishedTag(digestOf(bytes)),
  })
}

/** What a succession keeps of the old log. */
export interface VerifiedSuccession {
  /** Leaves of the old log that the successor has. */
  readonly size: number
  /** Leaves of the old log that `seen` had and the successor lacks: the last of them. 0 when nothing is lost. */
  readonly lost: number
}

/**
 * Checks that the log of `view`, read to its end, is the successor that `bytes` describes: that the old checkpoint is
 * witnessed as `oldPolicy` demands, that the successor's first leaves are the old log's under that checkpoint, and that
 * the statement is its next leaf. `seen` is what the reader last saw of the old log: up to the old checkpoint it has to be
 * in the successor; what lies beyond is counted as lost, and whether to bear that is the reader's decision.
 *
 * Throws ERR_LOG_SUCCESSION, ERR_LOG_FORKED where `seen` contradicts, and what `verifyCheckpoint` throws.
 */
export async function verifySuccession(options: {
  bytes: Uint8Array
  oldPolicy: LogPolicy
  view: LogView
  newKey: NoteKey
  seen: LogMemory | undefined
}): Promise<VerifiedSuccession> {
  const { bytes, view, newKey, seen } = options
  const { from, to } = parseSuccession(bytes)
  if (encodeVkey(to.key) !== encodeVkey(newKey)) throw wrong(`it names ${to.key.name}, not ${newKey.name}`)
  const old = verifyCheckpoint(from.checkpoint, options.oldPolicy)
  if (view.size <= old.size) throw wrong(`${view.origin} has ${view.size} leaves, the old log had ${old.size}`)
  if (!equalBytes(await view.rootAt(old.size), old.root)) {
    throw wrong(`the first ${old.size} leaves of ${view.origin} are not those of ${old.origin}`)
  }
  if (!view.holds(old.size, parseLeaf(successionLeaf(bytes)))) {
    throw wrong(`leaf ${old.size} of ${view.origin} is not this succession`)
  }
  if (seen === undefined) return { size: old.size, lost: 0 }
  if (seen.origin !== old.origin) throw wrong(`it is of ${old.origin}; what was seen is of ${seen.origin}`)
  // What was seen beyond the old checkpoint can't be compared with it here; the witnesses that stand on both can, and did.
  if (seen.size > old.size) return { size: old.size, lost: seen.size - old.size }
  if (equalBytes(await view.rootAt(seen.size), seen.root)) return { size: old.size, lost: 0 }
  throw new LogError(
    'ERR_LOG_FORKED',
    `${view.origin} does not have the ${seen.size} leaves of ${old.origin} seen before`,
  )
}

function wrong(problem: string): LogError {
  return new LogError('ERR_LOG_SUCCESSION', `this is not a log's successor: ${problem}`)
}
