import { canonicalJson, decodeUtf8, equalBytes, FormatError } from '@cella/bytes'
import {
  parseDisclosure,
  parseRecordProof,
  parseStreamExport,
  verifyDisclosure,
  verifyRecordProof,
  verifyStreamExport,
} from '@cella/events'
import {
  leafHash,
  leafLength,
  type ProvenEntry,
  parseProofFile,
  verifyCheckpoint,
  verifyInclusion,
  verifyOfflineProof,
} from '@cella/log'
import { type About, describeWitnesses, type Judging, underPolicy } from './judge.ts'
import { documentOfLeaf, parseProofExtra } from './proof-extra.ts'
import { judgeSigner } from './signer.ts'

// The kinds of files that our own tools write.

/** A .tlog-proof; its entry is in it, as in ours, or given beside it, as for any log's. */
export async function judgeProof(judging: Judging): Promise<About> {
  const { findings, bytes, anchors } = judging
  const { extra, index, path, checkpoint: note } = parseProofFile(bytes)
  const held = extra === undefined ? undefined : extraOf(extra)
  const entry = judging.entry ?? held?.leaf
  if (entry === undefined) {
    findings.missing('ENTRY_NEEDED', { what: 'the bytes of the entry, as the log holds them' })
    return { index }
  }
  if (entry.length !== leafLength) {
    // An entry of somebody else's log: any bytes.
    const { found, independent } = underPolicy(anchors, (policy) => verifyCheckpoint(note, policy))
    const { size, root } = found
    verifyInclusion({ index, size, leaf: leafHash(entry), path, root })
    describePlace(judging, { ...placeOf(found), index }, independent)
    findings.proved('ENTRY', { bytes: entry.length })
    return { log: found.origin, index, size }
  }
  const proven = underPolicy(anchors, (policy) => verifyOfflineProof({ proofFile: bytes, leaf: entry, policy }))
  describePlace(judging, placeOf(proven.found), proven.independent)
  // What another tool wrote says nothing of it, and is not missed there.
  const signer = held === undefined ? null : await judgeSigner(judging, held, proven.found.checkpoint)
  const about = { log: proven.found.origin, index, size: proven.found.size, leafKind: proven.found.leaf.kind, signer }
  if (held?.document === undefined) {
    findings.proved('LEAF', { kind: proven.found.leaf.kind })
    findings.notProved('KIND_ALONE', {})
    return about
  }
  if (!equalBytes(held.leaf, entry)) findings.wrong('EXTRA', { problem: 'it holds another entry than you gave' })
  const { digest, type, problem } = documentOfLeaf(held.leaf, held.document)
  if (problem !== undefined) findings.wrong('EXTRA', { problem })
  findings.proved('DOCUMENT', { digest, type })
  findings.notProved('SIGNER_COUNTS', {})
  return { ...about, document: digest, type }
}

/** What a proof that lies in another file of ours says beside it. */
function extraIn(proof: Uint8Array | undefined): ReturnType<typeof parseProofExtra> | undefined {
  const extra = proof && parseProofFile(proof).extra
  return extra && extraOf(extra)
}

/** What another tool put there is nothing to us. */
function extraOf(extra: Uint8Array): ReturnType<typeof parseProofExtra> | undefined {
  try {
    return decodeUtf8(extra, 'extra').includes('"cella-proof/1"') ? parseProofExtra(extra) : undefined
  } catch (error) {
    if (error instanceof FormatError && error.message.includes('UTF-8')) return undefined
    throw error
  }
}

export async function judgeDisclosure(judging: Judging): Promise<About> {
  const { findings, bytes, anchors } = judging
  const { found, independent } = underPolicy(anchors, (policy) => verifyDisclosure(bytes, policy))
  describePlace(judging, placeOf(found.entry), independent)
  const signer = await judgeSigner(judging, extraIn(parseDisclosure(bytes).proof), found.entry.checkpoint)
  findings.proved('EVENT', {})
  for (const { name, value } of found.fields) findings.proved('FIELD', { name, value: canonicalJson(value) })
  if (found.hidden > 0) findings.notProved('HIDDEN', { count: found.hidden })
  findings.notProved('WHOSE', {})
  findings.notProved('TRUTH', {})
  return {
    log: found.entry.origin,
    index: found.entry.index,
    size: found.entry.size,
    fields: Object.fromEntries(found.fields.map(({ name, value }) => [name, value])),
    hidden: found.hidden,
    signer,
  }
}

