import { mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import {
  type CollateralDescription,
  type CollateralMerge,
  collateralBytesMax,
  describeCollateral,
  type Endorsement,
  type EndorsementKind,
  Endorsements,
  EvidenceError,
  mergeCollateral,
} from '@cella/evidence'
import { writeFileAtomically } from '@cella/files'
import { CollateralError } from './error.ts'

const endings: { readonly [Kind in EndorsementKind]: string } = {
  certificate: 'der',
  crl: 'crl',
  'tcb-info': 'json',
  'enclave-identity': 'json',
  'public-key': 'spki',
  rim: 'xml',
  ocsp: 'ocsp',
}
const fileName = /^([a-z-]+)-([0-9a-f]{64})\.([a-z]+)$/
const fileCountMax = 4096

export interface HeldCollateral extends CollateralDescription {
  /** At `now`: `expired` collateral is kept until a newer edition comes, and verification refuses it. */
  readonly state: 'in-force' | 'expired' | 'not-yet'
}

/** Collateral in a folder. See docs/formats/collateral.md. */
export interface CollateralFolder {
  readonly folder: string
  /** What is there, each piece read as far as telling what it is about. Throws ERR_COLLATERAL_FOLDER. */
  list(now: number): Promise<readonly HeldCollateral[]>
  pieces(): Promise<readonly Endorsement[]>
  /** For a verification. */
  endorsements(): Promise<Endorsements>
  /** Keeps what is newer than what is there. Throws EvidenceError for content that isn't of its kind. */
  add(given: readonly Endorsement[]): Promise<CollateralMerge>
}

/** Opens a folder of collateral; nothing is written before something has to be kept. */
export function openCollateralFolder(folder: string): CollateralFolder {
  const pathOf = (endorsement: Endorsement): string => {
    const { kind, digest } = describeCollateral(endorsement)
    return join(folder, `${kind}-${digest}.${endings[kind]}`)
  }
  const pieces = async (): Promise<readonly Endorsement[]> => {
    const names = (await namesIn(folder)).filter((name) => fileName.test(name)).sort()
    if (names.length > fileCountMax) throw broken(folder, `has more than ${fileCountMax} pieces`)
    const found: Endorsement[] = []
    for (const name of names) {
      const piece = await readPiece(folder, name)
      if (piece) found.push(piece)
    }
    return found
  }
  return {
    folder,
    pieces,
    async list(now) {
      return (await pieces()).map((endorsement) => {
        const description = describeCollateral(endorsement)
        const { notBefore, notAfter } = description
        const expired = notAfter !== undefined && now > notAfter
        const early = notBefore !== undefined && now < notBefore
        return { ...description, state: expired ? 'expired' : early ? 'not-yet' : 'in-force' }
      })
    },
    async endorsements() {
      return new Endorsements(await pieces())
    },
    async add(given) {
      const merge = mergeCollateral(await pieces(), given)
      if (merge.added.length > 0) await mkdir(folder, { recursive: true })
      for (const endorsement of merge.added) {
        await writeFileAtomically(pathOf(endorsement), endorsement.content, { overwrite: true, mode: 0o644 })
      }
      // After the newer edition is there: a reader in between sees both, and verification takes the newer one.
      for (const endorsement of merge.replaced) await rm(pathOf(endorsement), { force: true })
      return merge
    },
  }
}

/** `undefined` for a file that another process has just replaced. */
async function readPiece(folder: string, name: string): Promise<Endorsement | undefined> {
  const [, kind = '', digest, ending] = fileName.exec(name)!
  if (!Object.hasOwn(endings, kind) || endings[kind as EndorsementKind] !== ending) {
    throw broken(join(folder, name), 'is of no kind that is known')
  }
  let content: Uint8Array
  try {
    content = new Uint8Array(await readFile(join(folder, name)))
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw broken(join(folder, name), `can't be read (${(cause as NodeJS.ErrnoException).code})`, cause)
  }
  if (content.length > collateralBytesMax) throw broken(join(folder, name), 'is too large')
  const endorsement = { kind: kind as EndorsementKind, content }
  try {
    if (describeCollateral(endorsement).digest === digest) return endorsement
  } catch (cause) {
    if (cause instanceof EvidenceError) throw broken(join(folder, name), cause.message, cause)
    throw cause
  }
  throw broken(join(folder, name), 'has another digest than its name says')
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder)
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    if (code === 'ENOENT') return []
    throw broken(folder, `can't be read (${code})`, cause)
  }
}

function broken(path: string, problem: string, cause?: unknown): CollateralError {
  return new CollateralError('ERR_COLLATERAL_FOLDER', `${path} ${problem}; remove it, or import it again`, { cause })
}
