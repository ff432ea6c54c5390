import { canonicalJson, concatBytes, encodeUtf8 } from '@cella/bytes'

/** What a worker says each time it asks for a run. */
export interface WorkerPoll {
  readonly worker: string
  /** The `pollKey` of its answers to challenges: Ed25519, base64url of 32 bytes. */
  readonly key: string
  /** Counts up from 1 under one key, so that no poll is good twice. */
  readonly poll: number
}

/** What the key signs: label ‖ 0x00 ‖ canonical JSON. docs/protocol.md */
export function workerPollBytes({ worker, key, poll }: WorkerPoll): Uint8Array {
  return concatBytes(encodeUtf8('cella/v1/worker-poll\u0000'), encodeUtf8(canonicalJson({ worker, key, poll })))
}
