import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { decodeUtf8 } from '@cella/bytes'
import { type Endorsement, type EndorsementKind, Endorsements } from '@cella/evidence'
import { AttestError } from './error.ts'

const fileCountMax = 512
const fileBytesMax = 1_048_576
const bytesMax = 8_388_608

interface Kind {
  readonly kind: EndorsementKind
  readonly pattern: RegExp
  /** For people. */
  readonly names: string
  readonly form: 'der' | 'xml' | { readonly member: string }
}

const kinds: readonly Kind[] = [
  { kind: 'crl', pattern: /\.crl$/, names: '*.crl', form: 'der' },
  { kind: 'certificate', pattern: /\.(?:der|cer|crt)$/, names: '*.der', form: 'der' },
  { kind: 'public-key', pattern: /\.spki$/, names: '*.spki', form: 'der' },
  { kind: 'ocsp', pattern: /\.ocsp$/, names: '*.ocsp', form: 'der' },
  { kind: 'tcb-info', pattern: /^tcb-info.*\.json$/, names: 'tcb-info*.json', form: { member: 'tcbInfo' } },
  {
    kind: 'enclave-identity',
    pattern: /^enclave-identity.*\.json$/,
    names: 'enclave-identity*.json',
    form: { member: 'enclaveIdentity' },
  },
  { kind: 'rim', pattern: /\.(?:rim|swidtag)$/, names: '*.rim', form: 'xml' },
]

export interface CollateralStatus {
  readonly files: number
  /** Unix seconds of the last time that the folder was read whole. */
  readonly readAt: number | null
  /** Why what is in the folder now is not what is in use. */
  readonly problem: string | null
}

/**
 * A folder of collateral, read again when it has changed. Untrusted: each verification checks signatures and windows of
 * what it uses. Files are taken by their names; one whose name says no kind is refused, hidden ones are passed over.
 */
export class Collateral {
  readonly #folder: string | undefined
  #endorsements: Endorsements = Endorsements.none
  #seen = ''
  #status: CollateralStatus = { files: 0, readAt: null, problem: null }

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
      for (const file of files) list.push(await read(this.#folder, file))
      this.#endorsements = list.length === 0 ? Endorsements.none : new Endorsements(list)
      this.#seen = seen
      this.#status = { files: list.length, readAt: now, problem: null }
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
  readonly kind: Kind
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
    const kind = kinds.find(({ pattern }) => pattern.test(name))
    if (kind === undefined) {
      const known = kinds.map((one) => one.names).join(', ')
      throw unreadable(path, `its name says no kind of collateral; known are ${known}`)
    }
    const status = await attempt(path, () => stat(path, { bigint: true }))
    if (!status.isFile()) throw unreadable(path, 'is no file')
    if (status.size > fileBytesMax) throw unreadable(path, `has ${status.size} bytes, at most ${fileBytesMax} are read`)
    total += Number(status.size)
    if (total > bytesMax) throw unreadable(folder, `has more than ${bytesMax} bytes of collateral`)
    found.push({ name, kind, mark: `${status.ino} ${status.size} ${status.mtimeNs} ${status.ctimeNs}` })
  }
  return found
}

async function read(folder: string, { name, kind }: Found): Promise<Endorsement> {
  const path = join(folder, name)
  const content = new Uint8Array(await attempt(path, () => readFile(path)))
  if (content.length > fileBytesMax) throw unreadable(path, `has more than ${fileBytesMax} bytes`)
  const { form } = kind
  if (form === 'der') {
    if (content[0] !== 0x30) throw unreadable(path, 'is not DER; if it is PEM, convert it: openssl … -outform DER')
  } else if (form === 'xml') {
    if (!/^\s*</.test(text(content, path))) throw unreadable(path, 'is not XML')
  } else if (!hasMember(text(content, path), form.member)) {
    throw unreadable(path, `is not the vendor's answer: a JSON object with ${form.member} and signature`)
  }
  return { kind: kind.kind, content }
}

function hasMember(json: string, member: string): boolean {
  try {
    const value: unknown = JSON.parse(json)
    return typeof value === 'object' && value !== null && Object.hasOwn(value, member)
  } catch {
    return false
  }
}

function text(content: Uint8Array, path: string): string {
  try {
    return decodeUtf8(content, 'file')
  } catch (cause) {
    throw unreadable(path, 'is not UTF-8 text', cause)
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
