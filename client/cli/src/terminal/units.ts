const steps = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const

/** `bytes` in the largest binary unit that keeps it at 1 or above. */
export function formatBytes(bytes: number): string {
  let value = bytes
  let step = 0
  while (value >= 1024 && step < steps.length - 1) {
    value /= 1024
    step++
  }
  return `${step === 0 ? Math.round(value) : value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)} ${steps[step]}`
}

/** `1 row`, `2 rows`; `many` for words whose plural is another than with an s. */
export function formatCount(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`
}

/** `seconds` as people say them: `0.4 s`, `12 s`, `3 min 5 s`, `2 h 4 min`. */
export function formatSeconds(seconds: number): string {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`
}

/** Seconds since 1970 as `2026-11-21 09:30:00 UTC`; the last second that a document can name as `no end`. */
export function formatTime(seconds: number): string {
  if (seconds >= 253_402_300_799) return 'no end'
  return `${new Date(seconds * 1000).toISOString().slice(0, 19).replace('T', ' ')} UTC`
}

/** The first twelve digits of a digest: for people, never for a decision. */
export function shortDigest(digest: string): string {
  return digest.slice(0, 12)
}
