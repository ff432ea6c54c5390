import { isType, parseDocument } from '@cella/documents'
import { type Anchors, parseReceiptBundle, type ReceiptBundle, type Verdict, verifyReceipt } from '@cella/receipt'
import { judgeCcfStatement, judgeCoseReceipt, judgeRekorEntry, judgeSigsumProof } from './foreign-files.ts'
import { type About, findingsOf, type JudgeOptions, type Judging } from './judge.ts'
import { type FileKind, kindOf } from './kind.ts'
import { judgeDisclosure, judgeExport, judgeProof, judgeRecord } from './own-files.ts'

/** What came of judging a file. */
export interface JudgedFile {
  /** `undefined` for a file of no known kind. */
  readonly kind: FileKind | undefined
  readonly verdict: Verdict
  readonly about: About
}

const judges: Readonly<Record<Exclude<FileKind, 'receipt'>, (judging: Judging) => About | Promise<About>>> = {
  proof: judgeProof,
  disclosure: judgeDisclosure,
  record: judgeRecord,
  export: judgeExport,
  'cose-receipt': judgeCoseReceipt,
  'ccf-statement': judgeCcfStatement,
  'rekor-entry': judgeRekorEntry,
  'sigsum-proof': judgeSigsumProof,
}

/**
 * Judges a file by the verifier's own anchors, without a network. Hostile files end in a verdict and never in an error.
 * `startEngine` starts the policy engine, which receipts alone need.
 */
export async function judgeFile(
  bytes: Uint8Array,
  options: JudgeOptions & { readonly startEngine: () => Promise<void> },
): Promise<JudgedFile> {
  const kind = kindOf(bytes)
  if (kind === undefined) {
    const { verdict } = await findingsOf(bytes, options, ({ findings }) => {
      findings.missing('KIND_UNKNOWN', {})
      return {}
    })
    return { kind, verdict, about: {} }
  }
  if (kind !== 'receipt') return { kind, ...(await findingsOf(bytes, options, judges[kind])) }
  let verdict: Verdict | undefined
  const malformed = await findingsOf(bytes, options, async ({ anchors }) => {
    const bundle = parseReceiptBundle(bytes)
    await options.startEngine()
    verdict = await verifyReceipt(bundle, receiptAnchorsOf(anchors))
    return aboutReceipt(bundle)
  })
  return { kind, about: malformed.about, verdict: verdict ?? malformed.verdict }
}

function receiptAnchorsOf({ organisations, logs, roots, now }: Anchors): Anchors {
  return { organisations, logs, roots, now }
}

function aboutReceipt({ receipt }: ReceiptBundle): About {
  const document = parseDocument(receipt.document)
  if (!isType(document, 'cella/receipt')) return {}
  const { contract, run, status } = document.payload
  return { contract, run, status }
}
