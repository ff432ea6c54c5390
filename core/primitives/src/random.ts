import * as platform from '#platform'

/** `length` bytes of the platform's cryptographic generator. */
export function randomBytes(length: number): Uint8Array<ArrayBuffer> {
  return platform.randomBytes(length)
}

/** Compares secrets of equal length without a data-dependent branch; a RangeError when lengths differ. */
export function equalSecrets(a: Uint8Array, b: Uint8Array): boolean {
  return platform.equalSecrets(a, b)
}
