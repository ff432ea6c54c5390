import { type Digest, decodeBase64url, encodeBase64url, FormatError, type Json } from '@cella/bytes'
import type { SignedDocument, Terms } from '@cella/documents'
import { ChainCache, EvidenceError, evidenceDigest, parseEvidenceJson } from '@cella/evidence'
import { digestOf, hpkePublicKeyLength, type KeyId, keyIdOf, randomBytes } from '@cella/primitives'
import { type Appraisal, appraiseEnclave, type DocumentSet, ReleaseError } from '@cella/release'
import { gather, merge } from './documents.ts'
import { SdkError } from './error.ts'
import type { Session } from './session.ts'

/** A vault that one's own terms accept, with the key to which data keys may be wrapped. */
export interface AcceptedVault {
  readonly id: KeyId
  /** X-Wing, 1216 bytes. */
  readonly kek: Uint8Array
  readonly kekId: Digest
  /** Of the KEK, counted from 1. */
  readonly epoch: number
  readonly evidence: Digest
  readonly appraisal: Appraisal
}

/** The terms of an organisation and the builds that they name, with all that makes these count. */
export async function gatherTerms(
  session: Session,
  organisation: Digest,
): Promise<{ terms: SignedDocument<'cella/terms'>; documents: DocumentSet }> {
  const own = await gather(session, { organisations: [organisation] })
  const terms = requireTerms(own.documents, organisation)
  const { vault, worker, attestationService, logSigner } = terms.payload
  const digests = [vault, worker, attestationService, logSigner].flatMap((accepted) => accepted?.builds ?? [])
  const builds = await gather(session, { digests })
  const builders = new Set(builds.documents.all('cella/build').map(({ payload }) => payload.organisation))
  const { documents } = await merge(session, [own, builds, await gather(session, { organisations: [...builders] })])
  return { terms, documents }
}

function requireTerms(documents: DocumentSet, organisation: Digest): SignedDocument<'cella/terms'> {
  try {
    return documents.terms(organisation)
  } catch (error) {
    if (!(error instanceof ReleaseError)) throw error
    throw new SdkError('ERR_PROFILE_INCOMPLETE', error.message, {
      cause: error,
      hint: 'publish terms first: cella org terms --installation FILE',
    })
  }
}

/**
 * Asks a vault for the organisation's KEK over a fresh nonce and appraises its evidence under the organisation's own
 * terms. Nothing is taken on the vault's or the manager's word. Throws ERR_VAULT_REFUSED naming every reason.
 */
export async function appraiseVault(
  session: Session,
  options: { vault: KeyId; organisation: Digest; terms: Terms; documents: DocumentSet },
): Promise<AcceptedVault> {
  const { vault, organisation, terms, documents } = options
  const nonce = randomBytes(32)
  const answer = await session.manager.vaultKek(vault, organisation, nonce)
  const refuse = (problem: string, cause?: unknown): SdkError =>
    new SdkError('ERR_VAULT_REFUSED', `vault ${vault} is not acceptable: ${problem}`, {
      cause,
      hint: 'no key was given to it; compare your terms (cella org terms --show) with what the operator runs',
    })
  const binding = answer.binding as { readonly [name: string]: Json }
  try {
    const evidence = parseEvidenceJson(answer.evidence as Json)
    const expected = { role: 'vault', organisation, nonce: encodeBase64url(nonce) }
    for (const [member, value] of Object.entries(expected)) {
      if (binding[member] !== value) throw refuse(`its evidence is for another ${member}`)
    }
    const kek = decodeBase64url(String(binding.kek), 'binding.kek')
    const signingKey = decodeBase64url(String(binding.signingKey), 'binding.signingKey')
    if (kek.length !== hpkePublicKeyLength) throw refuse('its KEK has a wrong length')
    const epoch = binding.epoch
    if (typeof epoch !== 'number' || !Number.isSafeInteger(epoch)) throw refuse('its evidence names no epoch')
    if (keyIdOf(signingKey) !== vault) throw refuse('its evidence is for another signing key')
    const log = await session.log()
    const now = log.checkpoint.times?.latest ?? session.now()
    const appraisal = await appraiseEnclave(
      { role: 'vault', evidence, binding, isolation: 0 },
      { terms, documents, now, cache: new ChainCache() },
    )
    if (appraisal.reasons.length > 0) {
      const reasons = appraisal.reasons.map(
        ({ code, clause, expected: wanted, got }) => `${code} (${clause}): expected ${wanted}, got ${got}`,
      )
      throw refuse(reasons.join('; '))
    }
    return { id: vault, kek, kekId: digestOf(kek), epoch, evidence: evidenceDigest(evidence), appraisal }
  } catch (error) {
    if (error instanceof EvidenceError || error instanceof FormatError || error instanceof RangeError) {
      throw refuse(error.message, error)
    }
    throw error
  }
}
