import {
  canonicalJson,
  decodeBase64url,
  decodeHex,
  encodeBase64url,
  encodeUtf8,
  FormatError,
  type Json,
} from '@cella/bytes'
import { ChannelError, type HostClient } from '@cella/channel'
import { digestField, documentBytesMax, type Payload, type SignedDocument, signDocument } from '@cella/documents'
import { ChainCache, collateralBytesMax, Endorsements, EvidenceError, readCollateral } from '@cella/evidence'
import { commitmentOf, encodeLeaf, proveEntry, randomTag } from '@cella/log'
import { digestOf, hpkeSeal, randomBytes } from '@cella/primitives'
import {
  type DocumentSet,
  findGrant,
  findSecret,
  judgeSecret,
  type ProvenDecision,
  proveDecision,
  readDocumentSet,
  type SecretJudgement,
  type SecretSituation,
  VerifiedEnvelopes,
} from '@cella/release'
import { openBytes, SealError, secretReasonsInfo } from '@cella/seal'
import { z } from 'zod'
import { VaultError } from './error.ts'
import { encryptToGuest, type FlattenedJwe } from './kbs/jwe.ts'
import type { SecretPath } from './kbs/messages.ts'
import type { Guest } from './kbs/sessions.ts'
import { useStreamKey } from './keys.ts'
import type { VaultState } from './state.ts'
import { type Use, Uses } from './uses.ts'
import type { Vault } from './vault.ts'
import type { VaultLog } from './vault-log.ts'

/** Bytes of a secret as it lies sealed: a mebibyte and the form around it. */
const sealedBytesMax = 1_100_000
const answerBytesMax = 16_777_216
const reservationTriesMax = 8

const places = z.record(digestField, z.strictObject({ sealed: digestField, outboard: digestField }))
const answerSchema = z.strictObject({
  documents: z.array(z.string().max(documentBytesMax)).max(2048),
  locations: places,
  /** Vendors' certificates and lists, for evidence that comes without; signed by the vendors. */
  collateral: z
    .string()
    .max(Math.ceil((collateralBytesMax * 4) / 3))
    .optional(),
})

/** What the host gave for one secret. Nothing of it is believed. */
interface Asked {
  readonly documents: DocumentSet
  readonly manifest: SignedDocument<'cella/manifest'>
  readonly places: z.infer<typeof places>
  readonly endorsements: Endorsements
}

interface LoggedDecision {
  readonly document: SignedDocument<'cella/secret-decision'>
  readonly salt: Uint8Array
  readonly leaf: Uint8Array
  readonly index: number
}

/** Hands secrets to guests of others' making, by their owners' documents, each after its decision is in the witnessed log. */
export class Secrets {
  readonly #state: VaultState
  readonly #log: VaultLog
  readonly #host: HostClient
  readonly #vault: Pick<Vault, 'identity' | 'events' | 'keys' | 'admitDenial' | 'learnReaders'>
  readonly #uses: Uses
  readonly #known = new VerifiedEnvelopes()
  readonly #chains = new ChainCache()

  constructor(parts: { state: VaultState; log: VaultLog; host: HostClient; vault: Vault }) {
    this.#state = parts.state
    this.#log = parts.log
    this.#host = parts.host
    this.#vault = parts.vault
    this.#uses = new Uses(parts.log.view)
  }

