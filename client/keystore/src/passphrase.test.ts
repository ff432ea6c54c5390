import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { after, test } from 'node:test'
import { decodeUtf8, type Secret } from '@cella/bytes'
import { readPassphrase } from './passphrase.ts'

const root = mkdtempSync(join(tmpdir(), 'cella-passphrase-'))
after(() => rmSync(root, { recursive: true }))
const text = (secret: Secret): string => decodeUtf8(secret.expose(), 'passphrase')

async function fromFile(content: string | Uint8Array): Promise<string> {
  const path = join(root, 'passphrase')
  writeFileSync(path, content)
  const fd = openSync(path, 'r')
  try {
    return text(await readPassphrase({ fd }))
  } finally {
    closeSync(fd)
  }
}

const lines: [string, string, string][] = [
  ['a line', 'secret words\n', 'secret words'],
  ['a line of Windows', 'secret words\r\n', 'secret words'],
  ['a file without a line end', 'secret words', 'secret words'],
  ['the first of two lines', 'first\nsecond\n', 'first'],
  ['spaces, which belong to it', '  secret  \n', '  secret  '],
  ['letters that keyboards compose differently', 'cafe\u0301\n', 'caf\u00e9'],
]
for (const [name, content, expected] of lines) {
  test(`reads ${name} from a file descriptor`, async () => {
    assert.equal(await fromFile(content), expected)
  })
}

test('refuses an empty, an overlong and a malformed passphrase', async () => {
  for (const content of ['', '\n', '\r\n', 'x'.repeat(1025), Uint8Array.of(0xff, 0x0a)]) {
    await assert.rejects(fromFile(content), { code: 'ERR_PASSPHRASE_UNAVAILABLE' })
  }
  await assert.rejects(readPassphrase({ fd: 9999 }), { code: 'ERR_PASSPHRASE_UNAVAILABLE' })
})

test('reads a pipe whose writer is slow', async () => {
  const entry = new URL('./passphrase.ts', import.meta.url).href
  const script = `
    const { readPassphrase } = await import(${JSON.stringify(entry)})
    process.stdout.write((await readPassphrase({ fd: 3 })).expose())`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
  })
  const pipe = child.stdio[3] as NodeJS.WritableStream
  pipe.write('two ')
  setTimeout(() => pipe.end('words\n'), 30)
  let output = ''
  child.stdout!.on('data', (piece) => {
    output += piece
  })
  await once(child, 'close')
  assert.equal(output, 'two words')
})

class Terminal extends PassThrough {
  readonly isTTY: boolean = true
  readonly modes: boolean[] = []
  setRawMode(raw: boolean): void {
    this.modes.push(raw)
  }
}

async function typed(keys: string, confirm?: string): Promise<{ passphrase: string; shown: string; modes: boolean[] }> {
  const input = new Terminal()
  let shown = ''
  const output = {
    write(piece: string): void {
      shown += piece
    },
  }
  input.write(keys)
  try {
    const passphrase = text(
      await readPassphrase({ prompt: 'Passphrase: ', input, output, ...(confirm && { confirm }) }),
    )
    return { passphrase, shown, modes: input.modes }
  } finally {
    assert.deepEqual(input.modes, [true, false], 'the terminal gets its echo back')
    assert.ok(!input.destroyed, 'the terminal stays open for the next question')
  }
}

test('asks on the terminal and echoes nothing', async () => {
  const { passphrase, shown } = await typed('secret words\r')
  assert.equal(passphrase, 'secret words')
  assert.equal(shown, 'Passphrase: \n')
})

test('erasing takes whole characters', async () => {
  assert.equal((await typed('aé\u007f\u007fbcd\bx\r')).passphrase, 'bcx')
})

test('a new passphrase is asked for twice and must be the same', async () => {
  assert.equal((await typed('secret words\rsecret words\r', 'Again: ')).shown, 'Passphrase: \nAgain: \n')
  await assert.rejects(typed('secret words\rsecret wordz\r', 'Again: '), { code: 'ERR_PASSPHRASE_DIFFERS' })
})

test('interrupt, end of input and an empty line are no passphrase', async () => {
  for (const keys of ['half\u0003', '\u0004', '\r']) {
    await assert.rejects(typed(keys), { code: 'ERR_PASSPHRASE_CANCELLED' })
  }
})

test('without a terminal it says what to do instead of reading on', async () => {
  const input = new PassThrough()
  await assert.rejects(readPassphrase({ prompt: 'Passphrase: ', input }), { code: 'ERR_PASSPHRASE_UNAVAILABLE' })
})
