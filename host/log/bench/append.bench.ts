import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { Agent, request } from 'node:http'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { encodeVkey, generateNoteSigner, inclusionProof, parseVkey, tileHashes } from '@cella/log'
import type { Figure } from '@cella/testing'
import { type Log, localSigner, openLog } from '../src/index.ts'
import { bareAppends, closedLoop, freshLeaf, type Load } from './load.ts'

// Entries of 64 bytes, which is what a leaf of this log has: a commitment and a tag; bodies lie beside the log. Each answered when it is durable, in the tree and in a signed checkpoint. Rates and times are
// ratios to bare appends with fdatasync on the same disk in the same run. The targets come from a disk with 0.16 ms a sync:
// 1,500, 20,000 and 60,000 entries a second there, and medians of 1 and 2 ms.

const seconds = 3
const isLong = process.env.CELLA_LONG === '1'
const batch = 256

export async function bench(report: (figure: Figure) => void): Promise<void> {
  // Beside the project, not in a temporary folder: that may be memory.
  const folder = await mkdtemp(join(process.cwd(), '.bench-log-'))
  try {
    const log = await openAt(folder, 'log')
    const call = async (): Promise<unknown> => log.append([freshLeaf()])
    const runs: { clients: number; load: Load; bare: Load }[] = []
    for (const clients of [1, 32, 1000]) {
      const bare = await bareAppends(join(folder, 'bare'), seconds / 3)
      runs.push({ clients, load: await closedLoop({ clients, seconds, call }), bare })
    }
    await log.close()
    const targets: Record<number, { rate: number; time: number; quantile: 'p50Ms' | 'p99Ms' }> = {
      1: { rate: 0.24, time: 6, quantile: 'p50Ms' },
      32: { rate: 3.2, time: 12.5, quantile: 'p50Ms' },
      1000: { rate: 9.6, time: 250, quantile: 'p99Ms' },
    }
    for (const { clients, load, bare } of runs) {
      const { rate, time, quantile } = targets[clients]!
      const name = `log/append: ${clients} client${clients === 1 ? '' : 's'}`
      report(
        atLeast(name, load.rate, 'entries/s', `bare appends, ${bare.rate.toFixed(0)}/s`, load.rate / bare.rate, rate),
      )
      const ratio = load[quantile] / bare.p50Ms
      const against = `one bare append, ${bare.p50Ms.toFixed(3)} ms`
      report(atMost(`${name}, ${quantile.slice(0, 3)}`, load[quantile], 'ms', against, ratio, time))
    }
    await overHttp(folder, runs.at(-1)!.load, report)
    await witnessed(folder, report)
    if (isLong) await tenMillion(folder, report)
  } finally {
    await rm(folder, { recursive: true })
  }
}

async function openAt(folder: string, name: string, more: Partial<Parameters<typeof openLog>[0]> = {}): Promise<Log> {
  return openLog({
    folder: join(folder, name),
    lastSignedFile: join(folder, `${name}.last-signed`),
    signer: localSigner(signerOf(name)),
    witnesses: [],
    onFatal: (error) => {
      throw error
    },
    ...more,
  })
}

const signers = new Map<string, ReturnType<typeof generateNoteSigner>>()
function signerOf(name: string): ReturnType<typeof generateNoteSigner> {
  const signer = signers.get(name) ?? generateNoteSigner({ name: `log.example/${name}`, type: 'note' })
  signers.set(name, signer)
  return signer
}

/** Against the log's own process, in batches. */
async function overHttp(folder: string, inProcess: Load, report: (figure: Figure) => void): Promise<void> {
  const config = join(folder, 'config.json')
  const settings = {
    origin: 'log.example/http',
    folder: join(folder, 'http'),
    lastSigned: join(folder, 'http.last-signed'),
    keyFile: join(folder, 'http.key'),
    witnesses: [],
    listen: { host: '127.0.0.1', port: 0 },
  }
  await writeFile(config, JSON.stringify(settings))
  const { url, stop } = await startProcess(fileURLToPath(new URL('../src/main.ts', import.meta.url)), config)
  try {
    const agent = new Agent({ keepAlive: true, maxSockets: 8 })
    const call = async (): Promise<void> => post(`${url}/entries`, agent)
    const load = await closedLoop({ clients: 8, seconds, entries: batch, call })
    agent.destroy()
    const against = `1000 clients in process, ${inProcess.rate.toFixed(0)}/s`
    const name = `log/append: over HTTP, ${batch} a request`
    report(atLeast(name, load.rate, 'entries/s', against, load.rate / inProcess.rate, 0.6))
  } finally {
    await stop()
  }
}

async function post(url: string, agent: Agent): Promise<void> {
  const body = Buffer.concat(Array.from({ length: batch }, freshLeaf))
  await new Promise<void>((resolve, reject) => {
    const sent = request(url, { method: 'POST', agent, headers: { 'Content-Length': body.length } }, (response) => {
      response.resume()
      response.once('end', () =>
        response.statusCode === 200 ? resolve() : reject(new Error(`${response.statusCode}`)),
      )
    })
    sent.once('error', reject)
    sent.end(body)
  })
}

