import type { Digest } from '@cella/bytes'
import type { SignedDocument } from '@cella/documents'
import type { DocumentSet } from '@cella/release'
import { type Gathered, gather } from './documents.ts'
import { SdkError } from './error.ts'
import { type AssetFilter, digestsAtOnce as organisationsAtOnce, type PageOptions } from './manager/client.ts'
import type { Session } from './session.ts'
import { type Logged, revokeDocument } from './submit.ts'

/** An asset as the log has it now. */
export interface AssetState {
  readonly manifest: SignedDocument<'cella/manifest'>
  readonly index: number | undefined
  readonly state: 'in force' | 'withdrawn' | 'not counting'
}

/** One page of assets, newest first, each verified here. Whether the manager leaves some out, nobody can see from here. */
export async function listAssets(
  session: Session,
  filter: AssetFilter,
  page: PageOptions = {},
): Promise<{ assets: AssetState[]; next: number | undefined }> {
  await session.keys()
  const { organisations } = filter
  // More than fit a request are picked out here, of what all organisations have.
  const fits = organisations === undefined || organisations.length <= organisationsAtOnce
  const asked = fits ? filter : { ...filter, organisations: undefined }
  const { documents: listed, next } = await session.manager.assets(asked, page)
  const { documents } = await gather(session, { listed })
  const assets = documents
    .all('cella/manifest')
    .filter(({ payload }) => organisations?.includes(payload.organisation) !== false)
    .map((manifest) => stateOf(manifest, documents))
    .sort((a, b) => (b.index ?? 0) - (a.index ?? 0))
  return { assets, next }
}

function stateOf(manifest: SignedDocument<'cella/manifest'>, documents: DocumentSet): AssetState {
  const counts = documents.counts(manifest)
  const isWithdrawn = documents.revokedAt(manifest.digest) !== undefined
  return {
    manifest,
    index: documents.indexOf(manifest.digest),
    state: counts ? 'in force' : isWithdrawn ? 'withdrawn' : 'not counting',
  }
}

/** An asset of an organisation, by its name there. */
export interface AssetName {
  readonly organisation: Digest
  readonly series: string
}

/**
 * Revisions of a series, newest first, at most 200; those in force alone, or with those that were withdrawn. `gathered` has what
 * else was fetched to judge them.
 */
export async function revisionsOf(
  session: Session,
  { organisation, series }: AssetName,
  options: { readonly withdrawn?: boolean } = {},
): Promise<{ revisions: AssetState[]; gathered: Gathered }> {
  await session.keys()
  const { documents: listed } = await session.manager.assets(
    { organisations: [organisation], series, ...options },
    { limit: 200 },
  )
  const gathered = await gather(session, { listed })
  const revisions = gathered.documents
    .all('cella/manifest')
    .filter(({ payload }) => payload.organisation === organisation && payload.series === series)
    .map((manifest) => stateOf(manifest, gathered.documents))
    .filter(({ state }) => options.withdrawn === true || state === 'in force')
    .sort((a, b) => b.manifest.payload.revision - a.manifest.payload.revision)
  return { revisions, gathered }
}

/** The newest revision in force. Throws ERR_NAME_UNKNOWN where there is none to be found. */
export async function findAsset(session: Session, name: AssetName): Promise<{ asset: AssetState; gathered: Gathered }> {
  const { revisions, gathered } = await revisionsOf(session, name)
  const [asset] = revisions
  if (asset !== undefined) return { asset, gathered }
  const { assets } = await listAssets(session, { organisations: [name.organisation] })
  const known = [...new Set(assets.map(({ manifest }) => manifest.payload.series))]
  throw new SdkError('ERR_NAME_UNKNOWN', `organisation ${name.organisation} has no asset “${name.series}” in force`, {
    hint: `it has published: ${known.join(', ') || 'nothing that you can see'}`,
  })
}

/** Withdraws an asset of one's own organisation: from its entry in the log on, no vault releases its key. */
export async function revokeAsset(
  session: Session,
  options: { manifest: Digest; reason: string },
): Promise<Logged<'cella/revocation'>> {
  const keys = await session.keys()
  return revokeDocument(session, {
    subject: options.manifest,
    reason: options.reason,
    organisation: await session.organisation(),
    signers: [keys.account],
  })
}
