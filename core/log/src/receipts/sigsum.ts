import { concatBytes, decodeHex, encodeBase64, encodeHex, encodeUtf8 } from '@cella/bytes'
import { ed25519Verify, sha256 } from '@cella/primitives'
import { LogError } from '../log-error.ts'
import { malformed, parseDecimal, parseText, parsing } from '../parsing.ts'
import { evaluateQuorum, type LogPolicy } from '../policy.ts'
import { verifyInclusion } from '../proofs.ts'
import { leafHash } from '../tree.ts'
import type { WitnessTimes } from '../witnessed.ts'

// Sigsum proof, versions 1 and 2 (sigsum.org/docs), hashes, keys and signatures in lower-case hexadecimal:
//
//   version=2
//   log=KEYHASH
//   leaf=KEYHASH SIGNATURE              (version 1: leaf=CHECKSUM[:2] KEYHASH SIGNATURE)
//
//   size=NUMBER
//   root_hash=HASH
//   signature=SIGNATURE
//   cosignature=KEYHASH SECONDS SIGNATURE   (none or more)
//
//   leaf_index=NUMBER                   (this part is absent in a tree of one leaf)
//   node_hash=HASH                      (one or more)
//
// The leaf is checksum 32 ‖ signature 64 ‖ key hash 32, checksum = SHA-256(message). Log and witnesses sign a checkpoint
// with the origin sigsum.org/v1/tree/KEYHASH.

interface SigsumProof {
  readonly logKeyHash: string
  readonly shortChecksum: string | undefined
  readonly submitterKeyHash: string
  readonly leafSignature: Uint8Array
  readonly size: number
  readonly root: Uint8Array
  readonly signature: Uint8Array
  readonly cosignatures: readonly { readonly keyHash: string; readonly time: number; readonly signature: Uint8Array }[]
  readonly index: number
  readonly path: readonly Uint8Array[]
}

/** What a Sigsum proof shows, as of a tree that the policy accepts. */
export interface ProvenSigsumEntry {
  readonly size: number
  readonly index: number
  /** Policy names of the witnesses that count for the quorum. */
  readonly witnesses: readonly string[]
  /** `undefined` when the policy asks for no witness. */
  readonly times: WitnessTimes | undefined
}

const proofBytesMax = 100_000

/**
 * Throws ERR_LOG_MALFORMED, ERR_LOG_ORIGIN, ERR_LOG_ENTRY, ERR_LOG_SIGNATURE, ERR_LOG_PROOF or ERR_LOG_QUORUM unless the
 * proof shows that `submitter` (an Ed25519 key, 32 bytes) had `message` (32 bytes, mostly a file's SHA-256) logged in a
 * log of the policy. Its logs and witnesses are known by their Ed25519 keys alone.
 */
export function verifySigsumProof(options: {
  proof: Uint8Array
  message: Uint8Array
  submitter: Uint8Array
  policy: LogPolicy
}): ProvenSigsumEntry {
  const { message, submitter, policy } = options
  if (message.length !== 32) throw new RangeError(`a Sigsum message has 32 bytes, not ${message.length}`)
  const proof = parseSigsumProof(options.proof)
  const checksum = sha256(message)
  if (proof.shortChecksum !== undefined && proof.shortChecksum !== encodeHex(checksum.subarray(0, 2))) {
    throw new LogError('ERR_LOG_ENTRY', 'the proof is over another message')
  }
  const submitterHash = sha256(submitter)
  if (proof.submitterKeyHash !== encodeHex(submitterHash)) {
    throw new LogError('ERR_LOG_ENTRY', 'the leaf is of another submitter')
  }
  const signedLeaf = concatBytes(encodeUtf8('sigsum.org/v1/tree-leaf\0'), checksum)
  if (!ed25519Verify(submitter, signedLeaf, proof.leafSignature)) {
    throw new LogError('ERR_LOG_SIGNATURE', 'the submitter did not sign this message')
  }
  const log = policy.logs.find(({ key }) => encodeHex(sha256(key.publicKey)) === proof.logKeyHash)
  if (log === undefined) throw new LogError('ERR_LOG_ORIGIN', 'the proof is of a log that the policy does not name')
  const checkpoint = `sigsum.org/v1/tree/${proof.logKeyHash}\n${proof.size}\n${encodeBase64(proof.root)}\n`
  if (!ed25519Verify(log.key.publicKey, encodeUtf8(checkpoint), proof.signature)) {
    throw new LogError('ERR_LOG_SIGNATURE', 'the log did not sign this tree')
  }
  const { index, size, path, root } = proof
  const leaf = leafHash(concatBytes(checksum, proof.leafSignature, submitterHash))
  verifyInclusion({ index, size, path, root, leaf })
  return { size, index, ...witnessesOf(proof, checkpoint, policy) }
}

