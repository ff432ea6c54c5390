import type { Boundary } from '@cella/documents'
import type { Generated, JSONColumnType } from 'kysely'

// Every row is a copy of something signed, of something logged, or of the queue's state. None of it decides a release.

export interface DocumentsTable {
  digest: string
  type: string
  /** Id of the organisation; a first revision's own digest. */
  organisation: string
  signer: string
  envelope: string
  /** Unpadded base64url, 32 bytes. */
  salt: string
  /** Unpadded base64url, 64 bytes. */
  leaf: string
  /** Null until the log acknowledged the leaf; then the document counts as stored. */
  leaf_index: number | null
  /** Digest that a revocation withdraws, with the second leaf. */
  subject: string | null
  revoked_leaf: string | null
  revoked_index: number | null
  locations: JSONColumnType<{ sealed: string; outboard: string }> | null
  /** `notAfter` of what ends, in seconds. */
  ends_at: number | null
  /** Of a manifest: whether each contract needs its owner's approval. */
  each_contract: boolean | null
  /** Tells of an asset that is not for everyone. */
  restricted: Generated<boolean>
  submitted_at: Generated<Date>
}

/** A manifest for each of its readers: whom it is shown to. */
interface CatalogueTable {
  /** An organisation, `*` for everyone, `?` for who names it. */
  reader: string
  leaf_index: number
  owner: string
  series: string
  kind: string
  digest: string
  withdrawn: Generated<boolean>
  tags: string[]
  /** A tsvector. */
  words: string
}

/** Assets that are not for everyone, by the documents that tell of them: themselves, and what names them. */
interface RestrictionsTable {
  digest: string
  manifest: string
}

interface MentionsTable {
  digest: string
  about: string
}

/** Accounts by the memberships that name them. */
interface MembershipsTable {
  /** The membership's digest. */
  digest: string
  organisation: string
  account: string
  /** Unpadded base64url, 32 bytes. */
  signing_key: string
  not_before: number
  not_after: number
}

interface NoncesTable {
  nonce: string
  expires_at: Date
}

interface UploadsTable {
  id: string
  account: string
  organisation: string | null
  sha256: string
  size: number
  done: Generated<boolean>
  created_at: Generated<Date>
}

interface BlobsTable {
  sha256: string
  size: number
  /** Of who stored it first; null for a worker's. */
  organisation: string | null
  created_at: Generated<Date>
}

export type RunStatus = 'queued' | 'running' | 'finished' | 'refused' | 'failed' | 'cancelled'

export interface RunsTable {
  contract: string
  run: number
  attempt: number
  attempts_max: number
  status: RunStatus
  phase: string
  /** What a worker must have to take it: this boundary, at least this isolation. */
  boundary: Boundary
  isolation: number
  /** Kinds of TEE that every owner's terms accept; null: any (`queue/kinds.ts`). */
  tees: string[] | null
  /** Organisations whose assets the contract names. */
  owners: Generated<string[]>
  /** Of the contract: whose turn it takes. */
  organisation: string
  /** Among those of its organisation; higher ones first. */
  priority: Generated<number>
  /** Fencing number of the newest lease; null while queued. */
  lease: number | null
  lease_until: Date | null
  error: JSONColumnType<RunError> | null
  /** Digest of the receipt of a finished run. */
  receipt: string | null
  /** The canonical text of the receipt bundle. */
  bundle: string | null
  outputs: JSONColumnType<readonly object[]> | null
  /** Envelopes of a refusal. */
  decisions: JSONColumnType<readonly string[]> | null
  /** Place of the receipt in the log, where the bundle says it. */
  receipt_index: number | null
  /** Sequence of its newest event. */
  last_event: Generated<number>
  /** Of the request that queued it, where that was traced. */
  traceparent: string | null
  /** Counts up over all runs: what pages continue from. */
  position: Generated<number>
  created_at: Generated<Date>
  updated_at: Generated<Date>
}

