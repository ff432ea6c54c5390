import {
  ByteReader,
  canonicalJson,
  concatBytes,
  type Digest,
  decodeBase64url,
  decodeUtf8,
  encodeBase64url,
  encodeUtf8,
  equalBytes,
  parseCanonicalJson,
  uint32Bytes,
} from '@cella/bytes'
import { bytesField, digestField } from '@cella/documents'
import {
  edgePlaces,
  isWitnessedCheckpoint,
  type Leaf,
  LogError,
  type LogPolicy,
  type LogView,
  leafHash,
  leafLength,
  parseLeaf,
  TreeBuilder,
  verifyCheckpoint,
  type WitnessedCheckpoint,
} from '@cella/log'
import type { KeyId } from '@cella/primitives'
import { z } from 'zod'
import { auditStream, type StreamAudit } from './audit.ts'
import { bodyBytesMax, type EventBody, encodeEventBody, parseEventBody } from './body.ts'
import { EventError, malformed, parsing } from './error.ts'
import type { LeafRange } from './scan.ts'
import { entriesBefore, type StreamKeyStatement, streamKeyStatementSchema, verifyStreamKey } from './stream-key.ts'

// "cella-export/1\n" | header length u32 | header, canonical JSON | leaves of 64 bytes, from the first checkpoint's end
// to the second's. The leaves on the right edge of the first tree give the root of the second: so they are all there,
// and the log only grew. The stream's key finds its leaves among them.

const magic = encodeUtf8('cella-export/1\n')
const headerBytesMax = 268_435_456
/** 1 GiB: about 16 million leaves. */
const exportBytesMax = 1_073_741_824
const checkpointCharactersMax = 100_000
const logSignerLengthMax = 3_000_000

/** Everything of one stream between two checkpoints. */
export interface StreamExport {
  readonly organisation: Digest
  readonly key: Uint8Array
  readonly statement: StreamKeyStatement
  /** Undefined: from the log's first leaf. */
  readonly from: { readonly checkpoint: Uint8Array; readonly edge: readonly Uint8Array[] } | undefined
  readonly to: Uint8Array
  readonly bodies: ReadonlyMap<number, EventBody>
  /** One after the other. */
  readonly leaves: Uint8Array
  /** A .tlog-proof, under the second checkpoint, whose `extra` shows which code signs for the log. */
  readonly logSigner?: Uint8Array | undefined
}

/**
 * Makes an export from a view that has read up to `to`. Bodies of entries outside of the range are left out. Throws
 * RangeError for checkpoints that are not in order, or not of this log.
 */
export async function makeStreamExport(options: {
  view: LogView
  from?: WitnessedCheckpoint | undefined
  to: WitnessedCheckpoint
  organisation: Digest
  key: Uint8Array
  statement: StreamKeyStatement
  bodies: ReadonlyMap<number, EventBody>
  logSigner?: Uint8Array | undefined
}): Promise<Uint8Array> {
  const { view, from, to } = options
  const start = from?.size ?? 0
  if (![from, to].every((checkpoint) => checkpoint === undefined || isWitnessedCheckpoint(checkpoint))) {
    throw new RangeError('makeStreamExport: a checkpoint that was not verified')
  }
  if (start > to.size || to.size > view.size || to.origin !== view.origin || (from && from.origin !== to.origin)) {
    throw new RangeError('makeStreamExport: the checkpoints are of another log, or not in order')
  }
  const leaves = new Uint8Array((to.size - start) * leafLength)
  for (let index = start; index < to.size; index++) leaves.set(view.leafBytesAt(index), (index - start) * leafLength)
  const { entries } = auditStream({
    ...options,
    leaves: leafRange(leaves, start, options.statement),
    bodies: new Map(),
  })
  const within = new Set(entries.map(({ n }) => n))
  return encodeStreamExport({
    organisation: options.organisation,
    key: options.key,
    statement: options.statement,
    from: from && { checkpoint: from.bytes, edge: await view.hashes()(edgePlaces(from.size)) },
    to: to.bytes,
    bodies: new Map([...options.bodies].filter(([n]) => within.has(n)).sort(([a], [b]) => a - b)),
    leaves,
    logSigner: options.logSigner,
  })
}

const headerSchema = z.strictObject({
  bodies: z.array(z.tuple([z.int().min(0), bytesField({ atMost: bodyBytesMax })])).max(10_000_000),
  from: z
    .strictObject({
      checkpoint: z.string().max(checkpointCharactersMax),
      edge: z.array(bytesField({ exactly: 32 })).max(64),
    })
    .nullable(),
  key: bytesField({ exactly: 32 }),
  logSigner: z.string().max(logSignerLengthMax).optional(),
  organisation: digestField,
  statement: streamKeyStatementSchema,
  to: z.string().max(checkpointCharactersMax),
})

export function encodeStreamExport(made: StreamExport): Uint8Array {
  const header = encodeUtf8(
    canonicalJson({
      bodies: [...made.bodies].map(([n, body]) => [n, encodeBase64url(encodeEventBody(body))]),
      from: made.from
        ? { checkpoint: decodeUtf8(made.from.checkpoint, 'checkpoint'), edge: made.from.edge.map(encodeBase64url) }
        : null,
      key: encodeBase64url(made.key),
      ...(made.logSigner && { logSigner: decodeUtf8(made.logSigner, 'logSigner') }),
      organisation: made.organisation,
      statement: made.statement,
      to: decodeUtf8(made.to, 'checkpoint'),
    }),
  )
  return concatBytes(magic, uint32Bytes(header.length), header, made.leaves)
}

