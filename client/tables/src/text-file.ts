import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { TablesError } from './error.ts'

export type Encoding = 'utf-8' | 'utf-16le' | 'utf-16be' | 'latin1'

const headLength = 262_144
const chunkLength = 65_536

/** The beginning and identity of a file. */
export interface FileHead {
  readonly path: string
  readonly size: number
  /** Size, inode and time of the last change: another value is another file. */
  readonly identity: string
  readonly head: Uint8Array
}

/** Opens `path` and reads its beginning. Throws TablesError ERR_FILE_UNAVAILABLE or ERR_FILE_EMPTY. */
export async function readHead(path: string): Promise<FileHead> {
  try {
    await using file = await open(path, 'r')
    const status = await file.stat({ bigint: true })
    const buffer = new Uint8Array(headLength)
    let length = 0
    while (length < headLength) {
      const { bytesRead } = await file.read(buffer, length, headLength - length, length)
      if (bytesRead === 0) break
      length += bytesRead
    }
    const identity = `${status.dev}:${status.ino}:${status.size}:${status.mtimeNs}`
    if (length === 0) throw empty(path)
    return { path, size: Number(status.size), identity, head: buffer.subarray(0, length) }
  } catch (cause) {
    if (cause instanceof TablesError) throw cause
    const code = (cause as NodeJS.ErrnoException).code ?? 'unknown'
    throw new TablesError('ERR_FILE_UNAVAILABLE', `${path} can't be read (${code})`, {
      hint: code === 'EISDIR' ? 'name a file, not a folder' : 'check the path and that you may read it',
      cause,
    })
  }
}

/** The error for a file without a table. */
export function empty(path: string): TablesError {
  return new TablesError('ERR_FILE_EMPTY', `${path} is empty`, {
    hint: 'a table has at least a header or one row; was it written to the end?',
  })
}

/** The encoding by byte-order mark, and how many bytes the mark has. Without one: UTF-8. */
export function detectEncoding(head: Uint8Array): { encoding: Encoding; markLength: number } {
  if (head[0] === 0xef && head[1] === 0xbb && head[2] === 0xbf) return { encoding: 'utf-8', markLength: 3 }
  if (head[0] === 0xff && head[1] === 0xfe) return { encoding: 'utf-16le', markLength: 2 }
  if (head[0] === 0xfe && head[1] === 0xff) return { encoding: 'utf-16be', markLength: 2 }
  return { encoding: 'utf-8', markLength: 0 }
}

/** Refuses what is plainly no text, saying what it is. */
export function refuseBinary({ path, head }: FileHead): void {
  const begins = (...bytes: number[]): boolean => bytes.every((byte, index) => head[index] === byte)
  const kind = begins(0x50, 0x4b, 3, 4)
    ? 'a ZIP file or a spreadsheet (XLSX, ODS): export the sheet as CSV'
    : begins(0xd0, 0xcf, 0x11, 0xe0)
      ? 'an old Office file (XLS): export the sheet as CSV'
      : begins(0x1f, 0x8b)
        ? 'compressed with gzip: decompress it first'
        : begins(0x28, 0xb5, 0x2f, 0xfd)
          ? 'compressed with Zstandard: decompress it first'
          : head.includes(0)
            ? 'binary, or UTF-16 without a byte-order mark: save it as UTF-8'
            : undefined
  if (kind === undefined) return
  throw new TablesError('ERR_FILE_FORMAT', `${path} is not a table as text`, { hint: `it is ${kind}` })
}

/** The text of a file, piece by piece, without its byte-order mark. Throws ERR_FILE_ENCODING naming the line. */
export async function* readText(
  path: string,
  encoding: Encoding,
  markLength: number,
): AsyncGenerator<string, void, undefined> {
  const label = encoding === 'latin1' ? 'windows-1252' : encoding
  const decoder = new TextDecoder(label, { fatal: true, ignoreBOM: true })
  let lines = 1
  for await (const chunk of createReadStream(path, { start: markLength, highWaterMark: chunkLength })) {
    const bytes: Uint8Array = chunk
    let text: string
    try {
      text = decoder.decode(bytes, { stream: true })
    } catch (cause) {
      throw wrongEncoding(path, encoding, lines + linesBeforeFault(bytes, label), cause)
    }
    if (text.length > 0) yield text
    for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) lines++
  }
  let rest: string
  try {
    rest = decoder.decode()
  } catch (cause) {
    throw wrongEncoding(path, encoding, lines, cause)
  }
  if (rest.length > 0) yield rest
}

/** Line feeds before the first byte that can't be decoded. The first piece may begin inside a character. */
function linesBeforeFault(bytes: Uint8Array, label: string): number {
  let lines = 0
  let start = 0
  while (start < 3 && bytes[start]! >= 0x80 && bytes[start]! < 0xc0) start++
  for (;;) {
    const end = bytes.indexOf(0x0a, start)
    if (end < 0) return lines
    try {
      new TextDecoder(label, { fatal: true }).decode(bytes.subarray(start, end))
    } catch {
      return lines
    }
    lines++
    start = end + 1
  }
}

function wrongEncoding(path: string, encoding: Encoding, line: number, cause: unknown): TablesError {
  return new TablesError('ERR_FILE_ENCODING', `${path}, line ${line}: is not ${encoding}`, {
    line,
    hint:
      encoding === 'utf-8'
        ? 'it looks like Latin-1 (Windows-1252): read it with encoding "latin1", or save it as UTF-8'
        : 'save it as UTF-8',
    cause,
  })
}
