import type { AppraisalPolicy, ReferenceValue } from './policy.ts'
import { type Check, checkFields, listOf, number, object, orAny, refused, texts, wrong } from './policy-fields.ts'
import { teeNames } from './roots.ts'

const time = orAny((value, field) => {
  if (!Number.isSafeInteger(value)) throw wrong(field, 'unix seconds')
})
const referenceChecks: { readonly [Field in keyof ReferenceValue]: Check } = {
  measurements: (value, field) => {
    const values = Object.values(object(value, field))
    if (values.length === 0 || !values.every((item) => typeof item === 'string')) throw wrong(field, 'names with text')
  },
  notBefore: time,
  notAfter: time,
}

const commonChecks: { readonly [Field in keyof AppraisalPolicy]: Check } = {
  simulated: refused,
  boundaries: texts,
  measurements: orAny((value, field) => {
    listOf(() => true, 'reference values')(value, field)
    for (const [at, item] of (value as unknown[]).entries()) {
      if (typeof item !== 'string') checkFields(item, referenceChecks, `${field}[${at}]`)
    }
  }),
  reportData: orAny((value, field) => {
    if (!(value instanceof Uint8Array)) return checkFields(value, { binding: object }, field)
    if (value.length === 0 || value.length > 1024) throw wrong(field, '1 to 1024 bytes')
  }),
  hostData: texts,
  platformIds: texts,
  providers: texts,
  debug: refused,
  collateralDaysMax: orAny(number(36_500)),
  tees: (value, field) => {
    const unknown = Object.keys(object(value, field)).find((name) => !teeNames.some((tee) => tee === name))
    if (unknown !== undefined) throw new TypeError(`${field}.${unknown}: is no TEE that is known`)
  },
}

/** Throws TypeError naming the field that is missing, unknown or not of its kind. The parts for TEEs are their families'. */
export function checkPolicy(policy: AppraisalPolicy): void {
  checkFields(policy, commonChecks, 'policy')
}
