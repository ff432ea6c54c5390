import type { SnpPolicy } from '../policy.ts'
import {
  type Check,
  checkFields,
  fields,
  isInteger,
  listOf,
  number,
  object,
  orAny,
  refused,
  required,
  texts,
  wrong,
} from '../policy-fields.ts'
import { snpTcbComponents } from './tcb.ts'

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
export function checkSnpPolicy(policy: unknown, field: string): void {
  checkFields(policy, snpChecks, field)
}
