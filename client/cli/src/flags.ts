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

/** Parser of a collector's address: no password in it, and no query, since `/v1/traces` comes after it. */
export function collectorOption(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const isHttp = url?.protocol === 'http:' || url?.protocol === 'https:'
  if (!isHttp || url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') {
    // Never repeated: it may hold a password.
    throw new UsageError('--traces or OTEL_EXPORTER_OTLP_ENDPOINT: not a plain http or https URL')
  }
  return url.href
}
