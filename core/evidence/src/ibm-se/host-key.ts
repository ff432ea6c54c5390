import { concatBytes, encodeHex, equalBytes } from '@cella/bytes'
import { digestOf, sha256 } from '@cella/primitives'
import type { Endorsements } from '../endorsements.ts'
import { EvidenceError } from '../error.ts'
import type { VerifyContext } from '../family.ts'
import type { TrustedRoot } from '../roots.ts'

// A host key is P-521. Its hash is over both coordinates in 80 bytes each, big-endian.
const pointLength = 133
const coordinateLength = 66
const paddedLength = 80

/** SHA-256 of a host key as the Ultravisor names it, or `undefined` for a SubjectPublicKeyInfo that is not of P-521. */
export function hostKeyHash(spki: Uint8Array): Uint8Array | undefined {
  const point = spki.subarray(-pointLength)
  if (spki.length <= pointLength || point[0] !== 4) return undefined
  const padding = new Uint8Array(paddedLength - coordinateLength)
  const x = point.subarray(1, 1 + coordinateLength)
  const y = point.subarray(1 + coordinateLength)
  return sha256(concatBytes(padding, x, padding, y))
}

/**
 * The trusted root whose key has this hash. Such a key is in the machine's host-key document, which IBM signs and the
 * relying party verifies before it names the key. Throws EvidenceError.
 */
export function hostKeyRoot(
  hash: Uint8Array,
  { roots, endorsements }: { roots: VerifyContext['roots']; endorsements: Endorsements },
): TrustedRoot {
  const keys = endorsements.all('public-key')
  const key = keys.find(({ content }) => {
    const found = hostKeyHash(content)
    return found !== undefined && equalBytes(found, hash)
  })
  if (key === undefined) {
    throw new EvidenceError(
      'ERR_EVIDENCE_COLLATERAL_MISSING',
      `additionalData: the host key ${encodeHex(hash)} was not given; add it, from the machine’s host-key document, as a public key`,
    )
  }
  const spki = digestOf(key.content)
  const found = roots.filter((root) => root.tee === 'ibm-se' && root.spki === spki)
  // One key listed as real and as simulated: doubt goes against it.
  const root = found.find(({ simulated }) => simulated) ?? found[0]
  if (root === undefined) {
    throw new EvidenceError(
      'ERR_EVIDENCE_ROOT_UNKNOWN',
      `additionalData: the host key ${spki} is no trusted one for ibm-se; add its digest to the roots once IBM’s signature on its document was verified`,
    )
  }
  return root
}
