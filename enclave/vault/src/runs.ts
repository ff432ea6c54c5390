import {
  canonicalJson,
  type Digest,
  decodeBase64url,
  decodeHex,
  encodeBase64url,
  encodeUtf8,
  type Json,
} from '@cella/bytes'
import { type Payload, parseDocumentOf, type SignedDocument, signDocument, verifyDocument } from '@cella/documents'
import type { EventDraft, EventLog } from '@cella/event-log'
import { type ChainCache, type Evidence, evidenceDigest, parseEvidenceJson } from '@cella/evidence'
import { commitmentOf, encodeLeaf, proveEntry, randomTag } from '@cella/log'
import { hpkeSeal, type KeyId, randomBytes } from '@cella/primitives'
import {
  appraiseEnclave,
  assetsOf,
  type DocumentSet,
  type Judgement,
  judgeContract,
  type ProvenDecision,
  proveDecision,
  readDocumentSet,
  type Situation,
  type VerifiedEnvelopes,
  vaultsOf,
} from '@cella/release'
import { type Dek, reasonsInfo, releaseInfo, wrapDek } from '@cella/seal'
import { type Attestation, attestationJson } from './attestation.ts'
import { VaultError } from './error.ts'
import type { KeyRing } from './key-ring.ts'
import { useStreamKey } from './keys.ts'
import type { DecideRequest, ReleaseRequest } from './requests.ts'
import type { VaultState } from './state.ts'
import { type Use, Uses } from './uses.ts'
import type { VaultLog } from './vault-log.ts'

const pendingMax = 1000
const pendingLifetimeMs = 300_000
const reservationTriesMax = 8
const attemptsMax = 100_000

/** What is judged, whatever the log says by then. */
type StandingSituation = Omit<Situation, 'checkpoint' | 'host' | 'signers'>

/** Between `decide` and `release`: what was judged, so that the release judges the same again. */
interface Pending {
  readonly situation: StandingSituation
  readonly binding: DecideRequest['binding']
  /** Digest of the worker's evidence. */
  readonly worker: Digest
  readonly startedAt: number
}

type ProvenRun = ProvenDecision<'cella/decision'>

interface OpenedKey {
  readonly decided: ProvenRun
  readonly dek: Dek
}

interface LoggedDecision {
  readonly document: SignedDocument<'cella/decision'>
  readonly salt: Uint8Array
  readonly leaf: Uint8Array
  readonly index: number
}

/** What it takes from its vault. */
interface RunVault {
  readonly events: EventLog
  readonly keys: KeyRing
  attest(about: { [name: string]: Json }): Promise<Attestation>
  admitDenial(owners: readonly Digest[], reasons: readonly string[]): void
  learnReaders(organisation: Digest, documents: DocumentSet, times: Judgement['time']): void
}

/** Releases the data keys of runs, each after its decision is in the witnessed log. */
export class Runs {
  readonly #state: VaultState
  readonly #log: VaultLog
  readonly #vault: RunVault
  readonly #uses: Uses
  readonly #known: VerifiedEnvelopes
  readonly #chains: ChainCache
  readonly #pending = new Map<string, Pending>()
  // The newest attempt that was allowed at each run: a lease that was lost is not served again. After a restart the log
  // decides alone, by the first receipt of a run.
  readonly #attempts = new Map<string, number>()

  constructor(parts: {
    state: VaultState
    log: VaultLog
    vault: RunVault
    known: VerifiedEnvelopes
    chains: ChainCache
  }) {
    this.#state = parts.state
    this.#log = parts.log
    this.#vault = parts.vault
    this.#uses = new Uses(parts.log.view)
    this.#known = parts.known
    this.#chains = parts.chains
  }

