import { concatBytes, decodeHex } from '@cella/bytes'
import { type CborItem, type CborValue, cborArray, cborBytes, cborInteger, decodeCbor, encodeCbor } from '@cella/cbor'
import { ed25519Sign } from '@cella/primitives'
import type { NoteKey, NoteSigner } from '../keys.ts'
import { LogError } from '../log-error.ts'
import { parsing } from '../parsing.ts'
import { consistencyProof, type HashReader, inclusionProof, inclusionRoot, verifyConsistency } from '../proofs.ts'
import {
  consistencyLabel,
  inclusionLabel,
  issueCoseReceipt,
  parseCoseReceipt,
  type ReceiptKey,
  receiptBytesMax,
  receiptSignedBytes,
  rfc9162Structure,
  verifyReceiptSignature,
} from './cose.ts'

// RFC 9942 §5, structure 1 (RFC9162_SHA256): inclusion is [size, index, [+ hash]], consistency [old, new, [+ hash]]. A path
// has at least one hash, so a tree of one leaf has no inclusion receipt, and nothing is consistent with itself.

/** What an inclusion receipt proves: the leaf is in the tree with `root`. */
export interface ProvenInclusion {
  readonly root: Uint8Array
  /** As the receipt says. Not signed: another size or index with the same path leads to the same root. */
  readonly size: number
  readonly index: number
}

/** What a consistency receipt proves: the tree with `newRoot` begins with the older one. */
export interface ProvenConsistency {
  /** As the receipt says, and not signed, like those of an inclusion. */
  readonly oldSize: number
  readonly newSize: number
  readonly newRoot: Uint8Array
}

/** The key of a log whose receipts are signed with the key of its checkpoints. Throws RangeError for another than Ed25519. */
export function receiptKeyOf(key: NoteKey): ReceiptKey {
  if (key.algorithm !== 'ed25519') throw new RangeError('receipts are signed by Ed25519 keys')
  // RFC 8410 §4.
  return { spki: concatBytes(decodeHex('302a300506032b6570032100', 'SPKI'), key.publicKey), issuer: key.name }
}

/**
 * Throws ERR_LOG_MALFORMED, ERR_LOG_PROOF, ERR_LOG_ORIGIN or ERR_LOG_SIGNATURE unless the receipt shows the leaf with
 * this leaf hash in a tree that `key` signed. One receipt says nothing of other trees that the key may have signed.
 */
export async function verifyInclusionReceipt(options: {
  receipt: Uint8Array
  leaf: Uint8Array
  key: ReceiptKey
}): Promise<ProvenInclusion> {
  const receipt = parseCoseReceipt(options.receipt, rfc9162Structure, inclusionLabel)
  const [size, index, path] = parseProof(receipt.proof, 'inclusion')
  const root = inclusionRoot({ index, size, leaf: options.leaf, path })
  await verifyReceiptSignature(receipt, root, options.key)
  return { size, index, root: new Uint8Array(root) }
}

/** The same for two trees, of which the older one is known by its root. */
export async function verifyConsistencyReceipt(options: {
  receipt: Uint8Array
  oldRoot: Uint8Array
  /** Where the receipt holds none: the root of the newer tree. */
  newRoot?: Uint8Array
  key: ReceiptKey
}): Promise<ProvenConsistency> {
  const receipt = parseCoseReceipt(options.receipt, rfc9162Structure, consistencyLabel)
  const [oldSize, newSize, path] = parseProof(receipt.proof, 'consistency')
  const newRoot = options.newRoot ?? receipt.payload
  if (newRoot === undefined) throw new LogError('ERR_LOG_PROOF', 'the receipt holds no root, and none was given')
  verifyConsistency({ oldSize, newSize, oldRoot: options.oldRoot, newRoot, path })
  await verifyReceiptSignature(receipt, newRoot, options.key)
  return { oldSize, newSize, newRoot: new Uint8Array(newRoot) }
}

