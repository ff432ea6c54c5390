import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { describeCollateral, type Endorsement, Endorsements, EvidenceError, readCollateral } from '@cella/evidence'
import { AttestError } from './error.ts'

const fileCountMax = 512
const fileBytesMax = 1_048_576
const bytesMax = 8_388_608

export interface CollateralStatus {
  readonly files: number
  readonly pieces: number
  /** Unix seconds of the last time that the folder was read whole. */
  readonly readAt: number | null
  /** Why what is in the folder now is not what is in use. */
  readonly problem: string | null
}

/**
 * A folder of collateral, read again when it has changed. Untrusted: each verification checks signatures and windows of
 * what it uses. Any file that `readCollateral` reads (docs/formats/collateral.md), whatever its name: the folder of
 * `cella evidence collateral`, its bundle, a vendor's answer. One that it does not is refused, hidden ones are passed over.
 */
export class Collateral {
  readonly #folder: string | undefined
  #endorsements: Endorsements = Endorsements.none
  /** Unix seconds at which each piece that has an end ends. */
  #ends: readonly number[] = []
  #seen = ''
  #status: CollateralStatus = { files: 0, pieces: 0, readAt: null, problem: null }

  private constructor(folder: string | undefined) {
    this.#folder = folder
  }

  /** `undefined`: only what travels with the evidence. Throws ERR_COLLATERAL_UNREADABLE. */
  static async open(folder: string | undefined, now: number): Promise<Collateral> {
    const collateral = new Collateral(folder)
    await collateral.refresh(now)
    const { problem } = collateral.status
    if (problem !== null) throw new AttestError('ERR_COLLATERAL_UNREADABLE', problem)
    return collateral
  }

  /** The same object until the folder changes, so that what was parsed once need not be parsed again. */
  get current(): Endorsements {
    return this.#endorsements
  }

  get status(): CollateralStatus {
    return this.#status
  }

  /** Pieces that have ended: a verification refuses what needs one of them. */
  expired(now: number): number {
    return this.#ends.filter((end) => end < now).length
  }

  /**
   * Looks at the folder. A change that can't be read whole leaves in use what was read before, which ends by its own
   * windows, and is told by `status`. Returns whether something changed.
   */
  async refresh(now: number): Promise<boolean> {
    if (this.#folder === undefined) return false
    try {
      const files = await look(this.#folder)
      const seen = files.map(({ name, mark }) => `${name}\n${mark}`).join('\n')
      if (seen === this.#seen && this.#status.problem === null) return false
      const list: Endorsement[] = []
      for (const { name } of files) list.push(...(await read(join(this.#folder, name))))
      this.#endorsements = list.length === 0 ? Endorsements.none : new Endorsements(list)
      this.#seen = seen
      this.#ends = list.flatMap((one) => describeCollateral(one).notAfter ?? [])
      this.#status = { files: files.length, pieces: list.length, readAt: now, problem: null }
      return true
    } catch (error) {
      if (!(error instanceof AttestError)) throw error
      const isNews = this.#status.problem !== error.message
      this.#status = { ...this.#status, problem: error.message }
      return isNews
    }
  }
}

interface Found {
  readonly name: string
  /** Changes when the file does. */
  readonly mark: string
}

async function look(folder: string): Promise<Found[]> {
  const names = (await attempt(folder, () => readdir(folder))).filter((name) => !name.startsWith('.')).sort()
  if (names.length > fileCountMax)
    throw unreadable(folder, `has ${names.length} files, at most ${fileCountMax} are read`)
  const found: Found[] = []
  let total = 0
  for (const name of names) {
    const path = join(folder, name)
    const status = await attempt(path, () => stat(path, { bigint: true }))
    if (!status.isFile()) throw unreadable(path, 'is no file')
    if (status.size > fileBytesMax) throw unreadable(path, `has ${status.size} bytes, at most ${fileBytesMax} are read`)
    total += Number(status.size)
    if (total > bytesMax) throw unreadable(folder, `has more than ${bytesMax} bytes of collateral`)
    found.push({ name, mark: `${status.ino} ${status.size} ${status.mtimeNs} ${status.ctimeNs}` })
  }
  return found
}

async function read(path: string): Promise<readonly Endorsement[]> {
  const content = new Uint8Array(await attempt(path, () => readFile(path)))
  if (content.length > fileBytesMax) throw unreadable(path, `has more than ${fileBytesMax} bytes`)
  try {
    return readCollateral(content)
  } catch (cause) {
    if (!(cause instanceof EvidenceError)) throw cause
    throw unreadable(path, cause.message, cause)
  }
}

async function attempt<T>(path: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run()
  } catch (cause) {
    throw unreadable(path, `can't be read (${(cause as NodeJS.ErrnoException).code})`, cause)
  }
}

function unreadable(path: string, problem: string, cause?: unknown): AttestError {
  return new AttestError('ERR_COLLATERAL_UNREADABLE', `${path}: ${problem}`, { cause })
}
