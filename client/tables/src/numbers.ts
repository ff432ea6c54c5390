// Numbers as people write them. Looked at character by character: these questions are asked of every cell.

/** What a text is: no number, digits only, with a point, or with an exponent. */
const noNumber = 0
const digitsOnly = 1
const withPoint = 2
const withExponent = 3

const zero = 0x30
const nine = 0x39
const plus = 0x2b
const dash = 0x2d
const dot = 0x2e

/** Whether `text`, of at most 64 characters, is a 64-bit integer. A leading zero makes a code of it ("01069" is a post code). */
export function fitsInteger(text: string): boolean {
  if (shapeOf(text) !== digitsOnly) return false
  const digits = text.length - (isSign(text.charCodeAt(0)) ? 1 : 0)
  if (digits <= 18) return true
  if (digits > 19) return false
  const value = bigintOf(text)
  return BigInt.asIntN(64, value) === value
}

/** The canonical text of an integer. */
export function integer(text: string): string | undefined {
  if (!fitsInteger(text)) return undefined
  const first = text.charCodeAt(0)
  return first === plus || (first === dash && text.charCodeAt(1) === zero) ? String(bigintOf(text)) : text
}

/**
 * Whether `text`, of at most 64 characters, is a finite number. `exact` numbers come from a file that says that they are
 * numbers; a bare long row of digits is a code.
 */
export function fitsNumber(text: string, exact: boolean): boolean {
  switch (shapeOf(text)) {
    case noNumber:
      return false
    case digitsOnly:
      return exact || text.length <= 15 || Number.isSafeInteger(Number(text))
    case withExponent:
      return Number.isFinite(Number(text))
    default:
      return true
  }
}

/** The canonical text of a number: what its double prints as. */
export function number(text: string, exact: boolean): string | undefined {
  if (!fitsNumber(text, exact)) return undefined
  return shortDecimal(text) ?? String(Number(text) + 0)
}

/** Whether `text`, of at most 64 characters, is a number with a comma for its point, or none. */
export function fitsNumberComma(text: string): boolean {
  if (!text.includes(',')) return shapeOf(text) === digitsOnly && fitsNumber(text, false)
  return /^[+-]?\d+,\d+$/.test(text) && fitsNumber(text.replace(',', '.'), false)
}

/**
 * A plain decimal of at most 15 digits without needless zeros is what its double prints as, since 15 digits survive the
 * way through one; `undefined` where it takes more to know.
 */
function shortDecimal(text: string): string | undefined {
  let end = text.length
  if (end > 16) return undefined
  const start = text.charCodeAt(0) === dash ? 1 : 0
  const first = text.charCodeAt(start)
  if (!isDigit(first)) return undefined
  let point = start + 1
  while (point < end && isDigit(text.charCodeAt(point))) point++
  if (point === end) {
    return end - start <= 15 && !(first === zero && start === 1) ? text : undefined
  }
  if (text.charCodeAt(point) !== dot) return undefined
  // Small numbers may need an exponent, and minus zero has no sign.
  if (first === zero && !(text.charCodeAt(point + 1) > zero)) return undefined
  for (let at = point + 1; at < end; at++) if (!isDigit(text.charCodeAt(at))) return undefined
  while (text.charCodeAt(end - 1) === zero) end--
  if (end - 1 === point) end--
  return end - start <= 16 ? text.slice(0, end) : undefined
}

/** `[+-]` and `0`, `12`, `1.5`, `1.`, `.5`, then perhaps `e`, `[+-]` and digits. */
function shapeOf(text: string): number {
  const { length } = text
  let at = isSign(text.charCodeAt(0)) ? 1 : 0
  const start = at
  while (at < length && isDigit(text.charCodeAt(at))) at++
  const whole = at - start
  if (whole > 1 && text.charCodeAt(start) === zero) return noNumber
  let shape = digitsOnly
  if (at < length && text.charCodeAt(at) === dot) {
    const fraction = ++at
    while (at < length && isDigit(text.charCodeAt(at))) at++
    if (whole === 0 && at === fraction) return noNumber
    shape = withPoint
  } else if (whole === 0) {
    return noNumber
  }
  if (at === length) return shape
  // `e` or `E`.
  if ((text.charCodeAt(at) | 0x20) !== 0x65) return noNumber
  at++
  if (isSign(text.charCodeAt(at))) at++
  const exponent = at
  while (at < length && isDigit(text.charCodeAt(at))) at++
  return at === length && at > exponent ? withExponent : noNumber
}

function bigintOf(text: string): bigint {
  return BigInt(text.startsWith('+') ? text.slice(1) : text)
}

function isSign(unit: number): boolean {
  return unit === dash || unit === plus
}

function isDigit(unit: number): boolean {
  return unit >= zero && unit <= nine
}
