import { type Digest, decodeBase64url, decodeUtf8 } from '@cella/bytes'
import { type Contract, isType, parseDocument, type Receipt } from '@cella/documents'
import { hpkeOpen } from '@cella/primitives'
import {
  encodeReceiptBundle,
  parseReceiptBundle,
  type ReceiptBundle,
  type Verdict,
  verifyReceipt,
} from '@cella/receipt'
import type { Reason } from '@cella/release'
import { openBytes, outputInfo, reasonsInfo, SealError, unwrapDek } from '@cella/seal'
import { TableError, unpad } from '@cella/table'
import { anchorsOf, type StoredAnchors } from '@cella/verify'
import { startPolicyEngine } from './engine.ts'
import { SdkError } from './error.ts'
import type { Run, RunEvent, StoredOutput } from './manager/answers.ts'
import type { Session } from './session.ts'

/** What the program said, how it ended and what it used: sealed to whom the contract names for diagnostics. */
export const diagnosticsName = 'cella-diagnostics'
const outputBytesMax = 1024 * 1024 * 1024

/** Queues runs of a contract of one's own. */
export async function startRuns(
  session: Session,
  contract: Digest,
  { count = 1, priority = 0 }: { count?: number; priority?: number } = {},
): Promise<Run[]> {
  await session.keys()
  return session.manager.startRuns(contract, { count, priority })
}

/** Follows a run to its end; `onEvent` gets each event once. Returns how it ended. */
export async function followRun(
  session: Session,
  { contract, run }: { contract: Digest; run: number },
  onEvent: (event: RunEvent) => void,
  signal?: AbortSignal,
): Promise<Run> {
  await session.keys()
  let ended: Run | undefined
  for await (const { run: itself, ...event } of session.manager.events(contract, run, signal)) {
    onEvent(event)
    ended = itself
  }
  return ended ?? session.manager.run(contract, run)
}

/** The receipt of a run, parsed and judged by one's own anchors. */
export async function fetchReceipt(
  session: Session,
  { contract, run }: { contract: Digest; run: number },
): Promise<{ bytes: Uint8Array; bundle: ReceiptBundle; verdict: Verdict }> {
  await session.keys()
  // Encoded again from what was parsed: a file that is written from it has the one accepted form.
  const bundle = parseReceiptBundle(await session.manager.receipt(contract, run))
  const bytes = encodeReceiptBundle(bundle)
  return { bytes, bundle, verdict: await judge(bundle, await session.anchors(), session.now()) }
}

async function judge(bundle: ReceiptBundle, anchors: StoredAnchors, now: number): Promise<Verdict> {
  await startPolicyEngine()
  return verifyReceipt(bundle, anchorsOf(anchors, now))
}

export interface OpenedOutput {
  readonly name: string
  readonly declared: Contract['outputs'][number]['declared']
  readonly bytes: Uint8Array
  /** Rows that the owners' group size emptied. */
  readonly suppressed: number
  readonly receipt: Receipt
  readonly verdict: Verdict
}

/**
 * Opens an output of a run. The receipt is verified first; then the key, the ciphertext and the padding have to be those
 * that the receipt names. Throws ERR_RECEIPT_REFUSED or ERR_OUTPUT_REFUSED, and hands on nothing before all was checked.
 */
