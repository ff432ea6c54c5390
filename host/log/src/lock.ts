import { createHash } from 'node:crypto'
import { realpathSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { answers } from './listen.ts'
import { LogServerError } from './log-server-error.ts'

/**
 * Holds a folder for this process. On Linux the lock is an abstract socket, which the kernel frees when the process
 * ends, whatever ends it; elsewhere a socket in the folder. It does not reach into another network namespace: the
 * compare-and-swap of the last signed checkpoint is the fence behind it. Throws ERR_LOG_IN_USE.
 */
export async function lockFolder(folder: string): Promise<{ release(): Promise<void> }> {
  const name = createHash('sha256').update(realpathSync(folder)).digest('hex').slice(0, 32)
  const server = process.platform === 'linux' ? await bind(`\0cella-log-${name}`, folder) : await bindFile(folder)
  server.unref()
  return { release: () => new Promise((resolve) => server.close(() => resolve())) }
}

async function bind(path: string, folder: string): Promise<Server> {
  const server = createServer((socket) => socket.destroy())
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const inUse = cause.code === 'EADDRINUSE'
      reject(inUse ? new LogServerError('ERR_LOG_IN_USE', `another process writes the log in ${folder}`) : cause)
    })
    server.listen(path, () => resolve(server))
  })
}

async function bindFile(folder: string): Promise<Server> {
  const path = join(folder, 'lock')
  try {
    return await bind(path, folder)
  } catch (error) {
    if (!(error instanceof LogServerError) || (await answers(path))) throw error
    // Nobody listens: its process ended without taking it away.
    rmSync(path)
    return bind(path, folder)
  }
}