function witnessesOf(
  proof: SigsumProof,
  checkpoint: string,
  policy: LogPolicy,
): Pick<ProvenSigsumEntry, 'witnesses' | 'times'> {
  const times = new Map<string, number>()
  for (const { keyHash, time, signature } of proof.cosignatures) {
    const witness = policy.witnesses.find(({ key }) => encodeHex(sha256(key.publicKey)) === keyHash)
    if (witness === undefined || times.has(witness.name)) continue
    const signed = encodeUtf8(`cosignature/v1\ntime ${time}\n${checkpoint}`)
    if (!ed25519Verify(witness.key.publicKey, signed, signature)) {
      throw new LogError('ERR_LOG_SIGNATURE', `the cosignature of ${witness.name} does not verify`)
    }
    times.set(witness.name, time)
  }
  const quorum = evaluateQuorum(policy, new Set(times.keys()))
  if (!quorum.satisfied) throw new LogError('ERR_LOG_QUORUM', `the tree needs the quorum ${policy.quorum}`)
  const witnesses = quorum.witnesses.map(({ name }) => name)
  const counted = witnesses.map((name) => times.get(name)!)
  return {
    witnesses,
    times: counted.length === 0 ? undefined : { earliest: Math.min(...counted), latest: Math.max(...counted) },
  }
}

function parseSigsumProof(bytes: Uint8Array): SigsumProof {
  const text = parseText(bytes, 'sigsum proof', proofBytesMax)
  if (!text.endsWith('\n')) throw malformed('sigsum proof', 'does not end in a newline')
  const parts = text.slice(0, -1).split('\n\n')
  const head = new Lines(parts[0] ?? '')
  const version = head.value('version')
  if (version !== '1' && version !== '2') throw malformed('sigsum proof', 'is of a version other than 1 and 2')
  const logKeyHash = hexOf(head.value('log'), 32)
  const leaf = head.value('leaf').split(' ')
  if (leaf.length !== (version === '1' ? 3 : 2)) throw malformed('sigsum leaf', 'has another number of parts')
  const shortChecksum = version === '1' ? hexOf(leaf.shift()!, 2) : undefined
  head.end()
  const tree = new Lines(parts[1] ?? '')
  const size = parseDecimal(tree.value('size'), 'sigsum size')
  const root = bytesOf(tree.value('root_hash'), 32)
  const signature = bytesOf(tree.value('signature'), 64)
  const cosignatures = tree.values('cosignature').map((line) => {
    const [keyHash, time, cosignature, ...more] = line.split(' ')
    if (cosignature === undefined || more.length > 0)
      throw malformed('sigsum cosignature', 'has another number of parts')
    return {
      keyHash: hexOf(keyHash!, 32),
      time: parseDecimal(time!, 'sigsum time'),
      signature: bytesOf(cosignature, 64),
    }
  })
  tree.end()
  const { index, path } = parsePath(parts.slice(2), size)
  return {
    logKeyHash,
    shortChecksum,
    submitterKeyHash: hexOf(leaf[0]!, 32),
    leafSignature: bytesOf(leaf[1]!, 64),
    size,
    root,
    signature,
    cosignatures,
    index,
    path,
  }
}

function parsePath(parts: readonly string[], size: number): { index: number; path: Uint8Array[] } {
  if (parts.length !== (size === 1 ? 0 : 1)) throw malformed('sigsum proof', 'has another number of parts')
  if (size === 1) return { index: 0, path: [] }
  const lines = new Lines(parts[0]!)
  const index = parseDecimal(lines.value('leaf_index'), 'sigsum leaf index')
  const path = lines.values('node_hash').map((hash) => bytesOf(hash, 32))
  lines.end()
  return { index, path }
}

/** `name=value` lines, in order. */
class Lines {
  readonly #lines: string[]

  constructor(part: string) {
    this.#lines = part.split('\n')
  }

  value(name: string): string {
    const line = this.#lines.shift()
    if (line?.startsWith(`${name}=`) !== true) throw malformed('sigsum proof', `has no ${name} where it belongs`)
    return line.slice(name.length + 1)
  }

  values(name: string): string[] {
    const values: string[] = []
    while (this.#lines[0]?.startsWith(`${name}=`) === true) values.push(this.value(name))
    return values
  }

  end(): void {
    if (this.#lines.length > 0) throw malformed('sigsum proof', 'has a line that does not belong there')
  }
}

function hexOf(text: string, length: number): string {
  bytesOf(text, length)
  return text
}

function bytesOf(text: string, length: number): Uint8Array {
  const bytes = parsing(() => decodeHex(text, 'sigsum proof'))
  if (bytes.length !== length) throw malformed('sigsum proof', `has a value of ${bytes.length} bytes, not ${length}`)
  return bytes
}
