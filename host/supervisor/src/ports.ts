import { createServer } from 'node:net'

/** Free loopback ports; `wanted` is taken where it is free. All are held until the last is found. */
export async function freePorts(wanted: readonly number[]): Promise<number[]> {
  const held = await Promise.all(wanted.map(async (port) => (await tryListen(port)) ?? (await tryListen(0))))
  const servers = held.map((server) => server!)
  const ports = servers.map((server) => (server.address() as { port: number }).port)
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}

async function tryListen(port: number): Promise<ReturnType<typeof createServer> | undefined> {
  const server = createServer()
  return new Promise((resolve) => {
    server.once('error', () => resolve(undefined))
    server.listen(port, '127.0.0.1', () => resolve(server))
  })
}

/** Whether a loopback port can be listened on. */
export async function isFree(port: number): Promise<boolean> {
  const server = await tryListen(port)
  if (server === undefined) return false
  await new Promise((resolve) => server.close(resolve))
  return true
}
