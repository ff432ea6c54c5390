import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { canonicalJson, type Digest, encodeUtf8, FormatError, parseCanonicalJson } from '@cella/bytes'
import {
  type AttestationPolicy,
  DocumentError,
  digestField,
  documentBytesMax,
  nameField,
  parseDocumentOf,
  type SignedDocument,
} from '@cella/documents'
import { type AppraisalPolicy, EvidenceError, type TrustedIssuer, type TrustedRoot } from '@cella/evidence'
import { AttestationPolicyError, readAttestationPolicy } from '@cella/release/attestation-policy'
import { z } from 'zod'
import { AttestError } from './error.ts'
import { isLeftover, makeFolder, readBounded, writeDurably } from './files.ts'
import {
  type KnownOrganisation,
  mayStillSign,
  newerOf,
  revisionsMax,
  verifyOrganisation,
  verifyRootSigned,
} from './organisation.ts'

const organisationsMax = 1000
const policiesMax = 100
/** Of all documents together. */
const storedBytesMax = 268_435_456
const fileBytesMax = revisionsMax * (documentBytesMax + 8)

/** A policy under its name, as its organisation signed it. */
export interface NamedPolicy {
  readonly organisation: Digest
  readonly document: SignedDocument<'cella/attestation-policy'>
  readonly policy: AppraisalPolicy
  readonly roots: readonly TrustedRoot[]
  readonly issuers: readonly TrustedIssuer[]
  /** What a result says it was made by: `ORGANISATION/NAME/REVISION/DIGEST`. */
  readonly id: string
}

/** What anyone may know of a policy. */
export interface PolicySummary {
  readonly organisation: Digest
  readonly name: string
  readonly revision: number
  readonly digest: Digest
  readonly notBefore: number
  readonly notAfter: number
  readonly freshness: AttestationPolicy['freshness']
  readonly inForce: boolean
}

interface Tenant {
  organisation: KnownOrganisation
  readonly policies: Map<string, NamedPolicy>
}

const storedSchema = z.array(z.string().max(documentBytesMax)).min(1).max(revisionsMax)

/**
 * Appraisal policies by organisation and name, in a folder. A policy gets in by its organisation's root keys alone and
 * stays until a higher revision; all are verified again at every start.
 *
 *     organisations/ID/organisation.json     [envelope, …], revision 1 first
 *     organisations/ID/policies/NAME.json    [envelope]
 */
export class Policies {
  readonly #folder: string
  readonly #accepted: ReadonlySet<Digest> | 'any'
  readonly #tenants = new Map<Digest, Tenant>()
  #storedBytes = 0
  #last: Promise<unknown> = Promise.resolve()

  private constructor(folder: string, accepted: readonly Digest[] | 'any') {
    this.#folder = folder
    this.#accepted = accepted === 'any' ? 'any' : new Set(accepted)
  }

