import { canonicalJson, type Digest, decodeBase64url, FormatError, type Json } from '@cella/bytes'
import { type Build, DocumentError, type SignedDocument, type Terms, verifyDocument } from '@cella/documents'
import { type Evidence, EvidenceError, evidenceDigest, parseEvidenceJson } from '@cella/evidence'
import { type KeyId, keyIdOf } from '@cella/primitives'
import { type Appraisal, type Asked, appraiseEnclave, assetsOf, decidingVaults, ReleaseError } from '@cella/release'
import type { EnclaveStatement } from './bundle.ts'
import type { Case } from './case.ts'

/** An enclave's evidence as read, with the key that it vouches for. */
export interface Enclave {
  readonly role: Build['role']
  readonly evidence: Evidence
  readonly digest: Digest
  readonly binding: EnclaveStatement['binding']
  readonly signingKey: Uint8Array
  readonly signer: KeyId
  readonly isolation: number
}

export interface Worker extends Enclave {
  /** As each owner's terms judge it. */
  readonly appraisals: ReadonlyMap<Digest, Appraisal>
}

/** Reads one statement; says what is wrong with it and returns nothing where it can't be used. */
export function readEnclave(statement: EnclaveStatement, role: Build['role'], { findings }: Case): Enclave | undefined {
  try {
    const evidence = parseEvidenceJson(statement.evidence)
    const { binding } = statement
    if (binding.role !== role) throw new FormatError('binding.role', `is ${print(binding.role)}, not ${role}`)
    if (typeof binding.signingKey !== 'string') throw new FormatError('binding.signingKey', 'is no text')
    const signingKey = decodeBase64url(binding.signingKey, 'binding.signingKey')
    if (signingKey.length !== 32) throw new FormatError('binding.signingKey', 'is not 32 bytes')
    const isolation = role === 'worker' ? binding.isolation : 0
    if (typeof isolation !== 'number') throw new FormatError('binding.isolation', 'is no number')
    return {
      role,
      evidence,
      digest: evidenceDigest(evidence),
      binding,
      signingKey,
      signer: keyIdOf(signingKey),
      isolation,
    }
  } catch (error) {
    if (!(error instanceof EvidenceError || error instanceof FormatError)) throw error
    findings.wrong('EVIDENCE_WRONG', { role, problem: error.message })
    return undefined
  }
}

/** The worker, if it is acceptable to every owner, bound to this run, and signed the receipt. */
export async function checkWorker(situation: Case): Promise<Worker | undefined> {
  const { bundle, receipt, contract, findings } = situation
  const worker = readEnclave(bundle.evidence.worker, 'worker', situation)
  if (worker === undefined) return undefined
  const { payload } = receipt
  const expected: Record<string, Json> = {
    contract: contract.digest,
    run: payload.run,
    attempt: payload.attempt,
    isolation: payload.isolation,
  }
  for (const [field, value] of Object.entries(expected)) {
    const got = worker.binding[field]
    if (got !== value) {
      findings.wrong('BINDING_DIFFERS', { role: 'worker', field, got: print(got), expected: print(value) })
    }
  }
  const asking = askedBy(situation, worker)
  for (const vault of decidingVaults(asking)) {
    if (asking.asked.includes(vault)) continue
    findings.wrong('BINDING_DIFFERS', {
      role: 'worker',
      field: 'nonces',
      got: asking.asked.join(', ') || 'none',
      expected: `one of vault ${vault}`,
    })
  }
  if (receipt.payload.organisation !== worker.digest) {
    findings.wrong('RECEIPT_DIFFERS', { field: 'organisation', got: payload.organisation, expected: worker.digest })
  }
  if (!(await isSignedBy(receipt, worker))) findings.wrong('RECEIPT_SIGNATURE', {})
  const appraisals = new Map<Digest, Appraisal>()
  for (const owner of ownersOf(situation)) {
    const appraisal = await appraiseFor(owner, worker, situation)
    if (appraisal !== undefined) appraisals.set(owner, appraisal)
  }
  return { ...worker, appraisals }
}

