/** What a bench reports: one measured value, as a ratio to a peer measured in the same run. */
export interface Figure {
  readonly bench: string
  readonly value: number
  readonly unit: string
  /** The peer, and its own value where that helps. */
  readonly against: string
  /** `value` to the peer. NaN where the peer could not be measured, for example because it is not installed. */
  readonly ratio: number
  readonly target: number
  readonly met: boolean
}
