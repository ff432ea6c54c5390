import { closeSync, openSync } from 'node:fs'

// A pseudo-terminal in raw mode: a character device with two ends, to stand in for one that is read and written.

/** Flags of struct termios that make a terminal pass every byte as it is (cfmakeraw), Linux. */
export async function openRawPty(): Promise<{ master: number; slave: string; close(): void }> {
  // biome-ignore lint/correctness/noUnresolvedImports: a built-in module that is newer than the linter's list
  const ffi = await import('node:ffi')
  const { functions } = ffi.dlopen(null, {
    posix_openpt: { arguments: ['int32'], return: 'int32' },
    grantpt: { arguments: ['int32'], return: 'int32' },
    unlockpt: { arguments: ['int32'], return: 'int32' },
    ptsname: { arguments: ['int32'], return: 'pointer' },
    tcgetattr: { arguments: ['int32', 'pointer'], return: 'int32' },
    cfmakeraw: { arguments: ['pointer'], return: 'void' },
    tcsetattr: { arguments: ['int32', 'int32', 'pointer'], return: 'int32' },
  })
  // O_RDWR | O_NOCTTY
  const master = functions.posix_openpt(0o402)
  if (master < 0 || functions.grantpt(master) !== 0 || functions.unlockpt(master) !== 0) throw new Error('no pty')
  const slave = ffi.toString(functions.ptsname(master))!
  // Kept open, so that the terminal stays raw between two openings of the device under test.
  const kept = openSync(slave, 'r+')
  const termios = new ArrayBuffer(256)
  const address = ffi.getRawPointer(termios)
  functions.tcgetattr(kept, address)
  functions.cfmakeraw(address)
  functions.tcsetattr(kept, 0, address)
  return {
    master,
    slave,
    close() {
      closeSync(kept)
      closeSync(master)
    },
  }
}
