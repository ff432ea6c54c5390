import { digestOf } from '@cella/primitives'
import { type LogSigners, logSignerReasons } from '@cella/release'
import type { Case } from './case.ts'
import { narrowed, ownersOf } from './enclaves.ts'
import { type JudgedSigner, judgeSignerProof, parseSignerProof, type SignerProof } from './signer-proof.ts'

type Shown = Extract<JudgedSigner, { outcome: 'shown' }>

/**
 * Which code holds the key that signed the checkpoint, as the newest statement of the bundle shows it. Returns all of them,
 * where they are shown from the first on without a gap; whether more follow, one file can't show.
 */
export async function checkLogSigners(situation: Case): Promise<LogSigners | undefined> {
  const { bundle, findings, entry, policy, anchors, cache } = situation
  const proofs = bundle.logSigners?.map(parseSignerProof) ?? []
  const now = timeOf(situation)
  const options = { checkpoint: entry.checkpoint, logs: policy.logs, roots: anchors.roots, now, cache }
  const judged = await Promise.all(proofs.map((proof) => judgeSignerProof(proof, options)))
  for (const one of judged) {
    if (one.outcome === 'wrong') findings.wrong('SIGNER', { code: one.code, problem: one.problem })
  }
  const newest = judged.at(-1)
  if (newest === undefined) findings.notProved('SIGNER_UNSHOWN', {})
  else if (newest.outcome === 'unjudged') findings.notProved('SIGNER_UNJUDGED', { problem: newest.problem })
  else if (newest.outcome === 'shown') {
    findings.proved(newest.simulated ? 'SIGNER_SIMULATED' : 'SIGNER', newest.said)
    findings.notProved('SIGNER_LATER', { index: newest.said.index })
  }
  return wholeChain(judged, proofs)
}

/** That owners whose terms name builds of the log's signer accept all code that held its key, up to the newest statement. */
export async function checkSignerTerms(situation: Case, signers: LogSigners | undefined): Promise<void> {
  const { documents, findings, nameOf } = situation
  for (const owner of ownersOf(situation)) {
    const terms = documents.terms(owner).payload
    if (terms.logSigner === undefined) continue
    const organisation = nameOf(owner)
    const reasons =
      signers && (await logSignerReasons(narrowed(terms, situation), signers, { documents, now: timeOf(situation) }))
    if (reasons === undefined || reasons.some(({ code }) => code === 'ERR_EVIDENCE_ROOT_UNKNOWN')) {
      findings.notProved('LOG_SIGNER_UNSHOWN', { organisation })
    } else if (reasons.length === 0) {
      findings.proved('LOG_SIGNER', { organisation, index: signers!.statements.at(-1)!.index })
    } else {
      for (const { code, clause, expected, got } of reasons) {
        findings.wrong('LOG_SIGNER_REFUSED', { organisation, code, clause, expected, got })
      }
    }
  }
}

function wholeChain(judged: readonly JudgedSigner[], proofs: readonly SignerProof[]): LogSigners | undefined {
  const statements = judged
    .filter((one): one is Shown => one.outcome === 'shown')
    .map(({ statement, said }) => ({ index: said.index, statement }))
  const isWhole =
    statements.length === proofs.length &&
    statements.every(({ statement: { binding } }, at) => {
      const previous = at === 0 ? null : digestOf(proofs[at - 1]!.statement)
      return binding.number === at && binding.previous === previous
    })
  const vkey = statements[0]?.statement.binding.vkey
  return isWhole && vkey !== undefined ? { vkey, count: statements.length, statements } : undefined
}

/** Evidence is judged as of then, as that of the other enclaves is. */
function timeOf({ entry, anchors }: Case): number {
  return entry.times?.latest ?? anchors.now
}
