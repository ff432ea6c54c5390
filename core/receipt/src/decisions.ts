import { type Digest, encodeUtf8 } from '@cella/bytes'
import { DocumentError, parseDocumentOf, type SignedDocument } from '@cella/documents'
import { parseProofFile } from '@cella/log'
import type { KeyId } from '@cella/primitives'
import { askable, assetsOf, type Judgement, judgeContract, vaultsOf } from '@cella/release'
import type { Case } from './case.ts'
import {
  appraiseFor,
  appraiseForPolicy,
  askedBy,
  type Enclave,
  isSignedBy,
  print,
  readEnclave,
  type Worker,
} from './enclaves.ts'
import { placeOfStatement } from './placed.ts'

interface PlacedDecision {
  readonly document: SignedDocument<'cella/decision'>
  readonly proof: string
  readonly index: number
}

/** That every asset was allowed by a vault which its owner accepts, and that the owner's policy says so too. */
export async function checkDecisions(situation: Case, worker: Worker): Promise<void> {
  const { bundle, contract, documents, findings, receipt, nameOf } = situation
  const vaults = await readVaults(situation, worker)
  const decisions = await readDecisions(situation, { worker, vaults })
  const named = new Set(receipt.payload.decisions)
  const judgements = new Map<KeyId, Promise<Judgement[]>>()
  const deciding = assetsOf(contract.payload).flatMap(({ manifest }) =>
    vaultsOf(askedBy(situation, worker), manifest).map((vault) => ({ manifest, vault })),
  )
  for (const { manifest, vault } of deciding) {
    const asset = documents.find('cella/manifest', manifest)
    const title = asset?.payload.title ?? manifest
    const decision = decisions.find(
      ({ document: { payload, digest } }) =>
        payload.manifest === manifest && payload.signer === vault && named.has(digest),
    )
    if (decision === undefined || !decision.document.payload.allowed) {
      findings.wrong('DECISION_MISSING', { asset: title })
      continue
    }
    const { signer, use } = decision.document.payload
    if (!judgements.has(signer)) judgements.set(signer, judgeAgain(situation, { worker, decision, decisions }))
    const judgement = (await judgements.get(signer)!).find((candidate) => candidate.asset === manifest)
    if (judgement === undefined || asset === undefined) continue
    const organisation = nameOf(asset.payload.organisation)
    for (const { code, clause, expected, got } of judgement.reasons) {
      if (code === 'ERR_DOCUMENT_MISSING') {
        findings.missing('DOCUMENT_MISSING', { problem: `${organisation}: ${clause}: ${got}` })
      } else if (code === 'ERR_LOG_QUORUM' && isWithin(situation, asset.payload.organisation)) {
        findings.missing('QUORUM_MISSING', { organisation, expected, got })
      } else findings.wrong('POLICY_DENIES', { organisation, title, code, clause, expected, got })
    }
    findings.proved('DECISION', {
      vault: signer,
      title,
      index: decision.index,
      use: use === null ? '' : ` as use ${use}${asset.payload.runs === null ? '' : ` of ${asset.payload.runs}`}`,
    })
    findings.proved('POLICY', { organisation, title })
  }
  if (bundle.decisions.length !== receipt.payload.decisions.length) {
    findings.wrong('RECEIPT_DIFFERS', {
      field: 'decisions',
      got: `${receipt.payload.decisions.length} of them`,
      expected: `the ${bundle.decisions.length} in the bundle`,
    })
  }
}

/** Whether an owner takes a quorum on an earlier checkpoint, which a bundle may not hold. */
function isWithin({ documents }: Case, owner: Digest): boolean {
  return documents.terms(owner).payload.level.startsWith('witnessed-within ')
}

