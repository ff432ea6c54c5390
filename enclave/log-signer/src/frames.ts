import type { Socket } from 'node:net'
import { concatBytes } from '@cella/bytes'

// A frame is its length, u32, and the bytes; that of an answer begins with its status, u16. One connection is asked one
// thing after the other, and who does not wait for an answer loses the connection.

/** Answers the frames of a connection, each of at most `bytesMax` bytes. */
export function answerFrames(
  socket: Socket,
  options: {
    bytesMax: number
    answer: (body: Uint8Array) => Promise<Uint8Array>
    refusal: (error: unknown) => { status: number; body: Uint8Array }
  },
): void {
  const { bytesMax, answer, refusal } = options
  let read: Buffer = Buffer.alloc(0)
  let isAnswering = false
  socket.setNoDelay(true)
  socket.on('error', () => socket.destroy())
  socket.on('data', (part: Buffer) => {
    read = read.length === 0 ? part : Buffer.concat([read, part])
    const length = read.length < 4 ? undefined : read.readUInt32BE(0)
    if (isAnswering || (length !== undefined && (length > bytesMax || read.length > 4 + length))) {
      socket.destroy()
      return
    }
    if (length === undefined || read.length < 4 + length) return
    const body = new Uint8Array(read.subarray(4))
    read = Buffer.alloc(0)
    isAnswering = true
    void answer(body)
      .then((bytes) => ({ status: 200, body: bytes }), refusal)
      .then(({ status, body }) => {
        isAnswering = false
        socket.write(frameOf(status, body))
      })
  })
}

function frameOf(status: number, body: Uint8Array): Uint8Array {
  const head = new DataView(new ArrayBuffer(6))
  head.setUint32(0, 2 + body.length)
  head.setUint16(4, status)
  return concatBytes(new Uint8Array(head.buffer), body)
}
