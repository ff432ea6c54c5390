import type { Digest, Json } from '@cella/bytes'
import type { HostClient } from '@cella/channel'
import type { SignedDocument } from '@cella/documents'
import type { ChainCache, Evidence } from '@cella/evidence'
import type { HpkeKeyPair, KeyId } from '@cella/primitives'
import type { DocumentSet, VerifiedEnvelopes } from '@cella/release'
import type { Sandbox } from '@cella/sandbox'
import type { TeeDriver } from '@cella/tee'
import type { Offer } from './messages.ts'
import type { WorkerLog } from './worker-log.ts'

/** What a worker has for all its runs. */
export interface WorkerParts {
  readonly host: HostClient
  readonly log: WorkerLog
  readonly tee: TeeDriver
  readonly sandbox: Sandbox
  /** Digest of the configuration, part of the binding. */
  readonly configuration: Digest
  /** Isolation level that the sandbox keeps. */
  readonly isolation: 1 | 2 | 3
  readonly known: VerifiedEnvelopes
  readonly chains: ChainCache
}

/** Keys of one attempt. They live as long as it does. */
export interface AttemptKeys {
  readonly signingSeed: Uint8Array
  readonly signingKey: Uint8Array
  readonly id: KeyId
  readonly hpke: HpkeKeyPair
}

/** What the worker says of itself for one attempt, and the evidence for it. */
export interface Attested {
  readonly binding: { readonly [name: string]: Json }
  readonly evidence: Evidence
}

/** One attempt, once its documents are read. */
export interface Attempt {
  readonly offer: Offer
  readonly contract: SignedDocument<'cella/contract'>
  readonly documents: DocumentSet
  /** The vaults that decide about its assets, in the contract's order. */
  readonly vaults: readonly KeyId[]
  readonly keys: AttemptKeys
  readonly attested: Attested
  readonly parts: WorkerParts
}
