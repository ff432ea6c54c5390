import type { Digest } from '@cella/bytes'
import { parseDocumentOf } from '@cella/documents'
import type { KeyId } from '@cella/primitives'
import { gather, listOwn } from './documents.ts'
import { SdkError } from './error.ts'
import type { Session } from './session.ts'
import { memberRequest } from './vault-request.ts'
import { grantsInForce } from './vault-standing.ts'
import { appraiseVault, gatherTerms } from './vaults.ts'

/** Bytes of envelopes in one request: the vault reads 4 MiB, base64 and all. */
const batchBytesMax = 2 * 2 ** 20
const batchGrantsMax = 512

export interface KekRotation {
  readonly vault: KeyId
  /** The epoch that began. */
  readonly epoch: number
  readonly kek: Digest
  /** Grants that the new KEK opens: all that are in force. */
  readonly grants: readonly Digest[]
  /** The log entry that ended the epoch before. */
  readonly index: number
}

/**
 * Begins a new epoch of the organisation's KEK in a vault that its terms accept. What is granted and in force is wrapped
 * anew; the vault erases the KEK before. The account has the role publisher. Throws ERR_VAULT_REFUSED unless fresh evidence
 * shows the new KEK afterwards.
 */
export async function rotateKek(session: Session, { vault }: { vault: KeyId }): Promise<KekRotation> {
  const organisation = await session.organisation()
  const listed = await listOwn(session, ['cella/grant'], (payload) => 'vault' in payload && payload.vault === vault)
  const manifests = listed.map(({ document }) => parseDocumentOf('cella/grant', document).payload.manifest)
  const { documents } = await gather(session, {
    organisations: [organisation],
    listed,
    digests: [...new Set(manifests)],
  })
  const { checkpoint } = await session.log()
  const now = checkpoint.times?.latest ?? session.now()
  const live = grantsInForce(documents, { organisation, vault, now })
  const batches = inBatches(live)
  let index: number | null = null
  for (const [at, batch] of batches.entries()) {
    const more = { grants: batch.map(({ grant }) => grant.digest), last: at === batches.length - 1 }
    const envelopes = batch.flatMap(({ grant, manifest }) => [grant.envelope, manifest.envelope])
    const { sent } = await memberRequest(session, { call: 'rotate', vault, roles: ['publisher'], more, envelopes })
    const answer = await session.manager.rotateKek(vault, { ...sent, ...more })
    index = answer.index
  }
  const own = await gatherTerms(session, organisation)
  const { epoch, kekId } = await appraiseVault(session, {
    vault,
    organisation,
    terms: own.terms.payload,
    documents: own.documents,
  })
  if (index === null || documents.all('cella/grant').some(({ payload }) => payload.kek === kekId)) {
    throw new SdkError('ERR_VAULT_REFUSED', `vault ${vault} shows a KEK that is not new`, {
      hint: 'somebody between you and the vault answers in its place: ask the operator, and rotate again',
    })
  }
  return { vault, epoch, kek: kekId, grants: live.map(({ grant }) => grant.digest), index }
}

type Live = ReturnType<typeof grantsInForce>

/** At least one batch: a rotation with nothing to wrap is one too. */
function inBatches(live: Live): Live[] {
  const batches: Live[] = [[]]
  let bytes = 0
  for (const one of live) {
    const length = one.grant.envelope.length + one.manifest.envelope.length
    if (bytes + length > batchBytesMax || batches.at(-1)!.length >= batchGrantsMax) {
      batches.push([])
      bytes = 0
    }
    batches.at(-1)!.push(one)
    bytes += length
  }
  return batches
}
