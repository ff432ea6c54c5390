import { concatBytes, decodeHex, encodeHex } from '@cella/bytes'
import { sha256 } from '@cella/primitives'
import type { Claims } from '../claims.ts'
import { reading } from '../error.ts'
import type { EvidenceRole } from '../evidence.ts'
import type { VerifiedEntry, VerifyContext } from '../family.ts'
import type { TrustedRoot } from '../roots.ts'
import { deviceRoot, noWindow } from './device-key.ts'
import type { PsaEntry } from './entry.ts'
import { type ArmLifecycleState, isDebugState } from './lifecycle.ts'
import { type PsaToken, parsePsaToken, psaTokenBytesMax } from './psa-token.ts'
import { type ArmSoftware, softwareMeasurements } from './software.ts'

/** Which side of the device asked for a token and chose its nonce. */
export type PsaCaller = 'secure' | 'non-secure'

/** What a genuine PSA token says. `hardware` has what only PSA knows. */
export interface PsaClaims extends Claims {
  readonly tee: 'psa'
  readonly hardware: {
    readonly profile: string
    readonly clientId: number
    readonly caller: PsaCaller
    readonly lifecycle: number
    readonly lifecycleState: ArmLifecycleState
    readonly implementationId: string
    readonly bootSeed: string | null
    readonly certification: string | null
    readonly software: readonly ArmSoftware[]
    readonly verificationService: string | null
  }
}

/** A genuine PSA token. Not yet acceptable to anyone. */
export interface VerifiedPsa extends VerifiedEntry {
  readonly format: 'psa/1'
  readonly root: TrustedRoot
  readonly claims: PsaClaims
}

/** The checklist of docs/formats/evidence-arm.md. Throws EvidenceError at the first thing that fails. */
export async function verifyPsa(entry: PsaEntry, context: VerifyContext): Promise<VerifiedPsa> {
  const { checks } = context
  // One copy for parsing and for the signature: what is checked later is what was read.
  const bytes = Uint8Array.from(entry.token.subarray(0, psaTokenBytesMax + 1))
  const token = reading(() => parsePsaToken(bytes))
  checks.passed('psa-token', 'a COSE_Sign1 with every claim of its profile', token.profile)
  const trust = { tee: 'psa', instanceId: token.instanceId, name: 'IAK' } as const
  const root = await deviceRoot(token.message, trust, context)
  checks.passed('psa-signature', 'a token signed by a trusted IAK', `key ${root.spki}`)
  return {
    format: 'psa/1',
    role: entry.role,
    claims: psaClaims(token, { role: entry.role, simulated: root.simulated }),
    root,
    simulated: root.simulated,
    ...noWindow,
    collateralIssuedAt: undefined,
    verifiedAt: context.now,
  }
}

function psaClaims(token: PsaToken, said: { role: EvidenceRole; simulated: boolean }): PsaClaims {
  return {
    tee: 'psa',
    role: said.role,
    boundary: 'world',
    measurement: psaMeasurement(token.software),
    measurements: softwareMeasurements(token.software, ''),
    hostData: null,
    reportData: encodeHex(token.nonce),
    platformId: encodeHex(token.instanceId),
    provider: null,
    // Arm rates nothing; a policy's list of firmware does.
    tcb: { status: null, advisories: [], levels: {}, date: null, evaluation: null },
    debug: isDebugState(token.lifecycle.state),
    simulated: said.simulated,
    hardware: {
      profile: token.profile,
      clientId: token.clientId,
      caller: token.clientId > 0 ? 'secure' : 'non-secure',
      lifecycle: token.lifecycle.value,
      lifecycleState: token.lifecycle.state,
      implementationId: encodeHex(token.implementationId),
      bootSeed: token.bootSeed === undefined ? null : encodeHex(token.bootSeed),
      certification: token.certification ?? null,
      software: token.software,
      verificationService: token.verificationService ?? null,
    },
  }
}

/** SHA-256 over the measurements of all components in their order; empty where nothing was measured. */
function psaMeasurement(software: readonly ArmSoftware[]): string {
  if (software.length === 0) return ''
  return encodeHex(sha256(concatBytes(...software.map(({ measurement }) => decodeHex(measurement, 'measurement')))))
}
