import { open } from 'node:fs/promises'
import { encodeLeaf, randomTag } from '@cella/log'
import { randomBytes } from '@cella/primitives'

export interface Load {
  /** Entries a second. */
  readonly rate: number
  readonly p50Ms: number
  readonly p99Ms: number
}

const template = encodeLeaf({ kind: 'state', commitment: randomBytes(32), tag: randomTag() })
let made = 0

/** A leaf (64 bytes) that was never made before. */
export function freshLeaf(): Uint8Array {
  made += 1
  const leaf = template.slice()
  new DataView(leaf.buffer).setFloat64(20, made)
  return leaf
}

/** `clients` that each call again as soon as they are answered; one call adds `entries`. */
export async function closedLoop(options: {
  clients: number
  seconds: number
  entries?: number
  call: (client: number) => Promise<unknown>
}): Promise<Load> {
  const { clients, seconds, entries = 1, call } = options
  const startMs = performance.now()
  const endMs = startMs + seconds * 1000
  const times: number[] = []
  const loop = async (client: number): Promise<void> => {
    while (performance.now() < endMs) {
      const sentMs = performance.now()
      await call(client)
      times.push(performance.now() - sentMs)
    }
  }
  await Promise.all(Array.from({ length: clients }, (_, client) => loop(client)))
  const elapsedMs = performance.now() - startMs
  times.sort((a, b) => a - b)
  return {
    rate: (times.length * entries * 1000) / elapsedMs,
    p50Ms: times[times.length >> 1]!,
    p99Ms: times[Math.floor(times.length * 0.99)]!,
  }
}

/** Bare appends of 4 KB to a file, each with its fdatasync, one after the other. */
export async function bareAppends(file: string, seconds: number): Promise<Load> {
  const handle = await open(file, 'w')
  const page = randomBytes(4096)
  try {
    return await closedLoop({
      clients: 1,
      seconds,
      call: async () => {
        await handle.write(page)
        await handle.datasync()
      },
    })
  } finally {
    await handle.close()
  }
}
