import { randomBytes } from 'node:crypto'
import { link, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Who holds a lock. `born` tells a process from a later one with the same number; null where the system can't say. */
export interface Holder {
  readonly pid: number
  readonly born: string | null
}

export interface Lock {
  release(): Promise<void>
}

/**
 * Takes the lock file at `path` for this process, or returns the living process that holds it. A lock whose holder is
 * dead, killed or from before a reboot is taken over.
 */
export async function takeLock(path: string): Promise<Lock | Holder> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const token = randomBytes(8).toString('hex')
  const own = JSON.stringify({ pid: process.pid, born: await birthOf(process.pid), token })
  const temporary = `${path}.${token}`
  await writeFile(temporary, own, { mode: 0o600, flush: true })
  try {
    for (let turn = 0; turn < 5; turn++) {
      try {
        // Unlike rename, link never replaces: exactly one of many makes the name.
        await link(temporary, path)
        return { release: () => release(path, own) }
      } catch (error) {
        if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
      }
      const found = await readFile(path, 'utf8').catch(() => '')
      const holder = parseHolder(found)
      if (holder !== undefined && (await isAlive(holder))) return holder
      await moveAside(path, found, token)
    }
    throw new Error(`${path} changes hands all the time`)
  } finally {
    await rm(temporary, { force: true })
  }
}

/** Whether `holder` runs still, as the same process. */
export async function isAlive(holder: Holder): Promise<boolean> {
  try {
    process.kill(holder.pid, 0)
  } catch (error) {
    // EPERM: it is there and belongs to somebody else.
    if (!(error instanceof Error && 'code' in error && error.code === 'EPERM')) return false
  }
  return holder.born === null || holder.born === (await birthOf(holder.pid))
}

/** The boot and the tick in which a process began, on Linux; null elsewhere or when there is no such process. */
export async function birthOf(pid: number): Promise<string | null> {
  try {
    const boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
    // The second field is a name in parentheses that may hold anything; starttime is field 22 of all.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    // A zombie holds nothing any more.
    if (fields[0] === 'Z' || fields[0] === 'X') return null
    return `${boot}/${fields[19]}`
  } catch {
    return null
  }
}

function parseHolder(text: string): Holder | undefined {
  try {
    const { pid, born } = JSON.parse(text)
    if (!Number.isInteger(pid) || pid <= 0) return undefined
    return { pid, born: typeof born === 'string' ? born : null }
  } catch {
    return undefined
  }
}

async function moveAside(path: string, stale: string, token: string): Promise<void> {
  const aside = `${path}.stale.${token}`
  try {
    await rename(path, aside)
  } catch {
    return
  }
  // Another may have taken the stale lock over between our look and our move: then it gets its own back.
  if ((await readFile(aside, 'utf8')) !== stale) await link(aside, path).catch(() => {})
  await rm(aside, { force: true })
}

async function release(path: string, own: string): Promise<void> {
  if ((await readFile(path, 'utf8').catch(() => '')) === own) await rm(path, { force: true })
}
