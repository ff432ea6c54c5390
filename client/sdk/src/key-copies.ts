import { type Digest, decodeBase64url, encodeBase64url } from '@cella/bytes'
import type { KeyCopy, Manifest, SignedDocument } from '@cella/documents'
import type { KeyId } from '@cella/primitives'
import { accountOf, type DocumentSet } from '@cella/release'
import { asDek, type Dek, grantInfo, keyCopyInfo, SealError, unwrapDek, wrapDek } from '@cella/seal'
import { type Gathered, gather } from './documents.ts'
import { SdkError } from './error.ts'
import { combineShares } from './key-shares.ts'
import type { Keys } from './keys.ts'
import { membersOf } from './organisations.ts'
import type { Session } from './session.ts'
import { type Logged, submitDocument } from './submit.ts'
import { type AcceptedVault, appraiseVault, gatherTerms } from './vaults.ts'

// A publisher keeps a copy of each data key, wrapped to its own account's key: what was sealed once can be granted to
// another vault years later, from a new laptop too, once its keystore is restored.

/** The membership in force of an account. Throws ERR_PROFILE_INCOMPLETE. */
export function membershipOfAccount(
  documents: DocumentSet,
  { organisation, account }: { organisation: Digest; account: KeyId },
): SignedDocument<'cella/membership'> {
  const found = membersOf(documents, organisation).find(({ payload }) => accountOf(payload) === account)
  if (found !== undefined) return found
  throw new SdkError('ERR_PROFILE_INCOMPLETE', `account ${account} is no member in force of ${organisation}`)
}

/** Logs the DEK of an asset, or a share of it, wrapped for a member of the organisation that owns it. */
export async function keepCopy(
  session: Session,
  options: {
    manifest: SignedDocument<'cella/manifest'>
    member: SignedDocument<'cella/membership'>
    dek: Dek
    share?: KeyCopy['share']
  },
): Promise<Logged<'cella/key-copy'>> {
  const { manifest, member, dek, share } = options
  const { account } = await session.keys()
  const wrapped = await wrapDek({
    dek,
    recipientPublicKey: decodeBase64url(member.payload.hpkeKey, 'hpkeKey'),
    info: keyCopyInfo({ manifest: manifest.digest, membership: member.digest }),
  })
  return submitDocument<'cella/key-copy'>(
    session,
    {
      type: 'cella/key-copy',
      version: 1,
      organisation: manifest.payload.organisation,
      signer: account.keyId,
      manifest: manifest.digest,
      membership: member.digest,
      wrapped: encodeBase64url(wrapped),
      ...(share && { share }),
    },
    { signers: [account] },
  )
}

/** Copies of an asset's key that a publisher of its owner made and nobody withdrew. */
function copiesOf(documents: DocumentSet, manifest: Digest): SignedDocument<'cella/key-copy'>[] {
  return documents.all('cella/key-copy').filter((copy) => copy.payload.manifest === manifest && documents.counts(copy))
}

/** By asset, the accounts that hold a copy of its whole key, also under a membership of before: its key opens what was wrapped to it. */
export function holdersOfKeys(documents: DocumentSet): ReadonlyMap<Digest, ReadonlySet<KeyId>> {
  const holders = new Map<Digest, Set<KeyId>>()
  for (const copy of documents.all('cella/key-copy')) {
    const { manifest, membership } = copy.payload
    const member = documents.find('cella/membership', membership)
    if (member === undefined || copy.payload.share !== undefined || !documents.counts(copy)) continue
    holders.set(manifest, (holders.get(manifest) ?? new Set()).add(accountOf(member.payload)))
  }
  return holders
}

/** What this account's copies of an asset's key open to; the caller zeroes each. */
async function openCopies(
  documents: DocumentSet,
  { manifest, keys }: { manifest: Digest; keys: Keys },
): Promise<{ readonly dek: Dek; readonly share: KeyCopy['share'] }[]> {
  const opened: { dek: Dek; share: KeyCopy['share'] }[] = []
  for (const { payload } of copiesOf(documents, manifest)) {
    const member = documents.find('cella/membership', payload.membership)
    if (member === undefined || accountOf(member.payload) !== keys.account.keyId) continue
    try {
      const dek = await unwrapDek({
        wrapped: decodeBase64url(payload.wrapped, 'wrapped'),
        recipientPrivateKey: keys.hpke.privateKey.expose(),
        info: keyCopyInfo(payload),
      })
      opened.push({ dek, share: payload.share })
    } catch (error) {
      if (!(error instanceof SealError)) throw error
    }
  }
  return opened
}

/** The DEK out of one's own copy, or of enough shares of it; the caller zeroes it. Throws ERR_KEY_COPY_MISSING where there is none. */
async function openCopy(
  session: Session,
  { documents, locations }: Gathered,
  manifest: SignedDocument<'cella/manifest'>,
): Promise<Dek> {
  const held = await openCopies(documents, { manifest: manifest.digest, keys: await session.keys() })
  try {
    const whole = held.find(({ share }) => share === undefined)
    if (whole !== undefined) return asDek(whole.dek.slice())
    const shares = held.flatMap(({ dek, share }) => (share ? [{ ...share, share: dek }] : []))
    const combined = await combineShares(session, { manifest, shares, locations })
    if (combined === undefined) throw copyMissing(manifest.payload, shares)
    return combined
  } finally {
    for (const { dek } of held) dek.fill(0)
  }
}