export async function judgeRecord(judging: Judging): Promise<About> {
  const { findings, bytes, anchors } = judging
  const { found, independent } = underPolicy(anchors, (policy) => verifyRecordProof(bytes, policy))
  const { record, index, count, entry } = found
  describePlace(judging, placeOf(entry), independent)
  const signer = await judgeSigner(judging, extraIn(parseRecordProof(bytes).event.proof), entry.checkpoint)
  findings.proved('RECORD', { bytes: record.length, index, count })
  findings.notProved('WHOSE', {})
  findings.notProved('TRUTH', {})
  return { log: entry.origin, index: entry.index, size: entry.size, record: index, records: count, signer }
}

/** A completeness export: of an organisation and a vault that the verifier names. */
export async function judgeExport(judging: Judging): Promise<About> {
  const { findings, bytes, anchors } = judging
  const { organisation, statement, logSigner } = parseStreamExport(bytes)
  const known = anchors.organisations.find(({ id }) => id === organisation)
  if (known === undefined) findings.missing('ORGANISATION_UNKNOWN', { organisation })
  if (!anchors.vaults.includes(statement.vault)) findings.missing('VAULT_UNKNOWN', { vault: statement.vault })
  if (!findings.isClean) return { organisation, vault: statement.vault }
  const { found, independent } = underPolicy(anchors, (policy) =>
    verifyStreamExport(bytes, { policy, organisation, vaults: anchors.vaults }),
  )
  const { from, to, audit } = found
  const start = from?.size ?? 0
  const names = to.witnesses.map(({ name }) => name)
  const seen = describeWitnesses(judging, { witnesses: names, times: to.times, independent })
  const range = { leaves: to.size - start, log: to.origin, from: start, to: to.size }
  if (seen === undefined) findings.proved('RANGE_UNWITNESSED', range)
  else findings.proved('RANGE', { ...range, ...seen })
  const signer = await judgeSigner(judging, extraIn(logSigner), to)
  for (const { code, text } of audit.problems) {
    // What can't be read by who made the export is there all the same.
    if (code === 'ERR_STREAM_CLOSED') findings.missing('CLOSED', { problem: text })
    else findings.wrong('STREAM', { problem: text, code })
  }
  const erased = audit.entries.filter(({ state }) => state === 'erased').length
  findings.proved('COMPLETE', {
    count: audit.entries.length,
    organisation: known!.name,
    vault: found.vault,
    erased,
  })
  findings.notProved('LOGGED_BEFORE_ACTING', {})
  return {
    log: to.origin,
    organisation,
    vault: found.vault,
    from: start,
    to: to.size,
    entries: audit.entries.length,
    erased,
    signer,
  }
}

interface Place {
  readonly log: string
  readonly index: number
  readonly size: number
  readonly witnesses: readonly string[]
  readonly times: ProvenEntry['times']
}

function placeOf(proven: {
  readonly origin: string
  readonly size: number
  readonly index?: number
  readonly witnesses: ProvenEntry['witnesses']
  readonly times: ProvenEntry['times']
}): Place {
  const { origin, size, index = 0, witnesses, times } = proven
  return { log: origin, index, size, witnesses: witnesses.map(({ name }) => name), times }
}

function describePlace(judging: Judging, place: Place, independent: readonly string[]): void {
  const { log, index, size, witnesses, times } = place
  const seen = describeWitnesses(judging, { witnesses, times, independent })
  if (seen === undefined) judging.findings.proved('LOGGED_UNWITNESSED', { index, log, size })
  else judging.findings.proved('LOGGED', { index, log, size, ...seen })
}
