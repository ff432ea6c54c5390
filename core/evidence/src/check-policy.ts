import type { AppraisalPolicy, SnpPolicy } from './policy.ts'
import { snpTcbComponents } from './sev-snp/tcb.ts'

// A policy often comes out of a document: what a type promises is looked at again, because a field that was left out, or
// a number that is none, would compare as acceptable.

type Check = (value: unknown, field: string) => void

const refused = setting('refused', 'any')
const required = setting('required', 'any')
const texts = orAny(listOf((item) => typeof item === 'string', 'text'))
const levels = orAny(listOf((item) => isInteger(item, 3), 'levels 0 to 3'))
const bits = orAny(listOf((item) => isInteger(item, 63), 'bits 0 to 63'))
const minimumTcb = orAny((value, field) => {
  for (const [product, tcb] of Object.entries(object(value, field))) {
    for (const [component, level] of Object.entries(object(tcb, `${field}.${product}`))) {
      const known = snpTcbComponents.some((name) => name === component)
      if (!known || !isInteger(level, 255)) throw wrong(`${field}.${product}.${component}`, 'a level from 0 to 255')
    }
  }
})

const commonChecks: { readonly [Field in keyof AppraisalPolicy]: Check } = {
  simulated: refused,
  boundaries: texts,
  measurements: texts,
  reportData: orAny((value, field) => {
    if (!(value instanceof Uint8Array && value.length === 64)) throw wrong(field, '64 bytes')
  }),
  hostData: texts,
  platformIds: texts,
  providers: texts,
  debug: refused,
  sevSnp: (value, field) => {
    if (value !== 'refused') checkFields(value, snpChecks, field)
  },
}

const snpChecks: { readonly [Field in keyof SnpPolicy]: Check } = {
  products: texts,
  signers: texts,
  minimumTcb,
  minimumCommittedTcb: minimumTcb,
  minimumLaunchTcb: minimumTcb,
  provisionalFirmware: refused,
  minimumFirmware: orAny(fields({ major: number(255), minor: number(255), build: number(255) })),
  minimumAbi: orAny(fields({ major: number(255), minor: number(255) })),
  minimumGuestSvn: orAny(number(0xffffffff)),
  vmpls: levels,
  maskedChipId: refused,
  launchMitigations: bits,
  currentMitigations: bits,
  guest: fields({
    migrationAgent: refused,
    smt: refused,
    cxlAllowed: refused,
    singleSocket: required,
    memoryAes256Xts: required,
    raplDisabled: required,
    ciphertextHiding: required,
    pageSwapDisabled: required,
  } satisfies { readonly [Field in keyof SnpPolicy['guest']]: Check }),
  platform: fields({
    smt: refused,
    tio: refused,
    tsme: required,
    ecc: required,
    raplDisabled: required,
    ciphertextHiding: required,
    aliasCheckComplete: required,
    iommuWriteSafe: required,
  } satisfies { readonly [Field in keyof SnpPolicy['platform']]: Check }),
  idKeyDigests: texts,
  authorKeyDigests: texts,
  familyIds: texts,
  imageIds: texts,
  reportIds: texts,
  migrationReportIds: texts,
}

/** Throws TypeError naming the field that is missing, unknown or not of its kind. */
export function checkPolicy(policy: AppraisalPolicy): void {
  checkFields(policy, commonChecks, 'policy')
}

function checkFields(value: unknown, checks: { readonly [name: string]: Check }, field: string): void {
  const given = object(value, field)
  const unknown = Object.keys(given).find((name) => !Object.hasOwn(checks, name))
  if (unknown !== undefined) throw new TypeError(`${field}.${unknown}: is not a field of the policy`)
  for (const [name, check] of Object.entries(checks)) {
    if (given[name] === undefined) {
      throw new TypeError(`${field}.${name}: is missing; to accept anything, write 'any'`)
    }
    check(given[name], `${field}.${name}`)
  }
}

function fields(checks: { readonly [name: string]: Check }): Check {
  return (value, field) => checkFields(value, checks, field)
}

function setting(...settings: readonly string[]): Check {
  return (value, field) => {
    if (!settings.some((known) => known === value)) throw wrong(field, settings.join(' or '))
  }
}

function orAny(check: Check): Check {
  return (value, field) => {
    if (value !== 'any') check(value, field)
  }
}

function number(max: number): Check {
  return (value, field) => {
    if (!isInteger(value, max)) throw wrong(field, `an integer from 0 to ${max}`)
  }
}

function listOf(fits: (item: unknown) => boolean, what: string): Check {
  return (value, field) => {
    if (!Array.isArray(value) || !value.every(fits)) throw wrong(field, `a list of ${what}, or any`)
  }
}

function isInteger(value: unknown, max: number): boolean {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= max
}

function object(value: unknown, field: string): { readonly [name: string]: unknown } {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong(field, 'an object')
  return value as { readonly [name: string]: unknown }
}

function wrong(field: string, expected: string): TypeError {
  return new TypeError(`${field}: is not ${expected}`)
}
