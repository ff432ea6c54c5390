import { constants, type Stats } from 'node:fs'
import { open, stat } from 'node:fs/promises'
import { createConnection } from 'node:net'
import { concatBytes } from '@cella/bytes'
import { TeeError } from '../error.ts'
import { errorName, within } from '../files.ts'
import { readAnswer, type TpmCommand, TpmRefusal } from './commands.ts'

const answerBytesMax = 4096
const tries = 5

/** A TPM that takes one command at a time. */
export interface Tpm {
  /** Throws TeeError. Sends again, at most four times, where the TPM says that this may help. */
  run<Answer>(command: TpmCommand<Answer>): Promise<Answer>
  close(): Promise<void>
}

/** The wire below: bytes out, the answer's bytes back. */
interface Wire {
  exchange(bytes: Uint8Array): Promise<Uint8Array>
  close(): Promise<void>
}

/**
 * Opens a TPM: the kernel's resource manager (/dev/tpmrm0), which takes a command in one write and gives the answer in
 * one read, or a unix socket that speaks the same bytes (swtpm). Each exchange has `timeoutMs`. Throws TeeError.
 */
export async function openTpm(path: string, timeoutMs: number): Promise<Tpm> {
  const wire = await openWire(path, timeoutMs)
  return {
    close: () => wire.close(),
    async run(command) {
      for (let attempt = 1; ; attempt++) {
        try {
          return readAnswer(command, await within(timeoutMs, `${path}: ${command.name}`, wire.exchange(command.bytes)))
        } catch (error) {
          if (!(error instanceof TpmRefusal) || !error.passing) throw told(path, error)
          if (attempt === tries)
            throw new TeeError('ERR_TEE_BUSY', `${path}: ${error.message} at every try`, { cause: error })
          await new Promise((resolve) => setTimeout(resolve, 4 ** attempt))
        }
      }
    },
  }
}

async function openWire(path: string, timeoutMs: number): Promise<Wire> {
  try {
    const status: Stats = await stat(path)
    return status.isSocket() ? await openSocket(path, timeoutMs) : await openDevice(path)
  } catch (error) {
    throw told(path, error)
  }
}

async function openDevice(path: string): Promise<Wire> {
  const device = await open(path, constants.O_RDWR)
  return {
    close: () => device.close(),
    async exchange(bytes) {
      const { bytesWritten } = await device.write(bytes, 0, bytes.length, null)
      if (bytesWritten !== bytes.length) {
        throw new TeeError('ERR_TEE_REFUSED', `${path}: took ${bytesWritten} of ${bytes.length} bytes`)
      }
      const answer = new Answer()
      while (!answer.complete) {
        const { bytesRead, buffer } = await device.read(new Uint8Array(answerBytesMax), 0, answerBytesMax, null)
        if (bytesRead === 0)
          throw new TeeError('ERR_TEE_MALFORMED', `${path}: the answer ended after ${answer.length} bytes`)
        answer.add(buffer.subarray(0, bytesRead))
      }
      return answer.bytes
    },
  }
}

async function openSocket(path: string, timeoutMs: number): Promise<Wire> {
  const socket = createConnection({ path })
  const connected = Promise.withResolvers<void>()
  socket.once('connect', () => connected.resolve())
  let fail: (error: Error) => void = connected.reject
  socket.on('error', (error) => fail(error))
  socket.on('close', () => fail(new TeeError('ERR_TEE_MALFORMED', `${path}: the connection closed before an answer`)))
  await within(timeoutMs, path, connected.promise)
  return {
    close: async () => {
      fail = () => undefined
      socket.destroy()
    },
    exchange(bytes) {
      const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>()
      const answer = new Answer()
      const onData = (part: Uint8Array): void => {
        try {
          answer.add(part)
          if (answer.complete) resolve(answer.bytes)
        } catch (error) {
          reject(error)
        }
      }
      fail = reject
      socket.on('data', onData)
      socket.write(bytes)
      return promise.finally(() => socket.off('data', onData))
    },
  }
}

/** The parts of an answer, until there are as many bytes as its header says. */
class Answer {
  bytes = new Uint8Array()

  get length(): number {
    return this.bytes.length
  }

  get complete(): boolean {
    return this.bytes.length >= 6 && this.bytes.length >= new DataView(this.bytes.buffer).getUint32(2)
  }

  add(part: Uint8Array): void {
    this.bytes = concatBytes(this.bytes, part)
    if (this.bytes.length > answerBytesMax) {
      throw new TeeError('ERR_TEE_MALFORMED', `the TPM’s answer has more than ${answerBytesMax} bytes`)
    }
  }
}

function told(path: string, error: unknown): Error {
  if (error instanceof TeeError) return error
  const name = errorName(error)
  const code = name === 'EBUSY' ? 'ERR_TEE_BUSY' : 'ERR_TEE_UNAVAILABLE'
  return new TeeError(code, `${path}: ${name}: the TPM can’t be used`, { cause: error })
}
