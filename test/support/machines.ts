import { spawnSync } from 'node:child_process'

/** Machines with a network of their own each, joined by one cable each to the first. */
export interface Machines {
  /** What to write before a command to run it on a machine: nothing where all are this one. */
  on(machine: string): readonly string[]
  /** Address of the first machine, as the others reach it. */
  readonly address: string
  /** Why they share one network, if they do. */
  readonly shared: string | undefined
  remove(): void
}

/**
 * Network namespaces of Linux, where this user may make them; else one network for all. `id` (at most 6 characters) keeps
 * them apart from those of others.
 */
export function makeMachines(id: string, [hub, ...others]: readonly [string, ...string[]]): Machines {
  const made: string[] = []
  const namespace = (machine: string): string => `${id}-${machine}`
  const remove = (): void => {
    for (const one of made) spawnSync('ip', ['netns', 'delete', one])
  }
  const ip = (...parameters: string[]): void => {
    const { status, stderr, error } = spawnSync('ip', parameters, { encoding: 'utf8' })
    if (status !== 0) throw new Error(`ip ${parameters.join(' ')}: ${error?.message ?? stderr.trim()}`)
  }
  // A private range that no route of this machine leads to: it ends in these namespaces.
  const address = '10.77.0.1'
  try {
    for (const machine of [hub, ...others]) {
      ip('netns', 'add', namespace(machine))
      made.push(namespace(machine))
      ip('-n', namespace(machine), 'link', 'set', 'lo', 'up')
    }
    ip('-n', namespace(hub), 'address', 'add', `${address}/32`, 'dev', 'lo')
    for (const [at, machine] of others.entries()) {
      const cable = `v${at}`
      ip('-n', namespace(hub), 'link', 'add', cable, 'type', 'veth', 'peer', 'name', 'v', 'netns', namespace(machine))
      for (const [where, device, last] of [
        [hub, cable, 1],
        [machine, 'v', 2],
      ] as const) {
        ip('-n', namespace(where), 'address', 'add', `10.77.${at + 1}.${last}/30`, 'dev', device)
        ip('-n', namespace(where), 'link', 'set', device, 'up')
      }
      ip('-n', namespace(machine), 'route', 'add', `${address}/32`, 'via', `10.77.${at + 1}.1`)
    }
  } catch (error) {
    remove()
    return { on: () => [], address: '127.0.0.1', shared: (error as Error).message, remove: () => undefined }
  }
  return { on: (machine) => ['ip', 'netns', 'exec', namespace(machine)], address, shared: undefined, remove }
}
