import { type Demand, harming, type Judged, judged, onList } from '../demands.ts'
import { type Check, checkFields, listOf, object, orAny, setting, texts, wrong } from '../policy-fields.ts'
import { oneOf, outside } from '../reasons.ts'
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

/** Every requirement of `policy`, met or not. */
export function appraiseCca({ claims: { hardware } }: VerifiedCca, policy: CcaPolicy): Demand[] {
  return [
    ...deviceDemands(hardware, policy),
    ...harming('configuration', unsafe, [onList('arm-config', policy.configs, hardware.config)]),
  ]
}

/** Every requirement of `policy`, met or not. */
export function appraisePsa({ claims: { hardware } }: VerifiedPsa, policy: PsaPolicy): Demand[] {
  return [
    ...deviceDemands(hardware, policy),
    ...harming('instance-identity', contraindicated, [onList('arm-caller', policy.callers, hardware.caller)]),
    ...harming('hardware', unsafe, [onList('arm-certification', policy.certifications, hardware.certification)]),
  ]
}

const { contraindicated, unrecognised, unrecognisedCode, unsafe } = trustValue

function deviceDemands(
  hardware: VerifiedCca['claims']['hardware'] | VerifiedPsa['claims']['hardware'],
  policy: ArmPolicy,
): Demand[] {
  return [
    ...harming('hardware', contraindicated, [onList('arm-lifecycle', policy.lifecycles, hardware.lifecycleState)]),
    ...harming('hardware', unrecognised, [
      onList('arm-implementation-id', policy.implementationIds, hardware.implementationId),
    ]),
    ...harming('executables', unrecognisedCode, softwareDemands(hardware.software, policy.software)),
  ]
}

/** One for each component, and one for each type that is missing. */
function softwareDemands(found: readonly ArmSoftware[], accepted: ArmPolicy['software']): Judged[] {
  const present = found.map((component) => {
    const { type, measurement, version, signerId } = component
    const text = `${type ?? 'a component without a type'} ${measurement}, version ${version ?? 'none'}, signed by ${signerId}`
    return judged('arm-software', accepted, text, (references) => [
      references.some((reference) => meets(component, reference)),
      referenceTexts(references.filter((reference) => reference.type === type)),
    ])
  })
  const types = accepted === 'any' ? [] : accepted.map(({ type }) => type)
  const missing = [...new Set(types)]
    .filter((type) => !found.some((component) => component.type === type))
    .map((type) => judged('arm-software', accepted, 'none', () => [false, type ?? 'a component without a type']))
  return [...present, ...missing]
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