/** The inverse of `encodeStreamExport`; nothing is verified. Throws ERR_EVENT_MALFORMED. */
export function parseStreamExport(bytes: Uint8Array): StreamExport {
  if (bytes.length > exportBytesMax) {
    throw malformed('export', `has ${bytes.length} bytes, at most ${exportBytesMax} are read`)
  }
  const { header, leaves } = parsing(() => {
    const reader = new ByteReader(bytes)
    if (!equalBytes(reader.take(magic.length, 'format'), magic)) throw malformed('export', 'is not cella-export/1')
    const taken = reader.take(reader.uint32('header length'), 'header')
    return {
      header: parseCanonicalJson(taken, 'header', headerBytesMax),
      leaves: reader.take(reader.remaining, 'leaves'),
    }
  })
  if (leaves.length % leafLength !== 0) throw malformed('export', 'its leaves have not 64 bytes each')
  const parsed = headerSchema.safeParse(header)
  if (!parsed.success) {
    const issue = parsed.error.issues[0]
    throw malformed('export', `${issue?.path.join('.')}: ${issue?.message}`)
  }
  const { bodies, from, key, logSigner, organisation, statement, to } = parsed.data
  for (const [at, [n]] of bodies.entries()) {
    if (at > 0 && n <= bodies[at - 1]![0]) throw malformed('export', 'its bodies are not in order')
  }
  return {
    organisation,
    key: decodeBase64url(key, 'key'),
    statement,
    from: from
      ? { checkpoint: encodeUtf8(from.checkpoint), edge: from.edge.map((hash) => decodeBase64url(hash, 'edge')) }
      : undefined,
    to: encodeUtf8(to),
    bodies: new Map(bodies.map(([n, body]) => [n, parseEventBody(decodeBase64url(body, 'body'))])),
    leaves,
    ...(logSigner !== undefined && { logSigner: encodeUtf8(logSigner) }),
  }
}

export interface VerifiedExport {
  readonly organisation: Digest
  readonly vault: KeyId
  /** Undefined: from the log's first leaf. */
  readonly from: WitnessedCheckpoint | undefined
  readonly to: WitnessedCheckpoint
  /** What the stream holds between them, and whether that is everything. */
  readonly audit: StreamAudit
}

/**
 * That these are all leaves of the log between two checkpoints that satisfy the verifier's policy, and which of them
 * are of the organisation's stream in one of `vaults`. What is missing is in the audit's problems, not thrown. Throws
 * ERR_EVENT_MALFORMED, ERR_STREAM_KEY, ERR_EXPORT_CONTRADICTION, and what `verifyCheckpoint` throws.
 */
export function verifyStreamExport(
  bytes: Uint8Array,
  expected: { policy: LogPolicy; organisation: Digest; vaults: readonly KeyId[] },
): VerifiedExport {
  const made = parseStreamExport(bytes)
  const to = verifyCheckpoint(made.to, expected.policy)
  const from = made.from && verifyCheckpoint(made.from.checkpoint, expected.policy)
  const { organisation, vaults } = expected
  const vault = verifyStreamKey(made.statement, { key: made.key, organisation, vaults, log: to.origin })
  const contradiction = (problem: string, cause?: unknown): EventError =>
    new EventError('ERR_EXPORT_CONTRADICTION', problem, { cause })
  if (made.organisation !== organisation) throw contradiction(`the export is of organisation ${made.organisation}`)
  if (from && from.origin !== to.origin) throw contradiction('the checkpoints are of two logs')
  let tree: TreeBuilder
  try {
    tree = new TreeBuilder({ size: from?.size ?? 0, edge: made.from?.edge ?? [] })
  } catch (cause) {
    if (!(cause instanceof LogError)) throw cause
    throw contradiction('the right edge is not one of a tree of that size', cause)
  }
  if (from && !equalBytes(tree.root(), from.root)) throw contradiction('the right edge is not the first checkpoint’s')
  const start = tree.size
  for (let at = 0; at < made.leaves.length; at += leafLength)
    tree.append(leafHash(made.leaves.subarray(at, at + leafLength)))
  if (tree.size !== to.size || !equalBytes(tree.root(), to.root)) {
    throw contradiction(`the ${tree.size - start} leaves do not lead to the second checkpoint`)
  }
  const audit = auditStream({
    key: made.key,
    leaves: leafRange(made.leaves, start, made.statement),
    bodies: made.bodies,
  })
  return { organisation, vault, from, to, audit }
}

/** Leaves of 64 bytes, the first of which has index `from` in the log. */
function leafRange(leaves: Uint8Array, from: number, statement: StreamKeyStatement): LeafRange {
  return {
    from,
    before: entriesBefore(statement, from),
    end: from + leaves.length / leafLength,
    leafAt: (index) => {
      const bytes = leaves.subarray((index - from) * leafLength, (index - from + 1) * leafLength)
      return { tag: bytes.subarray(48), commitment: bytes.slice(16, 48), kind: kindOf(bytes) }
    },
  }
}

function kindOf(leaf: Uint8Array): Leaf['kind'] | undefined {
  try {
    return parseLeaf(leaf).kind
  } catch (error) {
    // A leaf of a later version: its tag counts all the same.
    if (error instanceof LogError) return undefined
    throw error
  }
}
