import { type Digest, decodeBase64url, encodeHex } from '@cella/bytes'
import {
  auditStream,
  bodiesMax,
  commitmentOfBody,
  type EventBody,
  EventError,
  encodeDisclosure,
  leavesOf,
  makeDisclosure,
  makeStreamExport,
  openEventBody,
  type StreamAudit,
  type StreamKeyStatement,
  scanStream,
  verifyStreamKey,
} from '@cella/events'
import { makeProofFile, verifyCheckpoint, type WitnessedCheckpoint } from '@cella/log'
import type { KeyId } from '@cella/primitives'
import type { SignerProof } from '@cella/receipt'
import { SealError, streamKeyInfo, unwrapDek } from '@cella/seal'
import { encodeProofExtra } from '@cella/verify'
import { SdkError } from './error.ts'
import type { OwnLog } from './log.ts'
import type { Session } from './session.ts'
import { memberRequest } from './vault-request.ts'

/** The key of an organisation's stream of events in one vault, as the vault vouched for it. */
export interface StreamKey {
  readonly organisation: Digest
  readonly vault: KeyId
  /** 32 bytes. Who has it recognises the stream's leaves, past and future. */
  readonly key: Uint8Array
  readonly statement: StreamKeyStatement
}

/** A stream as its log and the manager show it. */
export interface OwnStream {
  readonly audit: StreamAudit
  /** By number. */
  readonly bodies: ReadonlyMap<number, EventBody>
  readonly log: OwnLog
  /** The newest one when this was read; the log itself goes on. */
  readonly checkpoint: WitnessedCheckpoint
}

/**
 * The key of one's organisation's stream in a vault whose evidence one's own terms accept. Each call stands in the stream
 * as `access`: keep the key for as long as you read. The account needs a membership with the role auditor or regulator.
 * Throws ERR_PROFILE_INCOMPLETE, ERR_VAULT_REFUSED, ERR_MANAGER_REFUSED (with the vault's code) or ERR_STREAM_REFUSED.
 */
export async function fetchStreamKey(session: Session, { vault }: { vault: KeyId }): Promise<StreamKey> {
  const { organisation, membership, sent } = await memberRequest(session, {
    call: 'stream-key',
    vault,
    roles: ['auditor', 'regulator'],
  })
  const { statement, wrapped } = await session.manager.streamKey(vault, sent)
  const keys = await session.keys()
  try {
    const key = await unwrapDek({
      wrapped: decodeBase64url(wrapped, 'wrapped'),
      recipientPrivateKey: keys.hpke.privateKey.expose(),
      info: streamKeyInfo({ organisation, vault, membership: membership.digest }),
    })
    const log = (await session.log()).view.origin
    verifyStreamKey(statement, { key, organisation, log, vaults: [vault] })
    return { organisation, vault, key, statement }
  } catch (cause) {
    if (!(cause instanceof EventError || cause instanceof SealError)) throw cause
    throw new SdkError('ERR_STREAM_REFUSED', `vault ${vault} gave no key of the stream: ${cause.message}`, {
      cause,
      hint: 'somebody between you and the vault may have put another key there; ask again, and ask the operator',
    })
  }
}

/**
 * Reads the whole stream: finds its leaves in one's own reading of the log, fetches the bodies, opens them, and says what
 * is missing. May be called again as the log goes on; the vault is not asked. With what was read `before`, only bodies that
 * are new are asked for.
 */
