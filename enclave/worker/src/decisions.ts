import { type Digest, decodeBase64url, encodeBase64url, encodeUtf8, type Json } from '@cella/bytes'
import { type Contract, parseDocumentOf, type SignedDocument, verifyDocument } from '@cella/documents'
import { bindingDigestOf, evidenceDigest, evidenceJson, parseEvidenceJson } from '@cella/evidence'
import { proveEntry } from '@cella/log'
import { ed25519PublicKey, generateHpkeKeyPair, type KeyId, keyIdOf, randomBytes } from '@cella/primitives'
import { appraiseEnclave, assetsOf, proveDecision, timeUnder } from '@cella/release'
import { type Dek, releaseInfo, seedInfo, unwrapDek } from '@cella/seal'
import { WorkerError } from './error.ts'
import { type DecideAnswer, decideAnswer, nonceAnswer, type Offer, releaseAnswer } from './messages.ts'
import type { Attempt, AttemptKeys, Attested, WorkerParts } from './parts.ts'
import { RunSeed } from './seed.ts'

/** The vaults' word on a run, checked, with what is needed to ask for the keys. */
export interface Decided {
  readonly answer: DecideAnswer
  readonly byManifest: ReadonlyMap<Digest, SignedDocument<'cella/decision'>>
}

export async function makeKeys(): Promise<AttemptKeys> {
  const signingSeed = randomBytes(32)
  const signingKey = ed25519PublicKey(signingSeed)
  return { signingSeed, signingKey, id: keyIdOf(signingKey), hpke: await generateHpkeKeyPair() }
}

/** Evidence over this attempt's keys and a nonce of each vault. */
export async function attest(
  offer: Offer,
  { keys, contract, served, parts }: { keys: AttemptKeys; contract: Contract; served: number; parts: WorkerParts },
): Promise<Attested> {
  const nonces: Record<KeyId, string> = {}
  for (const vault of contract.vaults) {
    nonces[vault] = nonceAnswer.parse(await parts.host.json('POST', `/v1/vaults/${vault}/nonce`, {})).nonce
  }
  const binding: { [name: string]: Json } = {
    role: 'worker',
    signingKey: encodeBase64url(keys.signingKey),
    hpkeKey: encodeBase64url(keys.hpke.publicKey),
    nonces,
    contract: offer.contract,
    run: offer.run,
    attempt: offer.attempt,
    isolation: parts.isolation,
    served,
    configuration: parts.configuration,
  }
  return { binding, evidence: await parts.tee.getEvidence(bindingDigestOf(binding, parts.tee.bindingLength)!) }
}

/** Asks the vault, and checks that what it answers is about this attempt, of the contract's vault, and in the log. */
export async function decide(attempt: Attempt): Promise<Decided> {
  const { offer, vault, parts, attested, contract } = attempt
  const answer = decideAnswer.parse(
    await parts.host.json('POST', `/v1/vaults/${vault}/decide`, {
      contract: offer.contract,
      run: offer.run,
      attempt: offer.attempt,
      documents: offer.documents,
      binding: attested.binding,
      evidence: evidenceJson(attested.evidence),
    }),
  )
  const checkpoint = await parts.log.refresh()
  const vaultKey = vaultKeyOf(attempt, answer)
  const byManifest = new Map<Digest, SignedDocument<'cella/decision'>>()
  const denials: SignedDocument<'cella/decision'>[] = []
  for (const { document, salt, leaf, index } of answer.decisions) {
    const signed = await verifyDocument(parseDocumentOf('cella/decision', document), (signer) =>
      signer === vault ? vaultKey : undefined,
    )
    const { payload } = signed
    const isOurs =
      payload.contract === offer.contract &&
      payload.run === offer.run &&
      payload.attempt === offer.attempt &&
      payload.workerEvidence === evidenceDigest(attested.evidence)
    if (!isOurs) throw new WorkerError('ERR_OFFER_MALFORMED', `decision ${signed.digest} is about another attempt`)
    if (!payload.allowed) {
      denials.push(signed)
      continue
    }
    const entry = proveEntry(parts.log.view, checkpoint, index, decodeBase64url(leaf, 'leaf'))
    proveDecision(signed, { salt: decodeBase64url(salt, 'salt'), entry, vault })
    byManifest.set(payload.manifest, signed)
  }
  if (denials.length > 0) throw refused(answer, denials)
  const missing = assetsOf(contract.payload).find(({ manifest }) => !byManifest.has(manifest))
  if (missing !== undefined) {
    throw new WorkerError('ERR_OFFER_MALFORMED', `the vault decided nothing about asset ${missing.manifest}`)
  }
  await appraiseVault(attempt, answer)
  return { answer, byManifest }
}

