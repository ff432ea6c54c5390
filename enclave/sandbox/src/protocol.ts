import { uint32Bytes } from '@cella/bytes'
import { SandboxError } from './sandbox-error.ts'

/*
 * Between the worker and a runner: frames of a 5-byte header, u32 big-endian length of the payload and u8 type, over
 * two file descriptors (3 into the runner, 4 out of it).
 *
 *   worker → runner   1 job (JSON)   2 module   3 piece of the inputs, one after the other in their order
 *   runner → worker   16 ready (JSON)   17 piece of an output, u32 index first   18 stdout   19 stderr   20 end (JSON)
 */
export const frameType = {
  job: 1,
  module: 2,
  input: 3,
  ready: 16,
  output: 17,
  stdout: 18,
  stderr: 19,
  end: 20,
} as const
export const frameHeaderLength = 5
/** Pieces of files are cut to this. A module is one frame of its own size. */
export const frameBytesMax = 1024 * 1024

/** What the runner is told first. Names are those the program uses under /in and /out. */
export interface JobHeader {
  readonly args: readonly string[]
  /** Hex, 32 bytes. */
  readonly seed: string
  readonly inputs: readonly { readonly name: string; readonly length: number }[]
  readonly outputs: readonly { readonly name: string; readonly bytesMax: number }[]
  /** Decimal. */
  readonly fuel: string
  readonly memoryPages: number
  readonly callDepth: number
  readonly diagnosticsBytesMax: number
  readonly moduleBytesMax: number
  readonly inputKeptBytesMax: number
}

/** What a runner says of itself before it got anything: which permissions Node's permission model left it. */
export interface ReadyReport {
  readonly granted: readonly string[]
}

/** The last frame. Of this only `status` may reach the operator. */
export interface EndReport {
  readonly status: string
  readonly exitCode: number | null
  readonly trapText: string | null
  /** Decimal. */
  readonly fuelUsed: string
  readonly memoryPeakPages: number
}

export function frameHeader(type: number, length: number): Uint8Array {
  const header = new Uint8Array(frameHeaderLength)
  header.set(uint32Bytes(length))
  header[4] = type
  return header
}

/** The payload length and type of a header of 5 bytes. Throws ERR_FRAME_MALFORMED above `lengthMax`. */
export function parseFrameHeader(header: Uint8Array, lengthMax: number): { type: number; length: number } {
  const length = new DataView(header.buffer, header.byteOffset).getUint32(0)
  if (length > lengthMax)
    throw new SandboxError('ERR_FRAME_MALFORMED', `a frame of ${length} bytes, at most ${lengthMax}`)
  return { type: header[4]!, length }
}

/** Puts frames together again from the pieces a socket delivers. Frames above `frameBytesMax` + 4 are refused. */
export class FrameAssembler {
  readonly #onFrame: (type: number, payload: Uint8Array) => void
  readonly #header = new Uint8Array(frameHeaderLength)
  #headerFilled = 0
  #type = 0
  #payload: Uint8Array | undefined
  #payloadFilled = 0

  constructor(onFrame: (type: number, payload: Uint8Array) => void) {
    this.#onFrame = onFrame
  }

  push(piece: Uint8Array): void {
    let rest = piece
    while (rest.length > 0) {
      if (this.#payload === undefined) {
        const part = rest.subarray(0, frameHeaderLength - this.#headerFilled)
        this.#header.set(part, this.#headerFilled)
        this.#headerFilled += part.length
        rest = rest.subarray(part.length)
        if (this.#headerFilled < frameHeaderLength) return
        const { type, length } = parseFrameHeader(this.#header, frameBytesMax + 4)
        this.#type = type
        this.#payload = new Uint8Array(length)
        this.#payloadFilled = 0
      }
      const part = rest.subarray(0, this.#payload.length - this.#payloadFilled)
      this.#payload.set(part, this.#payloadFilled)
      this.#payloadFilled += part.length
      rest = rest.subarray(part.length)
      if (this.#payloadFilled === this.#payload.length) {
        const payload = this.#payload
        this.#payload = undefined
        this.#headerFilled = 0
        this.#onFrame(this.#type, payload)
      }
    }
  }
}