export async function readStream(session: Session, { key }: StreamKey, before?: OwnStream): Promise<OwnStream> {
  const log = await session.log()
  const { hpke } = await session.keys()
  const { checkpoint } = log
  const leaves = leavesOf(log.view)
  const places = new Map(
    scanStream(key, leaves).first.map(({ n, index }) => {
      const { commitment } = leaves.leafAt(index)
      return [encodeHex(commitment) as Digest, { n, commitment }] as const
    }),
  )
  const reader = { publicKey: hpke.publicKey, privateKey: hpke.privateKey.expose() }
  const bodies = new Map<number, EventBody>()
  const closed = new Set<number>()
  for (const [name, { n }] of places) {
    const known = before?.bodies.get(n)
    if (known === undefined || encodeHex(commitmentOfBody(known)) !== name) continue
    bodies.set(n, known)
    places.delete(name)
  }
  const wanted = [...places.keys()]
  for (let at = 0; at < wanted.length; at += bodiesMax) {
    const found = await session.manager.bodies(wanted.slice(at, at + bodiesMax))
    for (const { commitment: name, sealed } of found) {
      const place = places.get(name)
      if (place === undefined) continue
      try {
        bodies.set(place.n, await openEventBody(sealed, { commitment: place.commitment, streamKey: key, reader }))
      } catch (error) {
        if (!(error instanceof EventError)) throw error
        closed.add(place.n)
      }
    }
  }
  return { audit: auditStream({ key, leaves, bodies, closed }), bodies, log, checkpoint }
}

/**
 * A completeness export of what was read, from an older checkpoint (a note's bytes; left out: the log's beginning) to the newest. Throws
 * RangeError for a checkpoint beyond what was read, LogError for one that one's own policy does not accept.
 */
export async function exportStream(
  stream: OwnStream,
  { organisation, key, statement }: StreamKey,
  { from, signer }: { from?: Uint8Array | undefined; signer?: SignerProof | undefined } = {},
): Promise<Uint8Array> {
  const { log, bodies, checkpoint } = stream
  return makeStreamExport({
    view: log.view,
    from: from && verifyCheckpoint(from, log.policy),
    to: checkpoint,
    organisation,
    key,
    statement,
    bodies,
    logSigner: signer && (await proofWith(signer, { index: signer.index, stream })),
  })
}

/** A .tlog-proof that shows which code signs for the log as well. */
async function proofWith(
  signer: SignerProof | undefined,
  { index, stream: { checkpoint, log } }: { index: number; stream: OwnStream },
): Promise<Uint8Array> {
  const extra = signer && encodeProofExtra({ leaf: log.view.leafBytesAt(index), document: undefined, signer })
  return makeProofFile({ checkpoint, index, hashes: log.view.hashes(), ...(extra && { extra }) })
}

/** A file that shows chosen fields of one entry and hides the others. Throws ERR_NAME_UNKNOWN. */
export async function discloseEntry(
  stream: OwnStream,
  { key }: StreamKey,
  { n, names, signer }: { n: number; names: readonly string[]; signer?: SignerProof | undefined },
): Promise<Uint8Array> {
  const entry = stream.audit.entries.find((candidate) => candidate.n === n)
  const body = stream.bodies.get(n)
  if (entry === undefined || entry.state !== 'read' || body === undefined) {
    throw new SdkError('ERR_NAME_UNKNOWN', `entry ${n} of the stream is not there, or was not read`)
  }
  const unknown = names.find((name) => !body.fields.some((field) => field.name === name))
  if (unknown !== undefined) {
    throw new SdkError('ERR_NAME_UNKNOWN', `entry ${n} has no field ${unknown}`, {
      hint: `it has ${body.fields.map(({ name }) => name).join(', ')}`,
    })
  }
  const proof = await proofWith(signer, { index: entry.index, stream })
  return encodeDisclosure(makeDisclosure(body, { names, streamKey: key, proof }))
}

/**
 * Has the bodies of entries deleted, after an entry that names them. What remains of them is a salted hash. The account
 * needs a membership with the role approver.
 */
export async function eraseEntries(
  session: Session,
  { vault, entries }: { vault: KeyId; entries: readonly number[] },
): Promise<{ erased: readonly number[]; index: number }> {
  const { sent } = await memberRequest(session, {
    call: 'erase',
    vault,
    roles: ['approver'],
    more: { entries },
  })
  return session.manager.eraseEntries(vault, { ...sent, entries: [...entries] })
}
