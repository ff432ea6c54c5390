import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { createConnection } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ByteReader, concatBytes, uint32Bytes } from '@cella/bytes'

// swtpm, a TPM 2.0 that somebody else wrote (Debian: apt-get install swtpm), and the commands that only whoever provisions a
// machine sends. TPM 2.0 Library Specification, part 3.

export const noSwtpm: string | false =
  spawnSync('swtpm', ['--version']).error === undefined ? false : 'swtpm is not installed'

/** A fresh TPM that takes commands on a unix socket; ended, with all its state, when `use` returns. */
export async function withSwtpm(use: (socket: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'cella-swtpm-'))
  const socket = join(folder, 'tpm')
  mkdirSync(join(folder, 'state'))
  const emulator = spawn(
    'swtpm',
    [
      ...['socket', '--tpm2', '--flags', 'not-need-init,startup-clear'],
      ...['--tpmstate', `dir=${join(folder, 'state')}`, '--server', `type=unixio,path=${socket}`],
      ...['--ctrl', `type=unixio,path=${join(folder, 'control')}`],
    ],
    { stdio: 'ignore' },
  )
  const ended = once(emulator, 'exit')
  try {
    while (!existsSync(socket) && emulator.exitCode === null) await sleep(10)
    await use(socket)
  } finally {
    emulator.kill('SIGKILL')
    await ended
    rmSync(folder, { recursive: true, force: true })
  }
}

const owner = 0x40000001
const uint16 = (value: number): Uint8Array => Uint8Array.of(value >> 8, value & 0xff)
const sized = (bytes: Uint8Array): Uint8Array => concatBytes(uint16(bytes.length), bytes)
const empty = uint16(0)
const sha256Id = uint16(0x0b)

/** Runs commands with empty passwords, one after the other, on one connection. Throws where the TPM refuses one. */
export async function provision<Value>(
  socket: string,
  work: (
    run: (code: number, handles: readonly number[], parameters: Uint8Array) => Promise<ByteReader>,
  ) => Promise<Value>,
): Promise<Value> {
  const connection = createConnection(socket)
  await once(connection, 'connect')
  try {
    return await work(async (code, handles, parameters) => {
      const session = concatBytes(uint32Bytes(0x40000009), empty, Uint8Array.of(0), empty)
      const body = concatBytes(...handles.map(uint32Bytes), uint32Bytes(session.length), session, parameters)
      connection.write(concatBytes(uint16(0x8002), uint32Bytes(10 + body.length), uint32Bytes(code), body))
      let answer = new Uint8Array()
      while (answer.length < 6 || answer.length < new DataView(answer.buffer).getUint32(2)) {
        const [part] = (await once(connection, 'data')) as [Uint8Array]
        answer = concatBytes(answer, part)
      }
      const reader = new ByteReader(answer)
      reader.take(6, 'header')
      const found = reader.uint32('response code')
      if (found !== 0) throw new Error(`command 0x${code.toString(16)}: 0x${found.toString(16)}`)
      return reader
    })
  } finally {
    connection.destroy()
  }
}

type Run = Parameters<Parameters<typeof provision>[1]>[0]

/** A restricted RSA-2048 signing key (RSASSA, SHA-256) at a persistent handle. Returns its modulus, 256 bytes. */
export async function makeAttestationKey(run: Run, handle: number): Promise<Uint8Array> {
  const publicArea = concatBytes(
    uint16(0x0001),
    sha256Id,
    // fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, sign.
    uint32Bytes(0x0005_0472),
    empty,
    uint16(0x0010),
    concatBytes(uint16(0x0014), sha256Id),
    uint16(2048),
    uint32Bytes(0),
    empty,
  )
  const parameters = concatBytes(sized(concatBytes(empty, empty)), sized(publicArea), empty, uint32Bytes(0))
  const created = await run(0x131, [owner], parameters)
  const transient = created.uint32('handle')
  created.uint32('parameter size')
  const area = new ByteReader(created.take(created.uint16('public'), 'public'))
  area.take(publicArea.length - 2, 'public area')
  const modulus = area.take(area.uint16('modulus'), 'modulus').slice()
  await run(0x120, [owner, transient], uint32Bytes(handle))
  return modulus
}

/** Defines an index for owner and password, and writes it in pieces. */
export async function fillIndex(run: Run, index: number, data: Uint8Array): Promise<void> {
  const area = concatBytes(uint32Bytes(index), sha256Id, uint32Bytes(0x0006_0006), empty, uint16(data.length))
  await run(0x12a, [owner], concatBytes(empty, sized(area)))
  for (let at = 0; at < data.length; at += 512) {
    await run(0x137, [owner, index], concatBytes(sized(data.subarray(at, at + 512)), uint16(at)))
  }
}

/** Extends the SHA-256 bank. */
export async function extendPcr(run: Run, pcr: number, digest: Uint8Array): Promise<void> {
  await run(0x182, [pcr], concatBytes(uint32Bytes(1), sha256Id, digest))
}
