import { TeeError } from '../error.ts'

// ioctl(2) through node:ffi. Importing this file loads nothing: node:ffi is asked for at the first use, so that a process
// started with --no-experimental-ffi gets a TeeError and not a broken module.

/** ioctl(2) on an open descriptor: `argument` is the address of a structure. 0, or the errno of the call. */
type Ioctl = (descriptor: number, request: bigint, argument: bigint) => number

/** Memory that the kernel reads and writes, at an address that does not move while `bytes` is held. */
export interface PinnedMemory {
  readonly address: bigint
  readonly bytes: Uint8Array
}

export interface NativeCalls {
  readonly ioctl: Ioctl
  /** `length` zeros. Keep the result until the call is over: the address dies with it. */
  pin(length: number): PinnedMemory
}

/** Linux on x86-64 and AArch64, where a variadic function takes its arguments like any other. Throws TeeError. */
export async function nativeCalls(): Promise<NativeCalls> {
  if (process.platform !== 'linux' || !['x64', 'arm64'].includes(process.arch)) {
    throw new TeeError(
      'ERR_TEE_UNAVAILABLE',
      `no ioctl on ${process.platform}-${process.arch}: needs Linux on x64 or arm64`,
    )
  }
  let ffi: typeof import('node:ffi')
  try {
    // biome-ignore lint/correctness/noUnresolvedImports: a built-in module that is newer than the linter's list
    ffi = await import('node:ffi')
  } catch (cause) {
    const hint = 'node:ffi is switched off; start with the device build’s options'
    throw new TeeError('ERR_TEE_UNAVAILABLE', hint, { cause })
  }
  // The process itself: libc is linked into it.
  const { functions } = ffi.dlopen(null, {
    ioctl: { arguments: ['int32', 'uint64', 'pointer'], return: 'int32' },
    __errno_location: { arguments: [], return: 'pointer' },
  })
  return {
    ioctl(descriptor, request, argument) {
      const outcome = functions.ioctl(descriptor, request, argument)
      // Read at once: any other call of this thread may set it anew.
      const errno = ffi.getInt32(functions.__errno_location(), 0)
      return outcome === -1 ? errno : 0
    },
    pin(length) {
      // An ArrayBuffer of its own lies outside of V8's moving heap; small typed arrays may lie inside.
      const bytes = new Uint8Array(new ArrayBuffer(Math.max(length, 128)), 0, length)
      return { address: ffi.getRawPointer(bytes.buffer), bytes }
    },
  }
}

/** _IOWR(type, number, size) of <asm-generic/ioctl.h>. */
export function ioctlReadWrite(type: number, number: number, size: number): bigint {
  return (3n << 30n) | (BigInt(size) << 16n) | (BigInt(type) << 8n) | BigInt(number)
}

/** Names of the errors that these devices give, <asm-generic/errno.h>. */
const names: Readonly<Record<number, string>> = {
  4: 'EINTR',
  5: 'EIO',
  11: 'EAGAIN',
  12: 'ENOMEM',
  14: 'EFAULT',
  16: 'EBUSY',
  19: 'ENODEV',
  22: 'EINVAL',
  25: 'ENOTTY',
  28: 'ENOSPC',
  90: 'EMSGSIZE',
  110: 'ETIMEDOUT',
}

export function errnoName(errno: number): string {
  return names[errno] ?? `errno ${errno}`
}
