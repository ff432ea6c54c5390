import type { Brand } from '@cella/bytes'
import { randomBytes } from '@cella/primitives'

/** Data encryption key, 32 bytes. In the clear only at the data owner and inside the enclave. */
export type Dek = Brand<Uint8Array, 'Dek'>

/** Bytes of a DEK. */
export const dekLength = 32

/** A fresh DEK from the platform's generator. */
export function generateDek(): Dek {
  return asDek(randomBytes(dekLength))
}

/** `bytes` as a DEK, in the same memory; a RangeError unless there are 32. Whether it is the right key shows on opening. */
export function asDek(bytes: Uint8Array): Dek {
  if (bytes.length !== dekLength) throw new RangeError(`a DEK has ${dekLength} bytes, not ${bytes.length}`)
  return bytes as Dek
}
