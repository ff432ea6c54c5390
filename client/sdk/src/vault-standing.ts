import type { Digest } from '@cella/bytes'
import type { SignedDocument } from '@cella/documents'
import type { KeyId } from '@cella/primitives'
import type { DocumentSet } from '@cella/release'
import { gather, listOwn } from './documents.ts'
import { SdkError } from './error.ts'
import type { Session } from './session.ts'
import { appraiseVault, gatherTerms } from './vaults.ts'

/** A vault as it stands with one's organisation. */
export interface VaultUse {
  readonly vault: KeyId
  /** Grants of one's organisation to it that are in force. */
  readonly grants: number
  /** Vaults that stand in for it where one's organisation is concerned, as the log says; the newest is asked first. */
  readonly standIns: readonly KeyId[]
  /** Until when its operator says that it is served, Unix seconds. */
  readonly until: number | null
  /** Of the organisation's KEK there; null where it has none, or the vault is not accepted. */
  readonly epoch: number | null
  readonly kek: Digest | null
  /** Why one's terms refuse it, or it does not answer; null where it is accepted, or nothing is granted to it. */
  readonly problem: string | null
}

/** Every vault that the installation names or something was granted to. Those with grants in force are asked and appraised. */
export async function listVaults(session: Session): Promise<VaultUse[]> {
  const organisation = await session.organisation()
  const listed = await listOwn(session, ['cella/grant'])
  const { documents } = await gather(session, { organisations: [organisation], listed })
  const manifests = [...new Set(documents.all('cella/grant').map(({ payload }) => payload.manifest))]
  const joins = await session.manager.documents({ about: [organisation], types: ['cella/join'] })
  const all = (
    await gather(session, { organisations: [organisation], listed: [...listed, ...joins], digests: manifests })
  ).documents
  const { checkpoint } = await session.log()
  const now = checkpoint.times?.latest ?? session.now()
  const named = all.all('cella/grant').map(({ payload }) => payload.vault)
  const { vaults } = await session.manager.info()
  const known = vaults.map(({ id }) => id)
  const rows: VaultUse[] = []
  for (const vault of new Set([...known, ...named])) {
    const grants = grantsInForce(all, { organisation, vault, now }).length
    const until = vaults.find(({ id }) => id === vault)?.until ?? null
    const standIns = all.standingIn(vault, organisation).reverse()
    rows.push({
      vault,
      grants,
      standIns,
      until,
      ...(await standingOf(session, { organisation, vault, isAsked: grants > 0 })),
    })
  }
  return rows
}

/** Vaults that one's organisation granted to, and those that stand in for them, in the manager's order; none that it doesn't name. */
export async function usedVaults(session: Session): Promise<KeyId[]> {
  const organisation = await session.organisation()
  const listed = await listOwn(session, ['cella/grant'])
  const joins = await session.manager.documents({ about: [organisation], types: ['cella/join'] })
  const { documents } = await gather(session, { organisations: [organisation], listed: [...listed, ...joins] })
  const granted = new Set(documents.all('cella/grant').map(({ payload }) => payload.vault))
  const used = new Set([...granted].flatMap((vault) => [vault, ...documents.standingIn(vault, organisation)]))
  return (await session.manager.info()).vaults.map(({ id }) => id).filter((id) => used.has(id))
}

async function standingOf(
  session: Session,
  { organisation, vault, isAsked }: { organisation: Digest; vault: KeyId; isAsked: boolean },
): Promise<Pick<VaultUse, 'epoch' | 'kek' | 'problem'>> {
  // To ask is to have a key made there: not for a vault that is of no use yet.
  if (!isAsked) return { epoch: null, kek: null, problem: null }
  try {
    const { terms, documents } = await gatherTerms(session, organisation)
    const { epoch, kekId } = await appraiseVault(session, { vault, organisation, terms: terms.payload, documents })
    return { epoch, kek: kekId, problem: null }
  } catch (error) {
    if (!(error instanceof SdkError)) throw error
    return { epoch: null, kek: null, problem: `${error.code}: ${error.message}` }
  }
}

/** Grants of one's organisation to a vault that are in force, each with its asset. */
export function grantsInForce(
  documents: DocumentSet,
  { organisation, vault, now }: { organisation: Digest; vault: KeyId; now: number },
): { grant: SignedDocument<'cella/grant'>; manifest: SignedDocument<'cella/manifest'> }[] {
  return documents.all('cella/grant').flatMap((grant) => {
    const manifest = documents.find('cella/manifest', grant.payload.manifest)
    const isLive =
      grant.payload.organisation === organisation &&
      grant.payload.vault === vault &&
      manifest !== undefined &&
      now <= manifest.payload.notAfter &&
      documents.counts(grant) &&
      documents.counts(manifest)
    return isLive ? [{ grant, manifest }] : []
  })
}