function copyMissing({ series, revision }: Manifest, shares: readonly { readonly threshold: number }[] = []): SdkError {
  const key = `the key of ${series} revision ${revision}`
  const held = shares[0] && `${shares.length} of the ${shares[0].threshold} shares that give ${key}`
  return new SdkError('ERR_KEY_COPY_MISSING', `this account has ${held ?? `no copy of ${key}`}`, {
    hint: 'who has a copy, or a share, hands it over: cella assets hand-over; or publish it again',
  })
}

/** Gives another member a copy of an asset's key; of a share, where that is all that this account has. */
export async function handOver(
  session: Session,
  { manifest: digest, member }: { manifest: Digest; member: SignedDocument<'cella/membership'> },
): Promise<Logged<'cella/key-copy'>> {
  const { documents } = await gather(session, { digests: [digest] })
  const manifest = documents.require('cella/manifest', digest)
  const held = await openCopies(documents, { manifest: digest, keys: await session.keys() })
  try {
    const whole = held.find(({ share }) => share === undefined)
    const [first, ...others] = whole ? [whole] : held
    if (first === undefined) throw copyMissing(manifest.payload)
    const logged = await keepCopy(session, { manifest, member, ...first })
    for (const other of others) await keepCopy(session, { manifest, member, ...other })
    return logged
  } finally {
    for (const { dek } of held) dek.fill(0)
  }
}

/** What vaults were told that they may spend of an asset's runs. */
export interface Shares {
  /** Of the asset's limit; null: it has none. */
  readonly limit: number | null
  /** By vault, withdrawn grants included: what was spent under them, nobody gives back. */
  readonly given: ReadonlyMap<KeyId, number>
  readonly left: number | null
}

/** How an asset's runs are shared between vaults. A vault counts on from one grant to the next, so its newest one says all. */
function sharesOf(documents: DocumentSet, manifest: SignedDocument<'cella/manifest'>): Shares {
  const limit = manifest.payload.runs
  const given = new Map<KeyId, number>()
  for (const grant of documents.all('cella/grant')) {
    const { vault, runs } = grant.payload
    if (grant.payload.manifest !== manifest.digest || documents.indexOf(grant.digest) === undefined) continue
    given.set(vault, Math.max(given.get(vault) ?? 0, runs ?? 0))
  }
  const sum = [...given.values()].reduce((all, one) => all + one, 0)
  return { limit, given, left: limit === null ? null : Math.max(0, limit - sum) }
}

/**
 * Grants an asset that is in force to another vault, with nothing sealed or uploaded anew. The vault is appraised first. `runs` is its
 * share of the limit; left out, what no vault was given yet. Throws ERR_DRAFT_REFUSED, ERR_KEY_COPY_MISSING, ERR_VAULT_REFUSED.
 */
export async function grantAsset(
  session: Session,
  options: { manifest: Digest; vault: KeyId; runs?: number | undefined },
): Promise<{ grant: Logged<'cella/grant'>; vault: AcceptedVault; shares: Shares }> {
  const organisation = await session.organisation()
  const keys = await session.keys()
  const own = await gatherTerms(session, organisation)
  const gathered = await gather(session, { digests: [options.manifest] })
  const { documents } = gathered
  const manifest = documents.require('cella/manifest', options.manifest)
  const { payload } = manifest
  const refuse = (problem: string, hint: string): SdkError => new SdkError('ERR_DRAFT_REFUSED', problem, { hint })
  if (payload.organisation !== organisation) {
    throw refuse('the asset is another organisation’s', 'its owner alone grants it')
  }
  const isShared = documents.all('cella/grant').some((grant) => {
    return grant.payload.manifest === manifest.digest && grant.payload.share !== undefined
  })
  if (isShared) throw refuse('its key is shared between vaults: one more would get no share', 'publish it again')
  const shares = sharesOf(documents, manifest)
  const runs = payload.runs === null ? null : (options.runs ?? shares.left ?? 0)
  if (runs !== null && (runs < 1 || runs > payload.runs!)) {
    throw refuse(
      `a share of ${runs} runs: the asset has ${payload.runs}, vaults were given ${payload.runs! - (shares.left ?? 0)}`,
      'say how many this vault may spend: --runs COUNT. What vaults that are gone have spent, you know best',
    )
  }
  const vault = await appraiseVault(session, {
    vault: options.vault,
    organisation,
    terms: own.terms.payload,
    documents: own.documents,
  })
  const { log } = await session.info()
  const dek = await openCopy(session, gathered, manifest)
  try {
    const info = grantInfo(manifest.digest, vault.kekId)
    const wrapped = await wrapDek({ dek, recipientPublicKey: vault.kek, info })
    const grant = await submitDocument<'cella/grant'>(
      session,
      {
        type: 'cella/grant',
        version: 1,
        organisation,
        signer: keys.account.keyId,
        manifest: manifest.digest,
        kek: vault.kekId,
        vault: vault.id,
        vaultEvidence: vault.evidence,
        runs,
        log: log.origin,
        wrapped: encodeBase64url(wrapped),
      },
      { signers: [keys.account] },
    )
    return { grant, vault, shares }
  } finally {
    dek.fill(0)
  }
}
