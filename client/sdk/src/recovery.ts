import { encodeUtf8 } from '@cella/bytes'
import type { Draft, Payload, SignedDocument, Terms } from '@cella/documents'
import { parseLogPolicy } from '@cella/log'
import type { KeyId } from '@cella/primitives'
import type { DocumentSet } from '@cella/release'
import { type Dek, splitDek } from '@cella/seal'
import { gather } from './documents.ts'
import { SdkError } from './error.ts'
import { keepCopy } from './key-copies.ts'
import { newestTerms, recoverersOf } from './organisations.ts'
import { chooseSigners, draftFor } from './roots.ts'
import type { Session } from './session.ts'

/** Gives those whom terms name for recovery their shares of an asset's key, so that as many as these say can grant it anew. */
export async function keepForRecovery(
  session: Session,
  options: { terms: Terms; documents: DocumentSet; manifest: SignedDocument<'cella/manifest'>; dek: Dek },
): Promise<void> {
  const { terms, documents, manifest, dek } = options
  if (terms.recovery === undefined) return
  const { threshold } = terms.recovery
  const members = recoverersOf(documents, terms)
  if (threshold === 1) {
    for (const member of members) await keepCopy(session, { manifest, member, dek })
    return
  }
  const shares = await splitDek(dek, { count: members.length, threshold })
  try {
    for (const [at, member] of members.entries()) {
      const { index, share } = shares[at]!
      await keepCopy(session, { manifest, member, dek: share, share: { index, threshold } })
    }
  } finally {
    for (const { share } of shares) share.fill(0)
  }
}

/**
 * The terms in force under another log, for those whom they name for recovery: the successor of a log that was lost. `by` names
 * whose accounts are to sign beside the one here. Throws ERR_DRAFT_REFUSED where the terms name nobody.
 */
export async function draftSuccession(
  session: Session,
  { log, by = [] }: { log: string; by?: readonly KeyId[] },
): Promise<Draft> {
  parseLogPolicy(encodeUtf8(log))
  const organisation = await session.organisation()
  const { documents } = await gather(session, { organisations: [organisation] })
  const terms = newestTerms(documents, organisation)
  if (terms?.payload.recovery === undefined) {
    throw new SdkError('ERR_DRAFT_REFUSED', 'the terms in force name nobody for recovery', {
      hint: 'root keys sign new terms: cella org terms --log FILE',
    })
  }
  const { payload, digest } = terms
  const { accounts, threshold } = terms.payload.recovery
  const keys = await session.keys()
  const next: Payload<'cella/terms'> = {
    ...payload,
    ...chooseSigners({ among: accounts, threshold, by, keys }),
    log,
    revision: payload.revision + 1,
    previous: digest,
  }
  return draftFor(keys, next)
}
