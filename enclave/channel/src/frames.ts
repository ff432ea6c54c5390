import type { Duplex } from 'node:stream'
import { canonicalJson, concatBytes, decodeUtf8, encodeUtf8, uint32Bytes } from '@cella/bytes'
import type { z } from 'zod'
import { ChannelError } from './error.ts'

const silentMsMax = 30_000

/** Messages over a stream: length (u32), JSON. Each is asked for with its form and the most bytes it may have. */
export class Frames {
  readonly #stream: Duplex
  #chunks: Uint8Array[] = []
  #length = 0
  #ended: Error | undefined
  #wake: () => void = () => undefined

  constructor(stream: Duplex) {
    this.#stream = stream
    stream.on('data', (chunk: Uint8Array) => {
      this.#chunks.push(chunk)
      this.#length += chunk.length
      // What was not asked for yet waits in the sender's window.
      stream.pause()
      this.#wake()
    })
    const end = (error?: Error): void => {
      this.#ended ??= error ?? new Error('it ended')
      this.#wake()
    }
    stream.on('error', end)
    stream.on('close', () => end())
  }

  send(message: unknown): void {
    const bytes = encodeUtf8(canonicalJson(message))
    this.#stream.write(concatBytes(uint32Bytes(bytes.length), bytes))
  }

  /** Throws ERR_PEER_MALFORMED, ERR_PEER_UNAVAILABLE. */
  async receive<Shape>(schema: z.ZodType<Shape>, bytesMax: number): Promise<Shape> {
    const head = await this.#take(4)
    const length = new DataView(head.buffer, head.byteOffset, 4).getUint32(0)
    if (length > bytesMax) throw malformed(`a message of ${length} bytes, at most ${bytesMax} are read`)
    const bytes = await this.#take(length)
    let json: unknown
    try {
      json = JSON.parse(decodeUtf8(bytes, 'message'))
    } catch (cause) {
      throw malformed('a message that is not JSON', cause)
    }
    const parsed = schema.safeParse(json)
    if (parsed.success) return parsed.data
    throw malformed(`a message of another form: ${parsed.error.issues[0]?.path.join('.')}`)
  }

  async #take(length: number): Promise<Uint8Array> {
    const deadline = performance.now() + silentMsMax
    while (this.#length < length) {
      if (this.#ended !== undefined) {
        throw new ChannelError('ERR_PEER_UNAVAILABLE', 'the other side ended the connection', { cause: this.#ended })
      }
      const left = deadline - performance.now()
      if (left <= 0) throw new ChannelError('ERR_PEER_UNAVAILABLE', `nothing came in ${silentMsMax / 1000} s`)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left)
        this.#wake = () => {
          clearTimeout(timer)
          resolve()
        }
        this.#stream.resume()
      })
    }
    const all = concatBytes(...this.#chunks)
    const rest = all.subarray(length)
    this.#chunks = rest.length === 0 ? [] : [rest]
    this.#length = rest.length
    return all.subarray(0, length)
  }
}

function malformed(what: string, cause?: unknown): ChannelError {
  return new ChannelError('ERR_PEER_MALFORMED', `the other side sent ${what}`, { cause })
}
