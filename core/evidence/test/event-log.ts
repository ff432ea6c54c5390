import { createHash } from 'node:crypto'

/** Writes event logs for tests, as firmware does. */
export interface TestEvent {
  readonly register: number
  readonly type: number
  readonly data: Uint8Array
  /** By default the digest of `data`. */
  readonly digestOf?: Uint8Array
}

export const algorithmIds = { sha1: 4, sha256: 11, sha384: 12, sha512: 13, 'sm3-256': 18 } as const
export type TestAlgorithm = keyof typeof algorithmIds

export function digest(algorithm: string, bytes: Uint8Array): Uint8Array {
  // OpenSSL may lack SM3; no test looks at its digests.
  if (algorithm === 'sm3-256') return new Uint8Array(32)
  return Uint8Array.from(createHash(algorithm).update(bytes).digest())
}

export function u16(value: number): Uint8Array {
  return Uint8Array.of(value & 0xff, value >> 8)
}

export function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setUint32(0, value, true)
  return bytes
}

export function join(...parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(Buffer.concat(parts))
}

export function specId(
  algorithms: readonly TestAlgorithm[],
  change: { readonly [at: number]: number } = {},
): Uint8Array {
  const data = join(
    Buffer.from('Spec ID Event03\0'),
    u32(0),
    Uint8Array.of(0, 2, 105, 2),
    u32(algorithms.length),
    ...algorithms.flatMap((name) => [u16(algorithmIds[name]), u16(digest(name, new Uint8Array(0)).length)]),
    Uint8Array.of(2, 7, 7),
  )
  for (const [at, byte] of Object.entries(change)) data[Number(at)] = byte
  return data
}

export function legacyEvent({ register, type, data, digestOf }: TestEvent): Uint8Array {
  const sha1 = type === 3 ? new Uint8Array(20) : digest('sha1', digestOf ?? data)
  return join(u32(register), u32(type), sha1, u32(data.length), data)
}

export function agileEvent(event: TestEvent, algorithms: readonly TestAlgorithm[]): Uint8Array {
  const { register, type, data, digestOf } = event
  const digests = algorithms.flatMap((name) => {
    const value = digest(name, digestOf ?? data)
    return [u16(algorithmIds[name]), type === 3 ? value.fill(0) : value]
  })
  return join(u32(register), u32(type), u32(algorithms.length), ...digests, u32(data.length), data)
}

export function agileLog(algorithms: readonly TestAlgorithm[], events: readonly TestEvent[], first = 0): Uint8Array {
  return join(
    legacyEvent({ register: first, type: 3, data: specId(algorithms) }),
    ...events.map((event) => agileEvent(event, algorithms)),
  )
}

/** What a register holds after `digests` were extended into it. */
export function extended(algorithm: string, start: Uint8Array, digests: readonly Uint8Array[]): Uint8Array {
  return digests.reduce((value, next) => digest(algorithm, join(value, next)), start)
}