  /** Reads and verifies everything. Throws ERR_STATE_NOT_OPENED naming the file that is not as it was written. */
  static async open(options: { folder: string; organisations: readonly Digest[] | 'any' }): Promise<Policies> {
    const policies = new Policies(join(options.folder, 'organisations'), options.organisations)
    await makeFolder(policies.#folder)
    for (const name of await list(policies.#folder)) await policies.#load(name)
    return policies
  }

  /**
   * Takes an organisation's revisions (1 first) and a policy that its root keys signed. What is returned is on the disk.
   * A document that is known already changes nothing. Throws DocumentError, EvidenceError and AttestError.
   */
  async put(given: { organisation: readonly string[]; policy: string }): Promise<PolicySummary & { isNew: boolean }> {
    // One after the other: each is judged by what the one before left.
    const done = this.#last.then(() => this.#put(given))
    this.#last = done.catch(() => undefined)
    return done
  }

  /** Throws ERR_POLICY_UNKNOWN, ERR_POLICY_NOT_IN_FORCE. */
  find(organisation: Digest, name: string, now: number): NamedPolicy {
    const tenant = this.#tenants.get(organisation)
    const found = tenant?.policies.get(name)
    if (tenant === undefined || found === undefined) {
      throw new AttestError(
        'ERR_POLICY_UNKNOWN',
        `organisation ${organisation} has no policy ${name} here; put one: PUT /v1/policies`,
      )
    }
    const problem = notInForce(tenant, found, now)
    if (problem !== undefined) throw new AttestError('ERR_POLICY_NOT_IN_FORCE', `policy ${found.id}: ${problem}`)
    return found
  }

  /** Of one organisation, by name. */
  summaries(organisation: Digest, now: number): PolicySummary[] {
    const tenant = this.#tenants.get(organisation)
    const all = [...(tenant?.policies.values() ?? [])]
    return all.map((policy) => summaryOf(tenant!, policy, now)).sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  get count(): number {
    return [...this.#tenants.values()].reduce((sum, { policies }) => sum + policies.size, 0)
  }

  async #put(given: { organisation: readonly string[]; policy: string }): Promise<PolicySummary & { isNew: boolean }> {
    const presented = await verifyOrganisation(given.organisation)
    const { id } = presented
    this.#requireAccepted(id)
    const tenant = this.#tenants.get(id)
    const organisation = tenant === undefined ? presented : newerOf(tenant.organisation, presented)
    const named = await read(given.policy, organisation)
    const { name, revision } = named.document.payload
    const known = tenant?.policies.get(name)
    const isSame = known?.document.digest === named.document.digest
    if (known !== undefined && !isSame && revision <= known.document.payload.revision) {
      const { digest, payload } = known.document
      throw new AttestError(
        'ERR_POLICY_OLDER',
        `revision ${revision} of ${name} does not follow on revision ${payload.revision} (${digest}), which is known; sign revision ${payload.revision + 1}`,
      )
    }
    const isLonger = organisation.revisions.length > (tenant?.organisation.revisions.length ?? 0)
    if (!isSame) this.#requireRoom(tenant, name, given.policy.length)
    const folder = join(this.#folder, id)
    if (isLonger) {
      await makeFolder(join(folder, 'policies'))
      await write(
        join(folder, 'organisation.json'),
        organisation.revisions.map(({ envelope }) => envelope),
      )
    }
    if (!isSame) await write(join(folder, 'policies', `${name}.json`), [given.policy])
    const kept: Tenant = tenant ?? { organisation, policies: new Map() }
    kept.organisation = organisation
    if (!isSame) {
      kept.policies.set(name, named)
      this.#storedBytes += given.policy.length - (known?.document.envelope.length ?? 0)
    }
    this.#tenants.set(id, kept)
    // Nobody waits for a validity that has not begun, so `now` decides nothing here.
    return { ...summaryOf(kept, kept.policies.get(name)!, named.document.payload.notBefore), isNew: !isSame }
  }

  #requireAccepted(id: Digest): void {
    if (this.#accepted !== 'any' && !this.#accepted.has(id)) {
      throw new AttestError('ERR_ORGANISATION_REFUSED', `this service does not work for organisation ${id}`)
    }
  }

  #requireRoom(tenant: Tenant | undefined, name: string, length: number): void {
    const isFull =
      (tenant === undefined && this.#tenants.size >= organisationsMax) ||
      (tenant !== undefined && !tenant.policies.has(name) && tenant.policies.size >= policiesMax) ||
      this.#storedBytes + length > storedBytesMax
    if (isFull) {
      throw new AttestError(
        'ERR_SERVICE_FULL',
        `at most ${organisationsMax} organisations, ${policiesMax} policies of each, and ${storedBytesMax} bytes are kept`,
      )
    }
  }

  async #load(id: string): Promise<void> {
    const folder = join(this.#folder, id)
    if (!digestField.safeParse(id).success) throw altered(folder, 'is no folder of an organisation')
    const revisions = await stored(join(folder, 'organisation.json'))
    // Cut off before the first file was whole: nothing of it was acknowledged.
    if (revisions === undefined && (await list(join(folder, 'policies'))).length === 0) return
    const organisation = await checked(join(folder, 'organisation.json'), () => verifyOrganisation(revisions ?? []))
    if (organisation.id !== id) throw altered(folder, `holds organisation ${organisation.id}`)
    // Accepted before, and no longer: its documents stay, its policies are not used.
    if (this.#accepted !== 'any' && !this.#accepted.has(organisation.id)) return
    const policies = new Map<string, NamedPolicy>()
    for (const file of await list(join(folder, 'policies'))) {
      const path = join(folder, 'policies', file)
      const [envelope, ...more] = (await stored(path)) ?? []
      if (envelope === undefined || more.length > 0) throw altered(path, 'is not one document')
      const named = await checked(path, () => readStored(envelope, organisation))
      if (`${named.document.payload.name}.json` !== file) throw altered(path, 'holds a policy of another name')
      policies.set(named.document.payload.name, named)
      this.#storedBytes += envelope.length
    }
    this.#tenants.set(organisation.id, { organisation, policies })
  }
}

/** Reads a policy that the organisation's root keys of now have to have signed. */
async function read(envelope: string, organisation: KnownOrganisation): Promise<NamedPolicy> {
  const document = parseDocumentOf('cella/attestation-policy', envelope)
  requireOf(document.payload, organisation)
  return namedPolicy(await verifyRootSigned(document, organisation.revisions.at(-1)!.payload))
}

/** One that was taken under root keys that the organisation has replaced since is kept: it is not in force. */
async function readStored(envelope: string, organisation: KnownOrganisation): Promise<NamedPolicy> {
  const document = parseDocumentOf('cella/attestation-policy', envelope)
  requireOf(document.payload, organisation)
  let failure: unknown
  for (const { payload } of organisation.revisions.toReversed()) {
    try {
      return namedPolicy(await verifyRootSigned(document, payload))
    } catch (error) {
      if (!(error instanceof AttestError && error.code === 'ERR_DOCUMENT_NOT_ENTITLED')) throw error
      failure ??= error
    }
  }
  throw failure
}

function requireOf(payload: AttestationPolicy, { id }: KnownOrganisation): void {
  if (payload.organisation !== id) {
    throw new AttestError(
      'ERR_POLICY_MALFORMED',
      `the policy is of organisation ${payload.organisation}, the documents beside it are of ${id}`,
    )
  }
}

function namedPolicy(document: SignedDocument<'cella/attestation-policy'>): NamedPolicy {
  const { payload, digest } = document
  try {
    return {
      organisation: payload.organisation,
      document,
      ...readAttestationPolicy(payload),
      id: `${payload.organisation}/${payload.name}/${payload.revision}/${digest}`,
    }
  } catch (cause) {
    if (cause instanceof AttestationPolicyError) throw new AttestError(cause.code, cause.message, { cause })
    throw cause
  }
}

function notInForce(tenant: Tenant, { document }: NamedPolicy, now: number): string | undefined {
  const { notBefore, notAfter } = document.payload
  if (!mayStillSign(document.signers, tenant.organisation)) {
    return 'its signers are no longer the root keys of the organisation; sign a new revision'
  }
  if (now < notBefore) return `is valid from ${notBefore} on, now is ${now}`
  if (now > notAfter) return `was valid until ${notAfter}, now is ${now}`
  return undefined
}

function summaryOf(tenant: Tenant, named: NamedPolicy, now: number): PolicySummary {
  const { name, revision, notBefore, notAfter, freshness } = named.document.payload
  return {
    organisation: named.organisation,
    name,
    revision,
    digest: named.document.digest,
    notBefore,
    notAfter,
    freshness,
    inForce: notInForce(tenant, named, now) === undefined,
  }
}

async function write(path: string, envelopes: readonly string[]): Promise<void> {
  await writeDurably(path, encodeUtf8(canonicalJson(envelopes)))
}

async function stored(path: string): Promise<string[] | undefined> {
  const bytes = await readBounded(path, fileBytesMax)
  if (bytes === undefined) return undefined
  return checked(path, () => storedSchema.parse(parseCanonicalJson(bytes, 'file', fileBytesMax)))
}

/** Names in a folder of ours; none where it does not exist. */
async function list(folder: string): Promise<string[]> {
  try {
    const names = (await readdir(folder)).filter((name) => !isLeftover(name)).sort()
    const strange = names.find((name) => name.endsWith('.json') && !nameField.safeParse(name.slice(0, -5)).success)
    if (strange !== undefined) throw altered(join(folder, strange), 'is no name of a policy')
    return names
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw cause
  }
}

/** What is wrong with a document in a file of ours is wrong with the file: nobody else wrote it. */
async function checked<T>(path: string, run: () => T | Promise<T>): Promise<T> {
  try {
    return await run()
  } catch (cause) {
    const isForeseen =
      cause instanceof DocumentError ||
      cause instanceof EvidenceError ||
      cause instanceof AttestError ||
      cause instanceof FormatError ||
      cause instanceof z.ZodError
    if (!isForeseen) throw cause
    throw altered(path, cause instanceof z.ZodError ? 'is no list of documents' : cause.message, cause)
  }
}

function altered(path: string, problem: string, cause?: unknown): AttestError {
  return new AttestError('ERR_STATE_NOT_OPENED', `${path}: ${problem}; restore it from a backup or remove it`, {
    cause,
  })
}