  /**
   * The secret, encrypted to the guest's key: after its owner's documents allowed it, the decision was proven from the log,
   * and everything was judged again at the newest checkpoint. A denial is logged as well. Throws ERR_SECRET_UNKNOWN,
   * ERR_SECRET_DENIED, ERR_SECRET_NOT_OPENED.
   */
  async release(guest: Guest, path: SecretPath): Promise<FlattenedJwe> {
    await this.#log.ensureFresh()
    const asked = await this.#ask(path)
    const useOf = await this.#useOf(guest, asked)
    const situation = this.#situation(guest, asked, useOf)
    const { judgement, decision } = await this.#decide(situation, { guest, useOf })
    await this.#handIn(decision)
    requireAllowed(judgement)
    await this.#log.ensureFresh()
    const proven = await this.#prove(decision)
    const again = await judgeSecret({ ...situation, ...this.#log.present() })
    requireAllowed(again)
    const plaintext = await this.#open(proven, again.grant!, asked)
    try {
      const encrypted = await encryptToGuest(plaintext, guest.key)
      await this.#logReleased(decision, asked.manifest)
      return encrypted
    } finally {
      plaintext.fill(0)
    }
  }

  async #ask({ organisation, series, revision }: SecretPath): Promise<Asked> {
    const path = `/v1/secrets/${organisation}/${series}/${revision}`
    const unknown = new VaultError(
      'ERR_SECRET_UNKNOWN',
      `organisation ${organisation} has no secret ${series} of that revision`,
    )
    const answer = answerSchema.safeParse(await this.#json(path, unknown))
    if (!answer.success) throw new ChannelError('ERR_HOST_MALFORMED', `GET ${path}: is no answer about a secret`)
    const documents = await readDocumentSet(answer.data.documents, this.#log.view, this.#known)
    const manifest = findSecret(documents, { organisation, series, revision })
    if (manifest === undefined) throw unknown
    const { collateral } = answer.data
    return {
      documents,
      manifest,
      places: answer.data.locations,
      endorsements: collateral === undefined ? Endorsements.none : endorsementsOf(collateral),
    }
  }

  async #json(path: string, unknown: VaultError): Promise<unknown> {
    try {
      return await this.#host.json('GET', path, undefined, { bytesMax: answerBytesMax })
    } catch (error) {
      if (error instanceof ChannelError && error.refusal?.status === 404) throw unknown
      throw error
    }
  }

  /** The use of the secret that this guest has or would have next; of a secret whose owner has no key here there is none. */
  async #useOf(guest: Guest, { manifest, documents }: Asked): Promise<() => Use | undefined> {
    const grant = findGrant({ documents, vault: this.#state.id, log: this.#log.checkpoint.origin }, manifest)
    if ('code' in grant) return () => undefined
    const holding = await this.#state.holding(manifest.payload.organisation, grant.payload.vault)
    if (holding === undefined) return () => undefined
    const stream = useStreamKey(holding.secret, manifest.digest)
    const name = digestOf(encodeUtf8(canonicalJson({ guest: guest.digest, manifest: manifest.digest })))
    return () => this.#uses.of(stream, name, 1)
  }

  #situation(guest: Guest, asked: Asked, useOf: () => Use | undefined): SecretSituation {
    const { documents, manifest, endorsements } = asked

    return {
      manifest,
      documents,
      ...this.#log.present(),
      log: this.#log.checkpoint.origin,
      vault: this.#state.id,
      useOf: () => (useOf()?.n ?? 0) + 1,
      guest,
      endorsements,
      cache: this.#chains,
    }
  }

  /**
   * Judges, and gets the decision into the log; where it allows, together with a use, which is this guest's only if its leaf
   * is the first with its tag: another vault or request may have been faster. The same guest's next request costs nothing.
   */
  async #decide(
    situation: SecretSituation,
    { guest, useOf }: { guest: Guest; useOf: () => Use | undefined },
  ): Promise<{ judgement: SecretJudgement; decision: LoggedDecision }> {
    const { payload } = situation.manifest
    for (let attempt = 0; attempt < reservationTriesMax; attempt++) {
      const use = useOf()
      const judgement = await judgeSecret({ ...situation, ...this.#log.present() })
      this.#vault.learnReaders(payload.organisation, situation.documents, judgement.time)
      if (!judgement.allowed) this.#vault.admitDenial([payload.organisation], codesOf(judgement))
      const reserved = judgement.allowed ? use : undefined
      const decision = await this.#logDecision(situation, { judgement, guest, use: reserved })
      if (!judgement.allowed) return { judgement, decision }
      const now = useOf()
      if (now?.reserved && now.n === use?.n) return { judgement, decision }
      if (now === undefined)
        throw new VaultError('ERR_RELEASE_UNKNOWN', 'the owner of the secret has no key in this vault')
    }
    throw new VaultError('ERR_RESERVATION_LOST', 'other guests took every use that was tried for; try again')
  }

  async #logDecision(
    { manifest, documents }: SecretSituation,
    { judgement, guest, use }: { judgement: SecretJudgement; guest: Guest; use: Use | undefined },
  ): Promise<LoggedDecision> {
    const payload: Payload<'cella/secret-decision'> = {
      type: 'cella/secret-decision',
      version: 1,
      organisation: await this.#vault.identity(),
      signer: this.#state.id,
      manifest: manifest.digest,
      guestEvidence: guest.digest,
      guestKey: digestOf(encodeUtf8(canonicalJson(guest.key))),
      attestation: judgement.attestation?.digest ?? null,
      allowed: judgement.allowed,
      use: use === undefined ? null : use.n + 1,
      reasons: codesOf(judgement),
      sealedReasons: judgement.allowed ? null : await sealReasons(judgement, { manifest, documents, guest }),
      time: { ...(judgement.time ?? { earliest: 0, latest: 0 }), size: this.#log.view.size },
    }
    const document = await signDocument<'cella/secret-decision'>(payload, [this.#state.signingSeed])
    const salt = randomBytes(32)
    const commitment = commitmentOf('decision', salt, decodeHex(document.digest, 'decision'))
    const leaf = encodeLeaf({ kind: 'decision', commitment, tag: randomTag() })
    const reservation = use === undefined || use.reserved ? [] : [use.leaf]
    const { allowed, reasons, guestEvidence, guestKey, time } = payload
    const about = { secret: manifest.digest, guestEvidence, guestKey, allowed, reasons, use: payload.use, time }
    const { leaves } = await this.#vault.events.append(
      [...reservation, leaf],
      [
        {
          organisation: manifest.payload.organisation,
          type: 'secret-decision',
          about: { ...about, decision: document.digest },
        },
      ],
    )
    return { document, salt, leaf, index: leaves.at(-1)! }
  }

  /** The owner finds the decision with the host, which keeps it; whether it did shows in the log, where its leaf is. */
  async #handIn({ document, salt, leaf, index }: LoggedDecision): Promise<void> {
    await this.#host.json('POST', '/v1/secrets/decisions', {
      document: document.envelope,
      salt: encodeBase64url(salt),
      leaf: encodeBase64url(leaf),
      index,
    } satisfies Json)
  }

  async #prove({ document, salt, leaf, index }: LoggedDecision): Promise<ProvenDecision<'cella/secret-decision'>> {
    const entry = proveEntry(this.#log.view, this.#log.checkpoint, index, leaf)
    return proveDecision(document, { salt, entry, vault: this.#state.id })
  }

  async #open(
    decided: ProvenDecision,
    grant: SignedDocument<'cella/grant'>,
    { manifest, places }: Asked,
  ): Promise<Uint8Array> {
    const place = places[manifest.digest]
    const { rootDigest, size, keyCommitment } = manifest.payload.sealed
    const refused = (problem: string, cause?: unknown): VaultError =>
      new VaultError('ERR_SECRET_NOT_OPENED', `the ciphertext of secret ${manifest.payload.series} ${problem}`, {
        cause,
      })
    if (place === undefined) throw refused('lies nowhere, says the host')
    if (size > sealedBytesMax) throw refused(`has ${size} bytes, at most ${sealedBytesMax} are read`)
    const [sealed, outboard] = await Promise.all([
      this.#host.bytes(`/v1/blobs/${place.sealed}`, size),
      this.#host.bytes(`/v1/blobs/${place.outboard}`, sealedBytesMax),
    ])
    const dek = await this.#vault.keys.unwrap(decided, grant)
    try {
      return openBytes({ dek, sealed, outboard, expected: { rootDigest, size, keyCommitment } })
    } catch (cause) {
      if (cause instanceof SealError) throw refused(`is not what its owner sealed (${cause.code})`, cause)
      throw cause
    } finally {
      dek.fill(0)
    }
  }

  /** Before the secret leaves: a decision without this entry is a release that was not finished. */
  async #logReleased({ document }: LoggedDecision, { digest: secret, payload }: Asked['manifest']): Promise<void> {
    const commitment = commitmentOf('release', randomBytes(32), decodeHex(document.digest, 'decision'))
    const leaf = encodeLeaf({ kind: 'release', commitment, tag: randomTag() })
    const about = { secret, decision: document.digest }
    await this.#vault.events.append([leaf], [{ organisation: payload.organisation, type: 'secret-released', about }])
  }
}

/** Vendors signed what counts of it; what can't be read is the host's doing and not the guest's. */
function endorsementsOf(collateral: string): Endorsements {
  try {
    return new Endorsements(readCollateral(decodeBase64url(collateral, 'collateral')))
  } catch (cause) {
    if (!(cause instanceof EvidenceError || cause instanceof FormatError)) throw cause
    throw new ChannelError('ERR_HOST_MALFORMED', 'the host gave collateral that can’t be read', { cause })
  }
}

function codesOf({ reasons }: SecretJudgement): string[] {
  return [...new Set(reasons.map(({ code }) => code))].slice(0, 64)
}

function requireAllowed(judgement: SecretJudgement): void {
  if (judgement.allowed) return
  const codes = codesOf(judgement)
  throw new VaultError('ERR_SECRET_DENIED', codes.join(', '), { reasons: codes })
}

/** The reasons in full for the publisher of the secret; the guest sees codes. */
async function sealReasons(
  { reasons }: SecretJudgement,
  about: { manifest: SignedDocument<'cella/manifest'>; documents: DocumentSet; guest: Guest },
): Promise<string | null> {
  const { manifest, documents, guest } = about
  const index = documents.indexOf(manifest.digest)
  if (index === undefined) return null
  const { organisation, signer } = manifest.payload
  const publisher = documents.membershipAt(organisation, signer, 'publisher', index)
  if (publisher === undefined) return null
  const sealed = await hpkeSeal({
    publicKey: decodeBase64url(publisher.payload.hpkeKey, 'hpkeKey'),
    info: secretReasonsInfo({ guestEvidence: guest.digest, manifest: manifest.digest }),
    plaintext: encodeUtf8(canonicalJson(reasons.slice(0, 64))),
  })
  return encodeBase64url(sealed)
}
