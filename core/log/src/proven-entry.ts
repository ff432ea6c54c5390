import { type Leaf, parseLeaf } from './leaf.ts'
import { LogError } from './log-error.ts'
import type { LogPolicy } from './policy.ts'
import { encodeProofFile, parseProofFile } from './proof-file.ts'
import { type HashReader, inclusionProof, verifyInclusion } from './proofs.ts'
import { type TileReader, tileHashes } from './tiles.ts'
import { leafHash } from './tree.ts'
import type { LogView } from './view.ts'
import { isWitnessedCheckpoint, verifyCheckpoint, type WitnessedCheckpoint, type WitnessTimes } from './witnessed.ts'

// Known to this module alone: nothing else can call the constructor, cast or not.
const door: unique symbol = Symbol('proveEntry')

class Proven {
  // A private member makes the type nominal: no object literal has it.
  readonly #proven = true
  readonly leaf: Leaf
  readonly index: number
  /**
   * The first index of the leaf's tag, where every leaf was read; `undefined` offline, where one proof says nothing
   * about other leaves. Whoever acts on a tag demands that it equals `index`.
   */
  readonly firstIndex: number | undefined
  readonly checkpoint: WitnessedCheckpoint

  constructor(
    key: typeof door,
    proof: { leaf: Leaf; index: number; firstIndex: number | undefined; checkpoint: WitnessedCheckpoint },
  ) {
    if (key !== door) throw new TypeError('a proven entry is made by its verifiers alone')
    this.leaf = proof.leaf
    this.index = proof.index
    this.firstIndex = proof.firstIndex
    this.checkpoint = proof.checkpoint
    Object.freeze(this)
  }

  get origin(): string {
    return this.checkpoint.origin
  }

  /** Leaves of the log at the checkpoint. */
  get size(): number {
    return this.checkpoint.size
  }

  get times(): WitnessTimes | undefined {
    return this.checkpoint.times
  }

  /** Those whose cosignatures count for the quorum. */
  get witnesses(): WitnessedCheckpoint['witnesses'] {
    return this.checkpoint.witnesses
  }

  static is(value: unknown): value is Proven {
    return typeof value === 'object' && value !== null && #proven in value && value.#proven
  }
}

/** A leaf that is in the log at its index, at a checkpoint that satisfies the policy. Only the verifiers make one. */
export type ProvenEntry = Proven

/** Whether `value` was made by a verifier, whatever its type says. */
export function isProvenEntry(value: unknown): value is ProvenEntry {
  return Proven.is(value)
}

/**
 * That the leaf (64 bytes) is at `index`, by a view that has read every leaf up to the checkpoint. Throws RangeError
 * for a checkpoint that this view did not make, ERR_LOG_ENTRY when the checkpoint does not reach the index or another
 * leaf is there, ERR_LOG_MALFORMED for a leaf that is none.
 */
export function proveEntry(
  view: LogView,
  checkpoint: WitnessedCheckpoint,
  index: number,
  leaf: Uint8Array,
): ProvenEntry {
  if (!isWitnessedCheckpoint(checkpoint) || !view.hasVerified(checkpoint)) {
    throw new RangeError('proveEntry: the checkpoint was not made by this view')
  }
  const parsed = parseLeaf(leaf)
  if (!Number.isSafeInteger(index) || index < 0 || index >= checkpoint.size) {
    throw new LogError('ERR_LOG_ENTRY', `the checkpoint has ${checkpoint.size} leaves, none has index ${index}`)
  }
  if (!view.holds(index, parsed)) throw new LogError('ERR_LOG_ENTRY', `another leaf is at index ${index}`)
  return new Proven(door, { leaf: parsed, index, firstIndex: view.firstIndexOf(parsed.tag), checkpoint })
}

/**
 * The same from one file, without the log: the leaf (64 bytes), a .tlog-proof and the verifier's own policy. Throws
 * ERR_LOG_MALFORMED, ERR_LOG_PROOF, and what `verifyCheckpoint` throws.
 */
export function verifyOfflineProof(options: {
  proofFile: Uint8Array
  leaf: Uint8Array
  policy: LogPolicy
}): ProvenEntry {
  const leaf = parseLeaf(options.leaf)
  const { index, path, checkpoint: note } = parseProofFile(options.proofFile)
  const checkpoint = verifyCheckpoint(note, options.policy)
  verifyInclusion({ index, size: checkpoint.size, leaf: leafHash(options.leaf), path, root: checkpoint.root })
  return new Proven(door, { leaf, index, firstIndex: undefined, checkpoint })
}

/** A .tlog-proof of the leaf at `index`, its path made of the log's tiles, or of hashes one has, and not verified. */
export async function makeProofFile(
  options: {
    checkpoint: WitnessedCheckpoint
    index: number
    extra?: Uint8Array
  } & ({ tile: TileReader } | { hashes: HashReader }),
): Promise<Uint8Array> {
  const { checkpoint, index } = options
  const hashes = 'hashes' in options ? options.hashes : tileHashes(options.tile, checkpoint.size)
  const path = await inclusionProof({ index, size: checkpoint.size, hashes })
  return encodeProofFile({ extra: options.extra, index, path, checkpoint: checkpoint.bytes })
}
