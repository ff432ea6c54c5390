import { type Digest, encodeHex } from '@cella/bytes'
import { type Payload, parseDocumentOf } from '@cella/documents'
import { publishedTag, revokedTag } from '@cella/log'
import { assetsOf, contractProblems, type Reason, readDocumentSet, VerifiedEnvelopes } from '@cella/release'
import type { Kysely, Selectable } from 'kysely'
import type { DocumentsTable, Tables } from '../database/tables.ts'
import { ManagerError } from '../error.ts'
import { isShown } from './catalogue.ts'
import { mentionsOf } from './mentions.ts'

type Row = Selectable<DocumentsTable>

/** All that may bear on a contract. The vault decides; what this selection lacks is a refusal there, never a release. */
export interface Bearing {
  readonly contract: Payload<'cella/contract'>
  readonly envelopes: readonly string[]
  readonly locations: Readonly<Record<string, { sealed: string; outboard: string }>>
  /** Organisations that the contract names: its author's, its assets', its receivers'. */
  readonly organisations: readonly string[]
  /** Of its assets. */
  readonly owners: readonly string[]
  readonly rows: readonly Row[]
}

/** What a vault's call of 4 MiB can carry, with room for the rest of it. */
const envelopeBytesMax = 3 * 2 ** 20

/** Throws ERR_NOT_FOUND for a contract that is not stored, or not shown to any of `organisations`: one is as the other. */
export async function bearingOn(
  tables: Kysely<Tables>,
  digest: string,
  organisations?: readonly string[],
): Promise<Bearing> {
  const stored = await select(tables, [digest], organisations)
  const row = stored.find(({ type }) => type === 'cella/contract')
  if (row === undefined) throw new ManagerError('ERR_NOT_FOUND', `no contract ${digest} is stored here`)
  const contract = parseDocumentOf('cella/contract', row.envelope).payload
  // What its author would not be shown is as if it did not exist, so that no refusal tells of it.
  const manifests = await select(
    tables,
    assetsOf(contract).map(({ manifest }) => manifest),
    [contract.organisation],
  )
  const receivers = [...contract.outputs.flatMap((output) => output.receivers), ...contract.diagnostics]
  const named = [
    ...new Set([
      contract.organisation,
      ...manifests.map(({ organisation }) => organisation),
      ...receivers.map(({ organisation }) => organisation),
    ]),
  ]
  const [about, joins, basics] = await Promise.all([
    mentioning(
      tables,
      ['cella/grant', 'cella/approval', 'cella/source'],
      [digest, ...manifests.map((manifest) => manifest.digest)],
    ),
    mentioning(tables, ['cella/join'], [...new Set(manifests.map(({ organisation }) => organisation))]),
    ofOrganisations(tables, named),
  ])
  const builds = await namedBuilds(tables, basics)
  const signers = new Set([...[row, ...manifests, ...about].map(({ signer }) => signer), ...signersOfTerms(basics)])
  const [makers, isNeeded] = await Promise.all([
    ofOrganisations(tables, [...new Set(builds.map(({ organisation }) => organisation))]),
    neededMemberships(tables, mentionsOf(contract), signers),
  ])
  // Most needed first, for the case that there is more than fits.
  const all = new Map<string, Row>()
  const [needed, others] = partition(basics, (found) => found.type !== 'cella/membership' || isNeeded.has(found.digest))
  for (const found of [row, ...manifests, ...about, ...joins, ...needed, ...builds, ...makers, ...others])
    all.set(found.digest, found)
  const rows = fitting([...all.values(), ...(await withdrawalsOf(tables, [...all.keys()]))])
  return {
    contract,
    organisations: named,
    owners: [...new Set(manifests.map(({ organisation }) => organisation))],
    rows,
    envelopes: rows.map(({ envelope }) => envelope),
    locations: Object.fromEntries(
      manifests.flatMap((manifest) => (manifest.locations === null ? [] : [[manifest.digest, manifest.locations]])),
    ),
  }
}

const verified = new VerifiedEnvelopes()

/**
 * What is wrong with a contract whoever is asked, such as an output without a receiver: the same check as at create, in
 * the vault and at approval, here on the indices that this manager was told.
 */
async function problemsOf(bearing: Bearing): Promise<readonly Reason[]> {
  const index = new Map<string, number>()
  for (const row of bearing.rows) {
    if (row.leaf_index !== null) index.set(encodeHex(publishedTag(row.digest as Digest)), row.leaf_index)
    if (row.subject === null || row.revoked_index === null) continue
    const tag = encodeHex(revokedTag(row.subject as Digest))
    index.set(tag, Math.min(row.revoked_index, index.get(tag) ?? row.revoked_index))
  }
  const log = { firstIndexOf: (tag: Uint8Array) => index.get(encodeHex(tag)) }
  return contractProblems(bearing.contract, await readDocumentSet(bearing.envelopes, log, verified))
}

/** What became of an asset that is known: its owner learns of the refusal from the vault. */
const left = new Set(['ERR_DOCUMENT_REVOKED', 'ERR_DOCUMENT_NOT_ENTITLED'])

/**
 * Throws ERR_CONTRACT_UNSOUND naming every problem of the contract itself. Whether its assets still stand is left to the vault,
 * whose refusal is logged and tells their owners why.
 */