/** The vaults by the digest of the evidence with which they answered this worker. */
async function readVaults(situation: Case, worker: Worker): Promise<Map<Digest, Enclave>> {
  const { bundle, contract, documents, findings } = situation
  const vaults = new Map<Digest, Enclave>()
  for (const statement of bundle.evidence.vaults) {
    const vault = readEnclave(statement, 'vault', situation)
    if (vault === undefined) continue
    const known = askable({ contract: contract.payload, documents })
    if (!known.includes(vault.signer)) {
      const expected = known.join(', ')
      findings.wrong('BINDING_DIFFERS', { role: 'vault', field: 'signingKey', got: vault.signer, expected })
      continue
    }
    // Evidence over the worker's evidence: it was made for this attempt and no other.
    const nonce = worker.digest
    if (vault.binding.nonce !== nonce) {
      findings.wrong('BINDING_DIFFERS', {
        role: 'vault',
        field: 'nonce',
        got: print(vault.binding.nonce),
        expected: nonce,
      })
      continue
    }
    vaults.set(vault.digest, vault)
  }
  return vaults
}

async function readDecisions(
  situation: Case,
  { worker, vaults }: { worker: Worker; vaults: ReadonlyMap<Digest, Enclave> },
): Promise<PlacedDecision[]> {
  const { bundle, documents, entry, findings, policy, receipt } = situation
  const decisions: PlacedDecision[] = []
  const accepted = new Set<string>()
  const wrong = (problem: string): void => findings.wrong('DECISION_WRONG', { problem })
  for (const statement of bundle.decisions) {
    let document: SignedDocument<'cella/decision'>
    try {
      document = parseDocumentOf('cella/decision', statement.document) as SignedDocument<'cella/decision'>
    } catch (error) {
      if (!(error instanceof DocumentError)) throw error
      wrong(error.message)
      continue
    }
    const { payload, digest } = document
    const vault = vaults.get(payload.organisation)
    if (vault === undefined || !(await isSignedBy(document, vault))) {
      wrong(`${digest} is not signed by a vault whose evidence is in the bundle.`)
      continue
    }
    if (
      payload.contract !== receipt.payload.contract ||
      payload.run !== receipt.payload.run ||
      payload.attempt !== receipt.payload.attempt
    ) {
      wrong(`${digest} is for run ${payload.run}, attempt ${payload.attempt} of contract ${payload.contract}.`)
      continue
    }
    if (payload.workerEvidence !== worker.digest) {
      wrong(`${digest} is for another worker.`)
      continue
    }
    const placed = placeOfStatement('decision', digest, statement, policy)
    if ('problem' in placed) {
      wrong(`${digest}: ${placed.problem}`)
      continue
    }
    if (placed.entry.index >= entry.index) {
      findings.wrong('TIME_ORDER', { index: entry.index, decision: placed.entry.index })
      continue
    }
    const owner = documents.find('cella/manifest', payload.manifest)?.payload.organisation
    if (owner === undefined) {
      wrong(`${digest} is about an asset that is not in the bundle.`)
      continue
    }
    // Each owner judges the vault that holds its key; once is enough for each pair.
    const pair = `${owner} ${vault.digest}`
    if (!accepted.has(pair)) await appraiseFor(owner, vault, situation)
    accepted.add(pair)
    decisions.push({ document, proof: statement.proof, index: placed.entry.index })
  }
  return decisions
}

/** What the owners' documents say, evaluated here: the vault's word alone is not taken. */
function judgeAgain(
  situation: Case,
  { worker, decision, decisions }: { worker: Worker; decision: PlacedDecision; decisions: readonly PlacedDecision[] },
): Promise<Judgement[]> {
  const { contract, documents, receipt } = situation
  return judgeContract({
    contract,
    documents,
    run: receipt.payload.run,
    attempt: receipt.payload.attempt,
    asked: askedBy(situation, worker).asked,
    vault: decision.document.payload.signer,
    // The checkpoint that carries the decision: the newest one that can be shown from before the release.
    checkpoint: parseProofFile(encodeUtf8(decision.proof)).checkpoint,
    // For owners who take it; `describeLevels` says that it is no more than that.
    host: { now: receipt.payload.time.latest, cosigned: [] },
    // The vault that decided had read the whole log.
    signers: 'unseen',
    useOf: (grant, vault) =>
      decisions.find(
        ({ document: { payload } }) => payload.manifest === grant.payload.manifest && payload.signer === vault,
      )?.document.payload.use ?? 1,
    appraise: (terms) => appraiseForPolicy(situation, worker, terms),
  })
}
