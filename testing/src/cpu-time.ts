import { readdirSync, readFileSync } from 'node:fs'

/**
 * CPU time of this thread in milliseconds, from some point on: for ratios of what runs on one thread, which other load on
 * the machine would bend if they were of wall time.
 */
export function threadCpuMs(): number {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1000
}

/** CPU time in seconds of a process and all below it, ended children included; proc_pid_stat(5). NaN but on Linux. */
export function treeCpuSeconds(pid: number): number {
  if (process.platform !== 'linux') return Number.NaN
  const ids = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
  const found = ids.flatMap((id) => {
    try {
      // From the state on, which follows the name: parent, …, utime, stime and those of children that ended.
      const fields = readFileSync(`/proc/${id}/stat`, 'utf8').split(') ').at(-1)!.split(' ').map(Number)
      const ticks = fields.slice(11, 15).reduce((sum, value) => sum + value, 0)
      return [{ id: Number(id), parent: fields[1]!, seconds: ticks / 100 }]
    } catch {
      // It ended meanwhile; its parent counts it.
      return []
    }
  })
  const below = (parent: number): number =>
    found.filter((one) => one.parent === parent).reduce((sum, { id, seconds }) => sum + seconds + below(id), 0)
  return (found.find(({ id }) => id === pid)?.seconds ?? 0) + below(pid)
}
