/** Where lines go. */
export type Write = (line: string) => void

export type LogLevel = 'info' | 'warn' | 'silent'

export interface RequestLine {
  /** Method and pattern; `undefined` where there is no such call. */
  readonly route: string | undefined
  readonly status: number
  readonly code: string | undefined
  readonly ms: number
}

/**
 * Lines of JSON. A line says which call, how it ended and how long it took: never an address, a header, a body, a nonce,
 * or a message that others wrote.
 */
export class Log {
  readonly #level: LogLevel
  readonly #write: Write

  constructor(level: LogLevel, write: Write = (line) => void process.stdout.write(line)) {
    this.#level = level
    this.#write = write
  }

  /** What whoever started the service waits for: told at every level. */
  event(event: string, more: object = {}): void {
    this.#line({ event, ...more })
  }

  warn(event: string, more: object): void {
    if (this.#level !== 'silent') this.#line({ level: 'warn', event, ...more })
  }

  request({ route, status, code, ms }: RequestLine): void {
    const isFault = status >= 500
    if (this.#level === 'silent' || (this.#level === 'warn' && !isFault)) return
    this.#line({
      level: isFault ? 'warn' : 'info',
      event: 'request',
      route: route ?? null,
      status,
      ...(code !== undefined && { code }),
      ms: Math.round(ms * 10) / 10,
    })
  }

  /** Where something failed that nobody foresaw, without the message, which may quote a secret. */
  failed(error: unknown): void {
    if (this.#level === 'silent') return
    const { name, stack } = error instanceof Error ? error : { name: 'unknown', stack: '' }
    const frames = (stack ?? '').split('\n').filter((line) => /^\s+at /.test(line))
    const at = frames.slice(0, 8).map((line) => line.trim())
    this.#line({ level: 'error', event: 'failed', name, at })
  }

  #line(line: object): void {
    this.#write(`${JSON.stringify({ time: new Date().toISOString(), ...line })}\n`)
  }
}
