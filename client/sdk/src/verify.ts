import type { KeyId } from '@cella/primitives'
import { anchorsOf, type JudgedFile, judgeFile, type StoredAnchors } from '@cella/verify'
import { startPolicyEngine } from './engine.ts'

/**
 * Judges a receipt, a proof, a disclosure or an export without a network, by the caller's own anchors. `entry` is what was
 * logged and `key` (DER SubjectPublicKeyInfo) who has to have signed, for files that don't hold these. A hostile file ends
 * in a verdict; throws LogError for a policy among the anchors that is none.
 */
export async function verifyFile(
  bytes: Uint8Array,
  options: {
    anchors: StoredAnchors
    /** Seconds since 1970. */
    now: number
    vaults?: readonly KeyId[] | undefined
    entry?: Uint8Array | undefined
    key?: Uint8Array | undefined
  },
): Promise<JudgedFile> {
  const { anchors, now, vaults, entry, key } = options
  return judgeFile(bytes, { anchors: anchorsOf(anchors, now, vaults), entry, key, startEngine: startPolicyEngine })
}
