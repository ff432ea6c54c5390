import { ProgramEnd } from './program-end.ts'

/** A declared input. Reads are full: fewer bytes than asked only at the end, whatever pieces the bytes came in. */
export interface InputFile {
  readonly name: string
  readonly length: number
  /** Fills `target` from `offset`; false when those bytes were already given up (see docs/formats/program.md). */
  read(offset: number, target: Uint8Array): boolean
}

/** A declared output: written anywhere up to its cap, never read back. */
export class OutputFile {
  readonly name: string
  readonly bytesMax: number
  created = false
  #bytes: Uint8Array = new Uint8Array(0)
  #length = 0

  constructor(name: string, bytesMax: number) {
    this.name = name
    this.bytesMax = bytesMax
  }

  get length(): number {
    return this.#length
  }

  /** Ends the program when the cap would be passed: counted before a byte is copied. */
  write(offset: number, bytes: Uint8Array): void {
    const end = offset + bytes.length
    if (end > this.bytesMax) throw new ProgramEnd('output-too-large')
    if (end > this.#bytes.length) {
      const grown = new Uint8Array(Math.min(this.bytesMax, Math.max(end, this.#bytes.length * 2, 4096)))
      grown.set(this.#bytes)
      this.#bytes.fill(0)
      this.#bytes = grown
    }
    this.#bytes.set(bytes, offset)
    this.#length = Math.max(this.#length, end)
  }

  truncate(): void {
    this.#bytes.fill(0)
    this.#length = 0
  }

  /** What was written, sharing memory with the file. */
  written(): Uint8Array {
    return this.#bytes.subarray(0, this.#length)
  }
}

/** stdout and stderr: what fits under the cap is kept, the rest is dropped unseen by the program. */
export class Diagnostic {
  readonly #bytesMax: number
  readonly #kept: OutputFile

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
    this.#kept = new OutputFile('', bytesMax)
  }

  write(bytes: Uint8Array): void {
    const room = this.#bytesMax - this.#kept.length
    if (room > 0) this.#kept.write(this.#kept.length, bytes.subarray(0, room))
  }

  written(): Uint8Array {
    return this.#kept.written()
  }
}
