import type { Grant, Manifest, SignedDocument, Terms } from '@cella/documents'
import type { KeyId } from '@cella/primitives'
import type { DocumentSet } from './document-set.ts'
import { type HostWord, timeUnder, type WitnessedTime } from './log-level.ts'
import { type Reason, reason, type WhoCanChange } from './reasons.ts'

// What an owner's documents say of an asset whoever asks for it: a contract's worker, or a guest.

/** The time of the checkpoint under an owner's terms, if it is of that log and as witnessed as they demand. */
export function ownersTime(
  terms: Terms,
  about: {
    checkpoint: Uint8Array
    host: HostWord | undefined
    log: string
    clause: string
    whoCanChange: WhoCanChange
  },
): WitnessedTime | Reason {
  const { checkpoint, host, log, clause, whoCanChange } = about
  const known = timeUnder(terms, checkpoint, host)
  if ('code' in known || known.origin === log) return 'code' in known ? known : known.time
  return reason('ERR_LOG_ORIGIN', clause, { expected: known.origin, got: log, whoCanChange })
}

/** Beginnings are judged by the earliest time it may be, ends by the latest. */
export function windowOf(
  what: string,
  { notBefore, notAfter }: { notBefore: number; notAfter: number },
  time: WitnessedTime,
  whoCanChange: Reason['whoCanChange'],
): Reason[] {
  const reasons: Reason[] = []
  if (time.earliest < notBefore) {
    reasons.push(
      reason('ERR_NOT_YET_VALID', `${what}.notBefore`, {
        expected: `from ${iso(notBefore)}`,
        got: `witnesses say ${iso(time.earliest)}`,
        whoCanChange,
      }),
    )
  }
  if (time.latest > notAfter) {
    reasons.push(
      reason('ERR_EXPIRED', `${what}.notAfter`, {
        expected: `until ${iso(notAfter)}`,
        got: `witnesses say ${iso(time.latest)}`,
        whoCanChange,
      }),
    )
  }
  return reasons
}

/** The newest grant in force of this asset to this vault, or to one for which this vault stands in. */
export function findGrant(
  { documents, vault, log }: { documents: DocumentSet; vault: KeyId; log: string },
  manifest: SignedDocument<'cella/manifest'>,
): SignedDocument<'cella/grant'> | Reason {
  const owner = manifest.payload.organisation
  const isFor = (granted: KeyId): boolean => granted === vault || documents.standingIn(granted, owner).includes(vault)
  const grants = documents
    .all('cella/grant')
    .filter(
      (grant) =>
        grant.payload.manifest === manifest.digest &&
        grant.payload.organisation === owner &&
        grant.payload.log === log &&
        isFor(grant.payload.vault) &&
        documents.counts(grant),
    )
    .sort((a, b) => documents.indexOf(b.digest)! - documents.indexOf(a.digest)!)
  return (
    grants[0] ??
    reason('ERR_GRANT_MISSING', `asset ${manifest.payload.series}`, {
      expected: `a grant in force for vault ${vault}`,
      got: 'none',
      whoCanChange: 'publisher',
    })
  )
}

/** Whether the `use`-th use is within the limits of manifest and grant. */
export function limitReasons(manifest: Manifest, grant: Grant, use: number): Reason[] {
  if (manifest.runs !== null && grant.runs === null) {
    return [
      reason('ERR_LIMIT_RUNS', `asset ${manifest.series}.runs`, {
        expected: `a grant that spends at most ${manifest.runs} runs`,
        got: 'a grant without a limit',
        whoCanChange: 'publisher',
      }),
    ]
  }
  const limit = Math.min(manifest.runs ?? Number.POSITIVE_INFINITY, grant.runs ?? Number.POSITIVE_INFINITY)
  if (use <= limit) return []
  return [
    reason('ERR_LIMIT_RUNS', `asset ${manifest.series}.runs`, {
      expected: `at most ${limit} runs`,
      got: `this would be run ${use}`,
      whoCanChange: 'publisher',
    }),
  ]
}

function iso(seconds: number): string {
  return new Date(seconds * 1000).toISOString()
}
