import { UsageError } from './error.ts'

/** Adds each value to a list. */
export function collect(value: string, previous: readonly string[] | undefined): readonly string[] {
  return [...(previous ?? []), value]
}

/** Parser of a whole number of at least `min`. */
export function integerOption(what: string, min: number): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (!/^\d{1,15}$/.test(text) || !Number.isSafeInteger(value) || value < min) {
      throw new UsageError(`${what}: “${text}” is not a whole number of at least ${min}`)
    }
    return value
  }
}
