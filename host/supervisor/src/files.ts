import { closeSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'

/** Writes JSON whole or not at all, readable by the owner alone: some of it is a token. */
export function writeJson(path: string, value: unknown): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  const temporary = `${path}.${process.pid}.tmp`
  try {
    writeFileSync(temporary, `${JSON.stringify(value, null, 2)}\n`, { mode: 0o600, flush: true })
    renameSync(temporary, path)
  } catch (error) {
    rmSync(temporary, { force: true })
    throw error
  }
}

/** The JSON in a file, or `undefined` where there is none. */
export function readJson(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/** A file that only grows. What a full disk does not take is dropped: no process ends for want of a log line. */
export class LogFile {
  #descriptor: number | undefined

  constructor(path: string) {
    this.#descriptor = openSync(path, 'a', 0o600)
  }

  write(text: string | Uint8Array): void {
    if (this.#descriptor === undefined) return
    try {
      if (typeof text === 'string') writeSync(this.#descriptor, text)
      else writeSync(this.#descriptor, text)
    } catch {
      // Dropped: see above.
    }
  }

  close(): void {
    if (this.#descriptor !== undefined) closeSync(this.#descriptor)
    this.#descriptor = undefined
  }
}
