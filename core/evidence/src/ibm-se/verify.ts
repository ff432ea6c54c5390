import { encodeHex } from '@cella/bytes'
import { equalSecrets, hmacSha512 } from '@cella/primitives'
import { noWindow } from '../arm/device-key.ts'
import { EvidenceError, reading } from '../error.ts'
import type { VerifiedEntry, VerifyContext } from '../family.ts'
import type { TrustedRoot } from '../roots.ts'
import { additionsOf, checkLengths, measuredBytes } from './answer.ts'
import { type IbmSeClaims, ibmSeClaims } from './claims.ts'
import type { IbmSeEntry } from './entry.ts'
import { hostKeyRoot } from './host-key.ts'
import type { IbmSeRequest } from './request.ts'

const requestCountMax = 64

/** A genuine answer of an Ultravisor to a request of the relying party's own. Not yet acceptable to anyone. */
export interface VerifiedIbmSe extends VerifiedEntry {
  readonly format: 'ibm-se/1'
  readonly root: TrustedRoot
  readonly claims: IbmSeClaims
}

/** The checklist of docs/formats/evidence-ibm-se.md. Throws EvidenceError at the first thing that fails. */
export async function verifyIbmSe(entry: IbmSeEntry, context: VerifyContext): Promise<VerifiedIbmSe> {
  const { checks } = context
  reading(() => checkLengths(entry))
  checks.passed('ibm-se-answer', 'an answer with each part in its length')
  const request = answered(entry, context.requests ?? [])
  checks.passed('ibm-se-measurement', 'a measurement under the key and nonce of a request of the relying party’s own')
  const additions = reading(() => additionsOf(entry.additionalData, request))
  const hostKey = additions.get('attestation-host-key')
  if (hostKey === undefined || !additions.has('image-host-key')) {
    const problem =
      'additionalData: the request did not ask for both host keys, so nothing tells which machine answered'
    throw new EvidenceError('ERR_EVIDENCE_CHAIN', problem)
  }
  const root = hostKeyRoot(hostKey, context)
  checks.passed('ibm-se-host-key', 'a request that a trusted host key opened', encodeHex(hostKey))
  return {
    format: 'ibm-se/1',
    role: entry.role,
    claims: ibmSeClaims(entry, additions, root.simulated),
    root,
    simulated: root.simulated,
    ...noWindow,
    collateralIssuedAt: undefined,
    verifiedAt: context.now,
  }
}

/** The request whose secrets made the measurement. */
function answered(entry: IbmSeEntry, requests: readonly IbmSeRequest[]): IbmSeRequest {
  if (requests.length === 0) {
    throw new EvidenceError(
      'ERR_EVIDENCE_COLLATERAL_MISSING',
      'measurement: can be verified by who made the attestation request alone; give its measurement key and nonce',
    )
  }
  if (requests.length > requestCountMax)
    throw new RangeError(`requests: ${requests.length}, at most ${requestCountMax}`)
  const found = requests.find(({ measurementKey, nonce }) => {
    if (measurementKey.length !== 64 || nonce.length !== 16) {
      throw new RangeError('requests: a measurement key has 64 bytes, a nonce 16')
    }
    return equalSecrets(hmacSha512(measurementKey, measuredBytes(entry, nonce)), entry.measurement)
  })
  if (found === undefined) {
    throw new EvidenceError(
      'ERR_EVIDENCE_SIGNATURE',
      `measurement: is under none of the ${requests.length} given requests: another one’s, or changed since`,
    )
  }
  return found
}
