import { close, constants, open } from 'node:fs'
import { promisify } from 'node:util'
import { TeeError } from '../error.ts'
import { errorName } from '../files.ts'

const tries = 5
const passing: readonly string[] = ['EBUSY', 'EAGAIN', 'EINTR']

/** What a device's call ended with: done, or an errno's name and what it means. */
export type Outcome<T> = { readonly value: T } | { readonly errno: string; readonly why: string }

/**
 * Opens `path`, runs `call` with its descriptor and closes it. EBUSY, EAGAIN and EINTR are tried again, four times. The
 * call blocks this thread as long as the device does. Throws TeeError.
 */
export async function withDevice<T>(path: string, call: (descriptor: number) => Outcome<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    const outcome = await once(path, call)
    if ('value' in outcome) return outcome.value
    const message = `${path}: ${outcome.errno}: ${outcome.why}`
    if (!passing.includes(outcome.errno)) throw new TeeError(codeOf(outcome.errno), message)
    if (attempt === tries) throw new TeeError('ERR_TEE_BUSY', `${message}, at every try`)
    await new Promise((resolve) => setTimeout(resolve, 4 ** attempt))
  }
}

async function once<T>(path: string, call: (descriptor: number) => Outcome<T>): Promise<Outcome<T>> {
  let descriptor: number
  try {
    descriptor = await promisify(open)(path, constants.O_RDWR)
  } catch (cause) {
    const name = errorName(cause)
    if (passing.includes(name)) return { errno: name, why: 'another process holds the device' }
    throw new TeeError('ERR_TEE_UNAVAILABLE', `${path}: ${name}: can’t be opened`, { cause })
  }
  try {
    return call(descriptor)
  } finally {
    await promisify(close)(descriptor)
  }
}

function codeOf(errno: string): 'ERR_TEE_UNAVAILABLE' | 'ERR_TEE_TIMEOUT' | 'ERR_TEE_REFUSED' {
  if (errno === 'ENOTTY' || errno === 'ENODEV') return 'ERR_TEE_UNAVAILABLE'
  return errno === 'ETIMEDOUT' ? 'ERR_TEE_TIMEOUT' : 'ERR_TEE_REFUSED'
}
