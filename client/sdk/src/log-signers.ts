import { type Digest, decodeUtf8, encodeUtf8, FormatError } from '@cella/bytes'
import { DocumentError, parseDocumentOf } from '@cella/documents'
import { type HashReader, inclusionProof } from '@cella/log'
import type { SignerProof } from '@cella/receipt'
import { type LogSigners, logSignerReasons, type Reason, readLogSigners } from '@cella/release'
import { z } from 'zod'
import { type Gathered, gather, merge } from './documents.ts'
import { SdkError } from './error.ts'
import type { Session } from './session.ts'
import { gatherTerms } from './vaults.ts'

const shownSchema = z.object({ statements: z.array(z.string()).max(1024), vkey: z.string().nullable() })

/**
 * Which code holds the key of the log, as its own entries say; none where a file holds it. What the manager shows counts as
 * far as it is those entries. Throws ERR_LOG_SIGNER where one is not shown, or another statement in its place.
 */
export async function logSigners(session: Session): Promise<LogSigners & { readonly texts: readonly string[] }> {
  const { policy, view } = await session.log()
  const texts = await shownBy(session)
  const signers = readLogSigners(view, policy.logs[0]!.key, texts.map(encodeUtf8))
  if (signers.statements.length === signers.count) return { ...signers, texts: texts.slice(0, signers.count) }
  throw new SdkError(
    'ERR_LOG_SIGNER',
    `${signers.count} entries of the log say which code holds its key, and the manager shows ${signers.statements.length} of them`,
    { hint: 'the key may be held by code that nobody shows: ask the operator, and accept nothing new meanwhile' },
  )
}

/** The newest statement, for a file of what is proven under a checkpoint of `size` leaves; none where a file holds the key. */
export async function signerProof(
  session: Session,
  { size, hashes }: { size: number; hashes: HashReader },
): Promise<SignerProof | undefined> {
  const { statements, texts } = await logSigners(session)
  const at = statements.findLastIndex(({ index }) => index < size)
  if (at < 0) return undefined
  const { index } = statements[at]!
  return { index, path: await inclusionProof({ index, size, hashes }), statement: encodeUtf8(texts[at]!) }
}

/**
 * The same for a judgement by the terms that were gathered, where a statement that is not shown is a reason and no error; with
 * the Build documents that statements name. Nothing is asked where no terms do.
 */
export async function signersFor(
  session: Session,
  gathered: Gathered,
): Promise<{ signers: LogSigners | 'unseen'; gathered: Gathered }> {
  const asked = gathered.documents.all('cella/terms').some(({ payload }) => payload.logSigner !== undefined)
  if (!asked) return { signers: 'unseen', gathered }
  const { policy, view } = await session.log()
  const signers = readLogSigners(view, policy.logs[0]!.key, (await shownBy(session)).map(encodeUtf8))
  const digests = signers.statements.flatMap(({ statement }) => digestOfBuild(statement.build) ?? [])
  const builds = await gather(session, { digests })
  const builders = new Set(builds.documents.all('cella/build').map(({ payload }) => payload.organisation))
  const known = await gather(session, { organisations: [...builders] })
  return { signers, gathered: await merge(session, [gathered, builds, known]) }
}

/** The same with why the terms of an organisation don't accept it; none where they don't ask. */
export async function judgedLogSigners(
  session: Session,
  organisation: Digest,
): Promise<{ readonly signers: LogSigners; readonly asked: boolean; readonly reasons: readonly Reason[] }> {
  const signers = await logSigners(session)
  const { terms, documents } = await gatherTerms(session, organisation)
  const { checkpoint } = await session.log()
  const now = checkpoint.times?.latest ?? session.now()
  const reasons = await logSignerReasons(terms.payload, signers, { documents, now })
  return { signers, asked: terms.payload.logSigner !== undefined, reasons }
}

/** `undefined` for what is no Build document: the evidence then names none, which is a reason. */
function digestOfBuild(envelope: string): Digest | undefined {
  try {
    return parseDocumentOf('cella/build', envelope).digest
  } catch (error) {
    if (error instanceof DocumentError) return undefined
    throw error
  }
}

async function shownBy({ manager }: Session): Promise<readonly string[]> {
  try {
    const parsed = shownSchema.safeParse(JSON.parse(decodeUtf8(await manager.logBytes('signers'), 'signers')))
    if (parsed.success) return parsed.data.statements
  } catch (error) {
    if (!(error instanceof FormatError) && !(error instanceof SyntaxError)) throw error
  }
  throw new SdkError('ERR_LOG_SIGNER', 'what the manager says of the log’s signer is not of the form it should have')
}