/** Which vaults the worker asked: its evidence holds a nonce of each. */
export function askedBy({ contract, documents }: Case, { binding: { nonces } }: Enclave): Asked {
  const isRecord = typeof nonces === 'object' && nonces !== null && !Array.isArray(nonces)
  return { contract: contract.payload, documents, asked: isRecord ? (Object.keys(nonces) as KeyId[]) : [] }
}

/** Organisations whose assets the contract uses, each once. */
export function ownersOf({ contract, documents }: Case): Digest[] {
  const owners = assetsOf(contract.payload).flatMap(({ manifest }) => {
    const found = documents.find('cella/manifest', manifest)
    return found === undefined ? [] : [found.payload.organisation]
  })
  return [...new Set(owners)]
}

export async function isSignedBy(document: SignedDocument, enclave: Enclave): Promise<boolean> {
  try {
    await verifyDocument(document, (signer) => (signer === enclave.signer ? enclave.signingKey : undefined))
    return true
  } catch (error) {
    if (error instanceof DocumentError) return false
    throw error
  }
}

/**
 * Appraises under the terms of `owner`, but only by roots that the verifier trusts as well: what a stranger's terms name
 * as a root proves nothing to others. Returns nothing where it said that something is wrong or missing.
 */
export async function appraiseFor(owner: Digest, enclave: Enclave, situation: Case): Promise<Appraisal | undefined> {
  const { documents, findings } = situation
  let terms: Terms
  try {
    terms = documents.terms(owner).payload
  } catch (error) {
    if (!(error instanceof ReleaseError)) throw error
    if (error.code === 'ERR_DOCUMENT_MISSING') findings.missing('DOCUMENT_MISSING', { problem: error.message })
    else findings.wrong('DOCUMENT_NOT_COUNTING', { problem: error.message })
    return undefined
  }
  const own = await appraise(situation, enclave, narrowed(terms, situation))
  if (own.reasons.length === 0) return own
  if (own.reasons.some(({ code }) => code === 'ERR_EVIDENCE_ROOT_UNKNOWN')) {
    const theirs = await appraise(situation, enclave, terms)
    if (theirs.reasons.length === 0) {
      const trusted = new Set(situation.anchors.roots.map(keyOf))
      for (const root of terms.roots) {
        if (!trusted.has(keyOf(root))) findings.missing('ROOT_UNKNOWN', { spki: root.spki })
      }
      return undefined
    }
  }
  for (const { code, expected, got } of own.reasons) {
    const problem = `${code} under the terms of ${situation.nameOf(owner)}: expected ${expected}, got ${got}.`
    findings.wrong('EVIDENCE_WRONG', { role: enclave.role, problem })
  }
  return undefined
}

/**
 * For the evaluation of a policy: by roots that the verifier trusts; where it lacks them, which `appraiseFor` has said,
 * by those of the terms, so that one thing that is missing does not look like many that are wrong.
 */
export async function appraiseForPolicy(situation: Case, enclave: Enclave, terms: Terms): Promise<Appraisal> {
  const own = await appraise(situation, enclave, narrowed(terms, situation))
  const isRootUnknown = own.reasons.some(({ code }) => code === 'ERR_EVIDENCE_ROOT_UNKNOWN')
  return isRootUnknown ? appraise(situation, enclave, terms) : own
}

function appraise(situation: Case, enclave: Enclave, terms: Terms): Promise<Appraisal> {
  const { documents, entry, anchors, cache } = situation
  const now = entry.times?.latest ?? anchors.now
  const { role, evidence, binding, isolation } = enclave
  return appraiseEnclave({ role, evidence, binding, isolation }, { terms, documents, now, cache })
}

/** `terms` with those of its roots that the verifier trusts, as the verifier knows them. */
export function narrowed(terms: Terms, { anchors }: Case): Terms {
  const named = new Set(terms.roots.map(keyOf))
  return { ...terms, roots: anchors.roots.filter((root) => named.has(keyOf(root))) }
}

/** A vendor may use one key for several TEEs; each is trusted on its own. */
function keyOf({ tee, spki }: Terms['roots'][number]): string {
  return `${tee} ${spki}`
}

/** A JSON value in a sentence. */
export function print(value: Json | undefined): string {
  return value === undefined ? 'absent' : typeof value === 'string' ? value : canonicalJson(value)
}
