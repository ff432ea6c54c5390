import type { Digest } from '@cella/bytes'
import { encodeUtf8 } from '@cella/bytes'
import { LogView, parseLogPolicy, parseSuccession, publishedTag, verifySuccession } from '@cella/log'
import { SdkError } from './error.ts'
import { logPolicyFor } from './home/anchors.ts'
import type { Session } from './session.ts'

export interface Succession {
  readonly from: string
  readonly to: string
  /** Leaves of the old log that go on. */
  readonly size: number
  /** Leaves that this profile saw and that are gone. */
  readonly lost: number
  /** Of `documents`, those that the successor does not have: to be made again. */
  readonly lostDocuments: readonly Digest[]
}

/**
 * Checks the successor of a log of this profile's, and believes it from now on: its policy goes among the anchors, the old
 * one stays for receipts of before. Entries that the profile saw and that are gone have to be accepted by their number
 * (ERR_LOG_SUCCESSION says how many). It binds nobody else: what releases the profile's keys are its organisation's next
 * terms. `documents` are those whose loss is to be told.
 */
export async function followSuccessor(
  session: Session,
  options: {
    readonly succession: Uint8Array
    /** A C2SP tlog-policy of the successor, from people: its witnesses are theirs to choose. */
    readonly policy: string
    readonly independentWitnesses?: readonly string[]
    readonly acceptLost?: number | undefined
    readonly documents?: readonly Digest[]
  },
): Promise<Succession> {
  const { home, manager } = session
  const { from, to } = parseSuccession(options.succession)
  const anchors = await home.anchors()
  const policy = parseLogPolicy(encodeUtf8(options.policy))
  const named = policy.logs.find(({ key }) => key.name === to.key.name)
  if (named === undefined) {
    throw new SdkError('ERR_LOG_UNTRUSTED', `the policy does not name the successor ${to.key.name}`, {
      hint: 'give the policy of the successor: logPolicy in the new installation.json',
    })
  }
  const view = new LogView({
    policy: { ...policy, logs: [named] },
    read: { checkpoint: () => manager.logBytes('checkpoint'), tile: (path) => manager.logBytes(path) },
  })
  await view.advance()
  const { size, lost } = await verifySuccession({
    bytes: options.succession,
    oldPolicy: logPolicyFor(anchors, from.key.name),
    view,
    newKey: named.key,
    seen: await home.logMemory(from.key.name),
  })
  const lostDocuments = (options.documents ?? []).filter(
    (digest) => view.firstIndexOf(publishedTag(digest)) === undefined,
  )
  if (lost !== (options.acceptLost ?? 0)) {
    throw new SdkError(
      'ERR_LOG_SUCCESSION',
      `this profile saw ${size + lost} entries of ${from.key.name}; its successor has ${size} of them, entries ${size} to ${size + lost - 1} are lost` +
        (lostDocuments.length === 0 ? '' : `, and with them ${lostDocuments.join(', ')}`),
      { hint: `find out what they were; to go on without them: --accept-lost ${lost}` },
    )
  }
  await home.saveLogMemory(view.memory())
  const others = anchors.logs.filter((known) => known.policy !== options.policy)
  const own = { policy: options.policy, independentWitnesses: [...(options.independentWitnesses ?? [])] }
  await home.saveAnchors({ ...anchors, logs: [...others, own] })
  return { from: from.key.name, to: to.key.name, size, lost, lostDocuments }
}