function refused(answer: DecideAnswer, denials: readonly SignedDocument<'cella/decision'>[]): WorkerError {
  const reasons = [...new Set(denials.flatMap(({ payload }) => payload.reasons))]
  return new WorkerError('ERR_RELEASE_REFUSED', `the vault refuses: ${reasons.join(', ')}`, {
    reasons,
    decisions: answer.decisions.map(({ document }) => document),
  })
}

/** The signing key of the contract's vault, from evidence that says it is about this attempt. Not appraised yet. */
function vaultKeyOf({ vault, attested }: Attempt, { binding }: DecideAnswer): Uint8Array {
  const { role, nonce, signingKey } = binding
  const key = typeof signingKey === 'string' ? decodeBase64url(signingKey, 'signingKey') : undefined
  const isOurs = role === 'vault' && nonce === evidenceDigest(attested.evidence)
  if (!isOurs || key?.length !== 32 || keyIdOf(key) !== vault) {
    throw new WorkerError('ERR_OFFER_MALFORMED', 'the vault’s evidence is not bound to its key and to this attempt')
  }
  return key
}

/**
 * Appraises the vault under the terms of every owner, at the time that these let the checkpoint have: a worker takes keys of no
 * vault that one of them would not have given any to. Throws ERR_RELEASE_REFUSED.
 */
async function appraiseVault(attempt: Attempt, { binding, evidence }: DecideAnswer): Promise<void> {
  const { contract, documents, parts } = attempt
  const owners = new Set(
    assetsOf(contract.payload).map(
      ({ manifest }) => documents.require('cella/manifest', manifest).payload.organisation,
    ),
  )
  for (const owner of owners) {
    const terms = documents.terms(owner).payload
    const known = timeUnder(terms, parts.log.newest.bytes, parts.log.hostWord())
    if ('code' in known) {
      const message = `an owner’s terms refuse the checkpoint: expected ${known.expected}, got ${known.got}`
      throw new WorkerError('ERR_RELEASE_REFUSED', message, { reasons: [known.code] })
    }
    const appraisal = await appraiseEnclave(
      { role: 'vault', evidence: parseEvidenceJson(evidence), binding, isolation: 3 },
      { terms, documents, now: known.time.latest, cache: parts.chains },
    )
    if (appraisal.reasons.length > 0) {
      const reasons = appraisal.reasons.map(({ code }) => code)
      const message = `an owner’s terms refuse the vault: ${reasons.join(', ')}`
      throw new WorkerError('ERR_RELEASE_REFUSED', message, { reasons })
    }
  }
}

/** The data keys and the seed of the run, for this attempt's keys alone. */
export async function release(attempt: Attempt, decided: Decided): Promise<{ deks: Map<Digest, Dek>; seed: RunSeed }> {
  const { offer, vault, parts, keys } = attempt
  const answer = releaseAnswer.parse(
    await parts.host.json('POST', `/v1/vaults/${vault}/release`, {
      contract: offer.contract,
      run: offer.run,
      attempt: offer.attempt,
      decisions: decided.answer.decisions,
    }),
  )
  const execution = { contract: offer.contract, run: offer.run, attempt: offer.attempt }
  const recipientPrivateKey = keys.hpke.privateKey
  const deks = new Map<Digest, Dek>()
  for (const { manifest, wrapped } of answer.keys) {
    const decision = decided.byManifest.get(manifest)?.digest
    if (decision === undefined)
      throw new WorkerError('ERR_OFFER_MALFORMED', `a key of ${manifest}, which no decision names`)
    const info = releaseInfo({ ...execution, manifest, decision })
    deks.set(manifest, await unwrapDek({ wrapped: decodeBase64url(wrapped, 'wrapped'), recipientPrivateKey, info }))
  }
  const wrapped = decodeBase64url(answer.seed, 'seed')
  return { deks, seed: new RunSeed([await unwrapDek({ wrapped, recipientPrivateKey, info: seedInfo(execution) })]) }
}