  /**
   * Judges every asset of a run, reserves its uses and logs each decision. A denial is an answer like an `allowed`; only
   * a request that can't be judged at all throws.
   */
  async decide(request: DecideRequest): Promise<Json> {
    const { binding } = request
    if (binding.contract !== request.contract || binding.run !== request.run || binding.attempt !== request.attempt) {
      throw new VaultError('ERR_BINDING_MISMATCH', 'the evidence is bound to another contract, run or attempt')
    }
    this.#fence(request)
    const evidence = parseEvidenceJson(request.evidence)
    const [own] = await Promise.all([this.#vault.attest({ nonce: evidenceDigest(evidence) }), this.#log.ensureFresh()])
    const situation = await this.#situation(request, evidence)
    const worker = evidenceDigest(evidence)
    const { judgements, decisions } = await this.#decide(situation, { own, worker })
    if (judgements.every(({ allowed }) => allowed)) this.#remember(request, { situation, binding, worker })
    return { decisions: decisions.map(decisionJson), ...attestationJson(own) }
  }

  /**
   * Wraps the data keys of a run to its worker: only after each decision was proven from the log, and everything was
   * judged again at the newest checkpoint. Throws ERR_RELEASE_UNKNOWN or ERR_RELEASE_DENIED.
   */
  async release(request: ReleaseRequest): Promise<Json> {
    const name = pendingName(request)
    const pending = this.#pending.get(name)
    // Once: whoever repeats a release has to be decided on again.
    this.#pending.delete(name)
    if (pending === undefined || performance.now() - pending.startedAt > pendingLifetimeMs) {
      throw new VaultError(
        'ERR_RELEASE_UNKNOWN',
        'there is no decision that allows this attempt, or it is too old, or was used before',
      )
    }
    await this.#log.ensureFresh()
    const proven = await this.#prove(request, pending)
    const situation = { ...pending.situation, ...this.#log.present() }
    const judgements = await judgeContract(situation)
    const denied = judgements.filter(({ allowed }) => !allowed)
    if (denied.length > 0) {
      const reasons = [...new Set(denied.flatMap((judgement) => judgement.reasons.map(({ code }) => code)))]
      throw new VaultError('ERR_RELEASE_DENIED', `what was decided no longer holds: ${reasons.join(', ')}`, { reasons })
    }
    const opened = await this.#open(judgements, proven)
    try {
      // Wrapped while the log answers; they leave once it has.
      const [released, ...keys] = await Promise.all([
        this.#logReleased(request, judgements, proven),
        ...opened.map((key) => wrapTo(pending.binding, key)),
      ])
      return { keys, released: { leaf: encodeBase64url(released.leaf), index: released.index } }
    } finally {
      for (const { dek } of opened) dek.fill(0)
    }
  }

  #fence({ contract, run, attempt }: DecideRequest): void {
    const newest = this.#attempts.get(`${contract}/${run}`) ?? 0
    if (attempt < newest) {
      throw new VaultError(
        'ERR_ATTEMPT_SUPERSEDED',
        `attempt ${newest} at this run was allowed, attempt ${attempt} is over`,
      )
    }
  }

  async #situation(request: DecideRequest, evidence: Evidence): Promise<StandingSituation> {
    const documents = await readDocumentSet(request.documents, this.#log.view, this.#known)
    const contract = documents.find('cella/contract', request.contract)
    if (contract === undefined) {
      throw new VaultError('ERR_DOCUMENT_MISSING', `contract ${request.contract} is not among the documents`)
    }
    const { binding, run, attempt } = request
    const streams = await this.#streams(documents.all('cella/grant'))
    return {
      contract,
      run,
      attempt,
      documents,
      asked: Object.keys(binding.nonces) as KeyId[],
      vault: this.#state.id,
      useOf: (grant) => {
        const stream = streams.get(grant.digest)
        // Without the organisation's secret nothing can be opened either.
        return stream === undefined ? 1 : this.#uses.of(stream, contract.digest, run).n + 1
      },
      appraise: (terms, now) =>
        appraiseEnclave(
          { role: 'worker', evidence, binding: binding as { [name: string]: Json }, isolation: binding.isolation },
          { terms, documents, now, cache: this.#chains },
        ),
    }
  }

  /** Stream keys of the assets whose organisation's secret this vault holds, by grant. */
  async #streams(grants: readonly SignedDocument<'cella/grant'>[]): Promise<Map<Digest, Uint8Array>> {
    const streams = new Map<Digest, Uint8Array>()
    for (const { digest, payload } of grants) {
      const holding = await this.#state.holding(payload.organisation, payload.vault)
      if (holding !== undefined) streams.set(digest, useStreamKey(holding.secret, payload.manifest))
    }
    return streams
  }

  /**
   * Judges, and gets each decision into the log; where all assets allow it, together with a use of each. The uses are
   * this run's only if their leaves are the first with their tags: another vault or request may have been faster.
   */
  async #decide(
    situation: StandingSituation,
    about: { own: Attestation; worker: Digest },
  ): Promise<{ judgements: Judgement[]; decisions: LoggedDecision[] }> {
    const { contract, run } = situation
    for (let attempt = 0; attempt < reservationTriesMax; attempt++) {
      const judgements = await judgeContract({ ...situation, ...this.#log.present() })
      const isAllowed = judgements.every(({ allowed }) => allowed)
      for (const { manifest, time } of judgements) {
        if (manifest !== null) this.#vault.learnReaders(manifest.payload.organisation, situation.documents, time)
      }
      if (!isAllowed) this.#admitDenials(judgements)
      const streams = await this.#streams(isAllowed ? judgements.map(({ grant }) => grant!) : [])
      const unknown = isAllowed ? judgements.find(({ grant }) => !streams.has(grant!.digest)) : undefined
      if (unknown !== undefined) {
        throw new VaultError('ERR_RELEASE_UNKNOWN', `the owner of asset ${unknown.asset} has no key in this vault`)
      }
      const streamOf = new Map(judgements.map(({ asset, grant }) => [asset, streams.get(grant?.digest ?? asset)]))
      const useOf = (asset: Digest): Use => this.#uses.of(streamOf.get(asset)!, contract.digest, run)
      const uses = new Map(isAllowed ? judgements.map(({ asset }) => [asset, useOf(asset)] as const) : [])
      const decisions = await this.#logDecisions(situation, { judgements, uses, ...about })
      const isReserved = [...uses].every(([asset, use]) => {
        const now = useOf(asset)
        return now.reserved && now.n === use.n
      })
      if (isReserved) return { judgements, decisions }
    }
    throw new VaultError('ERR_RESERVATION_LOST', 'other runs took every use that was tried for; try again')
  }

  #admitDenials(judgements: readonly Judgement[]): void {
    const denied = judgements.filter(({ allowed }) => !allowed)
    const owners = denied.flatMap(({ manifest }) => (manifest === null ? [] : [manifest.payload.organisation]))
    const reasons = [...new Set(denied.flatMap((judgement) => judgement.reasons.map(({ code }) => code)))].slice(0, 64)
    this.#vault.admitDenial([...new Set(owners)], reasons)
  }

  async #logDecisions(
    { contract, run, attempt, documents }: StandingSituation,
    {
      judgements,
      uses,
      own,
      worker,
    }: { judgements: readonly Judgement[]; uses: ReadonlyMap<Digest, Use>; own: Attestation; worker: Digest },
  ): Promise<LoggedDecision[]> {
    const drafts = await Promise.all(
      judgements.map(async (judgement) => {
        const use = uses.get(judgement.asset)
        const payload: Payload<'cella/decision'> = {
          type: 'cella/decision',
          version: 1,
          organisation: evidenceDigest(own.evidence),
          signer: this.#state.id,
          contract: contract.digest,
          run,
          attempt,
          manifest: judgement.asset,
          workerEvidence: worker,
          allowed: judgement.allowed,
          use: use === undefined ? null : use.n + 1,
          reasons: [...new Set(judgement.reasons.map(({ code }) => code))].slice(0, 64),
          sealedReasons: judgement.allowed ? null : await sealReasons(judgement, { contract, run, documents }),
          time: { ...(judgement.time ?? { earliest: 0, latest: 0 }), size: this.#log.view.size },
        }
        const document = await signDocument<'cella/decision'>(payload, [this.#state.signingSeed])
        const salt = randomBytes(32)
        const commitment = commitmentOf('decision', salt, decodeHex(document.digest, 'decision'))
        const leaf = encodeLeaf({ kind: 'decision', commitment, tag: randomTag() })
        return { document, salt, leaf, events: decidedEvents(judgement, document) }
      }),
    )
    const reservations = [...uses.values()].filter(({ reserved }) => !reserved).map(({ leaf }) => leaf)
    const { leaves: indices } = await this.#vault.events.append(
      [...reservations, ...drafts.map(({ leaf }) => leaf)],
      drafts.flatMap(({ events }) => events),
    )
    return drafts.map(({ document, salt, leaf }, at) => ({
      document,
      salt,
      leaf,
      index: indices[reservations.length + at]!,
    }))
  }

  #remember(request: DecideRequest, pending: Omit<Pending, 'startedAt'>): void {
    const now = performance.now()
    for (const [name, { startedAt }] of this.#pending) {
      if (now - startedAt <= pendingLifetimeMs) break
      this.#pending.delete(name)
    }
    if (this.#pending.size >= pendingMax) {
      throw new VaultError('ERR_VAULT_FULL', `${pendingMax} releases are pending; try again in a few minutes`)
    }
    if (this.#attempts.size >= attemptsMax) this.#attempts.clear()
    this.#attempts.set(`${request.contract}/${request.run}`, request.attempt)
    // Behind all others, for the sweep above goes by age.
    this.#pending.delete(pendingName(request))
    this.#pending.set(pendingName(request), { ...pending, startedAt: now })
  }

  /**
   * This vault's own decisions with their entries, by manifest. Throws unless every asset of the contract has an `allowed` of
   * each vault that decides about it, in the log as given, about the worker whose key would be wrapped to.
   */
  async #prove(request: ReleaseRequest, { situation, worker }: Pending): Promise<Map<Digest, ProvenRun>> {
    const { documents, asked, contract: ofRun } = situation
    const asking = { contract: ofRun.payload, documents, asked }
    const deciding = assetsOf(ofRun.payload).flatMap(({ manifest }) =>
      vaultsOf(asking, manifest).map((vault) => ({ manifest, vault })),
    )
    const keyOf = (signer: string): Uint8Array | undefined => {
      if (signer === this.#state.id) return this.#state.signingKey
      // A key is its id's own: `verifyDocument` compares.
      const given = request.signingKeys?.[signer]
      return given === undefined ? undefined : decodeBase64url(given, 'signingKeys')
    }
    const own = new Map<Digest, ProvenRun>()
    const shown = new Set<string>()
    for (const { document, salt, leaf, index } of request.decisions) {
      const signed = await verifyDocument(parseDocumentOf('cella/decision', document), keyOf)
      const { contract, run, attempt, manifest, workerEvidence } = signed.payload
      const isOfAttempt = contract === request.contract && run === request.run && attempt === request.attempt
      const { signer } = signed.payload
      const isOfAsset = deciding.some((one) => one.manifest === manifest && one.vault === signer)
      if (!isOfAttempt || workerEvidence !== worker || !isOfAsset) {
        throw new VaultError('ERR_RELEASE_UNKNOWN', `decision ${signed.digest} is about another attempt`)
      }
      const entry = proveEntry(this.#log.view, this.#log.checkpoint, index, decodeBase64url(leaf, 'leaf'))
      const decided = proveDecision(signed, { salt: decodeBase64url(salt, 'salt'), entry, vault: signer })
      shown.add(`${manifest} ${signer}`)
      if (signer === this.#state.id) own.set(manifest, decided)
    }
    for (const { manifest, vault } of deciding) {
      if (shown.has(`${manifest} ${vault}`)) continue
      throw new VaultError(
        'ERR_RELEASE_UNKNOWN',
        `vault ${vault} decided nothing about asset ${manifest} that was shown`,
      )
    }
    return own
  }

  /** The data key of each asset: a grant that can't be opened ends the release before the log says that there was one. */
  async #open(judgements: readonly Judgement[], proven: ReadonlyMap<Digest, ProvenRun>): Promise<OpenedKey[]> {
    const opened: OpenedKey[] = []
    try {
      for (const { asset, grant } of judgements) {
        const decided = proven.get(asset)!
        opened.push({ decided, dek: await this.#vault.keys.unwrap(decided, grant!) })
      }
      return opened
    } catch (error) {
      for (const { dek } of opened) dek.fill(0)
      throw error
    }
  }

  /** Before a key leaves: a decision without this entry is a release that was not finished. */
  async #logReleased(
    { contract, run, attempt }: ReleaseRequest,
    judgements: readonly Judgement[],
    proven: ReadonlyMap<Digest, ProvenDecision>,
  ): Promise<{ leaf: Uint8Array; index: number }> {
    const body = encodeUtf8(canonicalJson({ contract, run, attempt }))
    const commitment = commitmentOf('release', randomBytes(32), body)
    const leaf = encodeLeaf({ kind: 'release', commitment, tag: randomTag() })
    const events = judgements.map(({ asset, manifest }) => ({
      organisation: manifest!.payload.organisation,
      type: 'released',
      about: { asset, contract, run, attempt, decision: proven.get(asset)!.decision.digest },
    }))
    const { leaves } = await this.#vault.events.append([leaf], events)
    return { leaf, index: leaves[0]! }
  }
}

/** A data key, wrapped to the worker that the decision is about. */
async function wrapTo({ hpkeKey }: DecideRequest['binding'], { decided, dek }: OpenedKey): Promise<Json> {
  const { digest, payload } = decided.decision
  const { contract, run, attempt, manifest } = payload
  const wrapped = await wrapDek({
    dek,
    recipientPublicKey: decodeBase64url(hpkeKey, 'hpkeKey'),
    info: releaseInfo({ contract, run, attempt, manifest, decision: digest }),
  })
  return { manifest, wrapped: encodeBase64url(wrapped) }
}

function decisionJson({ document, salt, leaf, index }: LoggedDecision): Json {
  return { document: document.envelope, salt: encodeBase64url(salt), leaf: encodeBase64url(leaf), index }
}

/** What the owner of an asset is told of a decision; without a manifest there is no owner. */
function decidedEvents({ manifest }: Judgement, { digest, payload }: SignedDocument<'cella/decision'>): EventDraft[] {
  if (manifest === null) return []
  const { contract, run, attempt, allowed, reasons, use, time } = payload
  const about = { asset: payload.manifest, contract, run, attempt, allowed, reasons, use, time }
  return [
    {
      organisation: manifest.payload.organisation,
      type: 'decision',
      about: { ...about, decision: digest, worker: payload.workerEvidence },
    },
  ]
}

function pendingName({ contract, run, attempt }: { contract: Digest; run: number; attempt: number }): string {
  return `${contract}/${run}/${attempt}`
}

/** The reasons in full for the publisher of the asset, whom they concern; others see codes. */
async function sealReasons(
  judgement: Judgement,
  { contract, run, documents }: { contract: SignedDocument; run: number; documents: Situation['documents'] },
): Promise<string | null> {
  const { manifest, asset } = judgement
  if (manifest === null) return null
  const index = documents.indexOf(manifest.digest)
  if (index === undefined) return null
  const { organisation, signer } = manifest.payload
  const publisher = documents.membershipAt(organisation, signer, 'publisher', index)
  if (publisher === undefined) return null
  const sealed = await hpkeSeal({
    publicKey: decodeBase64url(publisher.payload.hpkeKey, 'hpkeKey'),
    info: reasonsInfo({ contract: contract.digest, run, manifest: asset }),
    plaintext: encodeUtf8(canonicalJson(judgement.reasons.slice(0, 64))),
  })
  return encodeBase64url(sealed)
}
