import { setTimeout as sleep } from 'node:timers/promises'
import { type Figure, treeCpuSeconds } from '@cella/testing'
import type { Account } from '../src/testing/fixtures.ts'
import { Harness } from '../src/testing/harness.ts'
import type { TestWorker } from '../src/testing/worker.ts'

// The queue alone: workers here show evidence of a simulated TEE as real ones do, hold a lease for as long as a run would
// take, and compute nothing, so that what is measured is the manager with its PostgreSQL over HTTP and not this machine's
// cores. Real workers on an empty contract: bench/queue.bench.ts.

const runMs = 250
const workers = 4
const contracts = 50
/** Runs that one worker does alone before. */
const alone = 10
const pollers = 100
const idleSeconds = 10

export async function bench(report: (figure: Figure) => void): Promise<void> {
  const harness = await Harness.start({ limits: { pollSeconds: 20 } }, { workers: true })
  try {
    await throughput(harness, report)
    await idle(harness, report)
  } finally {
    await harness.stop()
  }
}

/** 50 contracts queued at once on 4 workers, against what 4 workers could do at the pace of one that is alone. */
async function throughput(harness: Harness, report: (figure: Figure) => void): Promise<void> {
  const parties = await Promise.all(Array.from({ length: 5 }, (_, at) => harness.party(`Bench ${at}`)))
  const queued: { digest: string; account: Account }[] = []
  for (let at = 0; at < contracts + alone; at++) {
    const party = parties[at % parties.length]!
    queued.push({ digest: (await harness.contract(party)).digest, account: party.account })
  }
  const queue = (some: typeof queued): Promise<unknown> =>
    Promise.all(some.map(({ digest, account }) => harness.send(account, 'POST', `/v1/contracts/${digest}/runs`, {})))
  let left = 0
  const serve = async (name: string): Promise<void> => {
    const worker = await harness.worker(name)
    while (left > 0) {
      left -= 1
      const { status, json: offer } = await worker.poll()
      if (status !== 200) throw new Error(`${name} got no run`)
      await sleep(runMs)
      const end = { status: 'refused', error: { code: 'ERR_BENCH' } }
      await harness.send('worker', 'POST', `/v1/worker/leases/${offer.lease}/outcome`, end)
    }
  }
  const secondsOf = async (runs: number, count: number): Promise<number> => {
    left = runs
    const started = performance.now()
    await Promise.all(Array.from({ length: count }, (_, at) => serve(`bench-${at}`)))
    return (performance.now() - started) / 1000
  }
  await queue(queued.slice(contracts))
  const oneRun = (await secondsOf(alone, 1)) / alone
  await queue(queued.slice(0, contracts))
  const value = contracts / (await secondsOf(contracts, workers))
  const ratio = value / (workers / oneRun)
  report({
    bench: `${contracts} contracts queued at once on ${workers} workers that hold each for ${runMs} ms`,
    value,
    unit: 'runs/s',
    against: 'workers ÷ the time of one run on one worker',
    ratio,
    target: 0.8,
    met: ratio >= 0.8,
  })
}

/**
 * 100 workers that poll for runs and for challenges and find neither: this process, which is manager and workers at once,
 * and PostgreSQL's. Each has shown its evidence before.
 */
async function idle(harness: Harness, report: (figure: Figure) => void): Promise<void> {
  const names = Array.from({ length: pollers }, (_, at) => `idle-${at}`)
  const workers = await Promise.all(names.map((name) => harness.worker(name)))
  let isOver = false
  const poll = async (worker: TestWorker): Promise<void> => {
    while (!isOver) {
      const { status } = await worker.poll()
      if (status !== 204) throw new Error(`${worker.name} was answered ${status}`)
    }
  }
  const cpu = (): number => ownSeconds() + treeCpuSeconds(harness.postgres.pid)
  const started = cpu()
  const polling = Promise.all(workers.map(poll))
  while ((await attested(harness, names)) < pollers) await sleep(500)
  console.log(
    `evidence of a worker, made and judged: ${(((cpu() - started) * 1000) / pollers).toFixed(1)} ms of a core`,
  )
  const before = cpu()
  await sleep(idleSeconds * 1000)
  const ratio = (cpu() - before) / idleSeconds
  isOver = true
  report({
    bench: `${pollers} workers polling, manager, pollers and PostgreSQL together`,
    value: ratio * 100,
    unit: '% of a core',
    against: 'one core',
    ratio,
    target: 0.05,
    met: ratio <= 0.05,
  })
  await polling
}

async function attested(harness: Harness, names: readonly string[]): Promise<number> {
  const { workers } = (await harness.send('nobody', 'GET', '/v1/workers')).json
  return workers.filter((one: { name: string; attested?: object }) => one.attested && names.includes(one.name)).length
}

function ownSeconds(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e6
}