/**
 * The signature of a log under all receipts of the tree with this root, 64 bytes. Who signs roots elsewhere gives it to who
 * has the tree: `inclusionReceiptOf`. Throws RangeError for a signer other than Ed25519.
 */
export function signReceiptRoot({ key, seed }: NoteSigner, root: Uint8Array): Uint8Array {
  // A note is text; what is signed here begins with the byte 0x84, which no text does: one key may sign both.
  return ed25519Sign(seed.expose(), receiptSignedBytes(issuerOf(key), new Uint8Array(root)))
}

/**
 * An inclusion receipt for the leaf at `index` of a tree that the log has signed. Throws ERR_LOG_PROOF for a tree of one
 * leaf, RangeError for an index outside of it or a signer other than Ed25519.
 */
export async function makeInclusionReceipt(options: {
  signer: NoteSigner
  tree: { readonly size: number; readonly root: Uint8Array }
  index: number
  hashes: HashReader
}): Promise<Uint8Array> {
  const { signer, tree } = options
  return inclusionReceiptOf({ ...options, key: signer.key, signature: signReceiptRoot(signer, tree.root) })
}

/** The same with a signature of `signReceiptRoot`, which is not verified here. */
export async function inclusionReceiptOf(options: {
  key: NoteKey
  signature: Uint8Array
  tree: { readonly size: number; readonly root: Uint8Array }
  index: number
  hashes: HashReader
}): Promise<Uint8Array> {
  const { size, root } = options.tree
  const path = await inclusionProof({ index: options.index, size, hashes: options.hashes })
  return issue({ ...options, label: inclusionLabel, numbers: [size, options.index], path, root })
}

/** A consistency receipt from the tree of `oldSize` leaves to a later one. Throws like `makeInclusionReceipt`. */
export async function makeConsistencyReceipt(options: {
  signer: NoteSigner
  tree: { readonly size: number; readonly root: Uint8Array }
  oldSize: number
  hashes: HashReader
}): Promise<Uint8Array> {
  const { size, root } = options.tree
  const { signer } = options
  const path = await consistencyProof({ oldSize: options.oldSize, newSize: size, hashes: options.hashes })
  const signature = signReceiptRoot(signer, root)
  return issue({ key: signer.key, signature, label: consistencyLabel, numbers: [options.oldSize, size], path, root })
}

function issue(options: {
  key: NoteKey
  signature: Uint8Array
  label: typeof inclusionLabel | typeof consistencyLabel
  numbers: [number, number]
  path: readonly Uint8Array[]
  root: Uint8Array
}): Uint8Array {
  const { key, signature, label, numbers, path, root } = options
  if (path.length === 0) throw new LogError('ERR_LOG_PROOF', 'a receipt has no form for a path without hashes')
  return issueCoseReceipt({
    ...issuerOf(key),
    label,
    proof: encodeCbor([...numbers, path.map((hash): CborValue => new Uint8Array(hash))]),
    root: new Uint8Array(root),
    attached: label === consistencyLabel,
    signature,
  })
}

function issuerOf(key: NoteKey): Parameters<typeof receiptSignedBytes>[0] {
  if (key.type !== 'note' || key.algorithm !== 'ed25519') throw new RangeError('receipts are signed by a log’s key')
  return { issuer: key.name, keyId: decodeHex(key.id, 'key id'), structure: rfc9162Structure }
}

function parseProof(bytes: Uint8Array, kind: string): [number, number, Uint8Array[]] {
  return parsing(() => {
    const item = decodeCbor(bytes, `receipt ${kind}`, { bytesMax: receiptBytesMax })
    const [first, second, path] = cborArray(item, `receipt ${kind}`, { min: 3, max: 3 })
    const hashes = cborArray(path, `receipt ${kind} path`, { min: 1, max: 63 })
    const size = (part: CborItem | undefined): number => cborInteger(part, `receipt ${kind} size`)
    const hash = (part: CborItem): Uint8Array => cborBytes(part, `receipt ${kind} path`, { min: 32, max: 32 })
    return [size(first), size(second), hashes.map(hash)]
  })
}
