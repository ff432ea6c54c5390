import { mkdirSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { SupervisorError } from './error.ts'

/**
 * One supervisor a data folder. The lock is a file with the holder's pid and start time; a holder that no longer lives,
 * or whose pid is another process by now, is taken over from.
 */
export function lockData(folder: string): () => void {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const path = join(folder, 'supervisor.pid')
  for (let attempt = 0; attempt < 3; attempt++) {
    try {
      const file = openSync(path, 'wx', 0o600)
      writeSync(file, JSON.stringify({ pid: process.pid, startedAt: startOf(process.pid) }))
      return () => rmSync(path, { force: true })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      const holder = holderOf(path)
      if (holder !== undefined && isAlive(holder)) {
        throw new SupervisorError(
          'ERR_ALREADY_RUNNING',
          `an installation runs on ${folder} already (process ${holder.pid})`,
          {
            hint: 'cella status shows it, cella down ends it; another one needs another --data folder',
          },
        )
      }
      rmSync(path, { force: true })
    }
  }
  throw new SupervisorError('ERR_ALREADY_RUNNING', `the lock ${path} can't be taken`)
}

/** A process, told apart from a later one with its number. */
export interface Holder {
  readonly pid: number
  readonly startedAt: string | undefined
}

function holderOf(path: string): Holder | undefined {
  try {
    const { pid, startedAt } = JSON.parse(readFileSync(path, 'utf8'))
    return Number.isInteger(pid) ? { pid, startedAt } : undefined
  } catch {
    return undefined
  }
}

/** Whether it runs still; where the system does not say when a process began, any of that number counts. */
export function isAlive({ pid, startedAt }: Holder): boolean {
  try {
    process.kill(pid, 0)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
  }
  const now = startOf(pid)
  return startedAt === undefined || now === undefined || now === startedAt
}

/** When a process began, in ticks since boot; `undefined` where the system does not say. */
export function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The name in parentheses may hold spaces; the start time is the 20th field behind it.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  } catch {
    return undefined
  }
}
