import { read } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { decodeUtf8, encodeUtf8, Secret } from '@cella/bytes'
import { KeystoreError } from './error.ts'

const passphraseBytesMax = 1024
const enter = [0x0a, 0x0d]
const backspace = [0x08, 0x7f]
const endOfInput = 0x04
const interrupt = 0x03

/** What a terminal's input has to offer: `process.stdin` does. */
export interface TerminalInput extends AsyncIterable<Uint8Array | string> {
  readonly isTTY?: boolean
  setRawMode?(raw: boolean): unknown
  iterator?(options: { destroyOnReturn: boolean }): AsyncIterable<Uint8Array | string>
  pause?(): unknown
}

export type PassphraseSource =
  /** The first line of an open file descriptor. */
  | { readonly fd: number }
  /** Asked for on the terminal without echo; with `confirm`, twice. */
  | {
      readonly prompt: string
      readonly confirm?: string
      readonly input?: TerminalInput
      readonly output?: { write(text: string): unknown }
    }

/**
 * A passphrase, as UTF-8 of its NFC form (keyboards differ). There is no way to give one as an argument or in the
 * environment: other processes can read both. Throws KeystoreError ERR_PASSPHRASE_….
 */
export async function readPassphrase(source: PassphraseSource): Promise<Secret> {
  if ('fd' in source) return normalized(await readLine(source.fd))
  const { input = process.stdin, output = process.stderr } = source
  if (input.isTTY !== true || input.setRawMode === undefined) {
    throw new KeystoreError(
      'ERR_PASSPHRASE_UNAVAILABLE',
      'there is no terminal to ask on; give the passphrase by a file descriptor',
    )
  }
  input.setRawMode(true)
  const keys = keystrokes(input)
  try {
    const passphrase = await ask(source.prompt, keys, output)
    if (source.confirm === undefined) return normalized(passphrase)
    const again = await ask(source.confirm, keys, output)
    const same = passphrase.length === again.length && passphrase.every((byte, index) => byte === again[index])
    again.fill(0)
    if (!same) throw new KeystoreError('ERR_PASSPHRASE_DIFFERS', 'the two passphrases differ; try again')
    return normalized(passphrase)
  } finally {
    input.setRawMode(false)
    await keys.return()
    // A stream that still flows would keep the process alive.
    input.pause?.()
  }
}

async function* keystrokes(input: TerminalInput): AsyncGenerator<number, void, undefined> {
  // The terminal stays open: there may be another question.
  const pieces = input.iterator?.({ destroyOnReturn: false }) ?? input
  for await (const piece of pieces) yield* typeof piece === 'string' ? encodeUtf8(piece) : piece
}

async function ask(
  prompt: string,
  keys: AsyncGenerator<number, void, undefined>,
  output: { write(text: string): unknown },
): Promise<Uint8Array> {
  output.write(prompt)
  const typed: number[] = []
  for (;;) {
    const { value: key, done } = await keys.next()
    if (done || key === interrupt || (key === endOfInput && typed.length === 0)) {
      output.write('\n')
      throw new KeystoreError('ERR_PASSPHRASE_CANCELLED', 'no passphrase was entered')
    }
    if (enter.includes(key) || key === endOfInput) break
    if (backspace.includes(key)) removeLastCharacter(typed)
    else if (typed.length < passphraseBytesMax) typed.push(key)
  }
  output.write('\n')
  return Uint8Array.from(typed)
}

/** UTF-8: continuation bytes are 10xxxxxx. */
function removeLastCharacter(typed: number[]): void {
  let byte = typed.pop()
  while (byte !== undefined && (byte & 0xc0) === 0x80) byte = typed.pop()
}

async function readLine(fd: number): Promise<Uint8Array> {
  // One byte more than a passphrase and its line end, to see that there is no more.
  const buffer = new Uint8Array(passphraseBytesMax + 3)
  let filled = 0
  while (filled < buffer.length && !buffer.subarray(0, filled).includes(0x0a)) {
    const count = await readSome(fd, buffer.subarray(filled))
    if (count === 0) break
    filled += count
  }
  const newline = buffer.subarray(0, filled).indexOf(0x0a)
  let end = newline === -1 ? filled : newline
  if (newline > 0 && buffer[newline - 1] === 0x0d) end--
  const line = buffer.slice(0, end)
  buffer.fill(0)
  if (line.length === 0 || line.length > passphraseBytesMax) {
    throw new KeystoreError(
      'ERR_PASSPHRASE_UNAVAILABLE',
      `file descriptor ${fd} has no line of 1 to ${passphraseBytesMax} bytes`,
    )
  }
  return line
}

async function readSome(fd: number, target: Uint8Array): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  read(fd, target, 0, target.length, null, (error, count) => (error ? reject(error) : resolve(count)))
  try {
    return await promise
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
    if (code === 'EOF') return 0
    if (code !== 'EAGAIN') {
      throw new KeystoreError('ERR_PASSPHRASE_UNAVAILABLE', `file descriptor ${fd} can't be read`, { cause })
    }
    // The other end set the pipe to non-blocking.
    await delay(10)
    return readSome(fd, target)
  }
}

function normalized(bytes: Uint8Array): Secret {
  let text: string
  try {
    text = decodeUtf8(bytes, 'passphrase')
  } catch {
    throw new KeystoreError('ERR_PASSPHRASE_UNAVAILABLE', 'the passphrase is not UTF-8')
  } finally {
    bytes.fill(0)
  }
  if (text.length === 0) throw new KeystoreError('ERR_PASSPHRASE_CANCELLED', 'no passphrase was entered')
  return new Secret(encodeUtf8(text.normalize('NFC')))
}
