import { encodeHex } from '@cella/bytes'
import { type Checks, checkFields, listOf, orAny, required, texts, wrong } from '../policy-fields.ts'
import { type Finding, oneOf, outside, type ReasonCode } from '../reasons.ts'
import { trustValue } from '../trust-vector.ts'
import type { VerifiedNvidia } from './verify.ts'

/** What is demanded of an NVIDIA device beyond what every TEE is judged by. Each member is required. */
export interface NvidiaPolicy {
  readonly devices: readonly ('gpu' | 'nvswitch')[] | 'any'
  /** `GH100`, `LS_10`. */
  readonly chips: readonly string[] | 'any'
  /** Dotted numbers, compared part by part; a switch has no driver and is not judged by it. */
  readonly minimumDriver: string | 'any'
  /** VBIOS or BIOS releases, exactly. */
  readonly vbiosVersions: readonly string[] | 'any'
  /** Confidential modes of a GPU that says its own (`spt`, `mpt`, `ppcie`); one that doesn't is refused. */
  readonly modes: readonly string[] | 'any'
  /** Each certificate of the device's chain judged by OCSP or a CRL. */
  readonly revocation: 'required' | 'any'
  /** The measurements compared with NVIDIA's manifests (`@cella/evidence/nvidia-rim`), and each equal. */
  readonly manifests: 'required' | 'any'
}

/** A start: what no use should go below. Chips, driver and VBIOS are left for the caller to name. */
export const nvidiaBaseline: Omit<NvidiaPolicy, 'chips' | 'minimumDriver' | 'vbiosVersions'> = Object.freeze({
  devices: Object.freeze(['gpu'] as const),
  modes: 'any',
  revocation: 'required',
  manifests: 'required',
})

const version = /^[0-9]{1,6}(?:\.[0-9]{1,6}){0,5}$/

const checks: { readonly [Field in keyof NvidiaPolicy]: Checks[string] } = {
  devices: orAny(listOf((item) => item === 'gpu' || item === 'nvswitch', 'gpu and nvswitch')),
  chips: texts,
  minimumDriver: orAny((value, field) => {
    if (typeof value !== 'string' || !version.test(value)) throw wrong(field, 'numbers with dots between')
  }),
  vbiosVersions: texts,
  modes: texts,
  revocation: required,
  manifests: required,
}

export function checkNvidiaPolicy(policy: unknown, field: string): void {
  checkFields(policy, checks, field)
}

export function appraiseNvidia(verified: VerifiedNvidia, policy: NvidiaPolicy): Finding[] {
  const findings: Finding[] = []
  const { identity, configuration, rims } = verified
  const refuse = (code: ReasonCode, expected: string, found: string, harm: Finding['harm']): void => {
    findings.push({ code, expected, found, harm })
  }
  const { unsafe, unrecognised, unrecognisedCode } = trustValue
  if (outside(policy.devices, identity.device)) {
    refuse('nvidia-device', oneOf(policy.devices), identity.device, ['hardware', unrecognised])
  }
  if (outside(policy.chips, identity.chip)) {
    refuse('nvidia-chip', oneOf(policy.chips), identity.chip, ['hardware', unrecognised])
  }
  const { driverVersion, vbiosVersion } = configuration
  if (policy.minimumDriver !== 'any' && driverVersion !== null && !isAtLeast(driverVersion, policy.minimumDriver)) {
    refuse('nvidia-driver-version', `at least ${policy.minimumDriver}`, driverVersion, ['executables', unsafe])
  }
  if (outside(policy.vbiosVersions, vbiosVersion)) {
    refuse('nvidia-vbios-version', oneOf(policy.vbiosVersions), vbiosVersion, ['executables', unsafe])
  }
  if (identity.device === 'gpu' && outside(policy.modes, configuration.mode)) {
    refuse('nvidia-mode', oneOf(policy.modes), configuration.mode ?? 'none', ['configuration', unsafe])
  }
  if (policy.revocation !== 'any' && verified.revocation !== 'checked') {
    refuse('nvidia-revocation', 'checked', verified.revocation, ['hardware', unsafe])
  }
  if (policy.manifests !== 'any' && rims === undefined) {
    refuse('nvidia-manifests', 'compared', 'not compared', ['executables', unrecognisedCode])
  }
  // Known to differ is worse than not compared, so that no policy looks away from it.
  for (const { index, source, found } of rims?.mismatches ?? []) {
    const value = found === undefined ? 'none' : encodeHex(found)
    refuse('nvidia-measurements', `measurement ${index} as its ${source} manifest has it`, value, [
      'executables',
      unrecognisedCode,
    ])
  }
  return findings
}

/** Whether dotted numbers are at least `minimum`; what is not dotted numbers is below everything. */
export function isAtLeast(found: string, minimum: string): boolean {
  if (!version.test(found)) return false
  const [mine, wanted] = [found, minimum].map((text) => text.split('.').map(Number)) as [number[], number[]]
  for (let at = 0; at < Math.max(mine.length, wanted.length); at++) {
    const [a = 0, b = 0] = [mine[at], wanted[at]]
    if (a !== b) return a > b
  }
  return true
}
