// A policy often comes out of a document: what a type promises is looked at again, because a field that was left out, or
// a number that is none, would compare as acceptable.

/** Throws TypeError when `value` is not what `field` may hold. */
export type Check = (value: unknown, field: string) => void
export type Checks = { readonly [name: string]: Check }

/** Throws TypeError naming the field that is missing, unknown or not of its kind. */
export function checkFields(value: unknown, checks: Checks, field: string): void {
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

/** An object with exactly these fields. */
export function fields(checks: Checks): Check {
  return (value, field) => checkFields(value, checks, field)
}

/** One of these words. */
export function setting(...settings: readonly string[]): Check {
  return (value, field) => {
    if (!settings.some((known) => known === value)) throw wrong(field, settings.join(' or '))
  }
}

/** `check`, or the word `any`. */
export function orAny(check: Check): Check {
  return (value, field) => {
    if (value !== 'any') check(value, field)
  }
}

/** An integer from 0 to `max`. */
export function number(max: number): Check {
  return (value, field) => {
    if (!isInteger(value, max)) throw wrong(field, `an integer from 0 to ${max}`)
  }
}

/** A list whose items fit. */
export function listOf(fits: (item: unknown) => boolean, what: string): Check {
  return (value, field) => {
    if (!Array.isArray(value) || !value.every(fits)) throw wrong(field, `a list of ${what}, or any`)
  }
}

export function isInteger(value: unknown, max: number): boolean {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= max
}

/** `value` as an object, or TypeError. */
export function object(value: unknown, field: string): { readonly [name: string]: unknown } {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong(field, 'an object')
  return value as { readonly [name: string]: unknown }
}

/** The TypeError that names what was expected of `field`. */
export function wrong(field: string, expected: string): TypeError {
  return new TypeError(`${field}: is not ${expected}`)
}

export const refused: Check = setting('refused', 'any')
export const required: Check = setting('required', 'any')
/** A list of text, or `any`. */
export const texts: Check = orAny(listOf((item) => typeof item === 'string', 'text'))
