import { request as httpRequest } from 'node:http'
import type { Socket } from 'node:net'
import { concatBytes } from '@cella/bytes'
import { signStreamProtocol } from '@cella/log'
import type { HttpAnswer } from './http-post.ts'

// What is asked for each checkpoint goes over one kept connection, in frames: length u32, then the bytes. An answer begins
// with its status, u16. docs/formats/log-signer.md.

const frameBytesMax = 65_536

interface Asked {
  readonly resolve: (answer: HttpAnswer) => void
  readonly reject: (error: Error) => void
}

/** One connection to a signer, made when it is needed, on which one question after the other is answered. */
export class SignStream {
  readonly #url: string
  readonly #timeoutMs: number
  #socket: Socket | undefined
  #asked: Asked | undefined
  #read: Buffer = Buffer.alloc(0)

  constructor(url: string, timeoutMs: number) {
    this.#url = url
    this.#timeoutMs = timeoutMs
  }

  /** Rejects when nobody answers in time or the connection ends; the next question makes another. One at a time. */
  async ask(body: Uint8Array): Promise<HttpAnswer> {
    if (this.#asked !== undefined) throw new Error('SignStream: one question at a time')
    const socket = this.#socket ?? (await this.#connect())
    return new Promise((resolve, reject) => {
      this.#asked = { resolve, reject }
      const length = new Uint8Array(4)
      new DataView(length.buffer).setUint32(0, body.length)
      socket.ref()
      socket.setTimeout(this.#timeoutMs)
      socket.write(concatBytes(length, body))
    })
  }

  async #connect(): Promise<Socket> {
    const socket = await upgraded(this.#url, this.#timeoutMs)
    this.#socket = socket
    this.#read = Buffer.alloc(0)
    socket.setNoDelay(true)
    socket.on('data', (part: Buffer) => this.#take(part))
    socket.on('timeout', () => socket.destroy(new Error(`${this.#url} does not answer in time`)))
    socket.on('error', (error) => this.#end(socket, error))
    socket.on('close', () => this.#end(socket, new Error(`${this.#url} closed the connection`)))
    return socket
  }

  #take(part: Buffer): void {
    this.#read = this.#read.length === 0 ? part : Buffer.concat([this.#read, part])
    if (this.#read.length < 4) return
    const length = this.#read.readUInt32BE(0)
    const asked = this.#asked
    if (asked === undefined || length < 2 || length > frameBytesMax || this.#read.length > 4 + length) {
      this.#socket?.destroy(new Error(`${this.#url} answers out of protocol`))
      return
    }
    if (this.#read.length < 4 + length) return
    const status = this.#read.readUInt16BE(4)
    const body = new Uint8Array(this.#read.subarray(6))
    this.#read = Buffer.alloc(0)
    this.#asked = undefined
    this.#socket?.setTimeout(0)
    // A kept connection keeps no process alive.
    this.#socket?.unref()
    asked.resolve({ status, type: undefined, body })
  }

  #end(socket: Socket, error: Error): void {
    if (this.#socket !== socket) return
    this.#socket = undefined
    this.#asked?.reject(error)
    this.#asked = undefined
  }
}

function upgraded(url: string, timeoutMs: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(`${url}/sign`, {
      headers: { Connection: 'Upgrade', Upgrade: signStreamProtocol },
      agent: false,
      timeout: timeoutMs,
    })
    request.once('timeout', () => request.destroy(new Error(`${url} does not answer in time`)))
    request.once('upgrade', (_response, socket, head) => {
      if (head.length === 0) resolve(socket as Socket)
      else reject(new Error(`${url} answers before it is asked`))
    })
    request.once('response', (response) => {
      response.resume()
      reject(new Error(`${url} answers ${response.statusCode} to the protocol ${signStreamProtocol}`))
    })
    request.once('error', reject)
    request.end()
  })
}
