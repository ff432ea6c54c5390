import { canonicalJson, encodeHex, equalBytes } from '@cella/bytes'
import type { LogView } from '@cella/log'
import { commitmentOfBody, type EventBody, type EventField, placeOf, valuesOf } from './body.ts'
import { type FoundLeaf, type LeafRange, scanStream } from './scan.ts'

// Whether one has everything: each number of the stream has its leaf, each leaf its body or an erasure that names it,
// and each body names an entry before it by its commitment.

export interface StreamEntry {
  readonly n: number
  readonly index: number
  /** 32 bytes. */
  readonly commitment: Uint8Array
  /**
   * `erased`: a later entry names it as erased. `closed`: there is a body that one can't open, as for who came later.
   * `absent`: no body, and nothing that says why.
   */
  readonly state: 'read' | 'erased' | 'closed' | 'absent'
  /** Of an entry that was read. */
  readonly type: string | undefined
  readonly fields: readonly EventField[]
}

export type StreamProblemCode =
  /** A number without a leaf, though later numbers have one. */
  | 'ERR_STREAM_GAP'
  /** A leaf of the stream that is no event. */
  | 'ERR_STREAM_KIND'
  /** A body that names another place in the stream than its leaf has. */
  | 'ERR_STREAM_PLACE'
  /** A body that is not the one that its leaf commits to. */
  | 'ERR_STREAM_BODY'
  /** An entry without a body that no erasure names. */
  | 'ERR_STREAM_ABSENT'
  /** An entry whose body is there and does not open for this reader. */
  | 'ERR_STREAM_CLOSED'

export interface StreamProblem {
  readonly code: StreamProblemCode
  readonly n: number
  readonly text: string
}

export interface StreamAudit {
  readonly entries: readonly StreamEntry[]
  /** Why this is not everything; none where it is. */
  readonly problems: readonly StreamProblem[]
  /** Leaves that repeat a tag and don't count: a replica that lost a race left them, or somebody else with the key. */
  readonly extra: readonly FoundLeaf[]
  /** Whether the range begins with the stream's first entry. */
  readonly fromStart: boolean
}

/** All leaves that a view has read. */
export function leavesOf(view: LogView): LeafRange {
  return { from: 0, end: view.size, before: 0, leafAt: (index) => view.leafAt(index) }
}

/**
 * Audits the stream of `key` in a range of leaves. `bodies` are by number; what is not among them is absent, or there but
 * not to be opened where `closed` has its number.
 */
export function auditStream(options: {
  key: Uint8Array
  leaves: LeafRange
  bodies: ReadonlyMap<number, EventBody>
  closed?: ReadonlySet<number>
}): StreamAudit {
  const { leaves, bodies } = options
  const { first, extra } = scanStream(options.key, leaves)
  const problems: StreamProblem[] = []
  const report = (code: StreamProblemCode, n: number, text: string): void => void problems.push({ code, n, text })
  const start = leaves.from === 0 ? 0 : (first[0]?.n ?? 0)
  let expected = start
  const erased = new Set<number>()
  const entries: StreamEntry[] = []
  const commitments = new Map<number, string>()
  for (const { n, index } of first) {
    for (; expected < n; expected++) {
      report('ERR_STREAM_GAP', expected, `entry ${expected} is not in the log, though entry ${n} is`)
    }
    expected = n + 1
    const { kind, commitment } = leaves.leafAt(index)
    const body = bodies.get(n)
    if (kind !== 'event') report('ERR_STREAM_KIND', n, `entry ${n}, at index ${index}, is no event`)
    const isOwn = body !== undefined && equalBytes(commitmentOfBody(body), commitment)
    if (body !== undefined && !isOwn) {
      report('ERR_STREAM_BODY', n, `the body of entry ${n} is not the one that index ${index} commits to`)
    }
    const fields = isOwn ? body.fields : []
    if (isOwn) {
      const place = placeOf(fields)
      const { previous } = place
      const follows =
        previous === null ||
        (previous.n < n && (commitments.get(previous.n) ?? previous.commitment) === previous.commitment)
      if (place.n !== n || !follows) {
        const after = previous === null ? 'none' : `entry ${previous.n} ${previous.commitment}`
        report('ERR_STREAM_PLACE', n, `the body at entry ${n} says that it is entry ${place.n} after ${after}`)
      }
      for (const number of erasedBy(fields)) if (number < n) erased.add(number)
    }
    const type = isOwn ? placeOf(fields).type : undefined
    entries.push({ n, index, commitment, state: isOwn ? 'read' : 'absent', type, fields })
    commitments.set(n, encodeHex(commitment))
  }
  const judged = entries.map((entry): StreamEntry => {
    if (entry.state !== 'absent') return entry
    if (erased.has(entry.n)) return { ...entry, state: 'erased' }
    return options.closed?.has(entry.n) ? { ...entry, state: 'closed' } : entry
  })
  for (const { n, index, state } of judged) {
    if (state === 'closed')
      report('ERR_STREAM_CLOSED', n, `entry ${n}, at index ${index}, has a body that does not open`)
    if (state !== 'absent' || bodies.has(n)) continue
    report('ERR_STREAM_ABSENT', n, `entry ${n}, at index ${index}, has no body, and no entry says that it was erased`)
  }
  return { entries: judged, problems, extra, fromStart: leaves.from === 0 || first[0]?.n === 0 }
}

function erasedBy(fields: readonly EventField[]): readonly number[] {
  const { type, erased } = valuesOf(fields)
  if (type !== 'erasure' || !Array.isArray(erased)) return []
  return erased.filter((n): n is number => Number.isSafeInteger(n))
}

/** A release that was decided and of which nothing more is known. */
export interface UnfinishedRelease {
  readonly n: number
  readonly index: number
  /** Digest of the decision. */
  readonly decision: string
}

/**
 * Decisions that allowed a release and that no `released` names: the keys may have gone out, or not. A later decision on the
 * same asset for the same attempt takes the place of the one before: a vault that lost a race for a use decides again.
 */
export function unfinishedReleases(entries: readonly StreamEntry[]): UnfinishedRelease[] {
  const open = new Map<string, UnfinishedRelease>()
  for (const { n, index, type, fields } of entries) {
    if (type !== 'decision' && type !== 'released') continue
    const { asset, contract, run, attempt, decision, allowed } = valuesOf(fields)
    if (typeof decision !== 'string') continue
    const name = canonicalJson([asset, contract, run, attempt])
    if (type === 'decision' && allowed === true) open.set(name, { n, index, decision })
    else if (type === 'decision' || open.get(name)?.decision === decision) open.delete(name)
  }
  return [...open.values()]
}
