import { type Digest, decodeBase64url, encodeHex, FormatError } from '@cella/bytes'
import type { AttestedPeer, HostClient } from '@cella/channel'
import { documentBytesMax, type SignedDocument } from '@cella/documents'
import { type ChainCache, evidenceDigest } from '@cella/evidence'
import { type KeyId, keyIdOf } from '@cella/primitives'
import {
  appraiseEnclave,
  type DocumentSet,
  logSignerReasons,
  ownersTime,
  ReleaseError,
  readDocumentSet,
  type VerifiedEnvelopes,
  type WitnessedTime,
} from '@cella/release'
import { z } from 'zod'
import { VaultError } from '../error.ts'
import type { VaultLog } from '../vault-log.ts'

/** The purpose that both ends' evidence names. */
export const joinPurpose = 'vault-join'

const documentsAnswer = z.strictObject({ documents: z.array(z.string().max(documentBytesMax)).max(2048) })

/** What both ends of a join need to judge the other. */
export interface JoinParts {
  readonly log: VaultLog
  readonly host: HostClient
  readonly known: VerifiedEnvelopes
  readonly chains: ChainCache
  /** Whether this vault's own TEE is simulated: one of the other kind gets and gives nothing. */
  readonly simulated: boolean
}

/** The signing key that the other vault's evidence binds. Throws ERR_JOIN_REFUSED. */
export function signingKeyOf({ binding }: AttestedPeer): { key: string; id: KeyId } {
  try {
    const key = String(binding.signingKey)
    const bytes = decodeBase64url(key, 'signingKey')
    if (bytes.length === 32) return { key, id: keyIdOf(bytes) }
  } catch (error) {
    if (!(error instanceof FormatError)) throw error
  }
  throw new VaultError('ERR_JOIN_REFUSED', 'the other side’s evidence names no signing key of a vault')
}

/** Documents that show an organisation's newest terms, as the host gives them. */
export async function documentsOf(organisation: Digest, { host }: Pick<JoinParts, 'host'>): Promise<readonly string[]> {
  const answer = documentsAnswer.safeParse(
    await host.json('GET', `/v1/terms/${organisation}`, undefined, { bytesMax: 16 * 2 ** 20 }),
  )
  if (answer.success) return answer.data.documents
  throw new VaultError('ERR_JOIN_REFUSED', `the host gave no documents of organisation ${organisation}`)
}

export interface Acceptance {
  readonly documents: DocumentSet
  readonly terms: SignedDocument<'cella/terms'>
  readonly time: WitnessedTime
}

/**
 * Appraises the other vault by an organisation's newest terms: those that stand in the log as this vault has read it, at the time
 * of the witnesses that they name. Returns codes of everything that is wrong.
 */
export async function appraisePeer(
  peer: AttestedPeer,
  { owner, envelopes, parts }: { owner: Digest; envelopes: readonly string[]; parts: JoinParts },
): Promise<Acceptance | { readonly reasons: readonly string[]; readonly documents: DocumentSet }> {
  const { log, known, chains, simulated } = parts
  const documents = await readDocumentSet(envelopes, log.view, known)
  let terms: SignedDocument<'cella/terms'>
  try {
    terms = documents.terms(owner)
  } catch (error) {
    if (!(error instanceof ReleaseError)) throw error
    return { reasons: [error.code], documents }
  }
  const { checkpoint, host, signers } = log.present()
  const time = ownersTime(terms.payload, {
    checkpoint,
    host,
    log: log.view.origin,
    clause: 'join',
    whoCanChange: 'publisher',
  })
  if ('code' in time) return { reasons: [time.code], documents }
  const { evidence, binding } = peer
  const appraisal = await appraiseEnclave(
    { role: 'vault', evidence, binding, isolation: 3 },
    { terms: terms.payload, documents, now: time.latest, cache: chains },
  )
  const logged = await logSignerReasons(terms.payload, signers, { documents, now: time.latest })
  const reasons = [...appraisal.reasons, ...logged].map(({ code }) => code)
  // One that is rehearsing and one that is in earnest never exchange keys, whatever terms say.
  if (appraisal.reasons.length === 0 && appraisal.tee.simulated !== simulated) reasons.push('ERR_TEE_SIMULATED')
  return reasons.length > 0 ? { reasons: [...new Set(reasons)].slice(0, 64), documents } : { documents, terms, time }
}

/** How far a vault has read the log. */
export function readingOf({ view }: VaultLog): { origin: string; size: number; root: Digest } {
  return { origin: view.origin, size: view.size, root: encodeHex(view.root) as Digest }
}

/** Throws ERR_JOIN_LOG unless the other vault has read this very log, no further than this one can. */
export async function requireSameLog(
  log: VaultLog,
  theirs: { readonly origin: string; readonly size: number; readonly root: Digest },
): Promise<void> {
  if (theirs.size > log.view.size) await log.refresh()
  if (theirs.size > log.view.size) {
    throw new VaultError(
      'ERR_JOIN_LOG',
      `the other vault has read ${theirs.size} leaves, here there are ${log.view.size}`,
    )
  }
  const root = encodeHex(await log.view.rootAt(theirs.size))
  if (theirs.origin === log.view.origin && root === theirs.root) return
  throw new VaultError(
    'ERR_JOIN_LOG',
    `the other vault has read another log: of ${theirs.size} leaves with another root`,
  )
}

/** Digest of the other end's evidence. */
export function evidenceOf(peer: AttestedPeer): Digest {
  return evidenceDigest(peer.evidence)
}
