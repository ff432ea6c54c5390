import { readFile, readlink, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ManagerError } from '../error.ts'
import { isAlive } from './lock.ts'

/**
 * Stops a server that outlived the process that started it, and removes the pid file of one that died. Only for the
 * holder of the folder's lock: nobody else has a right to that server then.
 */
export async function stopOrphan(data: string): Promise<void> {
  const path = join(data, 'postmaster.pid')
  const pid = Number((await readFile(path, 'utf8').catch(() => '')).split('\n')[0])
  if (!Number.isInteger(pid) || pid <= 0) return
  if (!(await isServerOf(pid, data))) {
    // The number may belong to another program by now, which PostgreSQL would take for a server.
    await rm(path, { force: true })
    return
  }
  // Fast, then immediate shutdown; neither loses what was committed.
  for (const [signal, seconds] of [
    ['SIGINT', 15],
    ['SIGQUIT', 10],
  ] as const) {
    process.kill(pid, signal)
    for (let waited = 0; waited < seconds * 50; waited++) {
      if (!(await isAlive({ pid, born: null }))) return
      await sleep(20)
    }
  }
  throw new ManagerError('ERR_DATABASE_IN_USE', `process ${pid} still serves ${data} and does not stop`, {
    hint: `end process ${pid} and start again`,
  })
}

async function isServerOf(pid: number, data: string): Promise<boolean> {
  if (!(await isAlive({ pid, born: null }))) return false
  try {
    if ((await readlink(`/proc/${pid}/cwd`)) === data) return true
  } catch {
    // Not Linux, or not ours to look at.
  }
  try {
    return (await readFile(`/proc/${pid}/cmdline`, 'utf8')).split('\0').includes(data)
  } catch {
    // Where nothing can be known, PostgreSQL's own check decides.
    return process.platform !== 'linux'
  }
}