export interface RunError {
  code: string
  reasons?: readonly unknown[]
}

/** Organisations that a contract names: whose accounts may see its runs. */
interface ParticipantsTable {
  contract: string
  organisation: string
}

interface LeasesTable {
  lease: Generated<number>
  contract: string
  run: number
  attempt: number
  worker: string
  created_at: Generated<Date>
}

/** What a worker stored before it logged its receipt: text that means nothing here. */
interface DraftsTable {
  lease: number
  contract: string
  run: number
  draft: string
  created_at: Generated<Date>
}

export interface EventsTable {
  contract: string
  run: number
  sequence: number
  at: Generated<Date>
  attempt: number
  phase: string
  detail: JSONColumnType<object> | null
}

/** Bodies of events, sealed, under the commitments of their leaves. */
interface EventBodiesTable {
  commitment: string
  sealed: Buffer
  /** The account whose vault at home wrote it; null: a vault of this machine. */
  writer: string | null
  created_at: Generated<Date>
}

/** Workers that ask for challenges and runs, by their own names. */
interface WorkersTable {
  name: string
  seen_at: Date
  /** What its evidence said, to be offered runs; no more than that. Null before it was judged, and where it was refused. */
  boundary: Boundary | null
  isolation: number | null
  tee: string | null
  simulated: boolean | null
  /** Lower-case hexadecimal. */
  measurement: string | null
  platform_id: string | null
  /** By the database's clock, how long that is enough. */
  attested_until: Date | null
  /** Named in the evidence, unpadded base64url of 32 bytes; null for a worker of before poll keys. */
  poll_key: string | null
  /** Number of the newest poll under the key. */
  polls: Generated<number>
  refusal: JSONColumnType<{ code: string; text: string }> | null
}

/** Kinds of TEE that an organisation's newest terms accept. */
interface AcceptedTeesTable {
  organisation: string
  tees: string[]
}

/** When each organisation last took a turn at a worker, by a counter. */
interface TurnsTable {
  organisation: string
  turn: number
}

/** From the caller's question to the worker's answer, seconds; what is older is thrown away. */
interface ChallengesTable {
  id: Generated<number>
  worker: string
  /** Unpadded base64url, 32 bytes. */
  nonce: string
  taken: Generated<boolean>
  /** JSON of the worker, which means nothing here. */
  answer: string | null
  created_at: Generated<Date>
}

/** What happened that concerns an organisation. */
export interface NoticesTable {
  id: Generated<number>
  at: Generated<Date>
  organisation: string
  kind: 'document' | 'run'
  /** Digest of the document, or of the run's contract. */
  about: string
  detail: JSONColumnType<object>
}

/** Where an organisation wants to be told of its notices. */
export interface WebhooksTable {
  id: Generated<number>
  organisation: string
  url: string
  /** The last notice that was delivered. */
  delivered: number
  /** Tries that failed since. */
  failures: Generated<number>
  next_at: Generated<Date>
  /** Why the last try failed; null when it did not. */
  problem: string | null
  created_at: Generated<Date>
}

/** The newest checkpoint of a log that was seen, and the one that contradicts it, both as notes. */
interface LogSeenTable {
  origin: string
  size: number
  /** Lower-case hexadecimal. */
  root: string
  note: string
  contradiction: string | null
}

export interface Tables {
  notices: NoticesTable
  webhooks: WebhooksTable
  documents: DocumentsTable
  catalogue: CatalogueTable
  restrictions: RestrictionsTable
  mentions: MentionsTable
  memberships: MembershipsTable
  nonces: NoncesTable
  uploads: UploadsTable
  blobs: BlobsTable
  runs: RunsTable
  participants: ParticipantsTable
  leases: LeasesTable
  drafts: DraftsTable
  events: EventsTable
  event_bodies: EventBodiesTable
  workers: WorkersTable
  accepted_tees: AcceptedTeesTable
  turns: TurnsTable
  challenges: ChallengesTable
  log_seen: LogSeenTable
}