export async function openOutput(
  session: Session,
  options: { contract: Digest; run: number; name?: string | undefined },
): Promise<OpenedOutput> {
  const keys = await session.keys()
  const { bundle, verdict } = await fetchReceipt(session, options)
  if (verdict.outcome !== 'proved') {
    const reasons = [...verdict.wrong, ...verdict.missing].map(({ text }) => text)
    throw new SdkError('ERR_RECEIPT_REFUSED', `the receipt proves nothing: ${reasons.join(' ')}`, {
      hint: 'nothing was opened; `cella receipt show` tells more',
    })
  }
  const receipt = receiptOf(bundle)
  if (receipt.contract !== options.contract || receipt.run !== options.run) {
    throw new SdkError(
      'ERR_RECEIPT_REFUSED',
      `the manager gave the receipt of run ${receipt.run} of ${receipt.contract}`,
    )
  }
  if (receipt.status !== 'ok' && options.name !== diagnosticsName) {
    throw new SdkError('ERR_OUTPUT_REFUSED', `the run ended as “${receipt.status}”: there is no output`, {
      hint: `what the program said is an output called ${diagnosticsName}, for receivers whom the contract names for it`,
    })
  }
  const output = pick(receipt.outputs, options.name)
  const stored = (await session.manager.outputs(options.contract, options.run)).find(({ name }) => name === output.name)
  if (stored === undefined) throw new SdkError('ERR_OUTPUT_REFUSED', `the manager does not have output ${output.name}`)
  const wrapped = await ownKey(session, stored, output.receivers)
  const declared = contractOf(bundle, receipt.contract).outputs.find(({ name }) => name === output.name)?.declared ?? {
    format: 'file' as const,
  }
  try {
    const dek = await unwrapDek({
      wrapped: decodeBase64url(wrapped, 'wrapped'),
      recipientPrivateKey: keys.hpke.privateKey.expose(),
      info: outputInfo({ contract: options.contract, run: options.run, output: output.name }),
    })
    const sealed = await session.manager.blob(stored.blob, outputBytesMax)
    const { rootDigest, size, keyCommitment } = output.sealed
    const bytes = unpad(openBytes({ dek, sealed, expected: { rootDigest, size, keyCommitment } }))
    dek.fill(0)
    return { name: output.name, declared, bytes, suppressed: output.suppressed, receipt, verdict }
  } catch (cause) {
    if (!(cause instanceof SealError || cause instanceof TableError)) throw cause
    throw new SdkError('ERR_OUTPUT_REFUSED', `output ${output.name} is not what the receipt says: ${cause.message}`, {
      cause,
      hint: 'the operator may have swapped it; ask for it again, or have it repeated',
    })
  }
}

/** The receipt in a bundle. */
export function receiptOf(bundle: ReceiptBundle): Receipt {
  const document = parseDocument(bundle.receipt.document)
  if (!isType(document, 'cella/receipt')) throw new SdkError('ERR_RECEIPT_REFUSED', 'the bundle holds no receipt')
  return document.payload
}

function contractOf(bundle: ReceiptBundle, digest: Digest): Contract {
  for (const { document: envelope } of bundle.documents) {
    const document = parseDocument(envelope)
    if (document.digest === digest && isType(document, 'cella/contract')) return document.payload
  }
  throw new SdkError('ERR_RECEIPT_REFUSED', 'the bundle does not hold its contract')
}

function pick(outputs: Receipt['outputs'], name: string | undefined): Receipt['outputs'][number] {
  const results = outputs.filter((output) => output.name !== diagnosticsName)
  const found = name === undefined ? results[0] : outputs.find((output) => output.name === name)
  const names = outputs.map((output) => output.name).join(', ') || 'none'
  if (found === undefined)
    throw new SdkError('ERR_NAME_UNKNOWN', `the run has no output ${name ?? ''}`, { hint: `its outputs: ${names}` })
  if (name === undefined && results.length > 1) {
    throw new SdkError('ERR_NAME_AMBIGUOUS', `the run has ${results.length} outputs`, {
      hint: `name one with --name: ${names}`,
    })
  }
  return found
}

async function ownKey(session: Session, stored: StoredOutput, receivers: readonly Digest[]): Promise<string> {
  const { membership } = await session.profile()
  const own = stored.keys.find((key) => key.membership === membership && receivers.includes(key.membership))
  if (own !== undefined) return own.wrapped
  throw new SdkError('ERR_OUTPUT_REFUSED', 'this output was not sealed to this account', {
    hint: 'only receivers whom the contract names can open it; use the profile of one',
  })
}

/** The reasons of a denial that were sealed to this account, by asset; undefined where they are for somebody else. */
export async function openReasons(
  session: Session,
  decisions: readonly string[],
): Promise<{ manifest: Digest; allowed: boolean; codes: readonly string[]; reasons: readonly Reason[] | undefined }[]> {
  const keys = await session.keys()
  const opened = decisions.map(async (envelope) => {
    const document = parseDocument(envelope)
    if (!isType(document, 'cella/decision')) return []
    const { contract, run, manifest, allowed, reasons: codes, sealedReasons } = document.payload
    if (sealedReasons === null) return [{ manifest, allowed, codes, reasons: undefined }]
    try {
      const plain = await hpkeOpen({
        privateKey: keys.hpke.privateKey.expose(),
        info: reasonsInfo({ contract, run, manifest }),
        sealed: decodeBase64url(sealedReasons, 'sealedReasons'),
      })
      return [{ manifest, allowed, codes, reasons: JSON.parse(decodeUtf8(plain, 'reasons')) as Reason[] }]
    } catch {
      // Sealed to the publisher: for others the codes have to do.
      return [{ manifest, allowed, codes, reasons: undefined }]
    }
  })
  return (await Promise.all(opened)).flat()
}
