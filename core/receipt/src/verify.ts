import { type Digest, encodeUtf8, FormatError } from '@cella/bytes'
import { type Document, DocumentError, parseDocument, parseDocumentOf, type SignedDocument } from '@cella/documents'
import { ChainCache } from '@cella/evidence'
import { LogError, type LogPolicy, parseCheckpointText, parseNote, parseProofFile } from '@cella/log'
import { assetsOf, organisationName, readDocumentSet } from '@cella/release'
import type { Anchors } from './anchors.ts'
import type { ReceiptBundle } from './bundle.ts'
import { type Case, utc } from './case.ts'
import { checkDecisions } from './decisions.ts'
import { checkWorker } from './enclaves.ts'
import { checkReceiptFields, describeRun } from './fields.ts'
import { checkLogSigners, checkSignerTerms } from './log-signers.ts'
import { ProvenPlaces, placeOfDocument, placeOfStatement } from './placed.ts'
import { Findings, type Verdict } from './verdict.ts'
import { receiptWords } from './words.ts'

// Receipts of one machine come with the same certificates.
const chains = new ChainCache()

/**
 * Judges a receipt by the verifier's own anchors, without a network:
 *
 * 1. the log is one that the verifier knows, and the receipt is in it
 * 2. the documents are signed, entitled and in that log
 * 3. every organisation that the outcome rests on is one that the verifier knows
 * 4. the worker's evidence is genuine, accepted by every owner's terms, and bound to this run and to the receipt's key
 * 5. each asset was released by a decision of a vault whose evidence its owner's terms accept
 * 6. each owner's policy, evaluated again, allows it
 * 7. the receipt agrees with all of these
 * 8. what is shown of the code that holds the log's key is so, and owners whose terms name its builds accept it
 *
 * Everything wrong is reported, not only the first. Before this, `initPolicyEngine` of `@cella/policy` must have run.
 */
export async function verifyReceipt(bundle: ReceiptBundle, anchors: Anchors): Promise<Verdict> {
  const findings = new Findings(receiptWords)
  const log = findLog(bundle, anchors, findings)
  if (log === undefined) return findings.verdict()

  const places = placeDocuments(bundle, log.policy, findings)
  const documents = await readDocumentSet(
    bundle.documents.map(({ document }) => document),
    places,
  )
  for (const { message } of documents.ignored) findings.wrong('DOCUMENT_WRONG', { problem: message })

  const receipt = readReceipt(bundle, findings)
  if (receipt === undefined) return findings.verdict()
  const contract = documents.find('cella/contract', receipt.payload.contract)
  if (contract === undefined) {
    findings.missing('DOCUMENT_MISSING', { problem: `the contract ${receipt.payload.contract} is not in the bundle` })
    return findings.verdict()
  }
  const placed = placeOfStatement('receipt', receipt.digest, bundle.receipt, log.policy)
  if ('problem' in placed) {
    findings.wrong('RECEIPT_PROOF', { problem: placed.problem })
    return findings.verdict()
  }
  const known = new Map(anchors.organisations.map(({ id, name }) => [id, name]))
  const { entry } = placed
  const nameOf = (id: Digest): string => known.get(id) ?? organisationName(documents, id)
  const situation: Case = {
    bundle,
    anchors,
    findings,
    documents,
    receipt,
    contract,
    entry,
    policy: log.policy,
    cache: chains,
    nameOf,
  }

  checkTime(situation)
  checkOrganisations(situation)
  const worker = await checkWorker(situation)
  if (worker !== undefined) await checkDecisions(situation, worker)
  checkReceiptFields(situation, worker)
  const signers = await checkLogSigners(situation)
  if (findings.isClean && worker !== undefined) await checkSignerTerms(situation, signers)
  if (findings.isClean && worker !== undefined) describeRun(situation, worker, log.independentWitnesses)
  return findings.verdict()
}

function findLog(bundle: ReceiptBundle, anchors: Anchors, findings: Findings): Anchors['logs'][number] | undefined {
  let origin: string
  try {
    const { checkpoint } = parseProofFile(encodeUtf8(bundle.receipt.proof))
    origin = parseCheckpointText(parseNote(checkpoint).text).origin
  } catch (error) {
    if (!(error instanceof LogError || error instanceof FormatError)) throw error
    findings.wrong('RECEIPT_PROOF', { problem: `${error.message}.` })
    return undefined
  }
  const log = anchors.logs.find(({ policy }) => policy.logs.some(({ key }) => key.name === origin))
  if (log === undefined) findings.missing('LOG_UNKNOWN', { log: origin })
  return log
}

function placeDocuments(bundle: ReceiptBundle, policy: LogPolicy, findings: Findings): ProvenPlaces {
  const places = new ProvenPlaces()
  for (const published of bundle.documents) {
    const document = parsed(published.document)
    if (document === undefined) continue
    const { digest, payload } = document
    const placed = placeOfDocument(digest, published, policy)
    if ('problem' in placed) {
      findings.wrong('DOCUMENT_PROOF', { digest, problem: placed.problem })
      continue
    }
    places.add(digest, placed.entry.index)
    const isRevision = payload.type === 'cella/organisation' || payload.type === 'cella/terms'
    if (isRevision && payload.previous !== null) places.addSuccessor(payload.previous, placed.entry.index)
  }
  return places
}

/** Undefined for what is no document: `readDocumentSet` says so. */
function parsed(envelope: string): Document | undefined {
  try {
    return parseDocument(envelope)
  } catch (error) {
    if (error instanceof DocumentError) return undefined
    throw error
  }
}

/** Parsed here; its signature is checked against the worker's evidence. */
function readReceipt(bundle: ReceiptBundle, findings: Findings): SignedDocument<'cella/receipt'> | undefined {
  try {
    return parseDocumentOf('cella/receipt', bundle.receipt.document) as SignedDocument<'cella/receipt'>
  } catch (error) {
    if (!(error instanceof DocumentError)) throw error
    findings.wrong('DOCUMENT_WRONG', { problem: error.message })
    return undefined
  }
}

function checkTime({ anchors, entry, findings }: Case): void {
  // A few minutes of difference between clocks are no lie.
  if (entry.times !== undefined && entry.times.earliest > anchors.now + 300) {
    findings.wrong('FUTURE', { earliest: utc(entry.times.earliest), now: utc(anchors.now) })
  }
}

function checkOrganisations({ contract, documents, anchors, findings }: Case): void {
  const trusted = new Set(anchors.organisations.map(({ id }) => id))
  const wanted = new Map<Digest, string>([[contract.payload.organisation, 'author of the contract']])
  for (const { manifest, use } of assetsOf(contract.payload)) {
    const owner = documents.find('cella/manifest', manifest)?.payload.organisation
    if (owner !== undefined) wanted.set(owner, use === 'program' ? 'publisher of the program' : 'owner of an input')
  }
  for (const { receivers } of contract.payload.outputs) {
    for (const { organisation } of receivers) if (!wanted.has(organisation)) wanted.set(organisation, 'receiver')
  }
  for (const [organisation, role] of wanted) {
    if (trusted.has(organisation)) continue
    const claimed = organisationName(documents, organisation)
    findings.missing('ORGANISATION_UNKNOWN', { organisation, role, claimed })
  }
}