export async function requireSound(bearing: Bearing): Promise<void> {
  const problems = (await problemsOf(bearing)).filter(
    ({ code, clause }) => !(left.has(code) && clause.startsWith('asset ')),
  )
  if (problems.length === 0) return
  const words = problems.map(
    ({ code, clause, expected, got }) => `${code} at ${clause}: expected ${expected}, got ${got}`,
  )
  throw new ManagerError('ERR_CONTRACT_UNSOUND', `no vault would release for this contract: ${words.join('; ')}`, {
    hint: 'its author changes what is named and makes a new contract; cella workflow check shows the same beforehand',
  })
}

function select(tables: Kysely<Tables>, digests: readonly string[], shownTo?: readonly string[]): Promise<Row[]> {
  if (digests.length === 0) return Promise.resolve([])
  return tables
    .selectFrom('documents')
    .selectAll('documents')
    .where('digest', 'in', digests)
    .where('leaf_index', 'is not', null)
    .$if(shownTo !== undefined, (query) => query.where(isShown({ organisations: shownTo ?? [], digests })))
    .execute()
}

/** What withdraws any of these: of all that an organisation ever withdrew, only that bears on a contract. */
function withdrawalsOf(tables: Kysely<Tables>, digests: readonly string[]): Promise<Row[]> {
  return tables
    .selectFrom('documents')
    .selectAll()
    .where('subject', 'in', digests)
    .where('leaf_index', 'is not', null)
    .limit(500)
    .execute()
}

export function mentioning(tables: Kysely<Tables>, types: readonly string[], about: readonly string[]): Promise<Row[]> {
  return tables
    .selectFrom('documents')
    .selectAll('documents')
    .where('type', 'in', types)
    .where('leaf_index', 'is not', null)
    .where('digest', 'in', (inner) =>
      inner.selectFrom('mentions').select('mentions.digest').where('about', 'in', about),
    )
    .orderBy('leaf_index', 'desc')
    .limit(500)
    .execute()
}

const basicTypes = ['cella/organisation', 'cella/membership', 'cella/terms', 'cella/build']

function ofOrganisations(tables: Kysely<Tables>, organisations: readonly string[]): Promise<Row[]> {
  if (organisations.length === 0) return Promise.resolve([])
  return tables
    .selectFrom('documents')
    .selectAll()
    .where('organisation', 'in', organisations)
    .where('type', 'in', basicTypes)
    .where('leaf_index', 'is not', null)
    .orderBy('leaf_index', 'desc')
    .limit(1500)
    .execute()
}

/** Root keys mostly; accounts, where those signed whom the terms before name for recovery. */
function signersOfTerms(rows: readonly Row[]): string[] {
  return rows
    .filter(({ type }) => type === 'cella/terms')
    .flatMap(({ envelope }) => parseDocumentOf('cella/terms', envelope).signers)
}

/** Builds that the terms name, or that a build signer in them signed. */
async function namedBuilds(tables: Kysely<Tables>, rows: readonly Row[]): Promise<Row[]> {
  const digests = new Set<string>()
  const signers = new Set<string>()
  for (const { type, envelope } of rows) {
    if (type !== 'cella/terms') continue
    const { payload } = parseDocumentOf('cella/terms', envelope)
    for (const code of [payload.vault, payload.worker, payload.attestationService, payload.logSigner]) {
      if (code === undefined) continue
      for (const build of code.builds) digests.add(build)
      for (const signer of code.signers) signers.add(signer)
    }
  }
  const signed =
    signers.size === 0
      ? []
      : await tables
          .selectFrom('documents')
          .selectAll()
          .where('type', '=', 'cella/build')
          .where('signer', 'in', [...signers])
          .where('leaf_index', 'is not', null)
          .orderBy('leaf_index', 'desc')
          .limit(100)
          .execute()
  return [...(await select(tables, [...digests])), ...signed]
}

/** An organisation's own documents, with the builds that its terms name and their makers: whom it accepts. Most needed first. */
export async function accepted(tables: Kysely<Tables>, organisation: string): Promise<Row[]> {
  const basics = await ofOrganisations(tables, [organisation])
  const builds = await namedBuilds(tables, basics)
  const [makers, isNeeded] = await Promise.all([
    ofOrganisations(tables, [...new Set(builds.map((build) => build.organisation))]),
    neededMemberships(tables, new Set(), new Set(signersOfTerms(basics))),
  ])
  const [needed, others] = partition(basics, ({ type, digest }) => type !== 'cella/membership' || isNeeded.has(digest))
  return [...needed, ...builds, ...makers, ...others]
}

async function neededMemberships(
  tables: Kysely<Tables>,
  named: ReadonlySet<string>,
  signers: ReadonlySet<string>,
): Promise<ReadonlySet<string>> {
  if (signers.size === 0) return named
  const rows = await tables
    .selectFrom('memberships')
    .select('digest')
    .where('account', 'in', [...signers])
    .limit(1000)
    .execute()
  return new Set([...named, ...rows.map(({ digest }) => digest)])
}

function partition(rows: readonly Row[], test: (row: Row) => boolean): [Row[], Row[]] {
  return [rows.filter(test), rows.filter((row) => !test(row))]
}

export function fitting(rows: readonly Row[]): Row[] {
  let bytes = 0
  return rows.filter((row) => {
    bytes += row.envelope.length
    return bytes <= envelopeBytesMax
  })
}
