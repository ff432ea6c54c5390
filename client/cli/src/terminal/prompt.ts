import { readSync } from 'node:fs'
import { createInterface } from 'node:readline/promises'
import type { ReadStream } from 'node:tty'
import { UsageError } from '../error.ts'

const passphraseBytesMax = 4096

/** Yes or no; anything but `y` and `yes` is no. Without a terminal it refuses and names the flag that answers. */
export async function confirm(
  question: string,
  streams: { stdin: NodeJS.ReadStream; stderr: NodeJS.WriteStream },
): Promise<boolean> {
  if (!streams.stdin.isTTY) {
    throw new UsageError(
      'this command asks before it acts, and there is no terminal to ask on',
      'add --yes if you mean it',
    )
  }
  const lines = createInterface({ input: streams.stdin, output: streams.stderr })
  try {
    const answer = await lines.question(`${question} [y/N] `)
    return /^y(es)?$/i.test(answer.trim())
  } finally {
    lines.close()
  }
}

/**
 * The passphrase from file descriptor `fd`: all of it up to its end, without one final line end. Never from an argument
 * or the environment, which other processes can read.
 */
export function passphraseFromDescriptor(fd: number): string {
  const buffer = new Uint8Array(passphraseBytesMax + 1)
  let length = 0
  try {
    while (length < buffer.length) {
      const count = readSync(fd, buffer, length, buffer.length - length, null)
      if (count === 0) break
      length += count
    }
  } catch (cause) {
    throw new UsageError(
      `file descriptor ${fd} can't be read`,
      'give the number of an open descriptor: --passphrase-fd 3 3<file',
      {
        cause,
      },
    )
  }
  if (length > passphraseBytesMax) throw new UsageError(`the passphrase has more than ${passphraseBytesMax} bytes`)
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(buffer.subarray(0, length))
  } catch (cause) {
    throw new UsageError('the passphrase is not UTF-8', undefined, { cause })
  } finally {
    buffer.fill(0)
  }
  return text.replace(/\r?\n$/, '')
}

/** Asks for a passphrase on the controlling terminal without showing it. */
export async function askPassphrase(
  question: string,
  streams: { stdin: NodeJS.ReadStream; stderr: NodeJS.WriteStream },
): Promise<string> {
  const { stdin, stderr } = streams
  if (!stdin.isTTY) {
    throw new UsageError(
      'a passphrase is needed, and there is no terminal to ask on',
      'give it on a file descriptor: --passphrase-fd 3 3<file',
    )
  }
  stderr.write(question)
  try {
    return await readHidden(stdin as ReadStream)
  } finally {
    stderr.write('\n')
  }
}

function readHidden(terminal: ReadStream): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = ''
    terminal.setRawMode(true)
    terminal.setEncoding('utf8')
    terminal.resume()
    const finish = (settle: () => void): true => {
      terminal.off('data', read)
      terminal.setRawMode(false)
      terminal.pause()
      settle()
      return true
    }
    const read = (chunk: string): true | undefined => {
      for (const character of chunk) {
        if (character === '\r' || character === '\n' || character === '\u0004') return finish(() => resolve(text))
        if (character === '\u0003') return finish(() => reject(new UsageError('stopped')))
        if (character === '\u007f' || character === '\b') text = [...text].slice(0, -1).join('')
        else text += character
      }
      return undefined
    }
    terminal.on('data', read)
  })
}
