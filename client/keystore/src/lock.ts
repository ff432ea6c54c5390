import { randomBytes } from 'node:crypto'
import { link, readFile, rename, unlink, writeFile } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { KeystoreError } from './error.ts'

const pollMs = 25

/**
 * Runs `body` while holding `path`, a file that names its holder: `PID START`. It appears with its content by a link, so a
 * reader never sees half of it. A lock whose process is gone is taken over. Throws KeystoreError ERR_KEYSTORE_LOCKED when a
 * living process still holds it after `waitMs`.
 */
export async function withLock<T>(path: string, waitMs: number, body: () => Promise<T>): Promise<T> {
  const mine = `${path}.${randomBytes(6).toString('hex')}`
  await writeFile(mine, `${process.pid} ${await startOf(process.pid)}\n`, { flag: 'wx', mode: 0o600 })
  try {
    await acquire(path, mine, waitMs)
  } finally {
    await unlink(mine)
  }
  try {
    return await body()
  } finally {
    await unlink(path)
  }
}

async function acquire(path: string, mine: string, waitMs: number): Promise<void> {
  const deadline = performance.now() + waitMs
  for (;;) {
    try {
      await link(mine, path)
      return
    } catch (error) {
      if (!isCode(error, 'EEXIST')) throw error
    }
    const holder = await readIfThere(path)
    if (holder === undefined) continue
    if (!(await isAlive(holder))) {
      await removeStale(path, holder)
      continue
    }
    if (performance.now() > deadline) {
      throw new KeystoreError(
        'ERR_KEYSTORE_LOCKED',
        `process ${Number.parseInt(holder, 10)} is writing the keystore; wait for it, or end it and try again`,
      )
    }
    await delay(pollMs)
  }
}

/** Moves the lock away before removing it, and looks again: another process may have taken it over in between. */
async function removeStale(path: string, holder: string): Promise<void> {
  const aside = `${path}.${randomBytes(6).toString('hex')}.stale`
  try {
    await rename(path, aside)
  } catch (error) {
    if (isCode(error, 'ENOENT')) return
    throw error
  }
  if ((await readIfThere(aside)) !== holder) await link(aside, path).catch(() => undefined)
  await unlink(aside)
}

async function isAlive(holder: string): Promise<boolean> {
  const [pid = Number.NaN, start] = holder.trim().split(' ').map(Number)
  if (!Number.isSafeInteger(pid) || pid <= 0) return false
  try {
    process.kill(pid, 0)
  } catch (error) {
    // EPERM: it lives, as another user's.
    if (isCode(error, 'ESRCH')) return false
  }
  // After a restart of the machine the number may belong to another process.
  return (await startOf(pid)) === start
}

/** When the process began, in clock ticks since boot; 0 where the system does not say. proc(5), /proc/PID/stat field 22. */
async function startOf(pid: number): Promise<number> {
  const stat = await readIfThere(`/proc/${pid}/stat`)
  // The second field is the command in parentheses and may hold anything.
  return Number(stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? 0)
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch {
    return undefined
  }
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
