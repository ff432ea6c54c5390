import { type Digest, decodeBase64url, encodeBase64url, type Json } from '@cella/bytes'
import { parseDocumentOf, type SignedDocument, verifyDocument } from '@cella/documents'
import { bindingDigestOf, evidenceDigest, evidenceJson, parseEvidenceJson } from '@cella/evidence'
import { proveEntry, type WitnessedCheckpoint } from '@cella/log'
import { ed25519PublicKey, generateHpkeKeyPair, type KeyId, keyIdOf, randomBytes } from '@cella/primitives'
import { appraiseEnclave, assetsAt, assetsOf, findGrant, proveDecision, timeUnder, vaultsOf } from '@cella/release'
import { combineDek, type Dek, type DekShare, releaseInfo, unwrapDek } from '@cella/seal'
import { askedBy } from './asked.ts'
import { WorkerError } from './error.ts'
import { type DecideAnswer, decideAnswer, type Offer, releaseAnswer } from './messages.ts'
import type { Attempt, AttemptKeys, Attested, WorkerParts } from './parts.ts'
import { RunSeed } from './seed.ts'

/** The vaults' word on a run, checked, with what is needed to ask for the keys. */
export interface Decided {
  /** Of each vault that decides, in the contract's order. */
  readonly answers: readonly DecideAnswer[]
  /** One of each vault that decides about an asset, in the contract's order of assets and vaults. */
  readonly decisions: readonly SignedDocument<'cella/decision'>[]
}

export async function makeKeys(): Promise<AttemptKeys> {
  const signingSeed = randomBytes(32)
  const signingKey = ed25519PublicKey(signingSeed)
  return { signingSeed, signingKey, id: keyIdOf(signingKey), hpke: await generateHpkeKeyPair() }
}

/** Evidence over this attempt's keys and a nonce of each vault. */
export async function attest(
  offer: Offer,
  {
    keys,
    nonces,
    served,
    parts,
  }: { keys: AttemptKeys; nonces: ReadonlyMap<KeyId, string>; served: number; parts: WorkerParts },
): Promise<Attested> {
  const binding: { [name: string]: Json } = {
    role: 'worker',
    signingKey: encodeBase64url(keys.signingKey),
    hpkeKey: encodeBase64url(keys.hpke.publicKey),
    nonces: Object.fromEntries(nonces),
    contract: offer.contract,
    run: offer.run,
    attempt: offer.attempt,
    isolation: parts.isolation,
    served,
    configuration: parts.configuration,
  }
  return { binding, evidence: await parts.tee.getEvidence(bindingDigestOf(binding, parts.tee.bindingLength)!) }
}

/**
 * Asks each vault that decides about an asset, and checks that what it answers is about this attempt, of the right vault,
 * and in the log. All are asked before any gives a key: one that refuses ends the attempt.
 */
export async function decide(attempt: Attempt): Promise<Decided> {
  const { vaults, parts } = attempt
  const answers = await Promise.all(vaults.map((vault) => ask(attempt, vault)))
  // While the log answers; what they answered is looked at first.
  const appraised = Promise.all(answers.map((answer, at) => appraiseVault(attempt, vaults[at]!, answer)))
  appraised.catch(() => undefined)
  const checkpoint = await parts.log.refresh()
  const read = await Promise.all(answers.map((answer, at) => readDecisions(attempt, vaults[at]!, answer, checkpoint)))
  const denials = read.flatMap((one) => one.denials)
  if (denials.length > 0) throw refused(answers, denials)
  const allowed = read.flatMap((one) => one.allowed)
  const decisions = assetsOf(attempt.contract.payload).flatMap(({ manifest }) =>
    vaultsOf(askedBy(attempt), manifest).map((vault) => {
      const found = allowed.find((one) => one.payload.manifest === manifest && one.payload.signer === vault)
      if (found !== undefined) return found
      throw new WorkerError('ERR_OFFER_MALFORMED', `vault ${vault} decided nothing about asset ${manifest}`)
    }),
  )
  await appraised
  return { answers, decisions }
}

async function ask({ offer, parts, attested }: Attempt, vault: KeyId): Promise<DecideAnswer> {
  return decideAnswer.parse(
    await parts.host.json('POST', `/v1/vaults/${vault}/decide`, {
      contract: offer.contract,
      run: offer.run,
      attempt: offer.attempt,
      documents: offer.documents,
      binding: attested.binding,
      evidence: evidenceJson(attested.evidence),
    }),
  )
}

type Signed = SignedDocument<'cella/decision'>

async function readDecisions(
  attempt: Attempt,
  vault: KeyId,
  answer: DecideAnswer,
  checkpoint: WitnessedCheckpoint,
): Promise<{ allowed: Signed[]; denials: Signed[] }> {
  const { offer, parts, attested } = attempt
  const vaultKey = vaultKeyOf(attempt, vault, answer)
  const allowed: Signed[] = []
  const denials: Signed[] = []
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
    if (!vaultsOf(askedBy(attempt), payload.manifest).includes(vault)) {
      throw new WorkerError('ERR_OFFER_MALFORMED', `vault ${vault} decided about an asset of another vault`)
    }
    const entry = proveEntry(parts.log.view, checkpoint, index, decodeBase64url(leaf, 'leaf'))
    proveDecision(signed, { salt: decodeBase64url(salt, 'salt'), entry, vault })
    allowed.push(signed)
  }
  return { allowed, denials }
}

