import { type Digest, encodeHex } from '@cella/bytes'
import { digestOf } from '@cella/primitives'
import { type CoseSign1, verifyCoseSign1 } from '../cose/sign1.ts'
import type { Endorsements } from '../endorsements.ts'
import { EvidenceError } from '../error.ts'
import type { VerifyContext } from '../family.ts'
import type { TrustedRoot } from '../roots.ts'

const keyCountMax = 64

interface DeviceKey {
  readonly spki: Uint8Array
  readonly digest: Digest
}

/** The keys among endorsements, and those that a device may name by the digest of their point. */
interface DeviceKeys {
  readonly all: readonly DeviceKey[]
  readonly byPoint: ReadonlyMap<string, DeviceKey>
}

const read = new WeakMap<Endorsements, DeviceKeys>()

function keysOf(endorsements: Endorsements): DeviceKeys {
  const known = read.get(endorsements)
  if (known) return known
  const all = endorsements.all('public-key').map(({ content }) => ({ spki: content, digest: digestOf(content) }))
  const byPoint = new Map<string, DeviceKey>()
  for (const each of all) {
    // 04 ‖ x ‖ y of P-256, P-384 and P-521 end a SubjectPublicKeyInfo. Longest first: x may hold a 04 too.
    const length = [133, 97, 65].find((size) => each.spki.length > size && each.spki.at(-size) === 4)
    if (length !== undefined) byPoint.set(digestOf(each.spki.subarray(-length)), each)
  }
  const keys = { all, byPoint }
  read.set(endorsements, keys)
  return keys
}

export interface DeviceTrust {
  readonly tee: 'cca' | 'psa'
  /** The device's own name for itself: often 1 and the SHA-256 of its key's point, which finds it at once. */
  readonly instanceId: Uint8Array
  /** What the key is called: `CPAK`. */
  readonly name: string
}

/**
 * The trusted root by whose key `message` is signed. Such a key has no chain: its digest is among the roots, and the key
 * itself among the endorsements (`public-key`). Throws ERR_EVIDENCE_COLLATERAL_MISSING where no key was given,
 * ERR_EVIDENCE_ROOT_UNKNOWN where none of those given is trusted, ERR_EVIDENCE_SIGNATURE where none of the trusted ones
 * has signed.
 */
export async function deviceRoot(
  message: CoseSign1,
  { tee, instanceId, name }: DeviceTrust,
  { roots, endorsements }: Pick<VerifyContext, 'roots' | 'endorsements'>,
): Promise<TrustedRoot> {
  const { all, byPoint } = keysOf(endorsements)
  if (all.length === 0) {
    throw new EvidenceError(
      'ERR_EVIDENCE_COLLATERAL_MISSING',
      `token: the ${name} of device ${encodeHex(instanceId)} was not given; add it as a public key`,
    )
  }
  const trusted = new Map<Digest, TrustedRoot>()
  for (const root of roots) {
    // One key listed as real and as simulated: doubt goes against it.
    if (root.tee === tee && !trusted.get(root.spki)?.simulated) trusted.set(root.spki, root)
  }
  const named = byPoint.get(encodeHex(instanceId.subarray(1)))
  const candidates = (named ? [named, ...all.filter((key) => key !== named)] : all).filter(({ digest }) =>
    trusted.has(digest),
  )
  if (candidates.length === 0) {
    const shown = named
      ? `its key ${named.digest} is`
      : `${all.length === 1 ? `key ${all[0]!.digest} is` : 'the given keys are'}`
    throw new EvidenceError(
      'ERR_EVIDENCE_ROOT_UNKNOWN',
      `token: ${shown} no trusted ${name} for ${tee}; add its digest to the terms if you know whose it is`,
    )
  }
  for (const { spki, digest } of candidates.slice(0, keyCountMax)) {
    if (await verifyCoseSign1(message, spki)) return trusted.get(digest)!
  }
  throw new EvidenceError(
    'ERR_EVIDENCE_SIGNATURE',
    candidates.length > keyCountMax
      ? `token: is not signed by the first ${keyCountMax} of ${candidates.length} trusted keys; give the ${name} of this device alone`
      : `token: is signed by no trusted ${name} that was given`,
  )
}

/** 9999-12-31T23:59:59Z, X.509's "no end" (RFC 5280 §4.1.2.5): a key that is trusted by its digest has no window. */
export const noWindow = { notBefore: 0, notAfter: 253_402_300_799 } as const
