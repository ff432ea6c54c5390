import { FormatError } from '@cella/bytes'
import { type CborItem, cborInteger } from '@cella/cbor'

/** What the high byte of a security lifecycle says. RFC 9783 §4.3.1; RMM specification A7.2.3.2.6 has the same values. */
const states = [
  'unknown',
  'assembly-and-test',
  'rot-provisioning',
  'secured',
  'non-rot-debug',
  'recoverable-rot-debug',
  'decommissioned',
] as const

export type ArmLifecycleState = (typeof states)[number]
export const armLifecycleStates: readonly ArmLifecycleState[] = states

export interface ArmLifecycle {
  /** The claim, 0 to 0x60ff: its low byte is the implementation's. */
  readonly value: number
  readonly state: ArmLifecycleState
}

/** The security lifecycle claim; a value outside the ranges of the specification throws FormatError. */
export function lifecycleOf(item: CborItem | undefined, field: string): ArmLifecycle {
  const value = cborInteger(item, field, { max: 0xffff })
  // 0xs0xx: the state is the highest digit, and the digit below it is zero.
  const state = (value & 0x0f00) === 0 ? states[value >> 12] : undefined
  if (state === undefined)
    throw new FormatError(field, `is 0x${value.toString(16).padStart(4, '0')}, which no state has`)
  return { value, state }
}

/** Whether someone may look into a world of the device: its own software or its root of trust. */
export function isDebugState(state: ArmLifecycleState): boolean {
  return state === 'non-rot-debug' || state === 'recoverable-rot-debug'
}
