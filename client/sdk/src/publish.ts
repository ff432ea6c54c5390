import { join } from 'node:path'
import { type Digest, encodeBase64url } from '@cella/bytes'
import type { Catalogue, Manifest, SignedDocument } from '@cella/documents'
import { type PolicyProblem, policyEngineDigest, validatePolicy } from '@cella/policy'
import type { KeyId } from '@cella/primitives'
import { type Dek, generateDek, grantInfo, type Sealed, splitDek, wrapDek } from '@cella/seal'
import type { CanonicalTable } from '@cella/tables'
import { revisionsOf } from './assets.ts'
import { startPolicyEngine } from './engine.ts'
import { SdkError } from './error.ts'
import { keepCopy, membershipOfAccount } from './key-copies.ts'
import { recoverersOf } from './organisations.ts'
import { keepForRecovery } from './recovery.ts'
import { fileDigest, withSealed } from './sealing.ts'
import type { Session } from './session.ts'
import { publishSource, type VerifiedSource } from './sources.ts'
import { type Logged, revokeDocument, submitDocument } from './submit.ts'
import { type AcceptedVault, appraiseVault, gatherTerms } from './vaults.ts'

export interface PublishOptions {
  readonly series: string
  readonly title: string
  /** A table with its treatments, a program, a file that is neither, or a secret for guests that an attestation policy accepts. */
  readonly content:
    | { readonly kind: 'table'; readonly table: CanonicalTable; readonly rows: number }
    | { readonly kind: 'file'; readonly path: string }
    | { readonly kind: 'secret'; readonly bytes: Uint8Array; readonly guests: string }
    | { readonly kind: 'program'; readonly path: string; readonly outputs: NonNullable<Manifest['program']>['outputs'] }
  /** Cedar text: of `compilePolicy`, or the owner's own. */
  readonly policy: string
  readonly outputRules: Manifest['outputRules']
  /** Where it came from: verified before anything is sealed, and published after the manifest. */
  readonly source?: VerifiedSource | undefined
  /** Whom it is shown to, and what it is said to be; default: everyone, without words. */
  readonly catalogue?: Catalogue | undefined
  readonly approval: Manifest['approval']
  readonly purposes: readonly string[]
  readonly notBefore: number
  readonly notAfter: number
  readonly runs: number | null
  /** Vaults to grant to; default: the first that the manager names. */
  readonly vaults?: readonly KeyId[] | undefined
  /** Splits the key between these vaults: so many of them give it, at least two. Default: each gets the whole key. */
  readonly threshold?: number | undefined
  /** Leaves the revision before in force. Default: it is withdrawn, so that no laxer policy stays usable. */
  readonly keepPrevious?: boolean | undefined
  /** Ends it while it seals or uploads, and leaves nothing behind; what is logged is finished. */
  readonly signal?: AbortSignal | undefined
  /** `phase` is `seal`, `upload`, `vault` or `log`. */
  readonly onProgress?: ((phase: string, done: number, total: number) => void) | undefined
}

export interface Published {
  readonly manifest: SignedDocument<'cella/manifest'>
  readonly index: number
  readonly grants: readonly SignedDocument<'cella/grant'>[]
  readonly vaults: readonly AcceptedVault[]
}

/** Everything that keeps a policy from being signed. */
export async function policyErrors(policy: string): Promise<readonly PolicyProblem[]> {
  await startPolicyEngine()
  return validatePolicy(policy).filter(({ severity }) => severity === 'error')
}

/**
 * Publishes an asset: checks the policy, appraises each vault under one's own terms, seals with a fresh DEK, uploads, and
 * logs manifest and grants. The vault is judged before anything leaves; the DEK leaves only wrapped to its KEK.
 */
export async function publishAsset(session: Session, options: PublishOptions): Promise<Published> {
  const errors = await policyErrors(options.policy)
  if (errors.length > 0) {
    const lines = errors.map(({ line, message }) => `line ${line}: ${message}`)
    throw new SdkError('ERR_DRAFT_REFUSED', `the policy can’t be used: ${lines.join('; ')}`, {
      hint: `nothing was signed or uploaded (policy engine ${policyEngineDigest.slice(0, 12)})`,
    })
  }
  const keys = await session.keys()
  const organisation = await session.organisation()
  const { terms, documents } = await gatherTerms(session, organisation)
  const member = membershipOfAccount(documents, { organisation, account: keys.account.keyId })
  recoverersOf(documents, terms.payload)
  const vaults: AcceptedVault[] = []
  options.onProgress?.('vault', 0, 1)
  for (const vault of await chooseVaults(session, options.vaults)) {
    vaults.push(await appraiseVault(session, { vault, organisation, terms: terms.payload, documents }))
  }
  const { revisions } = await revisionsOf(session, { organisation, series: options.series })
  const previous = revisions.map(({ manifest }) => manifest)
  const dek = generateDek()
  try {
    return await withSealed(
      {
        folder: join(session.home.folder, 'sealing'),
        source: sourceOf(options.content),
        dek,
        signal: options.signal,
        onProgress: (done, total) => options.onProgress?.('seal', done, total),
      },
      async ({ sealed, file, outboard }) => {
        const total = file.size + outboard.size
        // Sealed anew each time: nobody can go on with these.
        const lent = { isLent: true, signal: options.signal }
        const tell = (done: number): void => options.onProgress?.('upload', done, total)
        await session.manager.upload(file, { ...lent, onProgress: tell })
        await session.manager.upload(outboard, { ...lent, onProgress: (done) => tell(file.size + done) })
        options.signal?.throwIfAborted()
        const manifest = await submitDocument<'cella/manifest'>(
          session,
          await manifestOf(options, { sealed, organisation, signer: keys.account.keyId, previous: previous[0] }),
          { signers: [keys.account], locations: { sealed: file.sha256, outboard: outboard.sha256 } },
        )
        const { source } = options
        if (source !== undefined) await publishSource(session, { manifest: manifest.document, source })
        const grants = await grantAll(session, {
          manifest: manifest.document,
          vaults,
          dek,
          threshold: options.threshold,
        })
        await keepCopy(session, { manifest: manifest.document, member, dek })
        await keepForRecovery(session, { terms: terms.payload, documents, manifest: manifest.document, dek })
        if (options.keepPrevious !== true) {
          for (const old of previous) {
            await revokeDocument(session, {
              subject: old.digest,
              replacement: manifest.document.digest,
              reason: `replaced by revision ${manifest.document.payload.revision}`,
              organisation,
              signers: [keys.account],
            })
          }
        }
        return { manifest: manifest.document, index: manifest.index, grants, vaults }
      },
    )
  } finally {
    dek.fill(0)
  }
}

