import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { openSession } from '@cella/sdk'
import type { Figure } from '@cella/testing'
import { fileSource } from '../client/sdk/src/sealing.ts'
import { founded } from '../examples/demo/parties.ts'
import { withInstallation } from './installation.ts'

const size = 2 ** 30
const rounds = 3

/**
 * A file of 1 GiB from one process to another over loopback, on disk there when it ends: by the manager's resumable upload
 * (signed, hashed on the way, synced, published), against a bare copy through a socket that is synced once. Both stay: what
 * writes where a file was just removed finds its memory warm. Then the same upload through a proxy that cuts the connection.
 */
export async function bench(report: (figure: Figure) => void): Promise<void> {
  await withInstallation(async (stage, folder) => {
    await stage.up()
    const installation = stage.installation()
    const party = await founded(
      { name: 'bench', person: 'bench', roles: ['publisher'] },
      { folder: join(folder, 'bench'), installation },
    )
    const path = join(folder, 'file')
    const [uploads, copies]: [number[], number[]] = [[], []]
    for (let round = 0; round < rounds; round++) {
      await writeNoise(path)
      copies.push(await copySeconds(path, join(folder, `copy-${round}`)))
      const source = await fileSource(path)
      const started = performance.now()
      await party.session.manager.upload(source)
      uploads.push((performance.now() - started) / 1000)
    }
    const [upload, copy] = [Math.min(...uploads), Math.min(...copies)]
    const ratio = copy / upload
    report({
      bench: 'upload of 1 GiB in pieces, signed, synced and verified',
      value: size / 2 ** 20 / upload,
      unit: 'MiB/s',
      against: `a plain copy over loopback, ${(size / 2 ** 20 / copy).toFixed(0)} MiB/s`,
      ratio,
      target: 0.7,
      met: ratio >= 0.7,
    })

    await writeNoise(path)
    const proxy = await cuttingProxy(new URL(installation.manager), size / 2)
    const session = await openSession({ home: party.session.home, manager: proxy.url, unlock: party.session.keys })
    await session.keys()
    await session.manager.upload(await fileSource(path))
    proxy.close()
    const twice = proxy.passed() - size
    report({
      bench:
        'of an upload that is cut in the middle, passed to the manager beyond its size, heads of requests and chunks among it',
      value: twice / 2 ** 10,
      unit: 'KiB',
      against: '32 KiB, less than one read of a socket',
      ratio: twice / 2 ** 15,
      target: 1,
      met: proxy.wasCut() && twice <= 2 ** 15,
    })
  })
}

/** Other bytes each time: what the manager has it is not sent again. */
async function writeNoise(path: string): Promise<void> {
  const file = await open(path, 'w')
  const piece = new Uint8Array(2 ** 20)
  try {
    crypto.getRandomValues(piece.subarray(0, 65_536))
    for (let at = 0; at < size; at += piece.length) {
      new DataView(piece.buffer).setFloat64(0, at)
      await file.write(piece)
    }
    await file.sync()
  } finally {
    await file.close()
  }
}

const receiver = `
  const { createServer } = require('node:net')
  const { createWriteStream } = require('node:fs')
  const { pipeline } = require('node:stream/promises')
  const server = createServer({ allowHalfOpen: true }, async (socket) => {
    await pipeline(socket, createWriteStream(process.argv[1], { flush: true, highWaterMark: 2 ** 20 }), { end: true })
    socket.end('done')
    server.close()
  })
  server.listen(0, '127.0.0.1', () => console.log(server.address().port))
`

async function copySeconds(from: string, to: string): Promise<number> {
  const child = spawn(process.execPath, ['-e', receiver, to], { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(child, 'exit')
  const [line] = await once(child.stdout, 'data')
  const started = performance.now()
  const socket = connect({ host: '127.0.0.1', port: Number(String(line)), allowHalfOpen: true })
  const answered = once(socket, 'data')
  await pipeline(createReadStream(from, { highWaterMark: 2 ** 20 }), socket, { end: true })
  await answered
  const seconds = (performance.now() - started) / 1000
  socket.destroy()
  await ended
  return seconds
}

/** Passes connections on, counts what it passes on, and cuts the first one that passes `cutAt` bytes. */
async function cuttingProxy(
  { hostname, port }: URL,
  cutAt: number,
): Promise<{ url: string; passed(): number; wasCut(): boolean; close(): void }> {
  let [sent, passed, wasCut] = [0, 0, false]
  const open = new Set<Socket>()
  const server = createServer((from) => {
    const to = connect(Number(port), hostname)
    for (const socket of [from, to]) {
      open.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => open.delete(socket))
    }
    from.on('close', () => to.end())
    to.on('close', () => from.destroy())
    from.on('data', (chunk) => {
      sent += chunk.length
      if (!wasCut && sent > cutAt) {
        wasCut = true
        from.destroy()
        // What was passed on does arrive.
        to.end()
        return
      }
      passed += chunk.length
      if (!to.write(chunk)) from.pause()
    })
    to.on('drain', () => from.resume())
    to.pipe(from)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (typeof address !== 'object' || address === null) throw new Error('the proxy does not listen')
  return {
    url: `http://127.0.0.1:${address.port}`,
    passed: () => passed,
    wasCut: () => wasCut,
    close: () => {
      for (const socket of open) socket.destroy()
      server.close()
    },
  }
}
