import { setTimeout as sleep } from 'node:timers/promises'
import { type Holder, isAlive } from './lock.ts'

/**
 * Ends processes that an earlier supervisor started and, being killed, could not end: they hold ports and locks. Only for
 * the holder of the folder's lock. A process that can't be told apart from a later one of its number is left alone.
 */
export async function endLeftovers(processes: readonly Holder[], graceMs = 10_000): Promise<void> {
  const left = processes.filter((one) => one.startedAt !== undefined && isAlive(one))
  for (const { pid } of left) send(pid, 'SIGTERM')
  await until(() => !left.some(isAlive), graceMs)
  for (const one of left.filter(isAlive)) send(one.pid, 'SIGKILL')
  await until(() => !left.some(isAlive), 2000)
}

async function until(condition: () => boolean, milliseconds: number): Promise<void> {
  for (let waited = 0; waited < milliseconds && !condition(); waited += 25) await sleep(25)
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // It ended meanwhile.
  }
}