async function chooseVaults(session: Session, wanted: readonly KeyId[] | undefined): Promise<KeyId[]> {
  if (wanted !== undefined && wanted.length > 0) return [...wanted]
  const { vaults } = await session.info()
  if (vaults[0] === undefined) {
    throw new SdkError('ERR_MANAGER_UNAVAILABLE', 'the manager names no vault', {
      hint: 'is one running? cella status',
    })
  }
  return [vaults[0].id]
}

function sourceOf(content: PublishOptions['content']): { path: string } | { bytes: AsyncIterable<Uint8Array> } {
  if (content.kind === 'table') return { bytes: content.table.bytes }
  if (content.kind !== 'secret') return { path: content.path }
  return { bytes: inOnePiece(content.bytes) }
}

async function* inOnePiece(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}

async function manifestOf(
  options: PublishOptions,
  {
    sealed,
    organisation,
    signer,
    previous,
  }: { sealed: Sealed; organisation: Digest; signer: KeyId; previous: SignedDocument<'cella/manifest'> | undefined },
): Promise<Manifest> {
  const { content } = options
  return {
    type: 'cella/manifest',
    version: 1,
    organisation,
    signer,
    kind: content.kind === 'program' || content.kind === 'secret' ? content.kind : 'data',
    series: options.series,
    revision: (previous?.payload.revision ?? 0) + 1,
    previous: previous?.digest ?? null,
    title: options.title,
    ...(options.catalogue && { catalogue: options.catalogue }),
    sealed: {
      format: 'cella-sealed/1',
      rootDigest: sealed.rootDigest,
      size: sealed.size,
      keyCommitment: sealed.keyCommitment as Digest,
    },
    table: content.kind === 'table' ? { columns: [...content.table.columns], rows: content.rows } : null,
    program:
      content.kind === 'program'
        ? {
            runtime: 'wasi-preview1',
            digest: await fileDigest(content.path),
            source: 'open',
            outputs: content.outputs,
            sbom: null,
          }
        : null,
    ...(content.kind === 'secret' && { guests: content.guests }),
    policy: options.policy,
    outputRules: options.outputRules,
    approval: options.approval,
    purposes: [...options.purposes],
    notBefore: options.notBefore,
    notAfter: options.notAfter,
    runs: options.runs,
  }
}

/**
 * Wraps the DEK, or a share of it, for each vault. The limit is divided, so that the vaults together never spend more than
 * it: a run spends a use in one vault, or in as many as give the key.
 */
async function grantAll(
  session: Session,
  {
    manifest,
    vaults,
    dek,
    threshold,
  }: {
    manifest: SignedDocument<'cella/manifest'>
    vaults: readonly AcceptedVault[]
    dek: Dek
    threshold: number | undefined
  },
): Promise<SignedDocument<'cella/grant'>[]> {
  const keys = await session.keys()
  const { log } = await session.info()
  const count = vaults.length
  const shares = threshold === undefined ? [] : await splitDek(dek, { count, threshold })
  const limit = manifest.payload.runs === null ? null : manifest.payload.runs * (threshold ?? 1)
  const grants: SignedDocument<'cella/grant'>[] = []
  for (const [index, vault] of vaults.entries()) {
    const runs = limit === null ? null : Math.floor(limit / count) + (index < limit % count ? 1 : 0)
    if (runs === 0) continue
    const share = shares[index]
    const wrapped = await wrapDek({
      dek: share?.share ?? dek,
      recipientPublicKey: vault.kek,
      info: grantInfo(manifest.digest, vault.kekId),
    })
    share?.share.fill(0)
    const grant: Logged<'cella/grant'> = await submitDocument<'cella/grant'>(
      session,
      {
        type: 'cella/grant',
        version: 1,
        organisation: manifest.payload.organisation,
        signer: keys.account.keyId,
        manifest: manifest.digest,
        kek: vault.kekId,
        vault: vault.id,
        vaultEvidence: vault.evidence,
        runs,
        log: log.origin,
        wrapped: encodeBase64url(wrapped),
        ...(share && { share: { index: share.index, threshold: threshold! } }),
      },
      { signers: [keys.account] },
    )
    grants.push(grant.document)
  }
  return grants
}
