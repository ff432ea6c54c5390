import { type Checks, checkFields, orAny, texts, wrong } from '../policy-fields.ts'
import { type Finding, oneOf, outside, type ReasonCode } from '../reasons.ts'
import { trustValue } from '../trust-vector.ts'
import type { VerifiedNras } from './nras.ts'
import { isAtLeast } from './policy.ts'

/** What is demanded of a verdict of NRAS beyond what every TEE is judged by. A verdict that is not good is always refused. */
export interface NrasPolicy {
  /** As the token names the hardware: `GH100 A01 GSP BROM`. */
  readonly models: readonly string[] | 'any'
  readonly minimumDriver: string | 'any'
  readonly vbiosVersions: readonly string[] | 'any'
}

const checks: { readonly [Field in keyof NrasPolicy]: Checks[string] } = {
  models: texts,
  minimumDriver: orAny((value, field) => {
    if (typeof value !== 'string' || !/^[0-9]{1,6}(?:\.[0-9]{1,6}){0,5}$/.test(value)) {
      throw wrong(field, 'numbers with dots between')
    }
  }),
  vbiosVersions: texts,
}

export function checkNrasPolicy(policy: unknown, field: string): void {
  checkFields(policy, checks, field)
}

export function appraiseNras(verified: VerifiedNras, policy: NrasPolicy): Finding[] {
  const findings: Finding[] = []
  const refuse = (code: ReasonCode, expected: string, found: string, harm: Finding['harm']): void => {
    findings.push({ code, expected, found, harm })
  }
  const { contraindicated, unsafe, unrecognised, unrecognisedCode } = trustValue
  if (!verified.result) refuse('nras-result', 'a good verdict', 'a bad one', ['hardware', contraindicated])
  for (const { name, failed } of verified.devices) {
    for (const check of failed) refuse('nras-result', `${name}: ${check}`, 'not so', ['hardware', contraindicated])
  }
  for (const { name, model } of verified.devices) {
    if (outside(policy.models, model)) {
      refuse('nras-chip', oneOf(policy.models), `${name}: ${model}`, ['hardware', unrecognised])
    }
  }
  for (const { name, driverVersion } of verified.devices) {
    if (policy.minimumDriver !== 'any' && driverVersion !== null && !isAtLeast(driverVersion, policy.minimumDriver)) {
      refuse('nras-driver-version', `at least ${policy.minimumDriver}`, `${name}: ${driverVersion}`, [
        'executables',
        unsafe,
      ])
    }
  }
  for (const { name, vbiosVersion } of verified.devices) {
    if (outside(policy.vbiosVersions, vbiosVersion)) {
      refuse('nras-vbios-version', oneOf(policy.vbiosVersions), `${name}: ${vbiosVersion}`, ['executables', unsafe])
    }
  }
  for (const { name, measurementsMatch } of verified.devices) {
    if (!measurementsMatch) {
      refuse('nras-measurements', 'equal to the manifests', `${name}: not`, ['executables', unrecognisedCode])
    }
  }
  return findings
}