function refused(answers: readonly DecideAnswer[], denials: readonly Signed[]): WorkerError {
  const reasons = [...new Set(denials.flatMap(({ payload }) => payload.reasons))]
  const vaults = [...new Set(denials.map(({ payload }) => payload.signer))]
  return new WorkerError('ERR_RELEASE_REFUSED', `vault ${vaults.join(', ')} refuses: ${reasons.join(', ')}`, {
    reasons,
    decisions: answers.flatMap(({ decisions }) => decisions.map(({ document }) => document)),
  })
}

/** The signing key of a vault, from evidence that says it is about this attempt. Not appraised yet. */
function vaultKeyOf({ attested }: Attempt, vault: KeyId, { binding }: DecideAnswer): Uint8Array {
  const { role, nonce, signingKey } = binding
  const key = typeof signingKey === 'string' ? decodeBase64url(signingKey, 'signingKey') : undefined
  const isOurs = role === 'vault' && nonce === evidenceDigest(attested.evidence)
  if (!isOurs || key?.length !== 32 || keyIdOf(key) !== vault) {
    throw new WorkerError('ERR_OFFER_MALFORMED', 'the vault’s evidence is not bound to its key and to this attempt')
  }
  return key
}

/**
 * Appraises a vault under the terms of every owner whose keys it holds, at the time that these let the checkpoint have: a worker
 * takes keys of no vault that its owner would not have given any to. Throws ERR_RELEASE_REFUSED.
 */
async function appraiseVault(attempt: Attempt, vault: KeyId, { binding, evidence }: DecideAnswer): Promise<void> {
  const { documents, parts } = attempt
  const owners = new Set(
    assetsAt(askedBy(attempt), vault).map(
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

/**
 * The data keys for this attempt's keys alone, and the seed of the run, which comes of them. Each vault is shown the decisions
 * of all others.
 */
export async function release(attempt: Attempt, decided: Decided): Promise<{ deks: Map<Digest, Dek>; seed: RunSeed }> {
  const { offer, vaults, parts, keys } = attempt
  const execution = { contract: offer.contract, run: offer.run, attempt: offer.attempt }
  const signingKeys = Object.fromEntries(
    decided.answers.map(({ binding }, at) => [vaults[at]!, String(binding.signingKey)]),
  )
  const decisions = decided.answers.flatMap((answer) => answer.decisions)
  const given = new Map<Digest, DekShare[]>()
  const recipientPrivateKey = keys.hpke.privateKey
  for (const vault of vaults) {
    const request = { ...execution, decisions, signingKeys }
    const answer = releaseAnswer.parse(await parts.host.json('POST', `/v1/vaults/${vault}/release`, request))
    const opened = answer.keys.map(async ({ manifest, wrapped }) => {
      const decision = decided.decisions.find(
        ({ payload }) => payload.manifest === manifest && payload.signer === vault,
      )
      if (decision === undefined) {
        throw new WorkerError('ERR_OFFER_MALFORMED', `a key of ${manifest}, about which that vault decided nothing`)
      }
      const info = releaseInfo({ ...execution, manifest, decision: decision.digest })
      const share = await unwrapDek({ wrapped: decodeBase64url(wrapped, 'wrapped'), recipientPrivateKey, info })
      return { manifest, share }
    })
    for (const { manifest, share } of await Promise.all(opened)) {
      given.set(manifest, [...(given.get(manifest) ?? []), { index: shareIndex(attempt, manifest, vault), share }])
    }
  }
  const deks = await joined(given)
  const inOrder = assetsOf(attempt.contract.payload).flatMap(({ manifest }) => deks.get(manifest) ?? [])
  return { deks, seed: new RunSeed(inOrder, { contract: offer.contract, run: offer.run }) }
}

/** The x coordinate of a vault's share of an asset's key; 0 for the whole key. */
function shareIndex({ contract, documents }: Attempt, manifest: Digest, vault: KeyId): number {
  const { log } = contract.payload
  const grant = findGrant({ documents, vault, log }, documents.require('cella/manifest', manifest))
  return 'code' in grant ? 0 : (grant.payload.share?.index ?? 0)
}

/** Each asset's key, of its shares where it was split. Whether it is the right one, its sealed file shows. */
async function joined(given: ReadonlyMap<Digest, readonly DekShare[]>): Promise<Map<Digest, Dek>> {
  const deks = new Map<Digest, Dek>()
  for (const [manifest, shares] of given) {
    const [only] = shares
    if (only?.index === 0) {
      deks.set(manifest, only.share)
      continue
    }
    deks.set(manifest, await combineDek(shares))
    for (const { share } of shares) share.fill(0)
  }
  return deks
}
