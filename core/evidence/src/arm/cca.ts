import { encodeHex } from '@cella/bytes'
import type { Claims } from '../claims.ts'
import { verifyCoseSign1 } from '../cose/sign1.ts'
import { EvidenceError, reading } from '../error.ts'
import type { EvidenceRole } from '../evidence.ts'
import type { VerifiedEntry, VerifyContext } from '../family.ts'
import type { TrustedRoot } from '../roots.ts'
import { bindsRealm, type CcaToken, ccaTokenBytesMax, parseCcaToken } from './cca-token.ts'
import { deviceRoot, noWindow } from './device-key.ts'
import type { CcaEntry } from './entry.ts'
import { type ArmLifecycleState, isDebugState } from './lifecycle.ts'
import { type ArmSoftware, softwareMeasurements } from './software.ts'

/** What a genuine CCA token says. `hardware` has what only CCA knows. */
export interface CcaClaims extends Claims {
  readonly tee: 'cca'
  readonly hardware: {
    readonly platformProfile: string
    /** `null` in tokens of the legacy profile. */
    readonly realmProfile: string | null
    readonly lifecycle: number
    readonly lifecycleState: ArmLifecycleState
    readonly implementationId: string
    readonly config: string
    /** The platform's firmware; its extended measurements are of `platformHash`. */
    readonly software: readonly ArmSoftware[]
    readonly platformHash: string
    readonly realmHash: string
    readonly verificationService: string | null
  }
}

/** A genuine CCA token. Not yet acceptable to anyone. */
export interface VerifiedCca extends VerifiedEntry {
  readonly format: 'cca/1'
  readonly root: TrustedRoot
  readonly claims: CcaClaims
}

/** Steps 1 to 4 of the checklist in docs/formats/evidence-arm.md. Throws EvidenceError at the first that fails. */
export async function verifyCca(entry: CcaEntry, context: VerifyContext): Promise<VerifiedCca> {
  const { checks } = context
  // One copy for parsing and for the signatures: what is checked later is what was read.
  const bytes = Uint8Array.from(entry.token.subarray(0, ccaTokenBytesMax + 1))
  const token = reading(() => parseCcaToken(bytes))
  const { platform, platformMessage, realm, realmMessage } = token
  checks.passed('cca-token', 'a platform token and a realm token with every claim', platform.profile)
  const trust = { tee: 'cca', instanceId: platform.instanceId, name: 'CPAK' } as const
  const root = await deviceRoot(platformMessage, trust, context)
  checks.passed('cca-platform-signature', 'a platform token signed by a trusted CPAK', `key ${root.spki}`)
  if (!bindsRealm(token)) {
    throw new EvidenceError(
      'ERR_EVIDENCE_BINDING',
      'token: the platform’s challenge is not the digest of the realm’s key, so the two are not of one machine',
    )
  }
  checks.passed('cca-realm-binding', 'a platform challenge that is the digest of the realm’s key', realm.publicKeyHash)
  if (!(await verifyCoseSign1(realmMessage, realm.publicKey.spki))) {
    throw new EvidenceError('ERR_EVIDENCE_SIGNATURE', 'token: the realm token is not signed by the key inside it')
  }
  checks.passed('cca-realm-signature', 'a realm token signed by its key', realm.publicKey.curve)
  return {
    format: 'cca/1',
    role: entry.role,
    claims: ccaClaims(token, { role: entry.role, simulated: root.simulated }),
    root,
    simulated: root.simulated,
    ...noWindow,
    collateralIssuedAt: undefined,
    verifiedAt: context.now,
  }
}

function ccaClaims({ platform, realm }: CcaToken, said: { role: EvidenceRole; simulated: boolean }): CcaClaims {
  const measurement = encodeHex(realm.initialMeasurement)
  const extensible = realm.extensibleMeasurements.map((value, at) => [`rem${at}`, encodeHex(value)] as const)
  return {
    tee: 'cca',
    role: said.role,
    boundary: 'vm',
    measurement,
    measurements: {
      rim: measurement,
      ...Object.fromEntries(extensible),
      ...softwareMeasurements(platform.software, 'platform-'),
    },
    hostData: encodeHex(realm.personalization),
    reportData: encodeHex(realm.challenge),
    platformId: encodeHex(platform.instanceId),
    provider: null,
    // Arm rates nothing; a policy's list of firmware does.
    tcb: { status: null, advisories: [], levels: {}, date: null, evaluation: null },
    debug: isDebugState(platform.lifecycle.state),
    simulated: said.simulated,
    hardware: {
      platformProfile: platform.profile,
      realmProfile: realm.profile ?? null,
      lifecycle: platform.lifecycle.value,
      lifecycleState: platform.lifecycle.state,
      implementationId: encodeHex(platform.implementationId),
      config: encodeHex(platform.config),
      software: platform.software,
      platformHash: platform.hash,
      realmHash: realm.hash,
      verificationService: platform.verificationService ?? null,
    },
  }
}
