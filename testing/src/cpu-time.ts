/**
 * CPU time of this thread in milliseconds, from some point on: for ratios of what runs on one thread, which other load on
 * the machine would bend if they were of wall time.
 */
export function threadCpuMs(): number {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1000
}
