import { type Check, checkFields, listOf, object, orAny, setting, texts, wrong } from '../policy-fields.ts'
import { type Finding, oneOf, outside, type ReasonCode } from '../reasons.ts'
import { trustValue } from '../trust-vector.ts'
import type { VerifiedCca } from './cca.ts'
import { type ArmLifecycleState, armLifecycleStates } from './lifecycle.ts'
import type { PsaCaller, VerifiedPsa } from './psa.ts'
import type { ArmSoftware } from './software.ts'

/** Firmware that is acceptable. */
export interface ArmSoftwareReference {
  /** As the token writes it; `null` for a component without one. */
  readonly type: string | null
  readonly measurements: readonly string[] | 'any'
  readonly signerIds: readonly string[] | 'any'
  readonly versions: readonly string[] | 'any'
}

interface ArmPolicy {
  /** What the device's life has come to. Only `secured` keeps the host out of everything. */
  readonly lifecycles: readonly ArmLifecycleState[] | 'any'
  readonly implementationIds: readonly string[] | 'any'
  /** Every component has to meet one of these, and each type that they name has to be there. */
  readonly software: readonly ArmSoftwareReference[] | 'any'
}

/** What is required of Arm CCA beyond what every TEE is judged by: the realm's initial measurement is `measurement` there. */
export interface CcaPolicy extends ArmPolicy {
  /** The platform's configuration, in the form of its maker. */
  readonly configs: readonly string[] | 'any'
}

/** What is required of PSA tokens beyond what every TEE is judged by. */
export interface PsaPolicy extends ArmPolicy {
  /** Who may have asked: a caller outside of the secure world binds what *it* says, not what the secure world does. */
  readonly callers: readonly PsaCaller[] | 'any'
  /** References of PSA Certified. */
  readonly certifications: readonly string[] | 'any'
}

/** Starts for `tees.cca` and `tees.psa`. Firmware, and who may ask, are left for the caller to name. */
export const ccaBaseline: Omit<CcaPolicy, 'software'> = Object.freeze({
  lifecycles: Object.freeze(['secured'] as const),
  implementationIds: 'any',
  configs: 'any',
})
export const psaBaseline: Omit<PsaPolicy, 'software' | 'callers'> = Object.freeze({
  lifecycles: Object.freeze(['secured'] as const),
  implementationIds: 'any',
  certifications: 'any',
})

const lifecycles = orAny(
  listOf((item) => armLifecycleStates.some((state) => state === item), armLifecycleStates.join(', ')),
)
const referenceChecks: { readonly [Field in keyof ArmSoftwareReference]: Check } = {
  type: (value, field) => {
    if (value !== null && typeof value !== 'string') throw wrong(field, 'text or null')
  },
  measurements: texts,
  signerIds: texts,
  versions: texts,
}
const software = orAny((value, field) => {
  listOf(() => true, 'references')(value, field)
  for (const [at, item] of (value as unknown[]).entries())
    checkFields(object(item, field), referenceChecks, `${field}[${at}]`)
})
const armChecks = { lifecycles, implementationIds: texts, software }
const ccaChecks: { readonly [Field in keyof CcaPolicy]: Check } = { ...armChecks, configs: texts }
const psaChecks: { readonly [Field in keyof PsaPolicy]: Check } = {
  ...armChecks,
  callers: orAny((value, field) => {
    listOf(() => true, 'callers')(value, field)
    for (const item of value as unknown[]) setting('secure', 'non-secure')(item, field)
  }),
  certifications: texts,
}

/** Throw TypeError naming the field that is missing, unknown or not of its kind. */
export function checkCcaPolicy(policy: unknown, field: string): void {
  checkFields(policy, ccaChecks, field)
}
export function checkPsaPolicy(policy: unknown, field: string): void {
  checkFields(policy, psaChecks, field)
}

/** Every requirement of `policy` that this token does not meet. */
export function appraiseCca({ claims }: VerifiedCca, policy: CcaPolicy): Finding[] {
  const { hardware } = claims
  return [
    ...listed('arm-lifecycle', policy.lifecycles, hardware.lifecycleState, 'hardware', trustValue.contraindicated),
    ...listed(
      'arm-implementation-id',
      policy.implementationIds,
      hardware.implementationId,
      'hardware',
      trustValue.unrecognised,
    ),
    ...softwareFindings(hardware.software, policy.software),
    ...listed('arm-config', policy.configs, hardware.config, 'configuration', trustValue.unsafe),
  ]
}

export function appraisePsa({ claims }: VerifiedPsa, policy: PsaPolicy): Finding[] {
  const { hardware } = claims
  return [
    ...listed('arm-lifecycle', policy.lifecycles, hardware.lifecycleState, 'hardware', trustValue.contraindicated),
    ...listed(
      'arm-implementation-id',
      policy.implementationIds,
      hardware.implementationId,
      'hardware',
      trustValue.unrecognised,
    ),
    ...softwareFindings(hardware.software, policy.software),
    ...listed('arm-caller', policy.callers, hardware.caller, 'instance-identity', trustValue.contraindicated),
    ...listed('arm-certification', policy.certifications, hardware.certification, 'hardware', trustValue.unsafe),
  ]
}

function listed(
  code: ReasonCode,
  accepted: readonly string[] | 'any',
  found: string | null,
  claim: Finding['harm'][0],
  value: number,
): Finding[] {
  return outside(accepted, found)
    ? [{ code, expected: oneOf(accepted), found: found ?? 'none', harm: [claim, value] }]
    : []
}

function softwareFindings(found: readonly ArmSoftware[], accepted: ArmPolicy['software']): Finding[] {
  if (accepted === 'any') return []
  const harm = ['executables', trustValue.unrecognisedCode] as const
  const unknown = found
    .filter((component) => !accepted.some((reference) => meets(component, reference)))
    .map((component) => ({
      code: 'arm-software' as const,
      expected: referenceTexts(accepted.filter(({ type }) => type === component.type)),
      found: `${component.type ?? 'a component without a type'} ${component.measurement}, version ${component.version ?? 'none'}, signed by ${component.signerId}`,
      harm,
    }))
  const missing = [...new Set(accepted.map(({ type }) => type))]
    .filter((type) => !found.some((component) => component.type === type))
    .map((type) => ({
      code: 'arm-software' as const,
      expected: type ?? 'a component without a type',
      found: 'none',
      harm,
    }))
  return [...unknown, ...missing]
}

function meets(component: ArmSoftware, reference: ArmSoftwareReference): boolean {
  return (
    component.type === reference.type &&
    !outside(reference.measurements, component.measurement) &&
    !outside(reference.signerIds, component.signerId) &&
    !outside(reference.versions, component.version)
  )
}

function referenceTexts(references: readonly ArmSoftwareReference[]): string {
  const texts = references.map(
    ({ type, measurements, versions, signerIds }) =>
      `${type ?? 'a component without a type'} ${oneOf(measurements)}, version ${oneOf(versions)}, signed by ${oneOf(signerIds)}`,
  )
  return texts.length === 0 ? 'no such component' : texts.join('; or ')
}
