/** Digests that TCG logs and registers use. SM3 and SHA-3 digests are read and can't be replayed. */
export type LogAlgorithm = 'sha1' | 'sha256' | 'sha384' | 'sha512' | 'sm3-256' | 'sha3-256' | 'sha3-384' | 'sha3-512'

interface LogAlgorithmInfo {
  readonly name: LogAlgorithm
  /** Bytes of a digest. */
  readonly length: number
}

/** TPM_ALG_ID of hashes. TCG Algorithm Registry §6.10. */
export const logAlgorithms: Readonly<Record<number, LogAlgorithmInfo>> = {
  4: { name: 'sha1', length: 20 }, // 0x0004
  11: { name: 'sha256', length: 32 }, // 0x000b
  12: { name: 'sha384', length: 48 }, // 0x000c
  13: { name: 'sha512', length: 64 }, // 0x000d
  18: { name: 'sm3-256', length: 32 }, // 0x0012
  39: { name: 'sha3-256', length: 32 }, // 0x0027
  40: { name: 'sha3-384', length: 48 }, // 0x0028
  41: { name: 'sha3-512', length: 64 }, // 0x0029
}

/** TCG PC Client Platform Firmware Profile §10.4.1, the types that this code treats on their own. */
export const eventType = { noAction: 0x03, separator: 0x04 } as const

/** One measurement as the firmware or boot loader wrote it down. */
export interface LoggedEvent {
  /**
   * PCR number (0 to 23) in a TPM log, measurement register index (1 to 4: RTMR0 to RTMR3) in a CC log. Events of type
   * EV_NO_ACTION were extended nowhere and may have any.
   */
  readonly register: number
  readonly type: number
  readonly digests: ReadonlyMap<LogAlgorithm, Uint8Array>
  /** What the event says about itself. Replay does not prove it: `measuredData` tells where the digest covers it. */
  readonly data: Uint8Array
}

/** A log as it was read. Nothing proves it until its replay equals registers that a signature covers. */
export interface EventLog {
  readonly kind: 'tpm' | 'cc'
  /** What each event has a digest of. */
  readonly algorithms: readonly LogAlgorithm[]
  readonly events: readonly LoggedEvent[]
}
