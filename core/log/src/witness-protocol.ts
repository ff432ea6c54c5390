import { concatBytes, encodeBase64, encodeUtf8 } from '@cella/bytes'
import { encodeSignatureLine, type NoteSignature, parseSignatureLines } from './note.ts'
import { malformed, parseDecimal, parseHash, parseText } from './parsing.ts'
import { isSubtree, type Subtree } from './proofs.ts'

// c2sp.org/tlog-witness, POST PREFIX/add-checkpoint:
//
//   old DECIMAL
//   BASE64 …                   (consistency path, at most 63 lines)
//
//   checkpoint note, verbatim

export interface AddCheckpoint {
  /** The size that the witness is thought to have cosigned last, 0 for none. */
  readonly oldSize: number
  readonly path: readonly Uint8Array[]
  /** The note, to be verified. */
  readonly checkpoint: Uint8Array
}

/** The Content-Type of a witness's answer 409, whose body is its size and a newline. */
export const witnessSizeType = 'text/x.tlog.size'
/** A request longer than this is refused before it is read: a checkpoint with 16 of the largest signatures is shorter. */
export const addCheckpointBytesMax = 128_000

/** Throws ERR_LOG_MALFORMED. Nothing in the result is verified. */
export function parseAddCheckpoint(bytes: Uint8Array): AddCheckpoint {
  const text = parseText(bytes, 'add-checkpoint', addCheckpointBytesMax)
  const end = text.indexOf('\n\n')
  if (end < 0) throw malformed('add-checkpoint', 'has no empty line before its checkpoint')
  const [old, ...lines] = text.slice(0, end).split('\n')
  if (!old?.startsWith('old ')) throw malformed('add-checkpoint', 'does not begin with the old size')
  if (lines.length > 63) throw malformed('add-checkpoint', 'has a path of more than 63 hashes')
  return {
    oldSize: parseDecimal(old.slice('old '.length), 'add-checkpoint old size'),
    path: lines.map((line) => parseHash(line, 'add-checkpoint path')),
    checkpoint: encodeUtf8(text.slice(end + 2)),
  }
}

// c2sp.org/tlog-witness, POST PREFIX/sign-subtree:
//
//   subtree START END
//   BASE64                     (root of the subtree)
//   BASE64 …                   (consistency path, at most 63 lines)
//
//   checkpoint note with a cosignature of the witness, verbatim

export interface SignSubtree extends Subtree {
  /** Of the subtree, 32 bytes. */
  readonly root: Uint8Array
  /** From the subtree to the checkpoint. */
  readonly path: readonly Uint8Array[]
  /** The note, to be verified. */
  readonly checkpoint: Uint8Array
}

/** Throws ERR_LOG_MALFORMED, also for what no tree has as a subtree. Nothing in the result is verified. */
export function parseSignSubtree(bytes: Uint8Array): SignSubtree {
  const text = parseText(bytes, 'sign-subtree', addCheckpointBytesMax)
  const end = text.indexOf('\n\n')
  if (end < 0) throw malformed('sign-subtree', 'has no empty line before its checkpoint')
  const [range, root, ...lines] = text.slice(0, end).split('\n')
  const [word, first, after, ...rest] = range!.split(' ')
  if (word !== 'subtree' || first === undefined || after === undefined || rest.length > 0) {
    throw malformed('sign-subtree', 'does not begin with the range of the subtree')
  }
  if (root === undefined) throw malformed('sign-subtree', 'has no root of the subtree')
  if (lines.length > 63) throw malformed('sign-subtree', 'has a path of more than 63 hashes')
  const subtree = { start: parseDecimal(first, 'subtree start'), end: parseDecimal(after, 'subtree end') }
  if (!isSubtree(subtree)) throw malformed('sign-subtree', `no tree has a subtree from ${first} to ${after}`)
  return {
    ...subtree,
    root: parseHash(root, 'subtree root'),
    path: lines.map((line) => parseHash(line, 'sign-subtree path')),
    checkpoint: encodeUtf8(text.slice(end + 2)),
  }
}

/** The inverse of `parseSignSubtree`. */
export function encodeSignSubtree({ start, end, root, path, checkpoint }: SignSubtree): Uint8Array {
  const lines = [`subtree ${start} ${end}`, encodeBase64(root), ...path.map(encodeBase64)]
  return concatBytes(encodeUtf8(`${lines.join('\n')}\n\n`), checkpoint)
}

/** The inverse of `parseAddCheckpoint`. */
export function encodeAddCheckpoint(request: AddCheckpoint): Uint8Array {
  const lines = [`old ${request.oldSize}`, ...request.path.map(encodeBase64)]
  return concatBytes(encodeUtf8(`${lines.join('\n')}\n\n`), request.checkpoint)
}

/** The body of a witness's answer 200. Not verified. Throws ERR_LOG_MALFORMED. */
export function parseCosignatures(bytes: Uint8Array): NoteSignature[] {
  return parseSignatureLines(parseText(bytes, 'cosignatures', addCheckpointBytesMax))
}

export function encodeCosignatures(signatures: readonly NoteSignature[]): Uint8Array {
  return encodeUtf8(signatures.map(encodeSignatureLine).join(''))
}

/** The body of a witness's answer 409. Throws ERR_LOG_MALFORMED. */
export function parseWitnessSize(bytes: Uint8Array): number {
  const text = parseText(bytes, 'witness size', 100)
  if (!text.endsWith('\n')) throw malformed('witness size', 'does not end in a newline')
  return parseDecimal(text.slice(0, -1), 'witness size')
}

export function encodeWitnessSize(size: number): Uint8Array {
  return encodeUtf8(`${size}\n`)
}