/** The witness of the project, three of them, each in a process of its own with its state on disk. */
async function witnessed(folder: string, report: (figure: Figure) => void): Promise<void> {
  const started = await Promise.all(['a', 'b', 'c'].map((name) => startWitness(folder, name)))
  try {
    const witnesses = started.map(({ vkey, url }) => ({ key: parseVkey(vkey), url }))
    const log = await openAt(folder, 'witnessed', { witnesses, quorum: 2 })
    const bare = await bareAppends(join(folder, 'bare'), seconds / 3)
    const load = await closedLoop({ clients: 32, seconds, call: () => log.append([freshLeaf()]) })
    await log.close()
    const against = `one bare append, ${bare.p50Ms.toFixed(3)} ms`
    const name = 'log/append: 32 clients, cosigned by 2 of 3 in their own processes, p50'
    // 10 ms where a bare append takes 0.16.
    report(atMost(name, load.p50Ms, 'ms', against, load.p50Ms / bare.p50Ms, 62))
  } finally {
    for (const { stop } of started) await stop()
  }
}

async function startWitness(
  folder: string,
  name: string,
): Promise<{ vkey: string; url: string; stop(): Promise<void> }> {
  const config = join(folder, `witness-${name}.json`)
  const settings = {
    name: `witness.example/${name}`,
    file: join(folder, `witness-${name}.db`),
    keyFile: join(folder, `witness-${name}.key`),
    logs: [encodeVkey(signerOf('witnessed').key)],
    listen: { host: '127.0.0.1', port: 0 },
  }
  await writeFile(config, JSON.stringify(settings))
  const main = fileURLToPath(new URL('../../../client/witness/src/main.ts', import.meta.url))
  return startProcess(main, config)
}

/** A process that prints `{url, vkey}` when it listens. */
async function startProcess(
  main: string,
  config: string,
): Promise<{ vkey: string; url: string; stop(): Promise<void> }> {
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', main, '--config', config], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exit = once(child, 'exit')
  const [line] = await Promise.race([once(child.stdout, 'data'), exit.then(() => ['{}'])])
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM')
    await exit
  }
  return { ...JSON.parse(String(line)), stop }
}

/** Ten million leaves: memory does not grow with them, the log starts as before, and what it does takes as long as before. */
async function tenMillion(folder: string, report: (figure: Figure) => void): Promise<void> {
  const log = await openAt(folder, 'large')
  const together = 16_384
  const grow = async (until: number): Promise<void> => {
    while (log.status().size < until) {
      await Promise.all([1, 2].map(() => log.append(Array.from({ length: together }, freshLeaf))))
    }
  }
  const memory = (): number => {
    const { rss } = process.memoryUsage()
    return rss / 2 ** 20
  }
  await grow(100_000)
  const small = await costs(log)
  // By then both tables of the newest leaves are full.
  await grow(3_000_000)
  const before = memory()
  await grow(10_000_000)
  const after = memory()
  const large = await costs(log)
  await log.close()
  // A hundred times the leaves: log₂ of them is 1.4 times as much, and a proof reads files that are in no cache.
  for (const what of ['append', 'inclusion proof'] as const) {
    const against = `at 100,000, ${small[what].toFixed(3)} ms`
    const name = `log: one ${what} at 10,000,000 leaves, p50`
    report(atMost(name, large[what], 'ms', against, large[what] / small[what], 3))
  }
  const name = 'log: resident memory at 10,000,000 leaves'
  report(atMost(name, after, 'MiB', `at 3,000,000, ${before.toFixed(0)} MiB`, after / before, 1.3))
  const startMs = performance.now()
  const again = await openAt(folder, 'large')
  const elapsedMs = performance.now() - startMs
  const { size } = again.status()
  await again.close()
  report(atMost(`log: start with ${size} leaves`, elapsedMs, 'ms', '2 s', elapsedMs / 2000, 1))
}

/** What one append and one proof of a leaf anywhere take now, in ms: medians. */
async function costs(log: Log): Promise<Record<'append' | 'inclusion proof', number>> {
  const { size } = log.status()
  const prove = async (): Promise<void> => {
    const hashes = tileHashes(async (path) => (await log.tile(path))!, size)
    await inclusionProof({ index: Math.floor(Math.random() * size), size, hashes })
  }
  const append = await closedLoop({ clients: 1, seconds: 2, call: () => log.append([freshLeaf()]) })
  const proof = await closedLoop({ clients: 1, seconds: 2, call: prove })
  return { append: append.p50Ms, 'inclusion proof': proof.p50Ms }
}

function atLeast(bench: string, value: number, unit: string, against: string, ratio: number, target: number): Figure {
  return { bench, value, unit, against, ratio, target, met: ratio >= target }
}

function atMost(bench: string, value: number, unit: string, against: string, ratio: number, target: number): Figure {
  return { bench, value, unit, against, ratio, target, met: ratio <= target }
}
