import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { ManagerError } from '../error.ts'
import type { Binaries } from './binaries.ts'

const execute: (
  file: string,
  args: readonly string[],
  options?: { uid?: number; gid?: number },
) => Promise<{ stdout: string }> = promisify(execFile)

/** How a program of PostgreSQL is run: `wrap` goes before its command line, `owner` must own its files. */
export interface Runner {
  readonly name: 'self' | 'user' | 'capability' | 'namespace'
  readonly wrap: readonly string[]
  readonly ids: { readonly uid?: number; readonly gid?: number }
  readonly owner: { readonly uid: number; readonly gid: number } | undefined
}

/**
 * PostgreSQL refuses to run as root. Finds a way that changes nothing in the system (no user is made) and that reaches
 * both the binaries and `folder`, which exists: as `nobody`; as `nobody` with the one capability to pass folders such as
 * /root that are closed to others; as root under another number in a user namespace. Throws ERR_DATABASE_USER.
 */
export async function findRunner(binaries: Binaries, folder: string): Promise<Runner> {
  if (process.getuid?.() !== 0) return { name: 'self', wrap: [], ids: {}, owner: undefined }
  const user = await unprivilegedUser()
  const { uid, gid } = user
  const candidates: readonly Runner[] = [
    { name: 'user', wrap: [], ids: user, owner: user },
    {
      name: 'capability',
      wrap: [
        'setpriv',
        `--reuid=${uid}`,
        `--regid=${gid}`,
        '--clear-groups',
        '--inh-caps=+dac_override',
        '--ambient-caps=+dac_override',
        // Else access(2), by which initdb looks for its sibling, leaves the capability out of account.
        '--securebits=+no_setuid_fixup',
      ],
      ids: {},
      owner: user,
    },
    {
      name: 'namespace',
      wrap: ['unshare', '--user', `--map-user=${uid}`, `--map-group=${gid}`],
      ids: {},
      owner: { uid: 0, gid: 0 },
    },
  ]
  for (const runner of candidates) {
    // `--show` ends before anything is written, and after initdb has found its siblings. `id -u` is 0 where a wrapper
    // did nothing.
    const script = '"$0" --show -D "$1/data" && cd "$1" && test "$(id -u)" != 0'
    const [file = 'sh', ...args] = [...runner.wrap, 'sh', '-c', script, binaries.initdb, folder]
    const works = await execute(file, args, runner.ids).then(
      () => true,
      () => false,
    )
    if (works) return runner
  }
  throw new ManagerError('ERR_DATABASE_USER', 'PostgreSQL does not run as root, and no way around was found here', {
    hint: `start Cella as another user, put it and ${folder} where user ${uid} may pass, or set DATABASE_URL`,
  })
}

/** `nobody`, or the first user that is not root: initdb wants one that has a name. */
async function unprivilegedUser(): Promise<{ uid: number; gid: number }> {
  const lines = (await readFile('/etc/passwd', 'utf8').catch(() => '')).split('\n').map((line) => line.split(':'))
  const users = lines.map(([name, , uid, gid]) => ({ name, uid: Number(uid), gid: Number(gid) }))
  const found = users.find(({ name, uid }) => name === 'nobody' && uid > 0) ?? users.find(({ uid }) => uid > 0)
  return found === undefined ? { uid: 65_534, gid: 65_534 } : { uid: found.uid, gid: found.gid }
}
