import { encodeHex } from '@cella/bytes'
import { type Demand, harming, inOrder, type Judged, judged, onList } from '../demands.ts'
import { type Checks, checkFields, listOf, orAny, required, texts, wrong } from '../policy-fields.ts'
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

/** Every requirement of `policy`, met or not. */
export function appraiseNvidia(verified: VerifiedNvidia, policy: NvidiaPolicy): Demand[] {
  const { identity, configuration, rims, revocation } = verified
  const { driverVersion, vbiosVersion, mode } = configuration
  const { unsafe, unrecognised, unrecognisedCode } = trustValue
  // A switch has neither a driver nor a mode.
  const modes = identity.device === 'gpu' ? policy.modes : 'any'
  const minimumDriver = driverVersion === null ? 'any' : policy.minimumDriver
  return inOrder([
    ...harming('hardware', unrecognised, [
      onList('nvidia-device', policy.devices, identity.device),
      onList('nvidia-chip', policy.chips, identity.chip),
    ]),
    ...harming('executables', unsafe, [
      judged('nvidia-driver-version', minimumDriver, driverVersion ?? 'none', (least) => [
        isAtLeast(driverVersion!, least),
        `at least ${least}`,
      ]),
      onList('nvidia-vbios-version', policy.vbiosVersions, vbiosVersion),
    ]),
    ...harming('configuration', unsafe, [onList('nvidia-mode', modes, mode)]),
    ...harming('hardware', unsafe, [
      judged('nvidia-revocation', policy.revocation, revocation, () => [revocation === 'checked', 'checked']),
    ]),
    ...harming('executables', unrecognisedCode, [
      judged('nvidia-manifests', policy.manifests, rims === undefined ? 'not compared' : 'compared', () => [
        rims !== undefined,
        'compared',
      ]),
      ...measurementDemands(rims),
    ]),
  ])
}

/** Known to differ is worse than not compared, so that no policy looks away from it. */
function measurementDemands(rims: VerifiedNvidia['rims']): Judged[] {
  const code = 'nvidia-measurements'
  if (rims === undefined) return [onList(code, 'any', 'not compared')]
  if (rims.mismatches.length === 0) {
    const all = 'each as its manifest has it'
    return [judged(code, 'demanded', all, () => [true, all])]
  }
  return rims.mismatches.map(({ index, source, found }) =>
    judged(code, 'demanded', found === undefined ? 'none' : encodeHex(found), () => [
      false,
      `measurement ${index} as its ${source} manifest has it`,
    ]),
  )
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
