import { mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import {
  collateralBytesMax,
  describeCollateral,
  type Endorsement,
  type EndorsementKind,
  EvidenceError,
  endorsementKinds,
  mergeCollateral,
  readCollateral,
} from '@cella/evidence'
import { writeFileAtomically } from '@cella/files'
import { CollateralError } from './error.ts'
import { type CollateralStore, faultOf } from './store.ts'

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

/**
 * Opens a folder of collateral (docs/formats/collateral.md); nothing is written before something has to be kept. Files that
 * others put there are read too, and never replaced or removed.
 */
export function openCollateralFolder(folder: string): CollateralStore {
  const pathOf = (endorsement: Endorsement): string => {
    const { kind, digest } = describeCollateral(endorsement)
    return join(folder, `${kind}-${digest}.${endings[kind]}`)
  }
  const pieces = async (): Promise<readonly Endorsement[]> => {
    const names = (await namesIn(folder)).filter((name) => !name.startsWith('.')).sort()
    if (names.length > fileCountMax) throw broken(folder, `has more than ${fileCountMax} files`)
    const found: Endorsement[] = []
    for (const name of names) found.push(...(await readFileOf(folder, name)))
    return found
  }
  return {
    pieces,
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
    async close() {},
  }
}

/** Nothing for a file that another process has just replaced. */
async function readFileOf(folder: string, name: string): Promise<readonly Endorsement[]> {
  const path = join(folder, name)
  let content: Uint8Array
  try {
    content = new Uint8Array(await readFile(path))
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    if (code === 'ENOENT') return []
    throw broken(path, `can't be read (${code})`, cause)
  }
  const [, kind, digest = '', ending] = fileName.exec(name) ?? []
  if (kind === undefined) return foreign(path, content)
  const known = endorsementKinds.find((one) => one === kind && endings[one] === ending)
  if (known === undefined) throw broken(path, 'is of no kind that is known')
  const fault = content.length > collateralBytesMax ? 'is too large' : faultOf({ kind: known, content }, digest)
  if (fault !== undefined) throw broken(path, fault)
  return [{ kind: known, content }]
}

/** A file that somebody put there: a bundle, PEM, a vendor's answer. */
function foreign(path: string, content: Uint8Array): readonly Endorsement[] {
  try {
    return readCollateral(content)
  } catch (cause) {
    if (cause instanceof EvidenceError) throw broken(path, cause.message, cause)
    throw cause
  }
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
