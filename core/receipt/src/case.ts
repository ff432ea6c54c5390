import type { Digest } from '@cella/bytes'
import type { SignedDocument } from '@cella/documents'
import type { ChainCache } from '@cella/evidence'
import type { LogPolicy, ProvenEntry } from '@cella/log'
import type { DocumentSet } from '@cella/release'
import type { Anchors } from './anchors.ts'
import type { ReceiptBundle } from './bundle.ts'
import type { Findings } from './verdict.ts'

/** What every check needs. */
export interface Case {
  readonly bundle: ReceiptBundle
  readonly anchors: Anchors
  readonly findings: Findings
  readonly documents: DocumentSet
  readonly receipt: SignedDocument<'cella/receipt'>
  readonly contract: SignedDocument<'cella/contract'>
  /** The receipt's own place in the log. */
  readonly entry: ProvenEntry
  readonly policy: LogPolicy
  readonly cache: ChainCache
  /** The verifier's name of an organisation. */
  readonly nameOf: (organisation: Digest) => string
}

/** `2026-11-21 09:30:00 UTC`. */
export function utc(seconds: number): string {
  return `${new Date(seconds * 1000).toISOString().slice(0, 19).replace('T', ' ')} UTC`
}
