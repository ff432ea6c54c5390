import type { Digest } from '@cella/bytes'
import { DocumentError, type DocumentType, type Payload, parseDocument } from '@cella/documents'
import { assetsOf, type DocumentSet, organisationId, readDocumentSet, VerifiedEnvelopes } from '@cella/release'
import { SdkError } from './error.ts'
import type { ListedDocument, Locations } from './manager/answers.ts'
import type { DocumentFilter } from './manager/client.ts'
import type { Session } from './session.ts'

/** Documents from the manager, each signature verified, their standing asked of one's own reading of the log. */
export interface Gathered {
  readonly documents: DocumentSet
  /** Envelopes by digest, as the manager gave them. */
  readonly envelopes: ReadonlyMap<Digest, string>
  /** Where the manager says that ciphertexts lie, by manifest. Unchecked: what is fetched is. */
  readonly locations: ReadonlyMap<Digest, Locations>
}

/** What tells who an organisation is, who may sign for it, and what it accepts: no signature is judged without. */
const judging: readonly DocumentType[] = [
  'cella/organisation',
  'cella/membership',
  'cella/terms',
  'cella/build',
  'cella/attestation-policy',
]
/** What is said about a document in others. Contracts that name an asset are not: there may be any number. */
const saying: readonly DocumentType[] = [
  'cella/grant',
  'cella/key-copy',
  'cella/source',
  'cella/approval',
  'cella/request',
  'cella/response',
]

/**
 * These documents, those listed elsewhere, what is said about each of `digests`, and of all their organisations and of
 * `organisations` what judges signatures. What an organisation published is not among it: `cella/manifest` is found by name or
 * digest, however many there are.
 */
export async function gather(
  session: Session,
  wanted: {
    organisations?: readonly Digest[]
    digests?: readonly Digest[]
    listed?: readonly ListedDocument[]
  },
): Promise<Gathered> {
  // Lists are for members only: requests need the account's token.
  await session.keys()
  const organisations = new Set(wanted.organisations)
  const envelopes = new Map<Digest, string>()
  const locations = new Map<Digest, Locations>()
  const keep = (envelope: string, where: Locations | undefined): void => {
    try {
      // The digest is computed here: the manager's own is not taken.
      const { digest, payload } = parseDocument(envelope)
      envelopes.set(digest, envelope)
      // No signature can be judged without the organisation for which it was made.
      organisations.add(payload.organisation ?? digest)
      if (where !== undefined) locations.set(digest, where)
    } catch (error) {
      if (!(error instanceof DocumentError)) throw error
    }
  }
  for (const listed of wanted.listed ?? []) keep(listed.document, listed.locations)
  const keepAll = async (filter: DocumentFilter): Promise<void> => {
    for (const listed of await session.manager.documents(filter)) keep(listed.document, listed.locations)
  }
  // Absent is no failure here: who needs it says so by name.
  if (wanted.digests !== undefined && wanted.digests.length > 0) {
    await keepAll({ digests: wanted.digests })
    await keepAll({ about: wanted.digests, types: saying })
  }
  if (organisations.size > 0) await keepAll({ organisations: [...organisations], types: judging })
  return { documents: await readAll(session, envelopes), envelopes, locations }
}

/** What an organisation signed in years: far more than an enclave reads for one run. */
const documentsMax = 100_000

/** Signatures that this session verified: what is gathered for several questions is read for each of them. */
const verified = new WeakMap<Session, VerifiedEnvelopes>()

async function readAll(session: Session, envelopes: ReadonlyMap<Digest, string>): Promise<DocumentSet> {
  const { view } = await session.log()
  const known = verified.get(session) ?? new VerifiedEnvelopes()
  verified.set(session, known)
  return readDocumentSet([...envelopes.values()], view, known, documentsMax)
}

/** All that may bear on a contract: its assets, their owners, its author and receivers. */
export async function gatherForContract(session: Session, contract: Digest): Promise<Gathered> {
  const first = await gather(session, { digests: [contract] })
  const document = first.documents.find('cella/contract', contract)
  if (document === undefined) throw unknownDocument('contract', contract)
  const { payload } = document
  const assets = await gather(session, { digests: assetsOf(payload).map(({ manifest }) => manifest) })
  const organisations = new Set<Digest>([
    payload.organisation,
    ...assets.documents.all('cella/manifest').map(({ payload: manifest }) => manifest.organisation),
    ...[...payload.outputs.flatMap(({ receivers }) => receivers), ...payload.diagnostics].map(
      (receiver) => receiver.organisation,
    ),
  ])
  return merge(session, [first, assets, await gather(session, { organisations: [...organisations] })])
}

/** Documents of these types that one's own organisation signed, those that fit, oldest first: to be gathered as `listed`. */
export async function listOwn(
  session: Session,
  types: readonly DocumentType[],
  fits: (payload: Payload) => boolean = () => true,
): Promise<ListedDocument[]> {
  await session.keys()
  const listed = await session.manager.documents({ organisations: [await session.organisation()], types })
  return listed.filter(({ document }) => {
    try {
      return fits(parseDocument(document).payload)
    } catch (error) {
      if (error instanceof DocumentError) return false
      throw error
    }
  })
}

/** One set of several. */
export async function merge(session: Session, parts: readonly Gathered[]): Promise<Gathered> {
  const envelopes = new Map(parts.flatMap((part) => [...part.envelopes]))
  const locations = new Map(parts.flatMap((part) => [...part.locations]))
  return { documents: await readAll(session, envelopes), envelopes, locations }
}

/** Ids of all organisations in a set. */
export function organisationsIn(documents: DocumentSet): Digest[] {
  return [...new Set(documents.all('cella/organisation').map(organisationId))]
}

/** Throws ERR_NAME_UNKNOWN for a digest that the manager does not have. */
export function unknownDocument(what: string, digest: string): SdkError {
  return new SdkError('ERR_NAME_UNKNOWN', `no ${what} ${digest} is known to the manager`)
}
