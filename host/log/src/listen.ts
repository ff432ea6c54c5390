import { rmSync } from 'node:fs'
import { connect, type Server } from 'node:net'

export type ListenAddress = { readonly host: string; readonly port: number } | { readonly path: string }

/**
 * Listens, and gives back `http://HOST:PORT` or `unix:PATH`. A socket file whose process ended without removing it is
 * replaced; one that answers is not.
 */
export async function listen(server: Server, address: ListenAddress): Promise<string> {
  try {
    await bind(server, address)
  } catch (error) {
    const inUse = (error as NodeJS.ErrnoException).code === 'EADDRINUSE'
    if (!inUse || !('path' in address) || (await answers(address.path))) throw error
    rmSync(address.path)
    await bind(server, address)
  }
  const bound = server.address()
  if (bound === null || typeof bound === 'string') return `unix:${bound}`
  return `http://${bound.family === 'IPv6' ? `[${bound.address}]` : bound.address}:${bound.port}`
}

/** Whether a process listens at a socket file. */
export async function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path)
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

async function bind(server: Server, address: ListenAddress): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(address, () => {
      server.off('error', reject)
      resolve()
    })
  })
}
